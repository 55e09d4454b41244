"""A mask as a cloud-optimised GeoTIFF: on its grid, or with ground control points of its swath.

Bands, all int16 and -32768 where nothing was measured: the class, the probability in steps of 1e-4,
its spread. What NetCDF has as attributes are tags here.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.files import parse_json, write_whole
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks.flags import cf_names
from cloudmask.predict.masks.values import FILL, STEPS, SceneMask, check, probability_of, steps_of

POINTS = 20
"""intervals between control points along each side"""


def write_geotiff(path: Path, mask: SceneMask) -> None:
    """The file, whole or not at all. Raises OSError, ValueError for a CRS that cannot be."""
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    bands = _bands(mask)
    height, width = mask.mask.shape
    layout = {"height": height, "width": width, "count": len(bands), "dtype": "int16"}
    with _quiet(path), MemoryFile() as plain, MemoryFile() as tiled:
        with plain.open(driver="GTiff", nodata=FILL, **layout, **_place(mask)) as file:
            for number, (name, values, _) in enumerate(bands, start=1):
                file.write(values, number)
                file.set_band_description(number, name)
            file.scales = tuple(scale for _, _, scale in bands)
            file.update_tags(**_tags(mask))
        with plain.open() as file:
            options = {"compress": "deflate", "predictor": "yes", "overview_resampling": "mode"}
            copy(file, tiled.name, driver="COG", **options)
        write_whole(path, tiled.getbuffer())


def _bands(mask: SceneMask) -> list[tuple[str, np.ndarray, float]]:
    """Description, (H, W) int16 and scale of each band."""
    classes = np.where(mask.mask == UNKNOWN, FILL, mask.mask.astype(np.int16)).astype(np.int16)
    bands = [("mask", classes, 1.0)]
    for kind, values in (("probability", mask.probability), ("spread", mask.spread)):
        if values is not None:
            names = cf_names(mask.classes)[-values.shape[-1] :]
            for number, name in enumerate(names):
                bands.append((f"{kind}_{name}", steps_of(values[..., number]), 1 / STEPS))
    return bands


def _tags(mask: SceneMask) -> dict[str, str]:
    times = {"time_coverage_start": mask.start, "time_coverage_end": mask.stop}
    known = {key: text for key, text in times.items() if text is not None}
    return {**(mask.attributes or {}), **known, "classes": json.dumps(mask.classes)}


def _place(mask: SceneMask) -> dict[str, Any]:
    """What rasterio wants to know of a new file's place."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
    from rasterio.transform import Affine

    if mask.crs is not None and mask.transform is not None:
        try:
            return {"crs": CRS.from_user_input(mask.crs), "transform": Affine(*mask.transform)}
        except CRSError as error:
            raise ValueError(f"the CRS {mask.crs[:60]!r} is not understood ({error})") from None
    if mask.latitude is not None and mask.longitude is not None:
        return _points(mask.latitude, mask.longitude)
    return {}


def _points(latitude: np.ndarray, longitude: np.ndarray) -> dict[str, Any]:
    """Control points at centres of pixels, in metres around the swath's middle; none of no place.

    GDAL lays a polynomial through the points. It fits a swath in an equal-area projection of its
    own, at a pole and at the date line too; in degrees it would miss by many kilometres.
    """
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS
    from rasterio.warp import transform

    rows, columns = _nodes(np.isfinite(latitude) & np.isfinite(longitude))
    if not rows.size:
        return {}
    north, east = (
        np.asarray(degrees[rows, columns], np.float64) for degrees in (latitude, longitude)
    )
    across, up = np.cos(np.radians(north)), np.sin(np.radians(north))
    x, y = (across * turn(np.radians(east)) for turn in (np.cos, np.sin))
    middle = np.rint(np.degrees(np.arctan2(up.sum(), np.hypot(x.sum(), y.sum()))))
    meridian = np.rint(np.degrees(np.arctan2(y.sum(), x.sum())))
    metres = f"+proj=laea +lat_0={middle:g} +lon_0={meridian:g} +datum=WGS84 +units=m"
    crs = CRS.from_string(metres)
    found = transform(CRS.from_epsg(4326), crs, east, north)
    points = [
        GroundControlPoint(row=row + 0.5, col=column + 0.5, x=x, y=y)
        for row, column, x, y in zip(rows, columns, *found, strict=True)
    ]
    return {"crs": crs, "gcps": points}


def _nodes(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) bool -> rows and columns of pixels that are known, spread evenly over the scene.

    Each is the known one nearest to a node of a lattice, if there is one in the node's cell.
    """
    sides = [np.unique(np.linspace(0, n - 1, POINTS + 1).round().astype(int)) for n in known.shape]
    reach = [-(-n // (2 * POINTS)) for n in known.shape]
    nodes = []
    for row in sides[0]:
        for column in sides[1]:
            top, left = max(0, row - reach[0]), max(0, column - reach[1])
            cell = known[top : row + reach[0] + 1, left : column + reach[1] + 1]
            there = np.argwhere(cell) + np.array((top, left))
            if known[row, column]:
                nodes.append((row, column))
            elif there.size:
                apart = np.square(there - (row, column)).sum(axis=1)
                nodes.append(tuple(there[apart.argmin()]))
    found = np.unique(np.array(nodes, int).reshape(-1, 2), axis=0)
    return found[:, 0], found[:, 1]


def read_geotiff(path: Path) -> SceneMask:
    """A file of `write_geotiff`, without the latitude and longitude of a swath.

    Raises ValueError for another or a damaged one.
    """
    import rasterio

    with _quiet(path), rasterio.open(path) as file:
        tags = file.tags()
        if "classes" not in tags:
            raise ValueError(f"{path} is not a mask of this program (its tags name no classes)")
        bands = dict(zip(file.descriptions, file.read(), strict=True))
        crs, transform = None if file.gcps[0] else file.crs, tuple(file.transform)[:6]
    try:
        classes = tuple(parse_json(tags["classes"]))
        known = cf_names(classes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
    names = [name for name in known if f"probability_{name}" in bands]
    if "mask" not in bands or not names:
        raise ValueError(f"{path} is not a mask of this program (it lacks bands)")
    spread = [
        probability_of(bands[f"spread_{name}"]) for name in names if f"spread_{name}" in bands
    ]
    found = SceneMask(
        name=path.stem,
        classes=classes,
        probability=np.stack([probability_of(bands[f"probability_{name}"]) for name in names], -1),
        spread=np.stack(spread, axis=-1) if spread else None,
        mask=np.where(bands["mask"] == FILL, UNKNOWN, bands["mask"]).astype(np.uint8),
        attributes=tags,
        crs=crs.to_wkt() if crs else None,
        transform=transform if crs else None,
        start=tags.get("time_coverage_start"),
        stop=tags.get("time_coverage_end"),
    )
    check(found, path)
    return found


def read_tags(path: Path) -> dict[str, str]:
    """ValueError for a file that is no GeoTIFF."""
    import rasterio

    with _quiet(path), rasterio.open(path) as file:
        return file.tags()


@contextlib.contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """A mask that lies nowhere is no cause for a warning; what GDAL cannot read is a ValueError."""
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except RasterioIOError as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
