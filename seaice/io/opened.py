"""A scene that is open: its picture row by row, its reflectance, its clouds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cloudmask import host
from seaice import missing
from seaice.io import nodata
from seaice.io.grid import Grid
from seaice.io.reading import BANDS, ImageError, Reading, Stretch

BLOCK_BYTES = 24 << 20
"""of raw values that are read at once, unless a block of the file holds more"""
_ROWS = 128  # that are worked on at once

Rows = Callable[[slice], np.ndarray]
"""rows of a scene -> (h, W) or (h, W, 3)"""


@dataclass(frozen=True, eq=False)
class Picture:
    """A scene as the colour rule takes it."""

    image: np.ndarray
    """(H, W, 3) uint8: red, green, blue"""
    missing: np.ndarray
    """(H, W) bool"""


@dataclass(frozen=True, eq=False)
class Colours:
    """Red, green and blue as they are stored."""

    read: Callable[[slice], tuple[np.ndarray, np.ndarray | None]]
    """rows -> (h, W, 3), and (h, W) bool where the file says that nothing was measured"""
    dtype: np.dtype
    stretches: Sequence[Stretch] | None
    """stored values that become 0 and 255, of each band; None for 8-bit ones"""
    declared: tuple[float, ...] = ()
    """stored values that stand for no measurement"""
    lossy: bool = False
    """whether edges are smeared, as JPEG does"""
    block_rows: int = 1
    """rows that the file holds together"""


@dataclass(frozen=True, eq=False)
class Opened:
    """One scene. What cannot be read of it is an ImageError."""

    name: str
    shape: tuple[int, int]
    grid: Grid | None
    colours: Colours
    reading: Reading
    date: str | None = None
    """when it was acquired, UTC as ISO 8601"""
    tile: str | None = None
    """of the military grid, such as 04CEU, of a Sentinel-2 product"""
    told: tuple[str, ...] = ()
    """what was decided, in lines for people"""
    bands: Mapping[str, Rows] = field(default_factory=dict)
    """red, green, blue, nir, swir as (h, W) float32 reflectance, NaN = missing"""
    no_bands: str = "it tells no reflectance"
    """why others are not there"""
    cloud: Rows | None = None

    def picture(self) -> Picture:
        """8-bit red, green and blue, and what is missing, read in bands of rows."""
        height, width = self.shape
        needed, there = (len(BANDS) + 1) * height * width, host.memory_bytes()
        if needed > there:
            raise ImageError(
                f"{self.name} has {height} x {width} pixels, which take {needed / 2**30:.0f} GiB "
                f"of the {there / 2**30:.0f} there are; cut it into parts"
            )
        colours, rule = self.colours, self.reading.nodata
        image = np.empty((height, width, len(BANDS)), np.uint8)
        kinds = missing.framed(self.shape)
        tables = _tables(colours)
        for rows in self._blocks():
            raw, absent = colours.read(rows)
            for start in range(0, len(raw), _ROWS):
                part = slice(start, start + _ROWS)
                found = nodata.kinds(
                    raw[part],
                    None if absent is None else absent[part],
                    rule,
                    declared=colours.declared,
                    lossy=colours.lossy,
                )
                place = slice(rows.start + start, rows.start + start + len(found))
                image[place] = _to_bytes(raw[part], colours, tables)
                if colours.stretches is not None:
                    image[place][(found == missing.ABSENT) | (found == missing.BLACK)] = 0
                kinds[1:-1, 1:-1][place] = found
            del raw, absent
        reach = nodata.reach(colours.dtype, rule, lossy=colours.lossy)
        return Picture(image, missing.settle(kinds, reach=reach))

    def reflectance(self, names: Sequence[str], rows: slice) -> np.ndarray:
        """(h, W, n) float32 of red, green, blue, nir, swir; NaN = missing. ValueError without."""
        lacking = [name for name in names if name not in self.bands]
        if lacking:
            raise ImageError(
                f"{self.name} has no reflectance of {', '.join(lacking)}: {self.no_bands}"
            )
        return np.stack([self.bands[name](rows) for name in names], axis=-1)

    def clouds(self, rows: slice) -> np.ndarray | None:
        """(h, W) bool: cloud, cirrus and their shadow, as the product says; None if it does not."""
        return None if self.cloud is None else self.cloud(rows)

    def _blocks(self) -> Iterator[slice]:
        height, width = self.shape
        row_bytes = width * len(BANDS) * self.colours.dtype.itemsize
        fitting = max(1, BLOCK_BYTES // row_bytes)
        together = min(self.colours.block_rows, height)
        step = fitting // together * together or together
        for top in range(0, height, step):
            yield slice(top, min(top + step, height))


def _tables(colours: Colours) -> list[np.ndarray] | None:
    """What each of 65536 values becomes, by band: as exact as arithmetic, and faster."""
    if colours.stretches is None or colours.dtype.kind not in "iu" or colours.dtype.itemsize > 2:
        return None
    # Signed values are looked up by the same bits.
    unsigned = np.arange(1 << 8 * colours.dtype.itemsize).astype(f"u{colours.dtype.itemsize}")
    return [_scaled(unsigned.view(colours.dtype), stretch) for stretch in colours.stretches]


def _to_bytes(raw: np.ndarray, colours: Colours, tables: list[np.ndarray] | None) -> np.ndarray:
    """(h, W, 3) as stored -> uint8; what is measured is 1 at least."""
    if colours.stretches is None:
        return raw
    result = np.empty(raw.shape, np.uint8)
    for band, stretch in enumerate(colours.stretches):
        if tables is not None:
            result[..., band] = tables[band][raw[..., band].view(f"u{raw.dtype.itemsize}")]
        else:
            result[..., band] = _scaled(raw[..., band], stretch)
    return result


def _scaled(values: np.ndarray, stretch: Stretch) -> np.ndarray:
    low, high = stretch
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.clip(np.rint(np.nan_to_num(scaled)), 1, 255).astype(np.uint8)
