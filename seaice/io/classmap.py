"""Class maps on disk: what `label` wrote, what `cloudmask predict` wrote, or masks by hand.

Ours are cloud-optimised GeoTIFFs: tiles, overviews, the colours of the classes, and the place of
the scene where it has one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudmask.metrics import UNKNOWN
from seaice.colour import CLASSES, COLOURS
from seaice.io import drawing, lookup, png, raster
from seaice.io import grid as grids
from seaice.io.drawing import Drawing, Part
from seaice.io.grid import Grid
from seaice.io.reading import DATE_TAG, ImageError

LABELS, PICTURES, RECORDS = "labels", "pictures", "records"
OURS = (LABELS, PICTURES, RECORDS)
"""folders of what `label` writes"""
QUICKLOOK = 1024
"""rows and columns of a quicklook, at most"""
_TILE = 512
_LEVEL = 1  # of compression: a third more bytes than by default, in half the time


@dataclass(frozen=True, eq=False)
class ClassMap:
    label: np.ndarray
    """(H, W) uint8 classes, 255 = unknown"""
    grid: Grid | None = None
    date: str | None = None
    """when it was acquired, UTC as ISO 8601"""


def encode(label: np.ndarray, grid: Grid | None, *, date: str | None = None) -> bytes:
    """(H, W) uint8 classes -> a cloud-optimised GeoTIFF: the same array, the same bytes.

    ValueError for a CRS that nobody knows.
    """
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    height, width = label.shape
    place = grids.placing(grid)
    layout = {"height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": UNKNOWN}
    tags = {drawing.CLASSES: json.dumps(CLASSES)} | ({DATE_TAG: date} if date is not None else {})
    with raster.guarded("a class map"), MemoryFile() as plain, MemoryFile() as tiled:
        with plain.open(driver="GTiff", **layout, **place) as file:
            file.write(label, 1)
            file.write_colormap(1, COLOURS)
            file.update_tags(**tags)
        with plain.open() as file:
            options = {"compress": "deflate", "level": _LEVEL, "blocksize": _TILE}
            options["overview_resampling"] = "nearest"
            copy(file, tiled.name, driver="COG", **options)
        return bytes(tiled.getbuffer())


def quicklook(label: np.ndarray) -> bytes:
    """(H, W) uint8 classes -> PNG in their colours, thinned out to at most 1024 x 1024."""
    step = max(1, -(-max(label.shape) // QUICKLOOK))
    return png.encode_palette(label[::step, ::step], COLOURS)


def find(folder: Path, name: str) -> Path | None:
    """The class map of a scene: below FOLDER/labels or FOLDER, by its name or its path there."""
    return lookup.find(folder / LABELS, name) or lookup.find(folder, name)


def names(folder: Path) -> list[str]:
    """Scenes that a folder has class maps of, sorted. ValueError without any."""
    for top in (folder / LABELS, folder):
        found = lookup.names(top, apart_from=OURS) if top.is_dir() else []
        if found:
            return found
    raise ValueError(f"{folder} holds no class maps ({lookup.WANTED})")


def of_scene(folder: Path, name: str) -> ClassMap:
    """The class map that a folder has of a scene. ValueError."""
    path = find(folder, name)
    if path is None:
        raise ValueError(
            f"{folder} holds no class map of the scene {name} ({lookup.looked_for(name)})"
        )
    return read(path)


def read(path: Path) -> ClassMap:
    """A class map of any of these kinds. ValueError for anything else.

    One band holds the classes themselves. The colours of a PNG, be they a palette or three bands,
    are those of the classes: red, blue, green, and black where nothing is known.
    """
    with drawing.opened(path) as drawn:
        if drawn.classes is not None and drawn.classes != CLASSES:
            raise ImageError(f"{path} has the classes {drawn.classes}; needed are {CLASSES}")
        if not drawn.coloured and len(drawn.bands) > 1:
            raise ImageError(
                f"{path} has {len(drawn.bands)} bands; a class map has one of classes, or red, "
                "green and blue in the colours of the classes"
            )
        label = np.empty(drawn.shape, np.uint8)
        for start in range(0, len(label), drawing.ROWS):
            rows = slice(start, min(start + drawing.ROWS, len(label)))
            label[rows] = _classes(drawn.read(rows), drawn)
        return ClassMap(label, drawn.grid, drawn.date)


def _classes(part: Part, drawn: Drawing) -> np.ndarray:
    if drawn.coloured:
        return _from_colours(part.values, np.any(part.known, axis=0), drawn.path)
    return _from_classes(part.values[0], part.known[0], drawn.path)


def _from_classes(band: np.ndarray, known: np.ndarray, path: Path) -> np.ndarray:
    """(h, W) whole numbers, (h, W) bool -> (h, W) uint8."""
    if band.dtype.kind not in "iu":
        raise ImageError(f"{path} is no class map: it holds {band.dtype} values, not whole numbers")
    wrong = known & (band != UNKNOWN) & ((band < 0) | (band >= len(CLASSES)))
    if wrong.any():
        raise ImageError(
            f"{path} holds the value {band[wrong][0]}; classes are 0 to {len(CLASSES) - 1}, "
            f"{UNKNOWN} is unknown"
        )
    return np.where(known, band, UNKNOWN).astype(np.uint8)


def _from_colours(shown: np.ndarray, known: np.ndarray, path: Path) -> np.ndarray:
    """(3, h, W) uint8 red, green, blue, (h, W) bool -> (h, W) uint8."""
    label = np.full(known.shape, UNKNOWN, np.uint8)
    left = known & shown.any(axis=0)  # black is unknown
    for index, colour in COLOURS.items():
        same = left & (shown == np.array(colour, np.uint8)[:, None, None]).all(axis=0)
        label[same] = index
        left &= ~same
    if left.any():
        strange = tuple(shown[:, left][:, 0].tolist())
        told = ", ".join(f"{name} {COLOURS[index]}" for index, name in enumerate(CLASSES))
        raise ImageError(
            f"{path} holds the colour {strange}; the colours are {told}, and black for unknown; or "
            f"save one band of 0 to {len(CLASSES) - 1}"
        )
    return label
