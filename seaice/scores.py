"""How two class maps agree: counts that add up, and structural similarity with a fixed encoding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

from cloudmask import metrics
from cloudmask.metrics import UNKNOWN
from seaice.colour import CLASSES, THICK, THIN, WATER

SHADES = {WATER: 0, THIN: 128, THICK: 255}
"""class -> gray value for structural similarity: classes in the order of the ice's thickness"""
WINDOW = 7


def similarity(reference: np.ndarray, predicted: np.ndarray) -> tuple[float, int]:
    """(H, W) classes -> sum of the local structural similarity over known pixels, their number.

    Wang et al. 2004 in windows of 7 x 7 pixels, on SHADES, range 255; what is unknown in either is
    black in both, and does not count. Class ids or other shades would give other values.
    """
    table = np.zeros(256, np.uint8)
    table[list(SHADES)] = list(SHADES.values())
    known = (reference != UNKNOWN) & (predicted != UNKNOWN)
    if min(known.shape) < WINDOW or not known.any():
        return 0.0, 0
    shades = [np.where(known, table[classes], np.uint8(0)) for classes in (reference, predicted)]
    _, local = structural_similarity(*shades, win_size=WINDOW, data_range=255, full=True)
    return float(local[known].sum(dtype=np.float64)), int(np.count_nonzero(known))


@dataclass
class Score:
    """Counts over scenes; figures are derived at the end."""

    counts: np.ndarray = field(
        default_factory=lambda: np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    )
    similarity_sum: float = 0.0
    similarity_pixels: int = 0
    scenes: int = 0

    def add(self, other: Score) -> None:
        self.counts = self.counts + other.counts
        self.similarity_sum += other.similarity_sum
        self.similarity_pixels += other.similarity_pixels
        self.scenes += other.scenes

    def as_dict(self) -> dict[str, Any]:
        """Accuracy, mean IoU, kappa, SSIM, confusion matrix and what else metrics.py derives."""
        ssim = self.similarity_sum / self.similarity_pixels if self.similarity_pixels else None
        figures = metrics.derive(self.counts, CLASSES).as_dict()
        return {"scenes": self.scenes, "ssim": ssim, **figures}


def score(reference: np.ndarray, predicted: np.ndarray) -> Score:
    """One scene. Where the prediction is unknown but the reference is not, it does not count."""
    known = np.where(predicted == UNKNOWN, np.uint8(UNKNOWN), reference)
    counts = metrics.confusion(known, predicted, num_classes=len(CLASSES))
    return Score(counts, *similarity(reference, predicted), scenes=1)
