"""What the channels of a sensor are, going by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Role = Literal[
    "blue", "green", "red", "nir", "cirrus", "swir16", "swir22", "mir37", "tir11", "tir12"
]
"""0.48, 0.56, 0.66, 0.86, 1.38, 1.6, 2.2 um: reflectance; 3.7, 11, 12 um: kelvin"""
KELVIN: frozenset[Role] = frozenset({"mir37", "tir11", "tir12"})

_SLSTR: Mapping[str, Role] = {
    **{"S1": "green", "S2": "red", "S3": "nir", "S4": "cirrus", "S5": "swir16", "S6": "swir22"},
    **{"S7": "mir37", "S8": "tir11", "S9": "tir12"},
}
_COMMON: Mapping[str, Role] = {
    **{"blue": "blue", "green": "green", "red": "red", "nir": "nir", "nir08": "nir"},
    **{"cirrus": "cirrus", "swir16": "swir16", "swir22": "swir22", "swir1": "swir16"},
    **{"swir2": "swir22", "lwir11": "tir11", "lwir": "tir11", "lwir12": "tir12"},
    **{"tir1": "tir11", "tir2": "tir12", "tirs1": "tir11", "tirs2": "tir12"},
    **{"thermal": "tir11", "thermal1": "tir11", "thermal2": "tir12"},
    **{"mir37": "mir37", "tir11": "tir11", "tir12": "tir12"},
}
_LETTERS: Mapping[str, Role] = {"R": "red", "G": "green", "B": "blue"}
_SENTINEL_2: Mapping[str, Role] = {
    **{"B2": "blue", "B3": "green", "B4": "red", "B8": "nir", "B8A": "nir", "B10": "cirrus"},
    **{"B11": "swir16", "B12": "swir22"},
}
_LANDSAT_8: Mapping[str, Role] = {
    **{"B2": "blue", "B3": "green", "B4": "red", "B5": "nir", "B6": "swir16", "B7": "swir22"},
    **{"B9": "cirrus", "B10": "tir11", "B11": "tir12"},
}
_LANDSAT_7: Mapping[str, Role] = {
    **{"B1": "blue", "B2": "green", "B3": "red", "B4": "nir", "B5": "swir16", "B7": "swir22"},
    "B6": "tir11",
}
_VIIRS: Mapping[str, Role] = {
    **{"M3": "blue", "M4": "green", "M5": "red", "M7": "nir", "M9": "cirrus", "M10": "swir16"},
    **{"M11": "swir22", "M12": "mir37", "M15": "tir11", "M16": "tir12"},
}
_MODIS: Mapping[str, Role] = {
    **{"1": "red", "2": "nir", "3": "blue", "4": "green", "6": "swir16", "7": "swir22"},
    **{"26": "cirrus", "20": "mir37", "31": "tir11", "32": "tir12"},
}
_ONLY_SENTINEL_2 = {"b8a", "b12"}
_ONLY_MODIS = {"20", "26", "31", "32"}
"""plain numbers may be those of any sensor, but no other counts so far"""


def roles_of(channels: Sequence[str], kelvin: Sequence[bool | None] = ()) -> dict[Role, int]:
    """Role -> position of its channel; of two channels of one role the first.

    Names are those of SLSTR (S1), Sentinel-2 (B2 or B02), Landsat (B2 or SR_B2: whether of Landsat
    4 to 7 or 8 and 9 is seen from all names), VIIRS (M5), MODIS (31), or the common names of STAC
    (blue), in any case. All are taken from the one scheme that explains the most. `kelvin` says of
    each channel whether it looks like a temperature; a scheme that says otherwise comes last.
    """
    names = [_plain(channel) for channel in channels]
    best: tuple[bool, int] = (False, 0)
    most: dict[Role, int] = {}
    for scheme in _schemes(names):
        found: dict[Role, int] = {}
        for index, name in enumerate(names):
            if name in scheme:
                found.setdefault(scheme[name], index)
        fits = not kelvin or all(kelvin[i] in (None, role in KELVIN) for role, i in found.items())
        if (fits and bool(found), len(found)) > best:
            best, most = (fits, len(found)), found
    return most


def _schemes(names: Sequence[str]) -> list[dict[str, Role]]:
    """Those that may be meant, by plain names."""
    landsat = [_LANDSAT_8, _LANDSAT_7]
    there = [_SLSTR, _COMMON, _SENTINEL_2, _VIIRS]
    if set("rgb") <= set(names):
        there.append(_LETTERS)
    if not _ONLY_SENTINEL_2 & set(names):
        there += landsat
    if _ONLY_MODIS & set(names):
        there.append(_MODIS)
    schemes = [{_plain(name): role for name, role in scheme.items()} for scheme in there]
    for scheme in landsat:
        collection = {
            f"{'st' if role in KELVIN else 'sr'}{_plain(name)}": role
            for name, role in scheme.items()
        }
        schemes.append(collection)
    return schemes


def _plain(name: str) -> str:
    """In lower case, without marks between words, and B02 as B2."""
    name = "".join(c for c in name.lower() if c.isalnum())
    return f"{name[0]}{name[2:]}" if name[:2] in ("b0", "m0") else name
