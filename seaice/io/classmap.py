"""Class maps on disk: what `label` wrote, what `cloudmask predict` wrote, or masks by hand.

Ours are cloud-optimised GeoTIFFs: tiles, overviews, the colours of the classes, and the place of
the scene where it has one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.files import parse_json
from cloudmask.metrics import UNKNOWN
from seaice.colour import CLASSES, COLOURS
from seaice.io import grid as grids
from seaice.io import png, raster
from seaice.io.grid import Grid
from seaice.io.reading import DATE_TAG

LABELS, PICTURES, RECORDS = "labels", "pictures", "records"
"""folders of what `label` writes"""
SUFFIXES = (".tif", ".png", ".nc")
QUICKLOOK = 1024
"""rows and columns of a quicklook, at most"""
_NAMES = "classes"
"""a tag, named as in masks of `cloudmask predict`"""
_TILE = 512


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
    tags = {_NAMES: json.dumps(CLASSES)} | ({DATE_TAG: date} if date is not None else {})
    with raster.guarded("a class map"), MemoryFile() as plain, MemoryFile() as tiled:
        with plain.open(driver="GTiff", **layout, **place) as file:
            file.write(label, 1)
            file.write_colormap(1, COLOURS)
            file.update_tags(**tags)
        with plain.open() as file:
            options = {"compress": "deflate", "blocksize": _TILE, "overview_resampling": "nearest"}
            copy(file, tiled.name, driver="COG", **options)
        return bytes(tiled.getbuffer())


def quicklook(label: np.ndarray) -> bytes:
    """(H, W) uint8 classes -> PNG in their colours, thinned out to at most 1024 x 1024."""
    step = max(1, -(-max(label.shape) // QUICKLOOK))
    return png.encode_palette(label[::step, ::step], COLOURS)


def find(folder: Path, name: str) -> Path | None:
    """The class map of a scene: FOLDER/labels/NAME or FOLDER/NAME, as .tif, .png or .nc."""
    for top in (folder / LABELS, folder):
        for suffix in SUFFIXES:
            path = top / f"{name}{suffix}"
            if path.is_file():
                return path
    return None


def names(folder: Path) -> list[str]:
    """Scenes that a folder has class maps of, sorted. ValueError without any."""
    for top in (folder / LABELS, folder):
        found = {path.stem for path in top.glob("*") if path.suffix in SUFFIXES}
        if found:
            return sorted(found)
    raise ValueError(f"{folder} holds no class maps (NAME.tif, NAME.png or NAME.nc)")


def of_scene(folder: Path, name: str) -> ClassMap:
    """The class map that a folder has of a scene. ValueError."""
    path = find(folder, name)
    if path is None:
        raise ValueError(f"{folder} holds no class map of the scene {name}")
    return read(path)


def read(path: Path) -> ClassMap:
    """A class map of any of these kinds. ValueError for anything else.

    One band holds the classes themselves. The colours of a PNG, be they a palette or three bands,
    are those of the classes: red, blue, green, and black where nothing is known.
    """
    if path.suffix == ".nc":
        return _read_netcdf(path)
    with opened(path) as file:
        tags, grid, count = file.tags(), grids.of_file(file), file.count
        coloured = count in (3, 4) and set(file.dtypes) == {"uint8"}
        ours = count == 1 or file.descriptions[0] == "mask"
        bands = file.read() if coloured else file.read(1)[None] if ours else None
        palette = file.colormap(1) if has_palette(file) else None
        nodata = file.nodata
    if bands is None:
        raise ValueError(
            f"{path} has {count} bands; a class map has one of classes, or red, green and blue in "
            "the colours of the classes"
        )
    if _NAMES in tags:
        _check_names(tags[_NAMES], path)
    if coloured:
        label = _from_colours(bands, path)
    elif palette is not None:
        label = _from_palette(bands[0], palette, path)
    else:
        label = _from_classes(bands[0], nodata, path)
    return ClassMap(label, grid, tags.get(DATE_TAG))


def has_palette(file: Any) -> bool:
    """Whether the values are those of a picture's colours; in a GeoTIFF they mean something."""
    from rasterio.enums import ColorInterp

    return file.driver == "PNG" and file.colorinterp[0] == ColorInterp.palette


