"""The published filter against thin cloud and shadow, and guards for where it degenerates.

A pixel is compared with its background, the median of its neighbourhood: what is like its
background is taken for thick ice, however dark shadow or bright cloud have made both, and what
differs from it for thin ice. That rests on ice being mostly snow-covered. `published` is the filter
step by step as it was published; `guarded` uses it only where this holds.

- On scenes where less than `SNOW_SHARE` of the ice has a background as bright as thick ice, thin
  ice is the background, and the filter would call it thick: the colour rule stands.
- Where the background is darker than shadow makes snow (`SHADOW` of the thick threshold), it is
  no snow: the colour rule stands there.
- Where hardly anything differs from its background (`LOW_CONTRAST`), Otsu and the two stretches
  would blow noise up into classes: they are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seaice import opencv
from seaice.colour import PAPER, THICK, THIN, WATER, Thresholds

DILATE = 7
MEDIAN = 155
TRUNCATE = 235
THICK_MIN = 205  # of the filtered picture, whose range is always 0 to 255
WHITE = 255

SNOW_SHARE = 0.3
SHADOW = 0.6
LOW_CONTRAST = 24
CONTRAST_PERCENTILE = 1.0


@dataclass(frozen=True, eq=False)
class Filtered:
    """What the filter made of a scene, and where its guards took over."""

    label: np.ndarray
    """(H, W) uint8 classes"""
    skipped: str
    """why the filter was not used at all; empty if it was"""
    guarded_pixels: int
    """ice pixels that the colour rule was left to"""
    stretched: bool
    """whether Otsu and the stretches were used"""


def gray(image: np.ndarray, not_ice: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, (H, W) bool -> (H, W) uint8 luma, white where there is no ice."""
    cv2 = opencv.load()
    result = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    result[not_ice] = WHITE
    return result


def background(gray: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> the same: dilated by 7 x 7, then the median of 155 x 155."""
    cv2 = opencv.load()
    dilated = cv2.dilate(gray, np.ones((DILATE, DILATE), np.uint8))
    return cv2.medianBlur(dilated, MEDIAN)


def likeness(gray: np.ndarray, background: np.ndarray) -> np.ndarray:
    """255 - |gray - background|: 255 where a pixel is as its background."""
    return 255 - opencv.load().absdiff(gray, background)


def keep_above_otsu(values: np.ndarray) -> np.ndarray:
    """Values above Otsu's threshold, 0 elsewhere."""
    cv2 = opencv.load()
    _, kept = cv2.threshold(values, 0, 255, cv2.THRESH_TOZERO + cv2.THRESH_OTSU)
    return kept


def stretch(values: np.ndarray) -> np.ndarray:
    """Least to greatest value -> 0 to 255; a constant becomes 0."""
    cv2 = opencv.load()
    return cv2.normalize(values, None, 0, 255, cv2.NORM_MINMAX)


def stretched_likeness(like: np.ndarray) -> np.ndarray:
    """Otsu, stretch, truncate at 235, stretch again."""
    cv2 = opencv.load()
    first = stretch(keep_above_otsu(like))
    _, cut = cv2.threshold(first, TRUNCATE, 0, cv2.THRESH_TRUNC)
    return stretch(cut)


def published(image: np.ndarray, raw: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, (H, W) classes of the colour rule, (H, W) bool -> classes, as published.

    The published filter knows no missing pixels: black ones are water to it, and so are these.
    """
    shade = gray(image, (raw == WATER) | missing)
    like = stretched_likeness(likeness(shade, background(shade)))
    return _with_water(like, raw)


def guarded(
    image: np.ndarray, raw: np.ndarray, missing: np.ndarray, thresholds: Thresholds = PAPER
) -> Filtered:
    """(H, W, 3) uint8, (H, W) classes of the colour rule, (H, W) bool -> classes.

    Missing pixels are treated as water is: white to the filter.
    """
    not_ice = (raw == WATER) | missing
    ice = ~not_ice
    num_ice = int(np.count_nonzero(ice))
    if not num_ice:
        return Filtered(raw, "no ice in the scene", 0, stretched=False)
    shade = gray(image, not_ice)
    behind = background(shade)
    snowy = np.count_nonzero((behind >= thresholds.thick_min) & ice) / num_ice
    if snowy < SNOW_SHARE:
        why = (
            f"only {snowy:.0%} of the ice has a background as bright as thick ice "
            f"({SNOW_SHARE:.0%} needed)"
        )
        return Filtered(raw, why, num_ice, stretched=False)
    like = likeness(shade, behind)
    low = np.percentile(like[ice], CONTRAST_PERCENTILE)
    contrast = bool(low < WHITE - LOW_CONTRAST)
    label = _with_water(stretched_likeness(like) if contrast else like, raw)
    dark = (behind < SHADOW * thresholds.thick_min) & ice
    label[dark] = raw[dark]
    return Filtered(label, "", int(np.count_nonzero(dark)), stretched=contrast)


def _with_water(like: np.ndarray, raw: np.ndarray) -> np.ndarray:
    label = np.where(like >= THICK_MIN, np.uint8(THICK), np.uint8(THIN))
    label[raw == WATER] = WATER
    return label
