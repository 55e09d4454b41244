"""Class maps with a date and a place, found in folders and read window by window.

A full tile of Sentinel-2 has 10980 x 10980 pixels: of this scene and its neighbours only what is
looked at is held in memory.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.files import open_hdf5, parse_json
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks.hdf5 import attributes_in
from cloudmask.predict.masks.place import read_crs, read_transform
from seaice import records
from seaice.colour import CLASSES
from seaice.ground import NoAreaError, pixel_km2
from seaice.io import classmap, raster
from seaice.io.grid import Grid, of_file
from seaice.io.reading import DATE_TAG

NO_TILE = "none"
"""of a scene that is no tile of the MGRS"""
_PRODUCT = re.compile(r"^S2[A-Z]_MSIL[12][A-Z]_(\d{8}T\d{6})_")
_TILE = re.compile(r"(?:^|_)T(\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?:_|$)")
_ERRORS = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)

Window = tuple[slice, slice]
Read = Callable[[slice, slice], np.ndarray]


class LayerError(ValueError):
    """What is wrong with one class map, in one line that names it."""


@dataclass(frozen=True)
class Layer:
    """The class map of one scene: where it is, when it was, and where it lies."""

    path: str
    name: str
    rows: int
    columns: int
    grid: Grid
    moment: str
    """when it was acquired, UTC as ISO 8601; its first ten characters are the date"""
    tile: str

    @property
    def date(self) -> str:
        return self.moment[:10]


def find(places: Sequence[str], *, date_in_name: str | None) -> tuple[list[Layer], dict[str, str]]:
    """Class maps of the folders and files, sorted, and what is left out with the reason, by path.

    A folder that `label` wrote tells by its records which scenes are done. ValueError for a place
    that does not exist, and where nothing is found.
    """
    pattern = pattern_of(date_in_name)
    layers, left_out = [], {}
    for path, record in [found for place in places for found in _paths(Path(place))]:
        try:
            layers.append(describe(path, record, pattern))
        except ValueError as error:
            left_out[str(path)] = str(error)
    if not layers and not left_out:
        raise ValueError(f"no class maps in {', '.join(places)}: give folders that `label` wrote")
    order = {layer.path: layer for layer in layers}  # a path that was given twice counts once
    return sorted(order.values(), key=lambda x: (x.date, x.tile, x.name, x.path)), left_out


def pattern_of(text: str | None) -> re.Pattern[str] | None:
    """--date-from-name, checked. ValueError."""
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"--date-from-name {text!r} is no regular expression ({error})") from None
    if pattern.groups != 1:
        raise ValueError(
            f"--date-from-name {text!r} needs one group in round brackets, of a date as 20191104 "
            r"or 2019-11-04, such as '_(\d{8})_'"
        )
    return pattern


def _paths(place: Path) -> list[tuple[Path, Path | None]]:
    """Class maps and their records. A scene whose record is missing is not done."""
    if place.is_file():
        return [(place, records.beside(place))]
    if not place.is_dir():
        raise ValueError(f"{place} does not exist; give folders of class maps, or such files")
    paths = [classmap.find(place, name) for name in classmap.names(place)]
    return [(path, records.beside(path)) for path in paths if path is not None]


def describe(path: Path, record: Path | None, pattern: re.Pattern[str] | None) -> Layer:
    """What is known of a class map without reading its pixels. ValueError: it cannot be counted."""
    told: dict[str, Any] = {}
    if record is not None:
        told = records.read(record)
        if not told:
            raise ValueError(f"{path} has no record; label the scene again")
    rows, columns, grid, date = _head(path)
    if grid is None:
        raise ValueError(f"{path} has no place on the ground (no CRS, or no transform)")
    try:
        pixel_km2(grid, slice(0, 1), 1)
    except NoAreaError as error:
        raise ValueError(f"{path} has no place on the ground: {error}") from None
    date = told.get("date") or date or _date_in(path.stem, _PRODUCT)
    if date is None and pattern is not None:
        date = _date_in(path.stem, pattern)
    if date is None:
        raise ValueError(f"{path} has no date; --date-from-name can take it from the file's name")
    named = _TILE.search(path.stem)
    tile = told.get("tile") or (named[1] if named else NO_TILE)
    return Layer(str(path), path.stem, rows, columns, grid, _utc(str(date), path), str(tile))


def _date_in(name: str, pattern: re.Pattern[str]) -> str | None:
    found = pattern.search(name)
    return found[1] if found else None


def _utc(text: str, path: Path) -> str:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{path} has the date {text[:40]!r}, which is none") from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _head(path: Path) -> tuple[int, int, Grid | None, str | None]:
    """Rows, columns, grid and date. ValueError for what is no class map of sea ice."""
    if path.suffix == ".nc":
        with _hdf5(path) as file, _told(path):
            attributes = attributes_in(file)
            crs, transform = read_crs(file), read_transform(file)
            rows, columns = file["mask"].shape
            classes = attributes["classes"]
        grid = Grid(crs, transform) if crs is not None and transform is not None else None
    else:
        with _raster(path) as file, raster.guarded(str(path)):
            attributes, grid = file.tags(), of_file(file)
            rows, columns = file.shape
            classes = attributes.get("classes", json.dumps(CLASSES))
            if file.count != 1 and file.descriptions[0] != "mask":
                raise ValueError(f"{path} is no class map: it has {file.count} bands")
    try:
        same = tuple(parse_json(classes)) == CLASSES
    except (ValueError, TypeError):
        same = False
    if not same:
        raise ValueError(f"{path} has other classes ({classes[:60]}) than {', '.join(CLASSES)}")
    return rows, columns, grid, attributes.get(DATE_TAG)


@contextlib.contextmanager
def reading(layer: Layer) -> Iterator[Read]:
    """A function of rows and columns -> (h, w) uint8 classes, 255 = unknown.

    What is wrong with this file is a LayerError. What else the block raises stays as it is.
    """
    path = Path(layer.path)
    if path.suffix == ".nc":
        with _hdf5(path) as file:

            def read(rows: slice, columns: slice) -> np.ndarray:
                with _told(path):
                    return _checked(file["mask"][rows, columns], None, path)

            yield read
    else:
        from rasterio.windows import Window as Part

        with _raster(path) as file:

            def read(rows: slice, columns: slice) -> np.ndarray:
                with _told(path), raster.guarded(str(path)):
                    found = file.read(1, window=Part.from_slices(rows, columns))
                    nodata = file.nodata
                with _told(path):
                    return _checked(found, nodata, path)

            yield read


def _checked(band: np.ndarray, nodata: float | None, path: Path) -> np.ndarray:
    """Whole numbers as they are stored -> uint8 classes. ValueError for what is no class."""
    if band.dtype.kind not in "iu":
        raise ValueError(f"{path} is no class map: it holds {band.dtype} values, not whole numbers")
    unknown = band == UNKNOWN
    if nodata is not None:
        unknown |= band == nodata
    wrong = ((band < 0) | (band >= len(CLASSES))) & ~unknown
    if wrong.any():
        raise ValueError(
            f"{path} holds the value {band[wrong][0]}; classes are 0 to {len(CLASSES) - 1}, "
            f"{UNKNOWN} is unknown"
        )
    return np.where(unknown, np.uint8(UNKNOWN), band.astype(np.uint8))


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        with _told(path):
            file = stack.enter_context(open_hdf5(path))
        yield file


@contextlib.contextmanager
def _raster(path: Path) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        with _told(path):
            image = stack.enter_context(raster.opened(str(path.absolute()), str(path)))
        yield image.file


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What reading this file raises, in one line that names it."""
    try:
        yield
    except _ERRORS as error:
        text = " ".join(str(error).split())
        named = text if str(path) in text else f"{path} is no class map that can be read ({text})"
        raise LayerError(named) from None
