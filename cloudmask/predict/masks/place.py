"""Where and when a mask is, in CF NetCDF: axes, grid mapping, latitude and longitude, time.

GDAL, and QGIS with it, take the first row for the lowest one unless the rows have a coordinate of a
projection that falls. So every mask has one: that of its grid, else rows counted from the bottom.
"""

from __future__ import annotations

import datetime
import warnings
from typing import Any

import numpy as np

from cloudmask.predict.masks.hdf5 import text_of
from cloudmask.predict.masks.values import About

DEGREE_STEP = 1e-6
NO_DEGREES = -(2**31)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
CHUNK = 512
"""longest side; smaller ones compress less, and larger ones exceed HDF5's cache"""


def packing(rows: int, columns: int) -> dict[str, Any]:
    """How a variable on y and x is compressed: losslessly, as every reader of HDF5 can."""
    chunks = min(rows, CHUNK), min(columns, CHUNK)
    return {"compression": "gzip", "compression_opts": 2, "shuffle": True, "chunks": chunks}


def write_place(file: Any, mask: About) -> dict[str, str]:
    """Add all that is known to an h5netcdf.File with dimensions y and x.

    The result are the attributes of every variable on these. ValueError for a time or a CRS that
    cannot be understood.
    """
    coordinates = []
    if mask.latitude is not None and mask.longitude is not None:
        _degrees(file, "latitude", "degrees_north", mask.latitude)
        _degrees(file, "longitude", "degrees_east", mask.longitude)
        coordinates += ["latitude", "longitude"]
    if mask.start is not None:
        _time(file, mask.start, mask.stop)
        coordinates += ["time"]
    where = {"coordinates": " ".join(coordinates)} if coordinates else {}
    if mask.crs is not None and mask.transform is not None:
        _grid(file, mask.crs, mask.transform)
        where["grid_mapping"] = "crs"
    else:
        _rows_and_columns(file)
    return where


def _degrees(file: Any, name: str, unit: str, values: np.ndarray) -> None:
    """(H, W) degrees, NaN where unknown, as int32: exact to half of 1e-6."""
    steps = np.rint(np.asarray(values, np.float64) / DEGREE_STEP)
    packed = np.where(np.isfinite(steps), steps, NO_DEGREES).astype("i4")
    variable = file.create_variable(
        name,
        ("y", "x"),
        "i4",
        data=packed,
        fillvalue=np.int32(NO_DEGREES),
        **packing(*packed.shape),
    )
    variable.attrs["standard_name"], variable.attrs["units"] = name, unit
    variable.attrs["scale_factor"], variable.attrs["add_offset"] = DEGREE_STEP, 0.0


def _time(file: Any, start: str, stop: str | None) -> None:
    """The start as coordinate, both as the attributes that data sets have for them."""
    time = file.create_variable("time", (), "f8", data=_seconds(start))
    time.attrs["standard_name"], time.attrs["axis"] = "time", "T"
    time.attrs["units"] = "seconds since 1970-01-01 00:00:00"
    time.attrs["calendar"] = "standard"
    file.attrs["time_coverage_start"] = start
    if stop is not None:
        file.attrs["time_coverage_end"] = stop


def _seconds(text: str) -> float:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH).total_seconds()


def _axis(file: Any, name: str, values: np.ndarray, attributes: dict[str, str]) -> None:
    variable = file.create_variable(name, (name,), "f8", data=values)
    for key, text in (attributes | {"axis": name.upper()}).items():
        variable.attrs[key] = text


def _rows_and_columns(file: Any) -> None:
    """In metres for GDAL's sake: with another unit, be it 1, it looks at no coordinate."""
    rows, columns = file.dimensions["y"].size, file.dimensions["x"].size
    for name, values, edge in (
        ("y", rows - 0.5 - np.arange(rows), "row, from the lower edge"),
        ("x", 0.5 + np.arange(columns), "column, from the left edge"),
    ):
        text = f"{edge}, as if pixels measured 1 m"
        standard = f"projection_{name}_coordinate"
        _axis(file, name, values, {"long_name": text, "standard_name": standard, "units": "m"})


def _grid(file: Any, crs: str, transform: tuple[float, ...]) -> None:
    """Variable `crs` in CF's words and GDAL's, and the axes, unless the grid is turned."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        known = CRS.from_user_input(crs)
    except CRSError as error:
        raise ValueError(f"the CRS {crs[:60]!r} is not understood ({error})") from None
    a, b, c, d, e, f = transform
    mapping = file.create_variable("crs", (), "i4", data=np.int32(0))
    with warnings.catch_warnings():  # what CF has no words for, the WKT says
        warnings.simplefilter("ignore", UserWarning)
        words = known.to_cf()
    if words.get("grid_mapping_name") == "polar_stereographic" and "standard_parallel" in words:
        pole = float(np.copysign(90, words["standard_parallel"]))
        words.setdefault("latitude_of_projection_origin", pole)  # CF wants it, pyproj leaves it out
    for key, value in words.items():
        mapping.attrs[key] = value
    mapping.attrs["spatial_ref"] = known.to_wkt()
    mapping.attrs["GeoTransform"] = " ".join(f"{value:.17g}" for value in (c, a, b, f, d, e))
    if b or d:  # no axis fits it, and GDAL takes GeoTransform where there is none
        return
    for axis in known.cs_to_cf():
        name = axis["axis"].lower()
        if name in ("x", "y"):
            count = file.dimensions[name].size
            step, first = (a, c) if name == "x" else (e, f)
            _axis(file, name, first + step * (np.arange(count) + 0.5), axis)


def read_degrees(file: Any, name: str) -> np.ndarray | None:
    """(H, W) float64 from an h5py.File, NaN where unknown; None if it has none."""
    if name not in file:
        return None
    values = file[name][...]
    if values.dtype.kind == "f":  # of masks before version 2
        return values
    return np.where(values == NO_DEGREES, np.nan, values * DEGREE_STEP)


def read_crs(file: Any) -> str | None:
    """WKT from an h5py.File; None of a mask on no grid."""
    return _of_grid(file, "crs_wkt")


def read_transform(file: Any) -> tuple[float, float, float, float, float, float] | None:
    """As a Scene has it, from an h5py.File."""
    text = _of_grid(file, "GeoTransform")
    if text is None:
        return None
    c, a, b, f, d, e = (float(word) for word in text.split())
    return a, b, c, d, e, f


def _of_grid(file: Any, name: str) -> str | None:
    return text_of(file["crs"].attrs[name]) if "crs" in file else None
