"""Where the tiles of a scene lie, and how to cover a scene with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Window:
    """A stretch of one axis that is computed, and the part of it that is kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def cover(length: int, *, tile: int, margin: int, align: int) -> list[Window]:
    """Windows of at most `tile` pixels that together keep each of `length` pixels once.

    A kept pixel is at least `margin` from a cut, the ends of the axis being none. Starts are
    multiples of `align`, as are length, tile and margin. ValueError for a tile too small to keep
    anything.
    """
    if any(value % align for value in (length, tile, margin)):
        raise ValueError(f"length {length}, tile {tile}, margin {margin}: not multiples of {align}")
    if length <= tile:
        return [Window(0, length, 0, length)]
    step = tile - 2 * margin
    if step < align:
        raise ValueError(
            f"a tile of {tile} pixels with {margin} to drop on each side keeps nothing; "
            f"use --tile {2 * margin + align} or more"
        )
    # As few as cover the axis, and then spread out evenly.
    count = math.ceil((length - 2 * margin) / step)
    room = (length - tile) // align
    starts = [align * (index * room // (count - 1)) for index in range(count)]
    starts[-1] = length - tile
    cuts = [0, *(start + margin for start in starts[1:]), length]
    return [
        Window(start, start + tile, cuts[index], cuts[index + 1])
        for index, start in enumerate(starts)
    ]
