"""Where the pixels of a scene lie on the ground: a CRS and six numbers, as files tell them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def of_file(file: Any) -> Grid | None:
    """The grid of an opened rasterio dataset; None without a CRS, or with control points alone."""
    from rasterio.errors import CRSError

    a, b, c, d, e, f = transform = tuple(float(value) for value in file.transform)[:6]
    if not file.crs or transform == (1, 0, 0, 0, 1, 0) or a * e == b * d:
        return None
    try:
        # One that is only like a numbered CRS is another one.
        number = file.crs.to_epsg(confidence_threshold=100)
        crs = f"EPSG:{number}" if number else file.crs.to_wkt(version="WKT2_2019")
    except CRSError:
        return None
    return Grid(crs, (a, b, c, d, e, f))


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
