"""What lies around a pixel, of what was measured there alone.

Both backgrounds are the clear pixels blurred. `background` follows the nearest of them, for tests
with fixed limits; `smooth_background` tends to their mean where they are few, so that what is
fitted to it finds no steps.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

BACKGROUND_PIXELS = 20
"""scale over which clear pixels tell what lies between them"""
FEW_CLEAR = 50
"""pixels; fewer tell nothing of the ground"""


def background(field: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """(H, W) float32: mean of a field over the clear pixels around, `clear` being (H, W) bool.

    Near means within `BACKGROUND_PIXELS`; where there are none, the distance is doubled until
    there are. NaN everywhere if no clear pixel was measured.
    """
    weight = (clear & np.isfinite(field)).astype(np.float32)
    found = np.full(field.shape, np.nan, np.float32)
    if not weight.any():
        return found
    level = field[weight > 0].mean(dtype=np.float64)
    # Counted from the mean, as box filters keep running sums in which large values lose digits.
    values = np.where(weight > 0, field - level, 0).astype(np.float32)
    scale = BACKGROUND_PIXELS
    while np.isnan(found).any() and scale < 2 * max(field.shape):
        total, sum_ = _blur(weight, scale), _blur(values, scale)
        new = np.isnan(found) & (total > 0.02)
        found[new] = sum_[new] / total[new]
        scale *= 2
    return np.nan_to_num(found) + np.float32(level)


def _blur(values: np.ndarray, scale: int) -> np.ndarray:
    """Three box filters: nearly a Gaussian of `scale` pixels, at a cost that does not grow."""
    for _ in range(3):
        values = uniform_filter(values, 2 * scale + 1, mode="constant")
    return values


def smooth_background(field: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """(H, W) float32: what the clear ground around a pixel has; smooth, and everywhere.

    The clear pixels blurred; far from any it tends to their mean. With fewer than FEW_CLEAR the
    warmest tenth of the scene stands in. NaN everywhere if nothing was measured.
    """
    there = np.isfinite(field)
    known = clear & there
    if known.sum() < FEW_CLEAR and there.any():
        known = there & (field >= np.quantile(field[there], 0.9))
    if not known.any():
        return np.full(field.shape, np.nan, np.float32)
    mean = field[known].mean(dtype=np.float64)
    weight = gaussian_filter(known.astype(np.float32), float(BACKGROUND_PIXELS))
    excess = gaussian_filter(
        np.where(known, field - mean, 0).astype(np.float32), float(BACKGROUND_PIXELS)
    )
    return (mean + excess / (weight + 0.01)).astype(np.float32)


def deviation(field: np.ndarray) -> np.ndarray:
    """(H, W) float32 standard deviation of each pixel and its neighbours, as far as measured."""
    there = np.isfinite(field)
    if not there.any():
        return np.full(field.shape, np.nan, np.float32)
    # Counted from the mean, as the difference of large squares has few digits.
    centred = np.where(there, field - field[there].mean(), 0).astype(np.float32)
    share = np.maximum(uniform_filter(there.astype(np.float32), 3), 1e-6)
    mean = uniform_filter(centred, 3) / share
    square = uniform_filter(centred**2, 3) / share
    found = np.sqrt(np.maximum(square - mean**2, 0))
    return np.where(there, found, np.nan).astype(np.float32)
