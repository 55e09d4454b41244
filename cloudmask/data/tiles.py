"""Where the tiles of a scene lie, and how to cut them out."""

from __future__ import annotations

import numpy as np


def grid(height: int, width: int, *, size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Top rows and left columns of the tiles of a (height, width) scene, as 1-D arrays of pixels.

    Tile (i, j) covers `rows[i] : rows[i] + size` and `cols[j] : cols[j] + size`. There are as many
    tiles as fit, and the grid they form is centred: what is left over is shared by both sides. A
    1200 x 1500 scene in tiles of 256 gives the 4 x 5 patches of the CloudMask benchmark, 88 rows
    and 110 columns from the border.
    """
    if size < 1 or stride < 1:
        raise ValueError(f"size {size} and stride {stride} must be at least 1 pixel")
    if height < size or width < size:
        raise ValueError(
            f"a scene of {height}x{width} pixels is smaller than one patch of {size}x{size}; "
            f"choose a patch size of at most {min(height, width)}"
        )
    return _corners(height, size, stride), _corners(width, size, stride)


def _corners(length: int, size: int, stride: int) -> np.ndarray:
    count = (length - size) // stride + 1
    margin = (length - ((count - 1) * stride + size)) // 2
    return margin + stride * np.arange(count)


def cut(array: np.ndarray, rows: np.ndarray, cols: np.ndarray, *, size: int) -> np.ndarray:
    """(H, W, ...) -> (len(rows) * len(cols), size, size, ...), row by row."""
    return np.stack([array[r : r + size, c : c + size] for r in rows for c in cols])
