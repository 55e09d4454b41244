"""Sentinel-3 SLSTR: its channels, classes, and what its flags mean. Values alone, no files."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

CHANNELS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")
CLASSES = ("clear", "cloud")
NUM_REFS = 6
SOLAR, THERMAL = CHANNELS[:NUM_REFS], CHANNELS[NUM_REFS:]
"""reflectances, and brightness temperatures in K"""
OBLIQUE = ("S5o", "S8o", "S9o")
"""channels of the oblique view, on the grid of the nadir view: see Reading.oblique"""
SKIN = "TS"
"""channel of the surface's temperature in K, by a weather model: see Reading.skin_temperature"""

LARGEST_LOSS = dict.fromkeys((*SOLAR, "S5o"), 1e-4)
LARGEST_LOSS |= dict.fromkeys((*THERMAL, "S8o", "S9o", SKIN), 0.01)
"""reflectance, and K, that a patch set may lose of a value (half a step)"""


class Bayes(enum.IntFlag):
    """Bits of the Bayesian mask, `bayes_in` of a product and `bayes` of the benchmark's files."""

    SINGLE_LOW = 1
    SINGLE_MODERATE = 2
    DUAL_LOW = 4
    DUAL_MODERATE = 8


NOT_COMPUTED = 255
"""the Bayesian mask where there is none"""


def bayes_cloud(bayes: np.ndarray, choice: str) -> np.ndarray:
    """Bits -> where it is cloud: by any of them, or by the one that `choice` names."""
    return (bayes & int(Bayes.SINGLE_MODERATE) if choice == "single_moderate" else bayes) > 0


def surface_kelvin(values: np.ndarray) -> np.ndarray:
    """K -> float32 K, NaN where it is no temperature of a surface, as fill values are none."""
    with np.errstate(invalid="ignore", over="ignore"):
        kelvin = np.asarray(values).astype(np.float32)
        return np.where((kelvin > 100) & (kelvin < 400), kelvin, np.float32(np.nan))


class Confidence(enum.IntFlag):
    """Bits of `confidence_in`, and so of `Scene.confidence`."""

    COASTLINE = 1
    OCEAN = 2
    TIDAL = 4
    LAND = 8
    INLAND_WATER = 16
    UNFILLED = 32
    COSMETIC = 256
    DUPLICATE = 512
    DAY = 1024
    TWILIGHT = 2048
    SUN_GLINT = 4096
    SNOW = 8192
    SUMMARY_CLOUD = 16384
    SUMMARY_POINTING = 32768


PixelFlag = Literal["cosmetic", "duplicate"]
"""copied from a neighbour where no measurement fell; a measurement that fills several pixels"""


@dataclass(frozen=True)
class Reading:
    """How a product becomes a scene: the same for a model as for the scenes it learned from.

    The names are those of the options of `prepare`, and of what manifests, models and masks record.
    ValueError for a value that cannot be.
    """

    max_solar_zenith: float = 88.0
    """degrees; from here on there is no reflectance: a cosine near zero would magnify noise"""
    drop_flagged: tuple[PixelFlag, ...] = ()
    """pixels with one of these flags are missing"""
    oblique: bool = False
    """add the channels OBLIQUE"""
    skin_temperature: bool = False
    """add the channel SKIN"""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_solar_zenith) and 0 < self.max_solar_zenith <= 90):
            raise ValueError(
                f"a largest solar zenith of {self.max_solar_zenith} degrees cannot be; "
                "choose one above 0 and up to 90"
            )
        unknown = set(self.drop_flagged) - {"cosmetic", "duplicate"}
        if unknown:
            raise ValueError(f"there is no flag {min(unknown)}; there are: cosmetic, duplicate")
        object.__setattr__(self, "drop_flagged", tuple(sorted(set(self.drop_flagged))))

    @classmethod
    def of(cls, options: object) -> Reading:
        """That of an object with attributes of these names."""
        return cls(**{name: getattr(options, name) for name in READING})

    @property
    def channels(self) -> tuple[str, ...]:
        return CHANNELS + OBLIQUE * self.oblique + (SKIN,) * self.skin_temperature

    @property
    def dropped(self) -> int:
        """Bits of `drop_flagged`."""
        return sum(int(Confidence[name.upper()]) for name in self.drop_flagged)

    def __str__(self) -> str:
        flags = " and ".join(self.drop_flagged) or "none"
        view = "with" if self.oblique else "without"
        zenith = f"{self.max_solar_zenith:g} degrees"
        skin = ", with skin temperature" if self.skin_temperature else ""
        return f"the sun down to {zenith}, flags dropped: {flags}, {view} oblique view{skin}"

    def record(self) -> dict[str, Any]:
        """As it stands in JSON. What came later is left out where it says nothing, so that whatever
        is made without it keeps its bytes."""
        known = asdict(self) | {"drop_flagged": list(self.drop_flagged)}
        silent = {name for name, value in LATER.items() if known[name] == value}
        return {name: value for name, value in known.items() if name not in silent}


READING = tuple(field.name for field in fields(Reading))
LATER = {"skin_temperature": False}
"""what a record that lacks these means by that"""
UNRECORDED = Reading(max_solar_zenith=90.0)
"""how products were read for patch sets, models and masks that record nothing of it"""
BEFORE = UNRECORDED.record() | LATER
"""the same as a record that lacks nothing"""


def recorded(record: Mapping[str, Any]) -> Reading:
    """What `Reading.record` gave, also among other options; UNRECORDED for what it lacks.

    ValueError for what it never gives.
    """
    values = BEFORE | {name: record[name] for name in READING if name in record}
    zenith, flags, oblique, skin = (values[name] for name in READING)
    plain = isinstance(zenith, int | float) and isinstance(flags, list | tuple)
    plain = plain and isinstance(oblique, bool) and isinstance(skin, bool)
    if not plain or not all(isinstance(flag, str) for flag in flags):
        raise ValueError(f"{values} is no record of how products were read")
    return Reading(float(zenith), tuple(flags), oblique, skin)
