"""A scene through one network: as few tiles as memory allows, stitched so that no seam exists.

A tile keeps only pixels whose whole receptive field it has seen, and starts on the grid of the
network's pooling; so the stitched scene is what the scene at once would give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from cloudmask.data.scene import Image
from cloudmask.data.tiles import Window, cover

Forward = Callable[[np.ndarray], np.ndarray]
"""(1, h, w, C) physical units -> (h, w, K) probabilities"""


def receptive_margin(levels: int) -> int:
    """Pixels at a cut that may differ from the whole scene, rounded up to the pooling grid.

    Two 3x3 convolutions reach 2 pixels of their level, on the way down and again on the way up;
    each pooling adds the offset of a pixel in its block.
    """
    down = 2 * (2**levels - 1)
    up = 2 * (2 ** (levels - 1) - 1)
    blocks = 2 ** (levels - 1) - 1
    align = 2 ** (levels - 1)
    return math.ceil((down + up + blocks) / align) * align


def predict_image(
    forward: Forward, image: Image, *, levels: int, tile: int, margin: int | None = None
) -> np.ndarray:
    """(H, W, C) physical units -> (H, W, K) float32 probabilities, computed in tiles.

    Any H and W: the scene is filled up with missing pixels to the pooling grid.
    """
    height, width, _ = image.shape
    result: np.ndarray | None = None
    for rows, band in predict_bands(forward, image, levels=levels, tile=tile, margin=margin):
        if len(band) == height:
            return band
        if result is None:
            result = np.empty((height, width, band.shape[-1]), np.float32)
        result[rows] = band
    assert result is not None
    return result


def predict_bands(
    forward: Forward, image: Image, *, levels: int, tile: int, margin: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """The same, band by band from the top: rows, and their (h, W, K) float32 probabilities."""
    height, width, _ = image.shape
    align = 2 ** (levels - 1)
    margin = receptive_margin(levels) if margin is None else margin
    tile = max(align, tile // align * align)
    rows = cover(height + -height % align, tile=tile, margin=margin, align=align)
    cols = cover(width + -width % align, tile=tile, margin=margin, align=align)
    for row in rows:
        band: np.ndarray | None = None
        for col in cols:
            part = forward(_cut(image, row, col))
            if band is None:
                shape = row.keep_stop - row.keep_start, cols[-1].stop, part.shape[-1]
                band = np.empty(shape, np.float32)
            band[:, col.keep_start : col.keep_stop] = part[
                row.keep_start - row.start : row.keep_stop - row.start,
                col.keep_start - col.start : col.keep_stop - col.start,
            ]
        assert band is not None
        kept = slice(row.keep_start, min(row.keep_stop, height))
        if kept.start < height:
            yield kept, band[: kept.stop - kept.start, :width]


def _cut(image: Image, row: Window, col: Window) -> np.ndarray:
    """(1, h, w, C) of a window, with missing pixels where it reaches beyond the scene."""
    part = image[row.start : row.stop, col.start : col.stop]
    below, beside = row.stop - row.start - part.shape[0], col.stop - col.start - part.shape[1]
    if below or beside:
        part = np.pad(part, [(0, below), (0, beside), (0, 0)], constant_values=np.nan)
    return part[None]
