"""The series as a CF-1.8 NetCDF-4 file: time, region and tile, with bounds of time and flags."""

from __future__ import annotations

import datetime
import io
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cloudmask.cli.errors import missing
from cloudmask.files import write_whole
from seaice.series.regions import ALL, Region
from seaice.series.table import ALL_TILES, Row

FILL = 9.969209968386869e36
"""NetCDF's own value for what is not there"""
FLAGS = ("none", "low", "good")
_DIMENSIONS = ("region", "tile", "time")
"""CF wants time to come last, after what is neither time nor space"""
_BESIDE = "region_name tile_name"
_SHARE = {"units": "1", "coordinates": _BESIDE}
_KM2 = (
    ("thick_ice_area", "thick_ice_km2", "area of thick, snow-covered ice"),
    ("thin_ice_area", "thin_ice_km2", "area of thin ice"),
    ("open_water_area", "open_water_km2", "area of open water"),
    ("known_area", "known_km2", "area whose class is known"),
    ("unknown_area", "unknown_km2", "area that was seen but has no class: no data, cloud, land"),
)

_Filled = Callable[..., np.ndarray]
"""what a row holds, and what stands where there is nothing -> (region, tile, time) values"""


def write(
    path: Path, rows: Sequence[Row], regions: Sequence[Region], facts: dict[str, str]
) -> None:
    """The file, whole or not at all; `facts` become global attributes. OSError.

    What was not seen is filled.
    """
    try:
        import h5netcdf
    except ImportError as error:
        raise ValueError(f"{missing('h5netcdf', 'seaice')} ({error})") from None

    rows = [row for row in rows if row.scenes]
    periods, tiles = (sorted({getattr(row, key) for row in rows}) for key in ("period", "tile"))
    names = [ALL, *(region.name for region in regions)]
    tiles = [ALL_TILES, *(tile for tile in tiles if tile != ALL_TILES)]
    shape = len(names), len(tiles), len(periods)
    places = [(names.index(r.region), tiles.index(r.tile), periods.index(r.period)) for r in rows]

    def filled(value: Callable[[Row], float | int | None], nothing: float = FILL) -> np.ndarray:
        array = np.full(shape, nothing)
        for place, row in zip(places, rows, strict=True):
            found = value(row)
            array[place] = nothing if found is None else found
        return array

    content = io.BytesIO()  # HDF5 itself crashes on a full disk
    with h5netcdf.File(content, "w") as file:
        file.dimensions = {**dict(zip(_DIMENSIONS, shape, strict=True)), "bounds": 2}
        for key, text in {"Conventions": "CF-1.8", **facts}.items():
            file.attrs[key] = text
        _times(file, periods)
        _texts(file, "region_name", "region", names, "name of the region")
        _texts(file, "tile_name", "tile", tiles, "tile of the military grid reference system")
        _areas(file, filled)
        _shares(file, filled)
        _counts(file, filled)
        _whole_regions(file, regions)
    write_whole(path, content.getvalue())


def _areas(file: Any, filled: _Filled) -> None:
    area = {"units": "km2", "coordinates": _BESIDE, "cell_methods": "time: mean"}
    about = {
        "standard_name": "sea_ice_area",
        "long_name": "area of ice",
        "ancillary_variables": "coverage quality",
    }
    _add(file, "sea_ice_area", filled(lambda row: row.ice_km2), area | about)
    for name, column, text in _KM2:
        _add(file, name, filled(operator.attrgetter(column)), area | {"long_name": text})


def _shares(file: Any, filled: _Filled) -> None:
    about = {
        "standard_name": "sea_ice_area_fraction",
        "long_name": "ice over ice and water, of the area whose class is known",
        "ancillary_variables": "coverage quality",
        "cell_methods": "time: mean",
    }
    fraction = filled(lambda row: row.concentration)
    _add(file, "sea_ice_area_fraction", fraction, _SHARE | about)
    text = "share of the area that was seen whose class is known"
    _add(file, "coverage", filled(lambda row: row.coverage), _SHARE | {"long_name": text})
    text = "share of the whole region whose class is known"
    covered = filled(lambda row: row.region_coverage)
    _add(file, "region_coverage", covered, _SHARE | {"long_name": text})


def _counts(file: Any, filled: _Filled) -> None:
    quality = filled(lambda row: FLAGS.index(row.quality), 0).astype("i1")
    flags = {
        "standard_name": "quality_flag",
        "long_name": "none: nothing is known; low: less is known than was asked for; good",
        "coordinates": _BESIDE,
        "flag_values": np.arange(len(FLAGS), dtype="i1"),
        "flag_meanings": " ".join(FLAGS),
    }
    file.create_variable("quality", _DIMENSIONS, "i1", data=quality).attrs.update(flags)
    scenes = filled(lambda row: row.scenes, 0).astype("i4")
    about = _SHARE | {"long_name": "number of class maps"}
    file.create_variable("scenes", _DIMENSIONS, "i4", data=scenes).attrs.update(about)


def _whole_regions(file: Any, regions: Sequence[Region]) -> None:
    km2 = np.array([FILL, *(region.km2 for region in regions)])
    about = {
        "units": "km2",
        "long_name": "area of the whole region on the ellipsoid",
        "coordinates": "region_name",
    }
    whole = file.create_variable("region_area", ("region",), "f8", data=km2, fillvalue=FILL)
    whole.attrs.update(about)


def _add(file: Any, name: str, values: np.ndarray, attributes: dict[str, str]) -> None:
    variable = file.create_variable(name, _DIMENSIONS, "f8", data=values, fillvalue=FILL)
    for key, text in attributes.items():
        variable.attrs[key] = text


def _times(file: Any, periods: Sequence[str]) -> None:
    """The middle of each day or month, and its bounds, in days since 1970."""
    bounds = np.array([span(period) for period in periods], float)
    time = file.create_variable("time", ("time",), "f8", data=bounds.mean(axis=1))
    for key, text in {
        "standard_name": "time",
        "long_name": "middle of the day or month, UTC",
        "units": "days since 1970-01-01 00:00:00",
        "calendar": "proleptic_gregorian",
        "axis": "T",
        "bounds": "time_bounds",
    }.items():
        time.attrs[key] = text
    file.create_variable("time_bounds", ("time", "bounds"), "f8", data=bounds)


def span(period: str) -> tuple[int, int]:
    """YYYY-MM-DD or YYYY-MM -> its first day and the one after its last, in days since 1970."""
    first = datetime.date.fromisoformat(period if len(period) > 7 else f"{period}-01")
    after = first + datetime.timedelta(days=1)
    if len(period) == 7:
        after = (first + datetime.timedelta(days=31)).replace(day=1)
    epoch = datetime.date(1970, 1, 1)
    return (first - epoch).days, (after - epoch).days


def _texts(file: Any, name: str, dimension: str, words: Sequence[str], about: str) -> None:
    kind = h5py.string_dtype()
    variable = file.create_variable(name, (dimension,), kind, data=np.array(words, object))
    variable.attrs["long_name"] = about
