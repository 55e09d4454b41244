"""The rule from a picture to its labels: exposure, colour, filter, missing data; or infrared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from cloudmask.metrics import UNKNOWN
from seaice import adaptive, colour, infrared
from seaice import filter as thin_cloud
from seaice.colour import Thresholds
from seaice.survey import Survey, windows

BLOCK_ROWS = 2048
"""rows of a scene that are worked on at once, the overlap of the filter's blocks included"""


@dataclass(frozen=True)
class Rule:
    """How labels are made."""

    thresholds: Thresholds = colour.PAPER
    adaptive: bool = False
    """estimate the exposure of the scene first, and take it out"""
    filter: Literal["published", "guarded", "none"] = "guarded"
    """against thin cloud and shadow: as published, with our guards where it degenerates, or none"""
    kind: Literal["colour", "infrared"] = "colour"
    """colour: all of the above; infrared: the bounds of infrared.py, and none of the above"""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labels, and what was done to make them."""

    label: np.ndarray
    """(H, W) uint8 classes, 255 = unknown"""
    done: dict[str, Any]
    told: tuple[str, ...] = ()
    """lines for people: where the rule is in doubt"""


def label_scene(
    image: np.ndarray,
    unknown: np.ndarray,
    rule: Rule,
    *,
    block_rows: int = BLOCK_ROWS,
) -> Labelled:
    """(H, W, 3) uint8 red, green, blue; (H, W) bool, what is missing or hidden -> labels.

    The scene is worked on in blocks of rows, and the labels are those of the scene at once. Beside
    what is given it takes two bytes a pixel, and some for a block. ValueError for blocks of fewer
    rows than the filter's overlap needs.
    """
    done: dict[str, Any] = {}
    exposure: float | None = None
    told: tuple[str, ...] = ()
    if rule.adaptive:
        found = adaptive.estimate(image, ~unknown)
        exposure = found.value
        done["exposure"] = found.record()
        told = found.told()
    if rule.filter == "none" or not unknown.size:
        label = np.empty(unknown.shape, np.uint8)
        for top in range(0, len(label), block_rows):
            rows = slice(top, top + block_rows)
            label[rows] = _by_colour(image[rows], rule, exposure)[1]
        label[unknown] = UNKNOWN
    else:
        survey = Survey(unknown.shape)
        for window in windows(len(image), most=block_rows):
            rows = slice(window.start, window.stop)
            block, raw = _by_colour(image[rows], rule, exposure)
            survey.add(block, raw, unknown[rows], rule.thresholds, window)
        label, done["filter"] = _filtered(survey, rule)
    return Labelled(label, done, told)


def label_reflectance(reflectance: Callable[[slice], np.ndarray], unknown: np.ndarray) -> Labelled:
    """The infrared rule: rows -> (h, W, 4) reflectance of infrared.BANDS; (H, W) bool -> labels."""
    label = infrared.by_rows(reflectance, (unknown.shape[0], unknown.shape[1]))
    neither = int(np.count_nonzero((label == UNKNOWN) & ~unknown))
    label[unknown] = UNKNOWN
    bounds = asdict(infrared.BOUNDS)
    return Labelled(label, {"bounds": bounds, "cloud_or_no_band_pixels": neither})


def _by_colour(
    block: np.ndarray, rule: Rule, exposure: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """(h, W, 3) uint8 -> the same at exposure 1, and (h, W) uint8 classes of the colour rule."""
    if exposure is not None:
        block = adaptive.correct(block, exposure)
    return block, colour.classify(colour.brightness(block), rule.thresholds)


def _filtered(survey: Survey, rule: Rule) -> tuple[np.ndarray, dict[str, Any]]:
    """(H, W) uint8 classes after the filter, and what it tells of itself."""
    decide = thin_cloud.published if rule.filter == "published" else thin_cloud.guarded
    decision = decide(survey.counts)
    known = survey.known
    share = survey.changed(decision) / known if known else 0.0
    told: dict[str, Any] = {"kind": rule.filter, "used": not decision.skipped}
    if rule.filter == "guarded":
        told |= {
            "skipped_because": decision.skipped or None,
            "otsu_and_stretches_used": decision.stretched,
            "ice_pixels_left_to_the_colour_rule": decision.guarded_pixels,
            "thin_ice_pixels_taken_for_snow_in_shadow": decision.lifted_pixels,
        }
    return survey.labels(decision), told | {"share_of_pixels_changed": share}
