"""A picture as a GeoTIFF: red, green and blue, in tiles, on its grid, with its date."""

from __future__ import annotations

import numpy as np

from seaice.io import grid as grids
from seaice.io.grid import Grid
from seaice.io.reading import DATE_TAG


def encode(image: np.ndarray, grid: Grid, *, date: str) -> bytes:
    """(H, W, 3) uint8 -> a compressed GeoTIFF: the same image, the same bytes. ValueError.

    `date` is when it was acquired, UTC as ISO 8601.
    """
    from rasterio.io import MemoryFile

    height, width, count = image.shape
    layout = {"height": height, "width": width, "count": count, "dtype": "uint8"}
    form = {"tiled": True, "compress": "deflate", "interleave": "pixel", "photometric": "rgb"}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", **layout, **form, **grids.placing(grid)) as file:
            file.write(np.moveaxis(image, -1, 0))
            file.update_tags(**{DATE_TAG: date})
        return bytes(memory.getbuffer())
