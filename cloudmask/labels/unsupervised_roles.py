"""What the channels of a sensor are, going by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Role = Literal[
    "blue", "green", "red", "nir", "cirrus", "swir16", "swir22", "mir37", "tir11", "tir12"
]
"""0.48, 0.56, 0.66, 0.86, 1.38, 1.6, 2.2 um: reflectance; 3.7, 11, 12 um: kelvin"""

_SLSTR: Mapping[str, Role] = {
    **{"S1": "green", "S2": "red", "S3": "nir", "S4": "cirrus", "S5": "swir16", "S6": "swir22"},
    **{"S7": "mir37", "S8": "tir11", "S9": "tir12"},
}
_COMMON: Mapping[str, Role] = {
    **{"blue": "blue", "green": "green", "red": "red", "nir": "nir", "nir08": "nir"},
    **{"cirrus": "cirrus", "swir16": "swir16", "swir22": "swir22", "swir1": "swir16"},
    **{"swir2": "swir22", "lwir11": "tir11", "lwir": "tir11", "lwir12": "tir12"},
}
_SENTINEL_2: Mapping[str, Role] = {
    **{"B2": "blue", "B3": "green", "B4": "red", "B8": "nir", "B8A": "nir", "B10": "cirrus"},
    **{"B11": "swir16", "B12": "swir22"},
}
_LANDSAT_8: Mapping[str, Role] = {
    **{"SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir", "SR_B6": "swir16"},
    **{"SR_B7": "swir22", "ST_B10": "tir11"},
}
_LANDSAT_7: Mapping[str, Role] = {
    **{"SR_B1": "blue", "SR_B2": "green", "SR_B3": "red", "SR_B4": "nir", "SR_B5": "swir16"},
    **{"SR_B7": "swir22", "ST_B6": "tir11"},
}
_SCHEMES = (_SLSTR, _COMMON, _SENTINEL_2, _LANDSAT_8, _LANDSAT_7)


def roles_of(channels: Sequence[str]) -> dict[Role, int]:
    """Role -> position of its channel; of two channels of one role the first.

    Names are those of SLSTR (S1), Sentinel-2 (B2 or B02), Landsat's collection 2 (SR_B2: whether
    of Landsat 4 to 7 or 8 and 9 is seen from the names together), or the common names of STAC
    (blue), in any case. All are taken from the one scheme that explains the most.
    """
    names = [_plain(channel) for channel in channels]
    most: dict[Role, int] = {}
    for scheme in _SCHEMES:
        known = {_plain(name): role for name, role in scheme.items()}
        found: dict[Role, int] = {}
        for index, name in enumerate(names):
            if name in known:
                found.setdefault(known[name], index)
        if len(found) > len(most):
            most = found
    return most


def _plain(name: str) -> str:
    """In lower case, and B02 as B2."""
    name = name.lower()
    return f"b{name[2:]}" if name.startswith("b0") else name