def _read_netcdf(path: Path) -> ClassMap:
    from cloudmask.predict.masks.netcdf import read_classes

    found = read_classes(path)
    _check_names(json.dumps(found.classes), path)
    grid = None
    if found.crs is not None and found.transform is not None:
        grid = grids.of_text(found.crs, found.transform)
    return ClassMap(found.mask, grid, found.start)


def _check_names(text: str, path: Path) -> None:
    try:
        classes = tuple(parse_json(text))
    except (TypeError, ValueError):
        classes = (text[:60],)
    if classes != CLASSES:
        raise ValueError(f"{path} has the classes {classes}; needed are {CLASSES}")


def _from_classes(band: np.ndarray, nodata: float | None, path: Path) -> np.ndarray:
    """(H, W) whole numbers -> (H, W) uint8."""
    if band.dtype.kind not in "iu":
        raise ValueError(f"{path} is no class map: it holds {band.dtype} values, not whole numbers")
    found = band
    if nodata is not None and nodata != UNKNOWN:
        found = np.where(band == nodata, np.array(UNKNOWN, np.int32), band)
    wrong = (found != UNKNOWN) & ((found < 0) | (found >= len(CLASSES)))
    if wrong.any():
        raise ValueError(
            f"{path} holds the value {found[wrong][0]}; classes are 0 to {len(CLASSES) - 1}, "
            f"{UNKNOWN} is unknown"
        )
    return found.astype(np.uint8, copy=False)


def _from_palette(band: np.ndarray, palette: dict[int, tuple[int, ...]], path: Path) -> np.ndarray:
    """(H, W) indices of colours -> (H, W) uint8. Shades of gray in their order are no colours."""
    used = np.flatnonzero(np.bincount(band.ravel(), minlength=256)).tolist()
    if all(palette.get(index, ())[:3] == (index,) * 3 for index in used):
        return _from_classes(band, None, path)
    table = np.zeros(256, np.uint8)
    for index in used:
        table[index] = _class_of(palette.get(index, (0, 0, 0, 0)), path)
    return table[band]


def _from_colours(bands: np.ndarray, path: Path) -> np.ndarray:
    """(3 or 4, H, W) uint8 red, green, blue, perhaps alpha -> (H, W) uint8."""
    label = np.full(bands.shape[1:], UNKNOWN, np.uint8)
    known = np.zeros(label.shape, bool) if len(bands) == 3 else bands[3] == 0
    for index, colour in COLOURS.items():
        same = (bands[:3] == np.array(colour, np.uint8)[:, None, None]).all(axis=0) & ~known
        label[same] = index
        known |= same
    if not known.all():
        _class_of(tuple(bands[:, ~known][:, 0].tolist()), path)
    return label


def _class_of(colour: tuple[int, ...], path: Path) -> int:
    """ValueError for a colour of no class."""
    if len(colour) == 4 and colour[3] == 0:
        return UNKNOWN
    for index, known in COLOURS.items():
        if colour[:3] == known:
            return index
    told = ", ".join(f"{name} {COLOURS[index]}" for index, name in enumerate(CLASSES))
    raise ValueError(
        f"{path} holds the colour {colour[:3]}; the colours are {told}, and black for unknown; or "
        f"save one band of 0 to {len(CLASSES) - 1}"
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file as a dataset of rasterio, to read from. What the block raises becomes an ImageError,
    a ValueError, of a damaged file."""
    with raster.opened(str(path.absolute()), str(path)) as image, raster.guarded(str(path)):
        yield image.file
