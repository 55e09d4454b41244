"""SLSTR level 1 products in ESA's EOPF Zarr (S03SLSRBT): as the members of a SAFE product.

A store holds the arrays of the SAFE product under other names. What is needed of it is written as
the NetCDF files that a SAFE product would have, integers as they are packed, and read by the same
code as these: so both have the same bits. A store has neither a Bayesian mask nor checksums.

Paths and attributes are those of the product mapping of ESA's `eopf` 2.8. What it leaves out, the
columns of the ground track, follows from the coordinate x, which is 0 there (and where there is no
x, it is that of all products).
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.errors import missing
from cloudmask.data.acquisition import acquisition_of
from cloudmask.data.formats.claims import LARGEST_ARRAY
from cloudmask.data.formats.remote import asking
from cloudmask.data.formats.safe.manifest import is_product_name
from cloudmask.data.formats.scratch import writing_scratch
from cloudmask.data.place import Place, Url
from cloudmask.data.scene import SceneError, reason

Variable = tuple[np.ndarray, dict[str, Any]]
_AGAIN = "get the store again"
_NETCDF_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_VIEWS = {"n": "nadir", "o": "oblique"}
_STANDARD_TRACK = {"an": 1996, "in": 998, "ao": 900, "io": 450, "tn": 64, "to": 64, "tx": 64}
_WHOLE: dict[str, type[np.unsignedinteger]] = {
    "confidence": np.uint16,
    "exception": np.uint8,
    "detector": np.uint8,
}
"""what must not be unpacked, by a part of the variable's name"""
_AXES = ("latitude", "longitude")
_FILES = (
    *(
        f"S{n}_{what}_{g}.nc"
        for what in ("radiance", "quality")
        for g in ("an", "ao")
        for n in range(1, 7)
    ),
    *(f"S{n}_BT_{grid}.nc" for grid in ("in", "io") for n in range(7, 10)),
    *(
        f"{what}_{grid}.nc"
        for what in ("flags", "indices", "geodetic")
        for grid in ("an", "ao", "in", "io")
    ),
    *("geometry_tn.nc", "geometry_to.nc", "geodetic_tx.nc", "met_tx.nc", "viscal.nc"),
)
"""members that can be made from a store that has it all"""


