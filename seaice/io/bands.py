"""Which bands of a file are red, green, blue, near and short-wave infrared: told, never guessed.

What counts, in this order: --bands; the bands' own descriptions; the colours that the format gives
them. Where none of these says a word, the first three are taken, and that is told in a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.text import plural
from seaice.io.reading import BANDS, INFRARED

_WORDS = {
    **{"red": "red", "green": "green", "blue": "blue", "nir": "nir"},
    **{"swir": "swir", "swir1": "swir", "swir16": "swir"},
    **{"b02": "blue", "b03": "green", "b04": "red", "b08": "nir", "b11": "swir"},
}
_SENTINEL2 = {"b2": "blue", "b3": "green", "b4": "red", "b8": "nir", "b11": "swir"}
_NANOMETRES = {"665": "red", "560": "green", "490": "blue", "842": "nir", "1610": "swir"}
"""of Sentinel-2, as GDAL describes its bands"""
_OTHERS = {"edge", "narrow", "swir2", "swir22", "thermal"}
"""what makes another band of one that is named red or nir"""


@dataclass(frozen=True)
class Choice:
    numbers: dict[str, int]
    """of red, green, blue and perhaps nir and swir: from 1"""
    told: str | None = None
    """what was taken for want of a word"""


def choose(
    descriptions: Sequence[str | None], colours: Sequence[str], asked: tuple[str, ...] | None
) -> Choice:
    """The bands of a file of so many descriptions and colours (red, gray, alpha, undefined ...).

    ValueError that says what is wrong and what to do, to be put after the file's name.
    """
    names = [_plain(text, number) for number, text in enumerate(descriptions, start=1)]
    if asked is not None:
        return Choice(_asked(names, asked))
    measured = [number for number, colour in enumerate(colours, start=1) if colour != "alpha"]
    if len(measured) < len(BANDS):
        held = plural(len(measured), "band")
        raise ValueError(f"has {held}; needed are red, green and blue")
    found = _by_description(names)
    if all(band in found for band in BANDS):
        return Choice(found)
    by_colour = {
        colour: colours.index(colour) + 1
        for colour in BANDS + INFRARED
        if list(colours).count(colour) == 1
    }
    if all(band in by_colour for band in BANDS):
        return Choice(by_colour | {band: found[band] for band in INFRARED if band in found})
    described = [name for name in names if name]
    if described:
        raise ValueError(
            f"has bands named {', '.join(described[:12])}, of which red, green and blue are not "
            f"told; name them: --bands {' '.join(described[:3])}, or by their numbers"
        )
    first = measured[: len(BANDS)]
    listed = ", ".join(map(str, first))
    told = f"bands {listed} of {len(colours)} are taken as red, green, blue"
    return Choice(dict(zip(BANDS, first, strict=True)), told)


def _plain(text: str | None, number: int) -> str:
    """A description; nothing where it says no more than the band's number."""
    text = " ".join((text or "").split())[:40]
    return "" if re.fullmatch(rf"(band|layer)?[ _]*0*{number}", text, re.IGNORECASE) else text


def _asked(names: Sequence[str], asked: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for band, word in zip(BANDS + INFRARED, asked, strict=False):
        same = [n for n, name in enumerate(names, start=1) if name.lower() == word.lower()]
        if not same and word.isdecimal() and 1 <= int(word) <= len(names):
            same = [int(word)]
        if len(same) != 1:
            held = ", ".join(filter(None, names)) or "no names"
            raise ValueError(
                f"has {plural(len(names), 'band')} ({held}), {len(same) or 'none'} of them is "
                f"{word!r}, which --bands names"
            )
        found[band] = same[0]
    return found


def _by_description(names: Sequence[str]) -> dict[str, int]:
    # B8A is a band of Sentinel-2 alone; B4 by itself is red there and infrared in old Landsats.
    whole = {name.lower() for name in names}
    more = _SENTINEL2 if "b8a" in whole else {}
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names, start=1):
        band = _band(name, _WORDS | more)
        if band is not None:
            found.setdefault(band, []).append(number)
    return {band: numbers[0] for band, numbers in found.items() if len(numbers) == 1}


def _band(name: str, words: dict[str, str]) -> str | None:
    length = re.search(r"central wavelength (\d+) ?nm", name, re.IGNORECASE)
    if length is not None:
        return _NANOMETRES.get(length[1])
    parts = re.findall(r"[a-z0-9]+", name.lower())
    if _OTHERS & set(parts):
        return None
    if {"near", "infrared"} <= set(parts):
        return "nir"
    bands = {words[part] for part in parts if part in words}
    return bands.pop() if len(bands) == 1 else None
