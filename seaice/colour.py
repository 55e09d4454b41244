"""The published colour rule: how bright a pixel is says what it shows.

In HSV as OpenCV has it the published bounds leave hue and saturation free, so the rule is one on
V = max(R, G, B) alone: at most 30 is open water, at least 205 thick ice, what lies between thin ice
(Iqrah et al., arXiv 2303.12719).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudmask.metrics import UNKNOWN

CLASSES = ("thick_ice", "thin_ice", "open_water")
THICK, THIN, WATER = range(3)

COLOURS = {THICK: (255, 0, 0), THIN: (0, 0, 255), WATER: (0, 255, 0), UNKNOWN: (0, 0, 0)}
"""class -> red, green, blue, as published; black where nothing is known: no data, or land"""


@dataclass(frozen=True)
class Thresholds:
    """Bounds on V, both inclusive."""

    water_max: int = 30
    thick_min: int = 205

    def __post_init__(self) -> None:
        if not 0 <= self.water_max < self.thick_min - 1 < 255:
            raise ValueError(
                f"thresholds water_max {self.water_max} and thick_min {self.thick_min}: "
                "water_max must be 0 or more, thick_min at most 255, and a value between them thin"
            )


PAPER = Thresholds()


def brightness(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) uint8: V of HSV, the largest of red, green and blue."""
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def classify(value: np.ndarray, thresholds: Thresholds = PAPER) -> np.ndarray:
    """(H, W) uint8 brightness -> (H, W) uint8 classes."""
    table = np.full(256, THIN, np.uint8)
    table[: thresholds.water_max + 1] = WATER
    table[thresholds.thick_min :] = THICK
    return table[value]


def picture(label: np.ndarray) -> np.ndarray:
    """(H, W) uint8 classes -> (H, W, 3) uint8 red, green, blue."""
    table = np.zeros((256, 3), np.uint8)
    table[list(COLOURS)] = list(COLOURS.values())
    return table[label]


def count(label: np.ndarray) -> tuple[int, ...]:
    """Pixels of each class, and at last the unknown ones."""
    found = np.zeros(256, np.int64)
    for part in np.array_split(label, -(-label.size // 2**20) or 1):  # counting takes 8 bytes each
        found += np.bincount(part.ravel(), minlength=256)
    return (*found[: len(CLASSES)].tolist(), int(found[UNKNOWN]))


def statistics(counts: tuple[int, ...], km2: tuple[float, ...] | None) -> dict[str, Any]:
    """Pixels, fractions of what is known and square kilometres, by class and of what is unknown, as
    records and summaries tell them. Both count the unknown last; areas are None where nothing tells
    them."""
    known = sum(counts[:-1])
    by_class = dict(zip(CLASSES, counts[:-1], strict=True))
    return {
        "pixels": by_class,
        "unknown_pixels": counts[-1],
        "fractions": {name: pixels / known if known else None for name, pixels in by_class.items()},
        "area_km2": None if km2 is None else dict(zip(CLASSES, km2[:-1], strict=True)),
        "unknown_km2": None if km2 is None else km2[-1],
    }