class Store:
    """An opened store, from which members of a SAFE product can be made. SceneError."""

    def __init__(self, place: Place, group: Any) -> None:
        self._place, self._group = place, group
        discovery = group.attrs.get("stac_discovery")
        if not isinstance(discovery, Mapping):
            raise SceneError(place, "has no stac_discovery: it is no EOPF product", _AGAIN)
        properties = discovery.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        start, stop = (properties.get(name) for name in ("start_datetime", "end_datetime"))
        self.name = _safe_name(place, discovery, start, stop)
        self.start, self.stop = _utc(start), _utc(stop)
        self.held = frozenset(
            file for file in _FILES if all(path in group for path in _arrays(file).values())
        )

    def write(self, files: Sequence[str], folder: Path) -> None:
        """Make these members. SceneError, ScratchError."""
        for file in files:
            variables = {name: self._read(path, name) for name, path in _arrays(file).items()}
            attributes = self._times() | self._grid(file)
            with writing_scratch():
                try:
                    _write(folder / file, variables, attributes)
                except RuntimeError as error:  # of the NetCDF library, for whatever went wrong
                    raise OSError(errno.EIO, str(error), str(folder)) from None

    def _read(self, path: str, name: str) -> Variable:
        """An array as it is stored, and the attributes by which it is unpacked."""
        with _reading(self._place, path):
            array = self._group[path]
            if max(math.prod(array.shape), math.prod(array.chunks)) > LARGEST_ARRAY:
                raise ValueError(f"its shape is {array.shape}, its chunks {array.chunks}")
            of_one_time = array.ndim == 3 and array.shape[0] == 1
            if array.dtype.kind not in "iuf" or not (array.ndim in (1, 2) or of_one_time):
                raise ValueError(f"it holds {array.dtype} of shape {array.shape}")
            values, attributes = np.asarray(array[...]), dict(array.attrs)
            values = values[0] if of_one_time else values
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
            whole = next((kind for part, kind in _WHOLE.items() if part in name), None)
            if whole is not None:
                if values.dtype.kind == "f":  # unpacked by whoever wrote the store
                    values = np.where(np.isfinite(values), values, np.iinfo(whole).max)
                return values.astype(whole, copy=False), {}
            names = ("scale_factor", "add_offset")
            packing: dict[str, Any] = {k: float(attributes[k]) for k in names if k in attributes}
            fill = attributes.get("_FillValue", array.fill_value)
            if packing and fill is not None:
                packing["_FillValue"] = values.dtype.type(fill)
        return values, {"units": "", **packing}  # satpy wants units and does nothing with them

    def _grid(self, file: str) -> dict[str, np.int32]:
        """Where the ground track and the start of the orbit lie on the grid of a member."""
        grid = file[-5:-3]
        if grid not in _STANDARD_TRACK:
            return {}
        offsets = {"track_offset": float(_STANDARD_TRACK[grid])}
        x, y = (f"{_coordinates(grid)}/{axis}" for axis in "xy")
        if x in self._group and y in self._group:
            # Each is 0 at its offset and grows evenly, x along the columns and y along the rows.
            across, along = self._decoded(x), self._decoded(y)
            found = {"track_offset": -_zero(across), "start_offset": _zero(along.T)}
            offsets |= {name: value for name, value in found.items() if math.isfinite(value)}
        return {name: np.int32(round(value)) for name, value in offsets.items()}

    def _decoded(self, path: str) -> np.ndarray:
        values, packing = self._read(path, "")
        unpacked = values * packing.get("scale_factor", 1.0) + packing.get("add_offset", 0.0)
        return np.where(values == packing.get("_FillValue", math.nan), math.nan, unpacked)

    def _times(self) -> dict[str, str]:
        """As satpy wants them in each file."""
        times = {"start_time": self.start, "stop_time": self.stop}
        return {
            name: f"{datetime.fromisoformat(time or '1970-01-01'):{_NETCDF_TIME}}"
            for name, time in times.items()
        }


ROOT_FILES = (".zmetadata", "zarr.json", ".zgroup", ".zattrs")
"""metadata of a whole store: consolidated, of Zarr 3, of Zarr 2"""
_DEEPEST = 3
"""folders below that of an array, in stores whose chunks lie in folders"""


def files_of_store(folder: Path, members: Iterable[str]) -> Iterator[os.stat_result]:
    """The files of a store here from which members can be made, with their sizes and dates.

    OSError.
    """
    for name in ROOT_FILES:
        if (folder / name).is_file():
            yield (folder / name).stat()
    needed = dict.fromkeys(path for file in members for path in _arrays(file).values())
    groups = dict.fromkeys(_coordinates(file[-5:-3]) for file in members if file in _FILES)
    for path in (*needed, *(f"{group}/{axis}" for group in groups for axis in "xy")):
        if (folder / path).is_dir():
            yield from _files_below(str(folder / path), _DEEPEST)


def _files_below(folder: str, deepest: int) -> Iterator[os.stat_result]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry.stat()
            elif deepest:
                yield from _files_below(entry.path, deepest - 1)


@contextmanager
def open_store(place: Place) -> Iterator[Store]:
    """A store here or at a URL. SceneError, OSError."""
    try:
        import zarr
    except ImportError as error:
        problem = f"cannot be read ({error})"
        raise SceneError(place, problem, missing("zarr", "zarr")) from None
    with _reading(place, "the store"):
        if isinstance(place, Url):
            store: Any = zarr.storage.FsspecStore.from_url(place.text, read_only=True)
        else:
            store = zarr.storage.LocalStore(place, read_only=True)
        opened = Store(place, zarr.open_group(store, mode="r"))
    yield opened


@contextmanager
def _reading(place: Place, what: str) -> Iterator[None]:
    """What zarr, its codecs and servers raise becomes a SceneError."""
    try:
        with asking(place) if isinstance(place, Url) else nullcontext():
            yield
    except SceneError:
        raise
    except Exception as error:  # each codec has its own
        why = ": ".join(filter(None, (type(error).__name__, reason(error))))
        raise SceneError(place, f"{what} cannot be read ({why})", _AGAIN) from error


