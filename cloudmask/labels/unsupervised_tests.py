"""Tests for cloud: each looks at a few channels and votes cloud, clear, or nothing.

Where a test says "departure", the field is counted from its background: what the clear pixels
around have. Limits are those of the papers named, in round numbers; none was fitted to labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cloudmask.labels.surroundings import deviation
from cloudmask.labels.unsupervised_roles import Role

Fields = Mapping[Role, np.ndarray]
"""(H, W) float32 each, NaN = not measured"""


@dataclass(frozen=True)
class Test:
    """Cloud where `value` is above `cloud`, clear where it is below `clear`, else no vote."""

    name: str
    needs: tuple[Role, ...]
    channel: Role
    """tests that share it weigh as one"""
    value: Callable[[Fields, Departure], np.ndarray]
    cloud: float = np.inf
    clear: float = -np.inf
    without: Role | None = None
    """only where this was not measured, as at night"""
    on_snow: bool = True
    """whether it says anything of what looks like snow, which is as bright and flat as cloud"""

    def votes(self, fields: Fields, departure: Departure) -> np.ndarray:
        """(H, W) int8: 1 cloud, -1 clear, 0 nothing."""
        value = self.value(fields, departure)
        votes: np.ndarray = (value > self.cloud).astype(np.int8) - (value < self.clear)
        if self.without is not None and self.without in fields:
            votes[np.isfinite(fields[self.without])] = 0
        if not self.on_snow and {"green", "swir16"} <= set(fields):
            votes[-_snowless(fields, departure) > SNOW] = 0
        return votes


Departure = Callable[[np.ndarray], np.ndarray]
"""(H, W) field -> (H, W) how far it is above that of the clear pixels around"""


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Normalised difference (a - b) / (a + b); NaN where the sum is not positive."""
    total = a + b
    return np.divide(a - b, total, out=np.full_like(total, np.nan), where=total > 0)


def _low_or_thin(fields: Fields, departure: Departure) -> np.ndarray:
    """Kelvin: droplets are darker at 3.7 um than at 11; what shines through cold cirrus is
    brighter, and by more: so that side counts 0.6."""
    difference = departure(fields["tir11"] - fields["mir37"])
    return np.maximum(difference, -0.6 * difference)


def _snowless(fields: Fields, departure: Departure) -> np.ndarray:
    """What falls with the normalised difference snow index. Hall et al. (1995)."""
    return -_ratio(fields["green"], fields["swir16"])


def _flatness(fields: Fields, departure: Departure) -> np.ndarray:
    """0 where both are alike, below it by the logarithm of their ratio."""
    green, nir = (np.maximum(fields[role], 1e-3) for role in ("green", "nir"))
    return -np.abs(np.log(nir / green))


def _whiteness(fields: Fields, departure: Departure) -> np.ndarray:
    visible = np.stack([fields["blue"], fields["green"], fields["red"]])
    mean = np.maximum(visible.mean(axis=0), 1e-3)
    return np.abs(visible - mean).sum(axis=0) / mean


SNOW = 0.6
"""snow index from where on it is no cloud: snow begins at 0.4, but ice clouds come near that"""
TESTS = (
    # Colder than the surface. Saunders and Kriebel (1988), with the scene as its own climatology.
    Test("cold", ("tir11",), "tir11", lambda f, d: -d(f["tir11"]), cloud=5, clear=1.5),
    # Thin cirrus. Inoue (1985); Saunders and Kriebel (1988).
    Test("split", ("tir11", "tir12"), "tir12", lambda f, d: d(f["tir11"] - f["tir12"]), cloud=1.0),
    # Broken cloud and edges. Saunders and Kriebel (1988).
    Test("rough", ("tir11",), "tir11", lambda f, d: deviation(f["tir11"]), cloud=1.2, clear=0.15),
    # Fog and low cloud, or thin cirrus, at night. Eyre et al. (1984); Saunders and Kriebel (1988).
    Test(
        "low or thin",
        ("mir37", "tir11"),
        "mir37",
        _low_or_thin,
        cloud=0.6,
        clear=0.2,
        without="green",
    ),
    # Brighter than the surface. Saunders and Kriebel (1988), with the scene as its climatology.
    Test("bright", ("green",), "green", lambda f, d: d(f["green"]), 0.04, 0.015, on_snow=False),
    # High cloud at 1.38 um, where vapour hides what is lower. Ackerman et al. (1998).
    Test("cirrus", ("cirrus",), "cirrus", lambda f, d: f["cirrus"], cloud=0.03),
    # Clouds are as bright in the near infrared as in the visible; the sea is darker, land brighter.
    # Saunders and Kriebel (1988).
    Test("flat", ("green", "nir"), "nir", _flatness, cloud=-0.2, clear=-0.5, on_snow=False),
    # Dense vegetation. Tucker (1979); the limit is that of bright land in many masks.
    Test(
        "green land", ("red", "nir"), "nir", lambda f, d: -_ratio(f["nir"], f["red"]), clear=-0.45
    ),
    # Haze-optimised transform blue - red / 2. Zhang et al. (2002).
    Test("haze", ("blue", "red"), "blue", lambda f, d: d(f["blue"] - 0.5 * f["red"]), 0.03, 0.01),
    # What is not white is no cloud. Gomez-Chova et al. (2007); limit of Zhu and Woodcock (2012).
    Test("colour", ("blue", "green", "red"), "red", lambda f, d: -_whiteness(f, d), clear=-0.7),
    # Snow, and water, are darker at 1.6 um than clouds are. Hall et al. (1995).
    Test("snow", ("green", "swir16"), "swir16", _snowless, clear=-SNOW),
    # Bright bare rock and sand: nir / swir16 below 0.75. Zhu and Woodcock (2012).
    Test(
        "rock",
        ("blue", "nir", "swir16"),
        "swir16",
        lambda f, d: f["nir"] / np.maximum(f["swir16"], 1e-3),
        clear=0.75,
    ),
    # Dark at 2.2 um, where no cloud is. Zhu and Woodcock (2012).
    Test("swir", ("blue", "swir22"), "swir22", lambda f, d: f["swir22"], clear=0.03),
)
