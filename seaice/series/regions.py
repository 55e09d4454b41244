"""Regions from a vector file: polygons with names, laid on the grid of each scene.

A region's edges are straight in the CRS of its file. They are cut to the surroundings of a scene
and divided finely before they are carried over, so that they bend as they must, and so that a
region around a pole works. Longitudes may go beyond 180: across the date line a region is split
there, or goes on, from 179 to 181.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.errors import missing
from cloudmask.text import listed
from seaice.io.grid import Grid
from seaice.series.layers import Layer, Window
from seaice.series.overlap import around, moved, transformer, turn

ALL = "all"
"""the region of everything, with or without a file"""
KINDS = {
    ".geojson": b"{",
    ".json": b"{",
    ".gpkg": b"SQLite format 3\0",
    ".shp": b"\x00\x00\x27\x0a",
}
"""suffix -> how such a file begins"""
_PARTS = 256
"""pieces that an edge as long as a scene is divided into"""


@dataclass(frozen=True)
class Region:
    name: str
    wkb: bytes
    """polygons, in the CRS of the file"""
    crs: str
    km2: float


def read_regions(path: Path, field: str) -> list[Region]:
    """The regions of a GeoJSON, GeoPackage or shapefile, sorted by name. ValueError.

    Polygons of one name are one region.
    """
    pyogrio, shapely = _libraries()
    _check(path)
    try:
        about, _, found, values = pyogrio.raw.read(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read ({problem}); get the file again") from None
    fields = list(about["fields"])
    if field not in fields:
        raise ValueError(
            f"{path} has no field '{field}'; it has {listed(fields, most=8) or 'none'}: name one "
            "with --region-field"
        )
    if not about["crs"]:
        raise ValueError(f"{path} does not say its CRS; save it again with one (.prj)")
    by_name: dict[str, list[Any]] = {}
    for wkb, name in zip(found, values[fields.index(field)], strict=True):
        if name is None or str(name).strip() in ("", ALL):
            raise ValueError(f"{path} has a region named '{name}'; '{ALL}' is taken, none is empty")
        shape = shapely.from_wkb(wkb) if wkb is not None else None
        if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon"):
            kind = "nothing" if shape is None else shape.geom_type
            raise ValueError(f"{path}: the region {name} is {kind}, not a polygon")
        by_name.setdefault(str(name).strip(), []).append(shapely.make_valid(shape))
    if not by_name:
        raise ValueError(f"{path} holds no regions")
    crs = str(about["crs"])
    united = {name: shapely.union_all(shapes) for name, shapes in sorted(by_name.items())}
    return [
        Region(name, shapely.to_wkb(shape), crs, area_km2(shape, crs))
        for name, shape in united.items()
    ]


def wide(regions: Sequence[Region]) -> list[str]:
    """Regions of which a part is wider than half the Earth, and not a ring around it, in lines.

    From 179 to -179 a straight edge goes the long way around.
    """
    import shapely

    lines = []
    for region in regions:
        whole = turn(region.crs)
        if whole is None:
            continue
        left, _, right, _ = shapely.bounds(shapely.get_parts(shapely.from_wkb(region.wkb))).T
        width = float((right - left).max()) / whole * 360
        if 180 < width < 360 - 1e-6:
            lines.append(
                f"the region {region.name} is {width:.0f} degrees wide; if it is to cross the date "
                "line, let its longitudes go on, as from 179 to 181, or split it there"
            )
    return lines


def _check(path: Path) -> None:
    """A file that is what its name says: other drivers of GDAL open further files."""
    begins = KINDS.get(path.suffix.lower())
    if begins is None:
        raise ValueError(f"{path} is no file of regions; give one of {', '.join(KINDS)}")
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give a file of regions")
    with path.open("rb") as file:
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if not head.startswith(begins):
        raise ValueError(f"{path} does not begin like a {path.suffix} file; get the file again")


def area_km2(shape: Any, crs: str) -> float:
    """On the ellipsoid: planar in Lambert's equal-area projection around the region."""
    import shapely

    x, y = shape.centroid.x, shape.centroid.y
    longitude, latitude = transformer(crs, "OGC:CRS84").transform(x, y)
    equal = f"+proj=laea +lat_0={latitude} +lon_0={longitude} +datum=WGS84 +units=m"
    left, low, right, high = shape.bounds
    fine = shapely.segmentize(shape, max(right - left, high - low) / 1000)
    return float(_carried(fine, crs, equal).area) / 1e6


