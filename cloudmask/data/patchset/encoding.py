"""Physical values as int16 and back, the CF way: value = scale_factor * stored + add_offset."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cloudmask.data.scene import Image

FILL = -32768
"""stored value of a pixel without measurement"""

_BAND_ROWS = 256
_LARGEST = 32767
_LEVELS = 65_000
# Brightness temperatures and reflectances stay far below this range; beyond it a step would be
# coarser than 0.01, and a few wild values must not cost all others their precision.
_WIDE = 650.0
_PERCENTILES = (0.01, 99.99)
_WIDENED = 0.25
_MUCH_WIDER = 4.0


@dataclass(frozen=True, eq=False)
class Encoding:
    """How one scene's channels are stored."""

    scale: np.ndarray
    """(C,) float64, a step from the series 1, 2, 5 times a power of ten"""
    offset: np.ndarray
    """(C,) float64"""


def bands(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Rows and columns of an (H, W, C) image, some rows at a time."""
    return [
        (slice(top, top + _BAND_ROWS), slice(0, shape[1])) for top in range(0, shape[0], _BAND_ROWS)
    ]


def choose(image: Image) -> Encoding:
    """(H, W, C) float32 with NaN -> the finest steps that cover each channel's range.

    A step is at most 1/26000 of the range and half of it is the largest error: below 0.001 K for
    150 K, 1e-5 for a reflectance of up to 1.3. Channels wider than 650 are cut to their 0.01 and
    99.99 percentiles, widened by a quarter, if that is much narrower.
    """
    _, width, channels = image.shape
    low, high = np.full((2, width, channels), np.nan, np.float32)
    for band in bands(image.shape):
        part = image[band]
        rows = part.reshape(len(part), -1)  # long rows: channels alone are too short to be fast
        low = np.fmin(low, _extremes(np.fmin, rows).reshape(width, channels))
        high = np.fmax(high, _extremes(np.fmax, rows).reshape(width, channels))
    scale, offset = np.ones(image.shape[2]), np.zeros(image.shape[2])
    for channel, (lowest, highest) in enumerate(
        zip(np.fmin.reduce(low).tolist(), np.fmax.reduce(high).tolist(), strict=True)
    ):
        if math.isnan(lowest):
            continue  # nothing measured, nothing to store
        if highest - lowest > _WIDE:
            values = np.concatenate([image[band][..., channel] for band in bands(image.shape)])
            lowest, highest = _without_outliers(values, lowest, highest)
        scale[channel], offset[channel] = _step_and_offset(lowest, highest)
    return Encoding(scale, offset)


def _extremes(ufunc: np.ufunc, rows: np.ndarray) -> np.ndarray:
    """(H, N) -> (N,) least or greatest of the finite values, NaN without any."""
    found = ufunc.reduce(rows)
    if np.isinf(found).any():
        found = ufunc.reduce(np.where(np.isfinite(rows), rows, np.nan))
    return found


def _without_outliers(values: np.ndarray, lowest: float, highest: float) -> tuple[float, float]:
    low, high = np.percentile(values[np.isfinite(values)].astype(np.float64), _PERCENTILES).tolist()
    margin = _WIDENED * (high - low)
    if (highest - lowest) < _MUCH_WIDER * (high - low + 2 * margin):
        return lowest, highest
    return max(lowest, low - margin), min(highest, high + margin)


def _step_and_offset(lowest: float, highest: float) -> tuple[float, float]:
    if lowest == highest:
        return 1.0, lowest
    finest = (highest - lowest) / _LEVELS
    power = math.floor(math.log10(finest))
    series = (float(f"{digit}e{power + more}") for more in (0, 1) for digit in (1, 2, 5))
    step = next(step for step in series if step >= finest)
    return step, round((lowest + highest) / 2 / step) * step


def encode(image: np.ndarray, encoding: Encoding) -> tuple[np.ndarray, int]:
    """(H, W, C) float32 with NaN -> the same in int16, and how many values had to be clipped."""
    height, width, channels = image.shape
    stored = image.reshape(height, width * channels) - np.tile(encoding.offset, width).astype("f4")
    stored *= np.tile(1 / encoding.scale, width).astype("f4")
    np.rint(stored, out=stored)
    missing = ~np.isfinite(image.reshape(stored.shape))
    stored[missing] = 0
    clipped = int(np.count_nonzero(np.abs(stored) > _LARGEST))
    if clipped:
        np.clip(stored, -_LARGEST, _LARGEST, out=stored)
    stored[missing] = FILL
    return stored.astype(np.int16).reshape(image.shape), clipped


def decode(image: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """int16 -> float32 in physical units with NaN, the inverse of `encode`.

    (H, W, C) with scale and offset (C,), or (n, H, W, C) with scale and offset (n, C).
    """
    value = np.empty(image.shape, np.float32)
    if image.ndim == 3:
        _decode_into(value, image, scale, offset)
    else:  # one patch after the other: it then stays in the CPU's cache
        for index in range(len(image)):
            _decode_into(value[index], image[index], scale[index], offset[index])
    return value


def _decode_into(
    value: np.ndarray, image: np.ndarray, scale: np.ndarray, offset: np.ndarray
) -> None:
    height, width, channels = image.shape
    rows, stored = value.reshape(height, width * channels), image.reshape(height, width * channels)
    rows[...] = stored
    rows *= np.tile(scale, width).astype(np.float32)
    rows += np.tile(offset, width).astype(np.float32)
    if stored.min(initial=0) == FILL:
        np.copyto(rows, np.float32(np.nan), where=stored == FILL)


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, mean and sum of squared deviations of the valid values of each channel, all (C,)."""

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """(C,) standard deviation; 0 where there are no values."""
        return np.sqrt(self.m2 / np.maximum(self.count, 1))


def integer_sums(stored: np.ndarray) -> np.ndarray:
    """(H, W, C) int16 -> (3, C) int64: number, sum, sum of squares of the valid values; exact."""
    height, width, channels = stored.shape
    rows = stored.reshape(height, width * channels)
    valid = rows != FILL
    values = np.where(valid, rows, 0).astype(np.float64)
    sums = (
        np.count_nonzero(valid, axis=0),
        values.sum(axis=0),
        np.einsum("ij,ij->j", values, values),
    )
    # Column sums stay below height * 2**30, far inside the integers that float64 holds exactly.
    return np.stack([s.astype(np.int64).reshape(width, channels).sum(axis=0) for s in sums])


def moments(sums: np.ndarray, encoding: Encoding) -> Moments:
    """(3, C) sums of stored values -> moments of the physical ones."""
    count, mean, m2 = np.zeros((3, sums.shape[1]))
    for channel, (number, total, squares) in enumerate(sums.T.tolist()):
        if number:
            count[channel] = number
            mean[channel] = total / number
            m2[channel] = (squares * number - total * total) / number  # Python integers: no loss
    return Moments(count, mean * encoding.scale + encoding.offset, m2 * encoding.scale**2)


def combine(parts: Iterable[Moments]) -> Moments:
    """Moments of all values together, added in the given order (Chan, Golub and LeVeque 1979)."""
    total: Moments | None = None
    for part in parts:
        if total is None:
            total = part
            continue
        count = total.count + part.count
        share = part.count / np.maximum(count, 1)
        shift = part.mean - total.mean
        total = Moments(
            count,
            total.mean + shift * share,
            total.m2 + part.m2 + shift**2 * total.count * share,
        )
    if total is None:
        raise ValueError("no moments to combine")
    return total
