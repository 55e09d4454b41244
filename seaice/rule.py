"""The rule from a picture to its labels: exposure, colour, filter, missing data and land."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cloudmask.metrics import UNKNOWN
from seaice import adaptive, colour
from seaice import filter as thin_cloud
from seaice.colour import Thresholds


@dataclass(frozen=True)
class Rule:
    """How labels are made."""

    thresholds: Thresholds = colour.PAPER
    adaptive: bool = False
    """estimate the exposure of the scene first, and take it out"""
    filter: bool = True
    """use the filter against thin cloud and shadow"""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labels, and what was done to make them."""

    label: np.ndarray
    """(H, W) uint8 classes, 255 = missing or land"""
    done: dict[str, Any]


def label_scene(
    image: np.ndarray, missing: np.ndarray, rule: Rule, *, land: np.ndarray | None = None
) -> Labelled:
    """(H, W, 3) uint8 red, green, blue; (H, W) bool, and the same for land -> labels."""
    unknown = missing if land is None else missing | land
    done: dict[str, Any] = {"thresholds": asdict(rule.thresholds)}
    if rule.adaptive:
        exposure = adaptive.estimate(image, ~unknown)
        image = adaptive.correct(image, exposure.value)
        done["exposure"] = {"value": exposure.value, "shares": list(exposure.shares)}
    label = colour.classify(colour.brightness(image), rule.thresholds)
    if rule.filter:
        filtered = thin_cloud.guarded(image, label, unknown, rule.thresholds)
        known = int(np.count_nonzero(~unknown))
        changed = int(np.count_nonzero((filtered.label != label) & ~unknown))
        done["filter"] = {
            "used": not filtered.skipped,
            "skipped_because": filtered.skipped or None,
            "otsu_and_stretches_used": filtered.stretched,
            "ice_pixels_left_to_the_colour_rule": filtered.guarded_pixels,
            "share_of_pixels_changed": changed / known if known else 0.0,
        }
        label = filtered.label
    label = np.where(unknown, np.uint8(UNKNOWN), label)
    done["missing_pixels"] = int(np.count_nonzero(missing))
    if land is not None:
        done["land_pixels"] = int(np.count_nonzero(land & ~missing))
    return Labelled(label, done)
