"""Parts of a scene that deserve figures of their own: day and night, sea and land."""

from __future__ import annotations

import numpy as np

from cloudmask.data.scene import Scene
from cloudmask.data.slstr import CHANNELS, NUM_REFS, Confidence

REGIONS = ("day", "twilight", "night", "sea", "land")


def regions(scene: Scene) -> dict[str, np.ndarray]:
    """(H, W) bool of every part that the scene itself tells of; none for an unknown sensor.

    A product's flags say where the sun was up (day, twilight, else night) and what was below (land
    and inland water count as land). The benchmark's files have no flags: day is there where a
    reflectance was measured, and nothing says what is sea.
    """
    found = {}
    if scene.confidence is not None:
        found = _flagged(scene.confidence)
    elif scene.channels[: len(CHANNELS)] == CHANNELS:  # others may stand behind them
        lit = ~np.isnan(scene.image[..., :NUM_REFS]).all(axis=-1)
        warm = ~np.isnan(scene.image[..., NUM_REFS : len(CHANNELS)]).all(axis=-1)
        found = {"day": lit, "night": warm & ~lit}
    return {name: part for name, part in found.items() if part.any()}


def _flagged(confidence: np.ndarray) -> dict[str, np.ndarray]:
    def has(*flags: Confidence) -> np.ndarray:
        return (confidence & int(sum(flags))) != 0

    filled = ~has(Confidence.UNFILLED)
    day, twilight = has(Confidence.DAY), has(Confidence.TWILIGHT)
    return {
        "day": day & filled,
        "twilight": twilight & ~day & filled,
        "night": ~day & ~twilight & filled,
        "sea": has(Confidence.OCEAN) & filled,
        "land": has(Confidence.LAND, Confidence.INLAND_WATER) & ~has(Confidence.OCEAN) & filled,
    }