@dataclass(frozen=True, eq=False)
class Placed:
    """A region in the CRS of a scene."""

    name: str
    shape: Any


def placed(regions: Sequence[Region], layer: Layer) -> list[Placed]:
    """Those of the regions that touch the scene."""
    if not regions:
        return []
    import shapely

    found = []
    for region in regions:
        shape, pieces = shapely.from_wkb(region.wkb), []
        for box, shift in _boxes(layer, region.crs):
            piece = shapely.intersection(shape, box)
            if not piece.is_empty:
                left, low, right, high = box.bounds
                step = max(right - left, high - low) / _PARTS
                fine = _moved(shapely.segmentize(piece, step), -shift)
                there = _home(_carried(fine, region.crs, layer.grid.crs), layer)
                pieces.append(shapely.make_valid(there))
        if pieces:
            found.append(Placed(region.name, shapely.union_all(pieces)))
    return found


def mask(region: Placed, grid: Grid, window: Window) -> np.ndarray | None:
    """(h, w) bool: pixels whose centre lies in the region; None if there is none."""
    from rasterio.features import rasterize

    rows, columns = (part.stop - part.start for part in window)
    found = rasterize(
        [(region.shape, 1)], (rows, columns), transform=moved(grid, window), dtype="uint8"
    )
    return found.astype(bool) if found.any() else None


def _boxes(layer: Layer, crs: str) -> list[tuple[Any, float]]:
    """Boxes in the regions' CRS that hold the scene, and how far each is shifted.

    A longitude has many names: a region may call 170 W 190, and the scene may as well.
    """
    import shapely

    x, y = _corners(layer)
    across = transformer(layer.grid.crs, crs)
    left, low, right, high = across.transform_bounds(min(x), min(y), max(x), max(y), densify_pts=21)
    if not np.isfinite([left, low, right, high]).all():
        raise ValueError(f"{layer.path}: its place cannot be told in the CRS of the regions")
    whole = turn(crs)
    if whole is not None and left > right:  # it crosses the date line
        right += whole
    wide = 0.01 * max(high - low, right - left)
    shifts = (0.0,) if whole is None else (-whole, 0.0, whole)
    return [
        (shapely.box(left - wide + by, low - wide, right + wide + by, high + wide), by)
        for by in shifts
    ]


def _corners(layer: Layer) -> tuple[list[float], list[float]]:
    a, b, c, d, e, f = layer.grid.transform
    corners = [(col, row) for col in (0, layer.columns) for row in (0, layer.rows)]
    return (
        [a * column + b * row + c for column, row in corners],
        [d * column + e * row + f for column, row in corners],
    )


def _home(shape: Any, layer: Layer) -> Any:
    """A shape with the longitudes that the scene uses, if it is one in degrees."""
    whole = turn(layer.grid.crs)
    if whole is None:
        return shape
    import shapely

    x, _ = _corners(layer)
    middle, reach = (max(x) + min(x)) / 2, (max(x) - min(x)) * 0.52  # and what the boxes add

    def move(points: np.ndarray) -> np.ndarray:
        own = points[:, 0]
        near = np.abs(own - middle) <= reach
        points[:, 0] = np.where(near, own, around(own, middle, whole))
        return points

    return shapely.transform(shape, move)


def _moved(shape: Any, by: float) -> Any:
    import shapely

    return shapely.transform(shape, lambda points: np.add(points, (by, 0.0))) if by else shape


def _carried(shape: Any, source: str, target: str) -> Any:
    import shapely

    across = transformer(source, target)

    def move(points: np.ndarray) -> np.ndarray:
        return np.stack(across.transform(points[:, 0], points[:, 1]), axis=1)

    return shapely.transform(shape, move)


def _libraries() -> tuple[Any, Any]:
    try:
        import pyogrio
        import shapely
    except ImportError as error:
        raise ValueError(f"{missing('pyogrio', 'seaice')} ({error})") from None
    return pyogrio, shapely
