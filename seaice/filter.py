"""The published filter against thin cloud and shadow, and guards for where it degenerates.

A pixel is compared with its background, the median of its neighbourhood: what is like its
background is taken for thick ice, however dark shadow or bright cloud have made both, and what
differs from it for thin ice. That rests on ice being mostly snow-covered. `published` is the filter
step by step as it was published; `guarded` uses it only where this holds.

- On scenes where less than `SNOW_SHARE` of the ice has a background as bright as thick ice, thin
  ice is the background, and the filter would call it thick: the colour rule stands.
- Where the background is darker than shadow makes snow (`SHADOW` of the thick threshold), it is
  no snow: the colour rule stands there.
- Snow in shadow is as white as snow in the sun, and young ice is bluish. So what is tinted (the
  least of red, green and blue is below `WHITENESS` of the greatest) and thin by colour stays thin.
  Thin ice that is as white as snow, and as bright as snow in shadow, is still taken for it.
- Where hardly anything differs from its background (`LOW_CONTRAST`), Otsu and the two stretches
  would blow noise up into classes: they are left out.

All that comes behind the background looks at one pixel and at counts of the whole scene. So a
filter is given counts of pixels by their state and their likeness, and decides by them what each
state and likeness means; survey.py makes the counts and labels the pixels, block by block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from seaice import opencv
from seaice.colour import THIN, WATER, Thresholds, brightness

DILATE = 7
MEDIAN = 155
REACH = DILATE // 2 + MEDIAN // 2
TRUNCATE = 235
THICK_MIN = 205  # of the filtered picture, whose range is always 0 to 255
WHITE = 255

SNOW_SHARE = 0.3
SHADOW = 0.6
WHITENESS = 0.88
LOW_CONTRAST = 24
CONTRAST_PERCENTILE = 1.0

COLOUR, MISSING, SNOWY, DARK, TINTED, ALIKE = 3, 4, 8, 16, 32, 64
"""bits of a pixel's state: its class by the colour rule, nothing known, a background as bright as
thick ice, one darker than shadow on it, less white than snow; and in the end, whether it is like
its background"""
STATES = 64


@dataclass(frozen=True, eq=False)
class Decision:
    """What a filter makes of a scene, and where its guards took over."""

    alike: np.ndarray
    """(256,) bool: which likeness counts as being like the background"""
    by_colour: np.ndarray
    """(STATES,) bool: the states that the colour rule is left to"""
    skipped: str = ""
    """why the filter was not used at all; empty if it was"""
    guarded_pixels: int = 0
    """ice pixels that the colour rule was left to"""
    lifted_pixels: int = 0
    """ice pixels that are thin by colour, and were taken for snow in shadow"""
    stretched: bool = True
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


def tinted(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) bool: the least of red, green and blue is below WHITENESS of the
    greatest."""
    least = np.minimum(np.minimum(image[..., 0], image[..., 1]), image[..., 2])
    return least < np.ceil(WHITENESS * np.arange(256)).astype(np.uint8)[brightness(image)]


def states_of(thresholds: Thresholds) -> np.ndarray:
    """(256,) uint8: what a background says of a pixel."""
    behind = np.arange(256)
    bits = np.where(behind >= thresholds.thick_min, SNOWY, 0)
    return np.where(behind < SHADOW * thresholds.thick_min, bits | DARK, bits).astype(np.uint8)


