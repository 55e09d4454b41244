"""Polygons of a vector file, such as coastlines, burnt into the pixels of a scene.

A pixel is inside where its centre is. Only what lies about the scene is read. It is cut to there
before it is reprojected: an edge of a thousand kilometres is straight in one projection alone, and
what lies on the other side of the Earth has no place in some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.errors import missing
from seaice.io import grid as grids
from seaice.io.grid import Grid

SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".fgb")
_POLYGON, _SEVERAL = 3, (4, 5, 6, 7)  # kinds of geometries, in shapely
_MARGIN = 0.02  # of a scene's box on either side
_STEPS = 2048  # of the longest edge of a box

_Box = tuple[float, float, float, float]


def check(path: Path) -> str:
    """The CRS of a file. ValueError unless it holds one layer of polygons, and says where."""
    info = _info(path)
    if info["crs"] is None:
        raise ValueError(
            f"{path} has no CRS; write it into the file (ogr2ogr -a_srs EPSG:4326 OUT {path.name})"
        )
    if "Polygon" not in str(info["geometry_type"]) and info["geometry_type"] != "Unknown":
        raise ValueError(
            f"{path} holds {info['geometry_type']}, which encloses nothing; polygons are needed"
        )
    return str(info["crs"])


def burn(path: Path, grid: Grid, shape: tuple[int, int]) -> np.ndarray | None:
    """(H, W) bool: centres of pixels that lie in a polygon; None where the file ends before.

    ValueError for a file that cannot be read.
    """
    from rasterio import features

    info, parts, reached = _info(path), [], False
    for box, shift in _boxes(grid, shape, info):
        reached = True
        parts.append(_moved(_cut(_read(path, box), box, path), shift, box))
    if not reached:
        return None
    polygons = _reprojected(np.concatenate(parts), info["crs"], grid, path)
    if not polygons.size:
        return np.zeros(shape, bool)
    transform = grids.placing(grid)["transform"]
    return features.rasterize(
        polygons, out_shape=shape, transform=transform, all_touched=False, dtype="uint8"
    ).view(bool)


def _info(path: Path) -> dict[str, Any]:
    pyogrio = _load()
    try:
        layers = pyogrio.list_layers(path)
        if len(layers) != 1:
            names = ", ".join(sorted(str(name) for name, _ in layers)) or "none"
            raise ValueError(f"{path} has the layers {names}; give a file of one")
        return pyogrio.read_info(path, force_total_bounds=True)
    except _errors() as error:
        raise _unreadable(path, error) from None


def _read(path: Path, box: _Box) -> np.ndarray:
    """Geometries that touch a box."""
    import shapely

    try:
        _, _, geometries, _ = _load().raw.read(path, columns=[], bbox=box, force_2d=True)
        found = shapely.from_wkb(geometries)
    except (*_errors(), shapely.errors.ShapelyError) as error:
        raise _unreadable(path, error) from None
    return found[~(shapely.is_missing(found) | shapely.is_empty(found))]


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as a vector file ({' '.join(str(error).split())})")


def _boxes(grid: Grid, shape: tuple[int, int], info: dict[str, Any]) -> list[tuple[_Box, float]]:
    """Where the scene lies in the file's CRS, with a margin, as far as the file reaches there.

    Longitudes may count on beyond 180, in the file or in the scene: the second number says how far
    a box was shifted to meet them.
    """
    from pyproj import CRS, Transformer

    if info["total_bounds"] is None:  # no features, or none that lies anywhere
        return []
    west, south, east, north = map(float, info["total_bounds"])
    ends = west, south, east, north
    a, b, c, d, e, f = grid.transform
    corners = [(column, row) for row in (0, shape[0]) for column in (0, shape[1])]
    x = [a * column + b * row + c for column, row in corners]
    y = [d * column + e * row + f for column, row in corners]
    crs = CRS.from_user_input(info["crs"])
    to_file = Transformer.from_crs(CRS.from_user_input(grid.crs), crs, always_xy=True)
    bounds = to_file.transform_bounds(min(x), min(y), max(x), max(y), densify_pts=101)
    if not np.isfinite(bounds).all():
        return [(_wider(ends), 0.0)]
    left, bottom, right, top = bounds
    if right < left:
        right += 360
    shifts = (-360.0, 0.0, 360.0) if crs.is_geographic else (0.0,)
    boxes = [(_wider((left + shift, bottom, right + shift, top)), shift) for shift in shifts]
    return [(box, shift) for box, shift in boxes if _meet(box, ends)]


def _wider(box: _Box) -> _Box:
    left, bottom, right, top = box
    across, along = _MARGIN * (right - left), _MARGIN * (top - bottom)
    return left - across, bottom - along, right + across, top + along


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _cut(geometries: np.ndarray, box: _Box, path: Path) -> np.ndarray:
    """Polygons in the box. An outline that crosses itself is mended first: it would be cut wrongly,
    in silence. Each by itself, since where two overlap is land."""
    import shapely

    found = _polygons(geometries)
    crossed = ~shapely.is_valid(found)
    try:
        mended = _polygons(shapely.make_valid(found[crossed]))
        found = np.concatenate([found[~crossed], mended])
        return _polygons(shapely.clip_by_rect(found, *box))
    except shapely.errors.GEOSException as error:
        raise _unreadable(path, error) from None


def _polygons(geometries: np.ndarray) -> np.ndarray:
    """Of collections, and of what they hold; points and lines enclose nothing."""
    import shapely

    found = geometries
    while np.isin(kinds := shapely.get_type_id(found), _SEVERAL).any():
        found = shapely.get_parts(found)
    return found[kinds == _POLYGON]


def _moved(polygons: np.ndarray, shift: float, box: _Box) -> np.ndarray:
    """Shifted back, and no edge longer than a 2048th of the box."""
    import shapely

    longest = max(box[2] - box[0], box[3] - box[1]) / _STEPS
    moved = shapely.transform(polygons, lambda points: points - (shift, 0)) if shift else polygons
    return shapely.segmentize(moved, longest)


def _reprojected(polygons: np.ndarray, crs: str, grid: Grid, path: Path) -> np.ndarray:
    import shapely
    from pyproj import CRS, Transformer

    one, other = CRS.from_user_input(crs), CRS.from_user_input(grid.crs)
    to_scene = Transformer.from_crs(one, other, always_xy=True)

    def moved(points: np.ndarray) -> np.ndarray:
        return np.stack(to_scene.transform(points[:, 0], points[:, 1]), axis=1)

    found = shapely.transform(polygons, moved)
    if not np.isfinite(shapely.get_coordinates(found)).all():
        raise ValueError(f"{path} has places that do not exist in the CRS {grid.crs[:60]!r}")
    return found


def _errors() -> tuple[type[Exception], ...]:
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError

    return DataSourceError, DataLayerError, FeatureError, GeometryError


def _load() -> Any:
    try:
        import pyogrio
        import shapely  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{missing('pyogrio and shapely', 'seaice')} ({error})") from None
    return pyogrio
