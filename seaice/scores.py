"""How two class maps agree: counts that add up, and structural similarity with a fixed encoding.

Maps are looked at in blocks of rows: whole tiles take little more than themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cloudmask import metrics
from cloudmask.data.tiles import cover
from cloudmask.metrics import UNKNOWN
from seaice import opencv
from seaice.colour import CLASSES, THICK, THIN, WATER

SHADES = {WATER: 0, THIN: 128, THICK: 255}
"""class -> gray value for structural similarity: classes in the order of the ice's thickness"""
WINDOW = 7
BLOCK_ROWS = 128
"""always the same: so sums of floating numbers are made in the same order"""
FIGURES = ("accuracy", "mean_iou", "kappa")
_KINDS = len(CLASSES) + 1
"""the classes, and unknown"""


def similarity(reference: np.ndarray, predicted: np.ndarray) -> tuple[float, int]:
    """(H, W) classes -> sum of the local structural similarity over known pixels, their number.

    Wang et al. 2004 in windows of 7 x 7 pixels, on SHADES, range 255, with the covariance of a
    sample; what is unknown in either is black in both, and does not count. Class ids or other
    shades would give other values. Beyond the border the map is mirrored.

    This is scikit-image's structural_similarity, which the tests compare it with. That takes 111
    bytes a pixel (measured on 3000 x 3000), which would be 12 GiB for a tile of 10980 x 10980.
    OpenCV is needed here anyway, and its sums over blocks are exact.
    """
    if min(reference.shape) < WINDOW:
        return 0.0, 0
    table = np.zeros(256, np.uint8)
    table[list(SHADES)] = list(SHADES.values())
    total, pixels, reach = 0.0, 0, WINDOW // 2
    for block in cover(len(reference), tile=BLOCK_ROWS + 2 * reach, margin=reach, align=1):
        rows = slice(block.start, block.stop)
        kept = slice(block.keep_start - block.start, block.keep_stop - block.start)
        known = (reference[rows] != UNKNOWN) & (predicted[rows] != UNKNOWN)
        inside = known[kept]
        if not inside.any():
            continue
        x, y = (np.where(known, table[part[rows]], np.uint8(0)) for part in (reference, predicted))
        if np.array_equal(x, y):
            total += float(np.count_nonzero(inside))
        else:
            total += float(_local_similarity(x, y)[kept][inside].sum())
        pixels += int(np.count_nonzero(inside))
    return total, pixels


