"""Which scenes see the same ground, and what another scene has where this one lies.

Tiles of Sentinel-2 overlap by 10 km, in one UTM zone and across zones, and orbits cross. The
classes of the other scene are brought onto the grid of this one, nearest pixel, in the window of
the overlap alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seaice.io.grid import Grid
from seaice.series.layers import Layer, Read, Window

OUTSIDE = 254
"""where the other scene has no pixel"""
_NODES = 21
"""points along a side that a rectangle is carried over by"""
_MARGIN = 3
"""pixels around a window, for the curve of its sides between the points"""


@dataclass(frozen=True)
class Cap:
    """A circle on the sphere around a scene."""

    centre: tuple[float, float, float]
    radius: float
    """radians"""


def cap_of(layer: Layer) -> Cap | None:
    """The circle; None where the scene leaves the part of the Earth that its CRS covers."""
    x, y = _lattice(layer.grid, (slice(0, layer.rows), slice(0, layer.columns)))
    longitude, latitude = transformer(layer.grid.crs, "OGC:CRS84").transform(x, y)
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        return None
    east, north = np.radians(longitude), np.radians(latitude)
    points = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    middle = points.mean(axis=1)
    length = float(np.linalg.norm(middle))
    if length < 0.1:
        return None
    centre = middle / length
    radius = float(np.arccos(np.clip(centre @ points, -1, 1)).max())
    return Cap((float(centre[0]), float(centre[1]), float(centre[2])), radius)


def neighbours(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """Path -> those of the layers, in their order, that may lie on the same ground."""
    caps = [(layer, cap_of(layer)) for layer in layers]
    return {
        layer.path: [other for other, far in caps if other != layer and _near(cap, far)]
        for layer, cap in caps
    }


def _near(one: Cap | None, other: Cap | None) -> bool:
    if one is None or other is None:
        return True
    apart = math.acos(max(-1.0, min(1.0, float(np.dot(one.centre, other.centre)))))
    return apart <= 1.02 * (one.radius + other.radius)


def window_of(other: Layer, on: Layer, rows: slice) -> Window | None:
    """Rows and columns of `on`, among `rows`, in which the other scene may have pixels."""
    whole = slice(0, other.rows), slice(0, other.columns)
    return _carried(other.grid, whole, on.grid, (rows, slice(0, on.columns)))


def classes_at(other: Layer, read: Read, on: Layer, window: Window) -> np.ndarray:
    """(h, w) uint8: what the other scene has at the pixels of this window; OUTSIDE beyond it."""
    from rasterio.warp import Resampling, reproject

    found = np.full([part.stop - part.start for part in window], OUTSIDE, np.uint8)
    whole = slice(0, other.rows), slice(0, other.columns)
    there = _carried(on.grid, window, other.grid, whole)
    if there is None:
        return found
    reproject(
        read(*there),
        found,
        src_transform=moved(other.grid, there),
        src_crs=other.grid.crs,
        src_nodata=OUTSIDE,
        dst_transform=moved(on.grid, window),
        dst_crs=on.grid.crs,
        dst_nodata=OUTSIDE,
        resampling=Resampling.nearest,
    )
    return found


@functools.lru_cache(maxsize=256)
def transformer(source: str, target: str) -> Any:
    """Of (x, y) in one CRS to (x, y) in another; degrees are longitude, latitude."""
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)


def _carried(grid: Grid, window: Window, onto: Grid, within: Window) -> Window | None:
    """A window of one grid as the window of another that holds it; None outside `within`."""
    x, y = transformer(grid.crs, onto.crs).transform(*_lattice(grid, window))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return within
    columns, rows = _pixels(onto, *_beside(onto, within, x, y))
    parts = []
    for places, limits in ((rows, within[0]), (columns, within[1])):
        first = max(limits.start, math.floor(places.min()) - _MARGIN)
        last = min(limits.stop, math.ceil(places.max()) + _MARGIN)
        if first >= last:
            return None
        parts.append(slice(first, last))
    return parts[0], parts[1]


@functools.lru_cache(maxsize=256)
def turn(crs: str) -> float | None:
    """Once around the Earth in the units of a CRS of longitude and latitude; None for others."""
    from pyproj import CRS

    known = CRS.from_user_input(crs)
    return 2 * math.pi / known.axis_info[0].unit_conversion_factor if known.is_geographic else None


def around(x: np.ndarray, middle: float, whole: float) -> np.ndarray:
    """Longitudes as they are told within half a turn of this one: -179 is 181 around 180."""
    return x - whole * np.round((x - middle) / whole)


def _beside(
    grid: Grid, window: Window, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places as this grid tells them: its longitudes may go beyond 180."""
    whole = turn(grid.crs)
    if whole is None:
        return x, y
    middle = float(np.mean(_lattice(grid, window)[0]))
    return around(x, middle, whole), y


def _lattice(grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """x and y of points all over a window, its edges included."""
    a, b, c, d, e, f = grid.transform
    rows, columns = (np.linspace(part.start, part.stop, _NODES) for part in window)
    column, row = (part.ravel() for part in np.meshgrid(columns, rows))
    return a * column + b * row + c, d * column + e * row + f


def _pixels(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows at which points lie."""
    a, b, c, d, e, f = grid.transform
    size = a * e - b * d
    return (e * (x - c) - b * (y - f)) / size, (a * (y - f) - d * (x - c)) / size


def moved(grid: Grid, window: Window) -> Any:
    """The transform of a window, as rasterio has it."""
    from rasterio.transform import Affine

    a, b, c, d, e, f = grid.transform
    row, column = window[0].start, window[1].start
    return Affine(a, b, a * column + b * row + c, d, e, d * column + e * row + f)
