"""Seeded SLSTR scenes in the layout of the benchmark's files, with the true cloud mask those lack.

A scene is painted from the bottom up: a surface (sea, land, snow), four cloud layers of fractal
optical depth (nature.py), radiative transfer layer over layer and sensor noise (sensor.py). The
Bayesian and the summary mask are imperfect classifiers of what the sensor saw (masks.py).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from cloudmask.data.synthetic.masks import FULL_WIDTH, bayesian_mask, departures, summary_mask
from cloudmask.data.synthetic.nature import (
    CLOUD_OPTICAL_DEPTH,
    cosine_of_solar_zenith,
    draw_clouds,
    draw_surface,
)
from cloudmask.data.synthetic.oblique import oblique_view
from cloudmask.data.synthetic.sensor import observe
from cloudmask.files import write_whole

MIN_SIZE = 64
NIGHT_FRACTION = 0.4
MISSING_COLUMNS = (27, 9)  # of a whole scene, at the left and at the right: not measured
SOLAR_IRRADIANCE = (1858.95, 1538.22, 968.20, 370.08, 248.21, 78.35)
"""S1..S6, as in the product, mW m-2 nm-1"""


@dataclass(frozen=True, eq=False)
class SyntheticScene:
    """One scene: floats are float32, masks uint8; all are 0 where nothing was measured."""

    name: str
    night: bool
    bts: np.ndarray
    """(H, W, 3) brightness temperature in S7, S8, S9, K"""
    refs: np.ndarray
    """(H, W, 6) reflectance in S1..S6, about 0..1; 0 at night"""
    rads: np.ndarray
    """(H, W, 6) radiance in S1..S6, mW m-2 sr-1 nm-1"""
    bayes: np.ndarray
    """(H, W, 1) bits: 1 single_low, 2 single_moderate, 4 dual_low, 8 dual_moderate; 0 = clear"""
    summary: np.ndarray
    """(H, W, 1) threshold mask, 1 = cloud"""
    truth: np.ndarray
    """(H, W, 1) true mask, 1 = cloud"""
    depth: np.ndarray
    """(H, W, 1) optical depth of all layers: other truths are other limits on it"""
    skin: np.ndarray
    """(H, W, 1) skin temperature as a forecast knows it, K"""


DATASETS = ("bts", "refs", "rads", "bayes", "summary", "truth")
EXTRAS = ("depth", "skin")
"""written on demand: the benchmark's files have nothing like them"""


def make_scene(
    index: int,
    *,
    height: int = 1200,
    width: int = 1500,
    seed: int = 0,
    land: Literal["judged", "clear"] = "judged",
) -> SyntheticScene:
    """Scene `index` of archive `seed`: the same arguments give the same bits on the same machine.

    With `land="clear"` the Bayesian mask is 0 on land, where the benchmark's own has not judged.
    ValueError if height or width is below 64, or index or seed below 0.
    """
    check_scene(index, height, width, seed)
    rng = np.random.default_rng([seed, index])
    name, night = _identity(rng, index)
    mu0 = cosine_of_solar_zenith(rng, (height, width))
    surface = draw_surface(rng, mu0, night)
    layers = draw_clouds(rng, surface.air, night)
    depth = sum((layer.depth for layer in layers[1:]), layers[0].depth)
    bts, refs = observe(rng, surface, layers, mu0)
    seen = departures(bts, refs, surface)
    aside = oblique_view(surface, layers)
    oblique = departures(*observe(rng, *aside, mu0), aside[0])
    bayes = bayesian_mask(seen, oblique, surface)
    if land == "clear":
        bayes[surface.land] = 0
    arrays = {
        "bts": bts,
        "refs": refs,
        "rads": refs * (mu0 / np.pi)[..., None] * np.array(SOLAR_IRRADIANCE, np.float32),
        "bayes": bayes[..., None],
        "summary": summary_mask(seen, surface)[..., None].astype(np.uint8),
        "truth": (depth > CLOUD_OPTICAL_DEPTH)[..., None].astype(np.uint8),
        "depth": depth[..., None],
        "skin": surface.expected[..., None].astype(np.float32),
    }
    left, right = (max(1, round(n * width / FULL_WIDTH)) for n in MISSING_COLUMNS)
    for array in arrays.values():
        array[:, :left] = 0
        array[:, width - right :] = 0
    return SyntheticScene(name, night, **arrays)


def _identity(rng: np.random.Generator, index: int) -> tuple[str, bool]:
    """Product name, and whether it is night: one scene per orbit of 101 minutes, half night."""
    night = bool(rng.random() < NIGHT_FRACTION)
    minute = rng.uniform(52, 95) if night else rng.uniform(2, 45)
    start = datetime(2019, 10, 1) + timedelta(seconds=round(60 * (101 * index + minute)))
    stop = start + timedelta(seconds=180)
    created = start + timedelta(seconds=int(rng.integers(80_000, 160_000)))
    times = "_".join(f"{time:%Y%m%dT%H%M%S}" for time in (start, stop, created))
    cycle, orbit = divmod(80 + index, 385)
    place = f"{50 + cycle:03d}_{orbit + 1:03d}_{180 * round(minute / 101 * 30):04d}"
    return f"S3A_SL_1_RBT____{times}_0179_{place}_LN2_O_NT_003.hdf", night


def scene_name(index: int, *, seed: int = 0) -> str:
    """File name of `make_scene(index, seed=seed)`, which it does not make."""
    return _identity(np.random.default_rng([seed, index]), index)[0]


def write_scene(scene: SyntheticScene, folder: Path, *, extras: Sequence[str] = ()) -> Path:
    """Write `folder / scene.name` as HDF5, complete or not at all, over one that is there.

    `extras` are those of EXTRAS that are written too.
    """
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in (*DATASETS, *extras):
            file[name] = getattr(scene, name)
    path = folder / scene.name
    write_whole(path, stream.getbuffer())
    return path


def check_scene(index: int, height: int, width: int, seed: int) -> None:
    check_least("index", index, 0)
    check_least("height", height, MIN_SIZE)
    check_least("width", width, MIN_SIZE)
    check_least("seed", seed, 0)


def check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} {value} is too small for synthetic scenes; use {least} or more")
