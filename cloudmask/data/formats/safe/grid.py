"""The grids of a Sentinel-3 SLSTR product: tie points, 500 m and 1 km, nadir and oblique.

Plain arithmetic. All grids lie on the same quasi-Cartesian plane along the ground track; columns
count from the track (`track_offset`), rows from the start of the orbit (`start_offset`).
"""

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


def interpolate_places(
    latitude: np.ndarray,
    longitude: np.ndarray,
    columns: int,
    *,
    resolution: int,
    track_offset: float,
    tie_offset: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(H, tie columns) degrees each -> (H, columns) latitude and longitude, -180 to 180.

    Linear between points in space, as degrees jump at the antimeridian and crowd at the poles; over
    16 km the chord strays by centimetres from the arc.
    """
    phi, lam = np.radians(latitude.astype(float)), np.radians(longitude.astype(float))
    axes = (np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi))
    x, y, z = (
        interpolate_ties(
            axis, columns, resolution=resolution, track_offset=track_offset, tie_offset=tie_offset
        )
        for axis in axes
    )
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def placed(values: np.ndarray, shape: tuple[int, int], *, row: int, column: int) -> np.ndarray:
    """(h, w) -> `shape` float32 with the first value at `row` and `column`; NaN where none comes.

    What would lie outside is cut off; `row` and `column` may be negative.
    """
    result = np.full(shape, np.nan, np.float32)
    targets, sources = [], []
    for start, size, full in zip((row, column), values.shape, shape, strict=True):
        first, last = min(max(start, 0), full), min(max(start + size, 0), full)
        targets.append(slice(first, last))
        sources.append(slice(first - start, last - start))
    result[tuple(targets)] = values[tuple(sources)]
    return result


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
