"""How much ground a pixel covers, whatever the projection: on the ellipsoid of its CRS.

The corners of a small cross around a pixel are taken to longitude and latitude by pyproj and on to
points in space. The cross product of its arms is the area: there is no case of its own for
degrees, feet, a pole or the date line, nor for Web Mercator, whose formulas are those of a sphere
and whose coordinates are of an ellipsoid. It is worked out at nodes of a lattice and interpolated
between them. The nodes are at most 32 pixels and about 4 km apart. So the error stays below 1e-5
of the area (tests/test_seaice_ground.py measures it against geodesic polygons).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cloudmask.cli.errors import missing
from seaice.colour import CLASSES
from seaice.io.grid import Grid

UNKNOWN_AREA = "unknown"
_NODE_PIXELS, _NODE_METRES = 32, 4_000.0
_BAND = 256  # rows that are looked at together
_LARGEST = 1e250  # of a pixel: however many there are, their area is a number

_Places = Callable[[np.ndarray, np.ndarray], np.ndarray]


class NoAreaError(ValueError):
    """Why a grid tells nothing of areas, in one line."""


def check_pixel(flag: str, size: float | None) -> None:
    """ValueError for a size of pixels that gives no areas."""
    if size is not None and not (size > 0 and 0 < size * size < _LARGEST):
        raise ValueError(f"{flag} {size} must be above 0, and finite")


def class_areas(label: np.ndarray, grid: Grid) -> dict[str, float]:
    """(H, W) uint8 classes -> km2 of each class by its name, and of `unknown`. NoAreaError."""
    total = np.zeros(256)
    areas = _Areas(grid, label.shape)
    for start in range(0, len(label), _BAND):
        part = label[start : start + _BAND]
        km2 = areas.rows(start, start + len(part))
        total += np.bincount(part.ravel(), weights=km2.ravel(), minlength=256)
    by_class = dict(zip(CLASSES, total.tolist(), strict=False))
    return by_class | {UNKNOWN_AREA: float(total[len(CLASSES) :].sum())}


def pixel_km2(grid: Grid, rows: slice, columns: int) -> np.ndarray:
    """(h, W) float32: km2 of each pixel of these rows; 0 beyond the edge of the Earth.

    NoAreaError for a CRS that is unknown or does not tell of places on the Earth.
    """
    return _Areas(grid, (rows.stop, columns)).rows(rows.start or 0, rows.stop)


class _Areas:
    """The lattice of a scene."""

    def __init__(self, grid: Grid, shape: tuple[int, ...]) -> None:
        self.grid, self.places, self.height, self.width = grid, _places(grid.crs), *shape
        middle = np.array([(self.height - 1) / 2]), np.array([(self.width - 1) / 2])
        metres = np.sqrt(self._at(*middle, 0.5)[0, 0] * 1e6)
        far = _NODE_PIXELS * metres > _NODE_METRES
        self.step = max(1, int(_NODE_METRES / metres)) if far else _NODE_PIXELS
        columns = np.arange(self.width)
        self.nodes = np.arange(0, self.width + self.step - 1, self.step, dtype=float)
        self.left = np.minimum(columns // self.step, max(0, len(self.nodes) - 2))
        self.share = ((columns - self.nodes[self.left]) / self.step).astype(np.float32)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """(h, W) float32 km2."""
        step = self.step
        nodes = np.arange(start // step, -(-(stop - 1) // step) + 1) * float(step)
        found = np.nan_to_num(self._at(nodes, self.nodes, step / 2)).astype(np.float32)
        rows = np.arange(start, stop)
        above = np.minimum(rows // step - start // step, max(0, len(nodes) - 2))
        below = np.minimum(above + 1, len(nodes) - 1)
        share = ((rows - nodes[above]) / step).astype(np.float32)[:, None]
        lines = found[above] * (1 - share) + found[below] * share
        right = np.minimum(self.left + 1, len(self.nodes) - 1)
        result = lines[:, self.left]
        result += (lines[:, right] - result) * self.share
        return result

    def _at(self, rows: np.ndarray, columns: np.ndarray, reach: float) -> np.ndarray:
        """(h,) and (w,) of pixel centres -> (h, w) km2 of a pixel there; NaN beyond the Earth."""
        a, b, c, d, e, f = self.grid.transform
        row, column = np.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")

        def point(down: float, right: float) -> np.ndarray:
            y, x = row + down, column + right
            return self.places(a * x + b * y + c, d * x + e * y + f)

        across = point(0, reach) - point(0, -reach)
        along = point(reach, 0) - point(-reach, 0)
        return np.linalg.norm(np.cross(across, along), axis=-1) / (2 * reach) ** 2 / 1e6


def _places(crs: str) -> _Places:
    """From coordinates of a CRS to points in space, (..., 3) metres; NaN beyond the Earth."""
    try:
        from pyproj import CRS, Transformer
        from pyproj.exceptions import CRSError, ProjError
    except ImportError as error:
        raise ValueError(f"{missing('pyproj', 'seaice')} ({error})") from None
    try:
        known = _flat(CRS.from_user_input(crs))
        base = known.source_crs if known.is_derived else known
        if base is None or not base.is_geographic or base.ellipsoid is None:
            raise NoAreaError(f"its CRS ({known.type_name} {known.name}) is no place on the Earth")
        to_base = Transformer.from_crs(known, base, always_xy=True) if base != known else None
        radians = base.axis_info[0].unit_conversion_factor
        flattening = 1 / base.ellipsoid.inverse_flattening if _is_flat(base) else 0.0
        return _in_space(to_base, radians, base.ellipsoid.semi_major_metre, flattening)
    except (CRSError, ProjError) as error:
        problem = " ".join(str(error).split())
        raise NoAreaError(f"its CRS {crs[:60]!r} is not understood ({problem})") from None


def _flat(crs: Any) -> Any:
    """Without heights, and without a way to another datum."""
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    if crs.is_bound:
        crs = crs.source_crs
    return crs.to_2d()


def _is_flat(base: Any) -> bool:
    return bool(base.ellipsoid.inverse_flattening)  # 0 stands for a sphere


def _in_space(to_base: Any, radians: float, radius: float, flattening: float) -> _Places:
    """Geodetic to geocentric coordinates (Snyder 1987, p. 12: the radius of the prime vertical)."""
    squared = flattening * (2 - flattening)  # of the eccentricity

    def points(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if to_base is not None:
            x, y = to_base.transform(x, y)
        x, y = (np.where(np.isfinite(value), value, np.nan) * radians for value in (x, y))
        vertical = radius / np.sqrt(1 - squared * np.sin(y) ** 2)
        outward = vertical * np.cos(y)
        return np.stack(
            [outward * np.cos(x), outward * np.sin(x), vertical * (1 - squared) * np.sin(y)], -1
        )

    return points
