"""How scenes are to be read: what the flags say, and the error that a scene may end in."""

from __future__ import annotations

from dataclasses import dataclass

BANDS = ("red", "green", "blue")
INFRARED = ("nir", "swir")
"""near infrared, and short-wave infrared at 1.6 micrometres"""

Stretch = tuple[float, float]
Nodata = str | int
"""border, zero, none, or the value that stands for no measurement"""
_LARGEST = 1e30
"""of --stretch; float32 holds some more"""
_WIDEST = 2**63
_RULES = ("border", "zero", "none")


class ImageError(ValueError):
    """A file that cannot be used: which one, what is wrong, what to do. One line."""


@dataclass(frozen=True)
class Reading:
    """What becomes of a scene's values. It is part of what its labels depend on."""

    stretch: Stretch | None = None
    """values that become 0 and 255, for bands that are not 8-bit; reflectance of a product"""
    nodata: Nodata = "border"
    """which pixels hold no measurement, beside those that the file itself declares"""
    bands: tuple[str, ...] | None = None
    """numbers or names of red, green, blue and perhaps of nir and swir"""


def checked(
    stretch: Stretch | None = None, nodata: str = "border", bands: tuple[str, ...] | None = None
) -> Reading:
    """A Reading of what was given as flags. ValueError."""
    if stretch is not None:
        low, high = stretch
        if not low < high:
            raise ValueError(
                f"--stretch {low:g} {high:g}: the first value must be below the second"
            )
        if max(abs(low), abs(high)) > _LARGEST or high - low < 1 / _LARGEST:
            raise ValueError(
                f"--stretch {low:g} {high:g}: give two numbers of at most {_LARGEST:g}, at least "
                f"{1 / _LARGEST:g} apart"
            )
    if bands is not None and not len(BANDS) <= len(bands) <= len(BANDS + INFRARED):
        raise ValueError(
            f"--bands {' '.join(bands)}: name three bands for red, green and blue, and after them "
            "near infrared and 1.6 um if need be"
        )
    if nodata in _RULES:
        return Reading(stretch, nodata, bands)
    try:
        value = int(nodata)
        if not -_WIDEST <= value < _WIDEST:
            raise ValueError
        return Reading(stretch, value, bands)
    except ValueError:
        raise ValueError(f"--nodata {nodata}: give {', '.join(_RULES)} or a whole number") from None