def _local_similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(h, W) uint8 twice -> (h, W) float64. Sums over windows are whole numbers, hence exact."""
    cv2 = opencv.load()
    count = WINDOW * WINDOW

    def over_windows(values: np.ndarray) -> np.ndarray:
        size, border = (WINDOW, WINDOW), cv2.BORDER_REFLECT
        sums = cv2.boxFilter(values, cv2.CV_32S, size, normalize=False, borderType=border)
        return sums.astype(np.float64)

    wide_x, wide_y = x.astype(np.uint16), y.astype(np.uint16)
    sum_x, sum_y = over_windows(x), over_windows(y)
    products = sum_x * sum_y
    squares = sum_x * sum_x + sum_y * sum_y
    both = count * over_windows(wide_x * wide_y) - products
    each = count * (over_windows(wide_x * wide_x) + over_windows(wide_y * wide_y)) - squares
    c1, c2 = (0.01 * 255) ** 2 * count**2, (0.03 * 255) ** 2 * count * (count - 1)
    return (2 * products + c1) * (2 * both + c2) / ((squares + c1) * (each + c2))


def joint_counts(*maps: np.ndarray) -> np.ndarray:
    """One to three (H, W) uint8 class maps -> (K + 1,) * their number int64 pixels, unknown last.

    ValueError for maps of different shapes, and for a value that is no class.
    """
    cv2 = opencv.load()
    if any(one.shape != maps[0].shape for one in maps):
        told = " and ".join(" x ".join(map(str, one.shape)) for one in maps)
        raise ValueError(f"class maps of {told} pixels do not lie on each other")
    base = _KINDS + 1  # what is no class comes last
    table = np.full(256, base - 1, np.uint8)
    table[: len(CLASSES)] = range(len(CLASSES))
    table[UNKNOWN] = len(CLASSES)
    size = base ** len(maps)
    total = np.zeros(size, np.int64)
    for rows in _blocks(maps[0].shape):
        codes = np.zeros_like(maps[0][rows])
        for number, one in enumerate(maps):
            codes += cv2.LUT(one[rows], table * np.uint8(base**number))
        counts = cv2.calcHist([codes], [0], None, [size], [0, size])
        total += counts.ravel().astype(np.int64)  # of fewer than 2**24 pixels, so exact
    joint = total.reshape((base,) * len(maps)).transpose()
    inside = joint[(slice(_KINDS),) * len(maps)]
    if inside.sum() < joint.sum():
        raise ValueError(f"a class map holds a value that is not 0 to {_KINDS - 2} or {UNKNOWN}")
    return np.ascontiguousarray(inside)


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows that fit the cache, at most 2**20 pixels or a row."""
    rows = max(1, 2**20 // max(1, shape[1]))
    for top in range(0, shape[0], rows):
        yield slice(top, top + rows)


@dataclass
class Score:
    """Counts over scenes; figures are derived at the end."""

    counts: np.ndarray = field(
        default_factory=lambda: np.zeros((len(CLASSES), len(CLASSES) + 1), np.int64)
    )
    """[reference, predicted] pixels that the reference knows; the last column is not predicted"""
    similarity_sum: float = 0.0
    similarity_pixels: int = 0
    scenes: int = 0

    def add(self, other: Score) -> None:
        self.counts = self.counts + other.counts
        self.similarity_sum += other.similarity_sum
        self.similarity_pixels += other.similarity_pixels
        self.scenes += other.scenes

    def as_dict(self) -> dict[str, Any]:
        """Accuracy, mean IoU, kappa, SSIM, confusion matrix and what else metrics.py derives, over
        what both know; coverage; and the same three with what is not predicted taken as wrong."""
        ssim = self.similarity_sum / self.similarity_pixels if self.similarity_pixels else None
        known = self.counts[:, :-1]
        return {
            "scenes": self.scenes,
            "ssim": ssim,
            "coverage": metrics.ratio(int(known.sum()), int(self.counts.sum())),
            "with_abstentions_wrong": with_abstentions_wrong(self.counts),
            **metrics.derive(known, CLASSES).as_dict(),
        }


def of_known(counts: np.ndarray) -> dict[str, float | None]:
    """(K, K or more) counts [reference, predicted] -> FIGURES over what both know."""
    found = metrics.derive(counts[:, : len(CLASSES)], CLASSES)
    return {name: getattr(found, name) for name in FIGURES}


def with_abstentions_wrong(counts: np.ndarray) -> dict[str, float | None]:
    """(K, K + 1) counts, last column not predicted -> FIGURES with that as one more wrong answer.

    Coverage and accuracy can be traded for each other: a mask that keeps silent where it is hard
    looks better over what it says. These figures it cannot better so.
    """
    square = np.vstack([counts, np.zeros((1, counts.shape[1]), counts.dtype)])
    found = metrics.derive(square, (*CLASSES, "not predicted"))
    mean_iou = metrics.mean([found.iou[name] for name in CLASSES])
    return {"accuracy": found.accuracy, "mean_iou": mean_iou, "kappa": found.kappa}


def score(reference: np.ndarray, predicted: np.ndarray) -> Score:
    """One scene. What the reference does not know does not count. ValueError."""
    joint = joint_counts(reference, predicted)
    return Score(joint[:-1], *similarity(reference, predicted), scenes=1)
