"""The three grids of a Sentinel-3 SLSTR product: tie points, 500 m and 1 km; plain arithmetic."""

from __future__ import annotations

import numpy as np

_TIE_METRES = 16000  # between columns of the tie points; their rows are those of the 1 km grid


def interpolate_ties(
    ties: np.ndarray, columns: int, *, resolution: int, track_offset: float, tie_offset: float
) -> np.ndarray:
    """(H, tie columns) -> (H, columns): linear across the track, row by row; NaN outside.

    Columns count from the ground track, which is column `track_offset` of the image and
    `tie_offset` of the tie points; `resolution` is the image's, in metres.
    """
    place = (np.arange(columns) - track_offset) * (resolution / _TIE_METRES) + tie_offset
    left = np.clip(np.floor(place).astype(int), 0, ties.shape[1] - 2)
    share = place - left
    values = ties[:, left] * (1 - share) + ties[:, left + 1] * share
    values[:, (share < 0) | (share > 1)] = np.nan
    return values


def block_means(values: np.ndarray) -> np.ndarray:
    """(2H, 2W) -> (H, W): mean of the pixels of each 2 x 2 block that are not NaN.

    A block and the 1 km pixel of the same row and column start at the same place; what they see
    may lie up to half a pixel apart.
    """
    height, width = values.shape[0] // 2, values.shape[1] // 2
    total, count = np.zeros((height, width)), np.zeros((height, width), np.uint8)
    for row in (0, 1):
        for column in (0, 1):
            part = values[row::2, column::2]
            valid = ~np.isnan(part)
            np.add(total, part, out=total, where=valid)
            count += valid
    return np.divide(total, count, out=np.full((height, width), np.nan), where=count > 0)
