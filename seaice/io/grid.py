"""Where the pixels of a scene lie on the ground: a CRS and six numbers, as files tell them."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_ALIKE = 0.05  # of a pixel
Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Grid:
    """The same as in `cloudmask.data.scene.Scene`. Without one, a scene has no place."""

    crs: str
    """`EPSG:n` where it has a number, else its WKT"""
    transform: Transform
    """a, b, c, d, e, f: x = a * column + b * row + c, y = d * column + e * row + f, with column
    and row 0 at the upper left corner of the first pixel"""

    def from_row(self, row: int) -> Grid:
        """Of the scene without the rows above this one."""
        a, b, c, d, e, f = self.transform
        return Grid(self.crs, (a, b, c + b * row, d, e, f + e * row))

    def lies_on(self, other: Grid, shape: tuple[int, int]) -> bool:
        """Whether the pixels of a scene lie on pixels, to a twentieth of one.

        Files tell the same CRS in different words: then its places are compared.
        """
        rows, columns = shape
        row, column = np.array([0, 0, rows, rows]), np.array([0, columns, 0, columns])
        mine, theirs = self._at(row, column), other._at(row, column)
        if self.crs != other.crs:
            mine = _moved(mine, self.crs, other.crs)
        a, b, _, d, e, _ = other.transform
        apart = np.hypot(*np.subtract(mine, theirs)).max()
        return bool(apart <= _ALIKE * math.sqrt(abs(a * e - b * d)))

    def _at(self, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f


def _moved(
    places: tuple[np.ndarray, np.ndarray], crs: str, other: str
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of one CRS in another; NaN where there are none."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform

    with contextlib.suppress(CPLE_BaseError, RasterioError, ValueError):
        x, y = transform(crs, other, *places)
        return np.asarray(x), np.asarray(y)
    return np.full(4, np.nan), np.full(4, np.nan)


def are_joined(crs: str, other: str) -> bool:
    """Whether a way leads from one CRS to the other: none from a building site or the Moon."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError, ProjError

    try:
        Transformer.from_crs(CRS.from_user_input(crs), CRS.from_user_input(other))
    except (CRSError, ProjError):
        return False
    return True


def of_file(file: Any) -> Grid | None:
    """The grid of an opened rasterio dataset; None without a CRS, or with control points alone."""
    from rasterio.errors import CRSError

    a, b, c, d, e, f = transform = tuple(float(value) for value in file.transform)[:6]
    if not file.crs or transform == (1, 0, 0, 0, 1, 0) or a * e == b * d:
        return None
    try:
        return Grid(_text(file.crs), (a, b, c, d, e, f))
    except CRSError:
        return None


def of_text(crs: str, transform: Transform) -> Grid:
    """The grid of a CRS in any words; one that nobody understands stays as it is."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        return Grid(_text(CRS.from_user_input(crs)), transform)
    except CRSError:
        return Grid(crs, transform)


def _text(crs: Any) -> str:
    """Of a CRS of rasterio. One that is only like a numbered CRS is another one."""
    number = crs.to_epsg(confidence_threshold=100)
    return f"EPSG:{number}" if number else crs.to_wkt(version="WKT2_2019")


def placing(grid: Grid | None) -> dict[str, Any]:
    """What rasterio wants to know of a new file's place. ValueError for a CRS that cannot be."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
    from rasterio.transform import Affine

    if grid is None:
        return {}
    try:
        return {"crs": CRS.from_user_input(grid.crs), "transform": Affine(*grid.transform)}
    except CRSError as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"the CRS {grid.crs[:60]!r} is not understood ({problem})") from None
