"""Where the pixels of a TIFF lie on the ground, kept from what is read to what is written.

GeoTIFF 1.1 (OGC 19-008): the place is told by tags, which are carried over as they are.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudmask.cli.errors import missing

SCALE, TIEPOINT, TRANSFORMATION, KEYS = 33550, 33922, 34264, 34735
PLACING = (SCALE, TIEPOINT, TRANSFORMATION, KEYS, 34736, 34737)
NODATA = 42113  # of GDAL
_TYPES = {2: "s", 3: "H", 12: "d"}
_MODEL_TYPE, _LINEAR_UNIT = 1024, 3076
_PROJECTED, _METRE = 1, 9001


@dataclass(frozen=True)
class GeoReference:
    """The tags that place an image, and what is derived from them."""

    tags: tuple[tuple[int, str, int, Any], ...]
    """code, type, count, value, as tifffile writes them; empty if the TIFF has none"""
    pixel_metres: tuple[float, float] | None
    """width and height of a pixel; None if unknown or in degrees"""
    nodata: float | None


def read(content: bytes, name: str) -> GeoReference:
    """The reference of a TIFF's first image. ValueError for a damaged file."""
    tifffile = _load()
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            found = {tag.code: tag for tag in file.pages[0].tags.values()}
            end = max(
                offset + size
                for offset, size in zip(
                    file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True
                )
            )
            values = {code: tag.value for code, tag in found.items()}
            kinds = {code: (int(tag.dtype), tag.count) for code, tag in found.items()}
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{name} is a damaged TIFF ({problem}); get the file again") from None
    if end > len(content):
        raise ValueError(f"{name} is a TIFF that breaks off; get the file again")
    tags = tuple(
        (code, _TYPES[kinds[code][0]], _count(kinds[code], values[code]), values[code])
        for code in PLACING
        if code in values and kinds[code][0] in _TYPES
    )
    return GeoReference(tags, _pixel_metres(values), _number(values.get(NODATA)))


def encode(label: np.ndarray, reference: GeoReference, *, nodata: int) -> bytes:
    """(H, W) uint8 -> a compressed GeoTIFF: the same array, the same bytes."""
    tags = [*reference.tags, (NODATA, "s", 0, str(nodata))]
    stream = io.BytesIO()
    _load().imwrite(
        stream,
        label,
        photometric="minisblack",
        compression="zlib",
        software=False,
        metadata=None,
        extratags=[(code, kind, count, value, True) for code, kind, count, value in tags],
    )
    return stream.getvalue()


def _count(kind: tuple[int, int], value: object) -> int:
    return 0 if isinstance(value, str) else kind[1]


def _pixel_metres(values: dict[int, Any]) -> tuple[float, float] | None:
    keys = values.get(KEYS, ())
    known = {keys[i]: keys[i + 3] for i in range(4, len(keys) - 3, 4) if keys[i + 1] == 0}
    if known.get(_MODEL_TYPE) != _PROJECTED or known.get(_LINEAR_UNIT, _METRE) != _METRE:
        return None
    if SCALE in values:
        return float(values[SCALE][0]), float(values[SCALE][1])
    if TRANSFORMATION in values:
        m = values[TRANSFORMATION]
        return math.hypot(m[0], m[4]), math.hypot(m[1], m[5])
    return None


def _number(text: object) -> float | None:
    try:
        return float(str(text).strip(" \0")) if text is not None else None
    except ValueError:
        return None


def _load() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise ValueError(f"{missing('tifffile', 'seaice')} ({error})") from None
    return tifffile
