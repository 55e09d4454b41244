"""The SLSTR part of real_masks: 24 x 30 pixels, every 100th of a real scene, beside `summary`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from cloudmask.data.synthetic.scenes import SOLAR_IRRADIANCE

SUMMARY = 16384
"""bit of confidence_in"""
LARGEST_ZENITH = 88.0
CHANNELS = tuple(f"S{number}" for number in range(1, 10))


def figures(path: Path) -> dict[str, Any]:
    """Signs of the log-odds and the confident part against the summary mask: with all channels, as
    by day, with the thermal ones alone, as by night, and without the test of texture."""
    from cloudmask.labels import unsupervised
    from cloudmask.labels.unsupervised_tests import TESTS

    with np.load(path) as file:
        image = image_of(file["radiance"], file["bt"], file["sza"])
        summary = file["confidence_in"] & SUMMARY > 0
        zenith = file["sza"]
    parts: dict[str, dict[str, float]] = {}
    found: dict[str, Any] = {
        "parts": parts,
        "pixels": int(summary.size),
        "pixels_by_day": int((zenith < LARGEST_ZENITH).sum()),
        "summary_cloud_fraction": float(summary.mean()),
        "rough_votes_cloud": roughness_votes(image),
    }
    night = image.copy()
    night[..., :6] = np.nan
    smooth = tuple(test for test in TESTS if test.name != "rough")
    for part, seen, tests in (
        ("day", image, TESTS),
        ("as by night", night, TESTS),
        ("day, without texture", image, smooth),
        ("as by night, without texture", night, smooth),
    ):
        with mock.patch.object(unsupervised, "TESTS", tests):
            odds = unsupervised.unsupervised_log_odds(seen, CHANNELS)
        label = unsupervised.confident_label(odds)
        known, sure = np.isfinite(odds), label <= 1
        parts[part] = {
            "measured": float(known.mean()),
            "agreement": float(((odds > 0) == summary)[known].mean()),
            "majority": float(max(summary[known].mean(), 1 - summary[known].mean())),
            "cloud_fraction": float((odds > 0)[known].mean()),
            "confident_share": float(sure.mean()),
            "confident_agreement": float(((label == 1) == summary)[sure].mean()),
        }
    return found


def image_of(radiance: np.ndarray, kelvin: np.ndarray, zenith: np.ndarray) -> np.ndarray:
    """(H, W, 6) mW m-2 sr-1 nm-1, (H, W, 3) K, (H, W) degrees -> (H, W, 9): pi L / (E0 cos z)."""
    lit = np.where(zenith < LARGEST_ZENITH, zenith, np.nan)
    scale = np.pi / np.array(SOLAR_IRRADIANCE) / np.cos(np.radians(lit))[..., None]
    return np.concatenate([radiance * scale, kelvin], axis=-1).astype(np.float32)


def roughness_votes(image: np.ndarray) -> float:
    """Share of the pixels that the test of texture calls cloud: its neighbours are 100 km away."""
    from cloudmask.labels.unsupervised_tests import TESTS

    (rough,) = (test for test in TESTS if test.name == "rough")
    votes = rough.votes({"tir11": image[..., 7]}, lambda field: field)
    return float((votes == 1)[np.isfinite(image[..., 7])].mean())


def table(found: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "| SLSTR, every 100th pixel | measured | agrees with summary | majority | cloud | summary "
        "| confident | agrees |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part, one in found["parts"].items():
        keys = ("measured", "agreement", "majority", "cloud_fraction")
        cells = [f"{one[key]:.3f}" for key in keys]
        cells.append(f"{found['summary_cloud_fraction']:.3f}")
        cells += [f"{one[key]:.3f}" for key in ("confident_share", "confident_agreement")]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return lines
