"""The rule from a picture to its labels: exposure, colour, filter, missing data and land."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

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
    filter: Literal["published", "guarded", "none"] = "guarded"
    """against thin cloud and shadow: as published, with our guards where it degenerates, or none"""


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
    if rule.filter != "none":
        filtered, facts = _filtered(image, label, unknown, rule)
        known = int(np.count_nonzero(~unknown))
        changed = int(np.count_nonzero((filtered != label) & ~unknown))
        share = changed / known if known else 0.0
        done["filter"] = {"kind": rule.filter, **facts, "share_of_pixels_changed": share}
        label = filtered
    label = np.where(unknown, np.uint8(UNKNOWN), label)
    done["missing_pixels"] = int(np.count_nonzero(missing))
    if land is not None:
        done["land_pixels"] = int(np.count_nonzero(land & ~missing))
    return Labelled(label, done)


def _filtered(
    image: np.ndarray, raw: np.ndarray, unknown: np.ndarray, rule: Rule
) -> tuple[np.ndarray, dict[str, Any]]:
    """(H, W) classes after the filter, and what it tells of itself."""
    if rule.filter == "published":
        return thin_cloud.published(image, raw, unknown), {"used": True}
    found = thin_cloud.guarded(image, raw, unknown, rule.thresholds)
    return found.label, {
        "used": not found.skipped,
        "skipped_because": found.skipped or None,
        "otsu_and_stretches_used": found.stretched,
        "ice_pixels_left_to_the_colour_rule": found.guarded_pixels,
    }