def _arrays(file: str) -> dict[str, str]:
    """Variables of a member, and where a store has them."""
    what, _, grid = file.removesuffix(".nc").rpartition("_")
    view = f"{grid[:1]}{_VIEWS.get(grid[-1:], '')}"
    band, _, kind = what.partition("_")
    if kind in ("radiance", "BT"):
        return {
            f"{what}_{grid}": f"measurements/{view}/{what}_{grid}".lower(),
            f"{band}_exception_{grid}": f"quality/{view}/{band}_exception_{grid}".lower(),
        }
    if kind == "quality":
        name = f"{band}_solar_irradiance_{grid}"
        return {name: f"conditions/instrument/{view}/{band}/{name}".lower()}
    return {
        "flags": {f"confidence_{grid}": f"quality/{view}/confidence_{grid}"},
        "indices": {f"detector_{grid}": f"conditions/processing/{view}/detector"},
        "geometry": {f"solar_zenith_{grid}": f"conditions/geometry_{grid}/solar_zenith_{grid}"},
        "met": {"skin_temperature_tx": "conditions/meteorology/skin_temperature_tp"},
        "geodetic": {f"{axis}_{grid}": f"{_coordinates(grid)}/{axis}" for axis in _AXES},
    }.get(what, {})  # nothing of viscal.nc, which satpy opens and nobody reads


def _coordinates(grid: str) -> str:
    """The group that has latitude, longitude, x and y of a grid."""
    if grid[0] == "t":
        return "conditions/geometry_to" if grid == "to" else "conditions/geometry_tn"
    return f"measurements/{grid[0]}{_VIEWS.get(grid[1])}"


def _zero(values: np.ndarray) -> float:
    """How many columns before the first one evenly growing (H, W) values are 0; NaN if unknown."""
    for row in values:
        (known,) = np.nonzero(np.isfinite(row))
        if len(known) > 1:
            first, last = known[0], known[-1]
            step = (row[last] - row[first]) / (last - first)
            return row[first] / step - first if step else math.nan
    return math.nan


def _safe_name(place: Place, discovery: Mapping[str, Any], start: object, stop: object) -> str:
    """The SAFE product's name: that of the store or of its record, else made from both."""
    own = place.name.rpartition(".")[0]
    for name in (own, str(discovery.get("id")).partition(".")[0]):
        if is_product_name(f"{name}.SEN3"):
            return f"{name}.SEN3"
    named = acquisition_of(own)
    collection = str(discovery.get("collection"))[-3:]
    if named is None or not collection.isdigit():
        problem = "tells neither its SAFE product nor its satellite, start and collection"
        raise SceneError(place, problem, "give the store its original name again")
    times = "_".join(f"{time:%Y%m%dT%H%M%S}" for time in (named.start, named.stop, named.stop))
    no_frame = "____"
    rest = f"0000_000_000_{no_frame}_ESA_O_NT_{collection}"
    return f"{named.satellite}_SL_1_RBT____{times}_{rest}.SEN3"


def _utc(time: object) -> str | None:
    """ISO 8601 with its zone. ValueError."""
    if time is None:
        return None
    datetime.fromisoformat(str(time))
    return str(time)


def _write(path: Path, variables: Mapping[str, Variable], attributes: Mapping[str, Any]) -> None:
    """A NetCDF file as a SAFE product has it, but not compressed: it is read once."""
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(attributes)
        for name, (values, packing) in variables.items():
            dimensions = ("rows", "columns") if values.ndim == 2 else ("detectors",)
            for dimension, size in zip(dimensions, values.shape, strict=True):
                if dimension not in file.dimensions:
                    file.createDimension(dimension, size)
            rest = dict(packing)
            fill = rest.pop("_FillValue", None)
            native = np.dtype(values.dtype.type)
            variable = file.createVariable(name, native, dimensions, fill_value=fill)
            variable.setncatts(rest)
            variable.set_auto_maskandscale(False)
            variable[:] = values
