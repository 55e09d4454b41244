"""Which kinds of pixels a band of rows holds, by what the file declares and by --nodata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seaice.io.reading import Nodata
from seaice.missing import ABSENT, BLACK, MEASURED, SOFT

RIM, RIM_PIXELS = 2, 2
"""what resampling leaves at the edge of nothing: how much, and how far"""
COLLAR, COLLAR_PIXELS = 16, 16
"""the same of JPEG, which draws an edge all over its blocks; of its colours they are 16 x 16.

Beside another fill than black this would take snow: beside 255 it took 15 columns and more of
values of 236 to 255. RIM takes none, and leaves as many pixels of the fill as 2 columns have."""


def kinds(
    raw: np.ndarray,
    absent: np.ndarray | None,
    nodata: Nodata,
    *,
    declared: Sequence[float],
    lossy: bool,
) -> np.ndarray:
    """(h, W, 3) as stored, (h, W) bool -> (h, W) uint8: BLACK, MEASURED, ABSENT, SOFT.

    What is `absent`, of a `declared` value or no finite number is missing whatever --nodata says.
    """
    found = np.full(raw.shape[:2], MEASURED, np.uint8)
    whole = raw.dtype.kind in "iu"
    fills = [*declared, *(_fills(nodata))]
    if whole and nodata != "none":
        for fill in fills:
            near = COLLAR if lossy and not fill else RIM
            found[_all_within(raw, fill, near)] = SOFT
    if nodata in ("border", "zero"):
        # Deeper than 8 bits nothing measured is 0 in all bands: Sentinel-2 keeps it for no data,
        # unless the file says that something else stands for it.
        deep = whole and raw.dtype.itemsize > 1 and not declared
        anywhere = nodata == "zero" or deep
        found[_all_within(raw, 0, 0)] = ABSENT if anywhere else BLACK
    elif nodata != "none":
        found[_all_within(raw, float(nodata), 0)] = ABSENT
    for value in declared:
        # 0, and any value of 8 bits, may be measured in one band alone; others stand for nothing.
        alone = value != 0 and raw.dtype.itemsize > 1
        found[(raw == value).any(axis=2) if alone else _all_within(raw, value, 0)] = ABSENT
    if not whole:
        found[~np.isfinite(raw).all(axis=2)] = ABSENT
    if absent is not None:
        found[absent] = ABSENT
    return found


def reach(dtype: np.dtype, nodata: Nodata, *, lossy: bool) -> int:
    """How many pixels a soft edge may be wide."""
    if nodata == "none" or dtype.kind not in "iu":
        return 0
    return COLLAR_PIXELS if lossy else RIM_PIXELS


def _fills(nodata: Nodata) -> list[float]:
    return [0.0] if nodata in ("border", "zero") else [] if nodata == "none" else [float(nodata)]


def _all_within(raw: np.ndarray, value: float, tolerance: int) -> np.ndarray:
    """(h, W, 3) -> (h, W) bool: all three at most so far from the value."""
    low, high = value - tolerance, value + tolerance
    found = None
    for band in range(raw.shape[2]):
        one = raw[..., band]
        inside = one == value if not tolerance else (one >= low) & (one <= high)
        found = inside if found is None else found & inside
    assert found is not None
    return found