def otsu(counts: np.ndarray) -> int:
    """(256,) pixels of each value -> the value up to which they are the lower of two classes.

    Otsu, IEEE Transactions on Systems, Man, and Cybernetics 9 (1979): the variance between the
    classes is greatest; of several values the least counts. Sums are made in the order of OpenCV's
    own code, so that rounding decides exact ties as it does there. Builds of OpenCV that call
    Intel's library (cv2.ipp.useIPP()) decide some of them otherwise.
    """
    share = 1.0 / int(counts.sum())
    mean = sum(value * float(count) for value, count in enumerate(counts.tolist())) * share
    below, mean_below = 0.0, 0.0
    greatest, found = 0.0, 0
    least = float(np.finfo(np.float32).eps)
    for value, count in enumerate(counts.tolist()):
        here = count * share
        mean_below *= below
        below += here
        above = 1.0 - below
        if min(below, above) < least or max(below, above) > 1.0 - least:
            continue
        mean_below = (mean_below + value * here) / below
        apart = mean_below - (mean - below * mean_below) / above
        between = below * above * apart * apart
        if between > greatest:
            greatest, found = between, value
    return found


def stretched(counts: np.ndarray) -> np.ndarray:
    """(256,) pixels of each likeness -> (256,) uint8 what becomes of each: nothing up to Otsu's
    threshold, stretch, truncate at 235, stretch again."""
    values = np.arange(256, dtype=np.uint8)
    kept = np.where(values > otsu(counts), values, np.uint8(0))
    first = stretch(kept, counts > 0)
    return stretch(np.minimum(first, np.uint8(TRUNCATE)), counts > 0)


def stretch(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(256,) uint8 stretched so that the least and greatest of those that are there become 0 and
    255; a constant becomes 0. What is not there gets any value."""
    cv2 = opencv.load()
    held = np.clip(values, values[there].min(), values[there].max())
    return cv2.normalize(held[None], None, 0, 255, cv2.NORM_MINMAX)[0]


def percentile(counts: np.ndarray, percent: float) -> float:
    """(256,) pixels of each value -> what np.percentile says of those pixels."""
    place = (int(counts.sum()) - 1) * (percent / 100)
    low, high = (
        int(np.searchsorted(np.cumsum(counts), rank, "right"))
        for rank in (math.floor(place), math.ceil(place))
    )
    part = place - math.floor(place)
    near_low = part < 0.5  # as NumPy does, to the last bit
    return low + (high - low) * part if near_low else high - (high - low) * (1 - part)


def published(counts: np.ndarray) -> Decision:
    """(STATES, 256) pixels by state and likeness -> the filter as published."""
    alike = stretched(counts.sum(axis=0)) >= THICK_MIN
    return Decision(alike, np.zeros(STATES, bool))


def guarded(counts: np.ndarray) -> Decision:
    """(STATES, 256) pixels by state and likeness -> the filter with its guards."""
    states = np.arange(STATES)
    ice = ((states & COLOUR) != WATER) & ((states & MISSING) == 0)
    num_ice = int(counts[ice].sum())
    if not num_ice:
        return _left_to_colour("no ice in the scene", 0)
    snowy = int(counts[ice & ((states & SNOWY) > 0)].sum()) / num_ice
    if snowy < SNOW_SHARE:
        why = (
            f"only {snowy:.0%} of the ice has a background as bright as thick ice "
            f"({SNOW_SHARE:.0%} needed)"
        )
        return _left_to_colour(why, num_ice)
    low = percentile(counts[ice].sum(axis=0), CONTRAST_PERCENTILE)
    contrast = low < WHITE - LOW_CONTRAST
    like = stretched(counts.sum(axis=0)) if contrast else np.arange(256)
    dark = (states & DARK) > 0
    bluish = ((states & COLOUR) == THIN) & ((states & TINTED) > 0)
    stays, alike = dark | bluish, like >= THICK_MIN
    lifted = counts[ice & ((states & COLOUR) == THIN) & ~stays]
    return Decision(
        alike,
        stays,
        guarded_pixels=int(counts[ice & stays].sum()),
        lifted_pixels=int(lifted[:, alike].sum()),
        stretched=contrast,
    )


def _left_to_colour(why: str, pixels: int) -> Decision:
    nothing, everything = np.zeros(256, bool), np.ones(STATES, bool)
    return Decision(nothing, everything, why, pixels, stretched=False)
