"""What of an image are measurements, and of which kind: reflectance from 0 to 1, or kelvin.

Names tell where they are known, values where not. What is in another unit, or stands for nothing
measured, is refused: a wrong guess would make labels that look like any others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloudmask.data.slstr import SKIN
from cloudmask.labels.unsupervised_roles import KELVIN, Role, roles_of

COLDEST, WARMEST = 150.0, 350.0
"""kelvin; what lies outside is in another unit"""
LARGEST_REFLECTANCE = 3.0
"""of 99 in 100 pixels; near the terminator, and in glint, it is above 1"""
SMALLEST_REFLECTANCE = -0.5
IMPOSSIBLE = (-5.0, 100.0)
"""no single reflectance is beyond: such numbers stand for something else"""


def without_fill(image: np.ndarray) -> np.ndarray:
    """(H, W, C), the same, NaN where a pixel is zero in all channels, as borders are."""
    empty = np.logical_not(image.any(axis=-1))  # NaN is not zero
    return np.where(empty[..., None], np.float32(np.nan), image) if empty.any() else image


def roles_in(image: np.ndarray, channels: Sequence[str]) -> dict[Role, int]:
    """Role -> position of its channel in (H, W, C), going by names and, in doubt, by values."""
    return roles_of(channels, [like_kelvin(image[..., i]) for i in range(len(channels))])


def thermal(image: np.ndarray, channels: Sequence[str]) -> list[bool]:
    """(H, W, C) -> of each channel whether it is a temperature. ValueError, see `check`."""
    kelvin = [name == SKIN or bool(like_kelvin(image[..., i])) for i, name in enumerate(channels)]
    for role, i in roles_in(image, channels).items():
        kelvin[i] = role in KELVIN
    for i, name in enumerate(channels):
        check(image[..., i], name, kelvin=kelvin[i])
    return kelvin


def like_kelvin(field: np.ndarray) -> bool | None:
    """Whether nearly all values could be temperatures of the Earth; None if nothing was
    measured."""
    known = field[np.isfinite(field)]
    if not known.size:
        return None
    low, middle, high = np.quantile(known, (0.01, 0.5, 0.99))
    return bool(low >= COLDEST and middle <= WARMEST and high <= WARMEST + 50)


def check(field: np.ndarray, name: str, *, kelvin: bool) -> None:
    """ValueError, in one line, if the values of a channel cannot be what they should be."""
    known = field[np.isfinite(field)]
    if not known.size:
        return
    low, middle, high = (float(value) for value in np.quantile(known, (0.01, 0.5, 0.99)))
    least, most = float(known.min()), float(known.max())
    if kelvin and not COLDEST <= middle <= WARMEST:
        raise ValueError(
            f"{name} is about {middle:.4g}, which is no brightness temperature in kelvin; "
            "convert it, and store NaN where nothing was measured"
        )
    if kelvin and least <= 0:
        raise ValueError(
            f"{name} holds {least:.4g} K, which nothing has; store NaN where nothing was measured"
        )
    if not kelvin and (low < SMALLEST_REFLECTANCE or least < IMPOSSIBLE[0]):
        raise ValueError(
            f"{name} holds {least:.4g}, which is no reflectance; store NaN where nothing was "
            "measured"
        )
    if not kelvin and high > LARGEST_REFLECTANCE:
        raise ValueError(
            f"{name} is about {middle:.4g} and up to {high:.4g}, which is no reflectance from 0 to "
            "1; scale it (often it is held 10000 times), or leave out a channel that is none"
        )
    if not kelvin and most > IMPOSSIBLE[1]:
        raise ValueError(
            f"{name} holds {most:.4g}, which is no reflectance; store NaN where nothing was "
            "measured"
        )
