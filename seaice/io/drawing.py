"""Masks and class maps as people and programs save them: values or colours, and what is known.

Here alone is it decided what is transparent, what is nodata, and what a palette stands for. So a
mask means the same on a scene's own pixels and warped to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.files import parse_json
from cloudmask.metrics import UNKNOWN
from seaice.io import grid as grids
from seaice.io import raster
from seaice.io.grid import Grid
from seaice.io.reading import DATE_TAG, ImageError

ROWS = 1024
"""rows that are read together"""
CLASSES = "classes"
"""tags, as in masks of `cloudmask predict`"""
_MASK = "mask"  # the band of its GeoTIFFs that holds the classes


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a drawing."""

    values: np.ndarray
    """(n, h, W) as stored; red, green, blue of a palette; never alpha"""
    known: np.ndarray
    """(n, h, W) bool: not transparent, not nodata, not NaN"""
    reached: np.ndarray
    """(h, W) bool: what the drawing covers, as far as can be told"""


@dataclass(frozen=True, eq=False)
class Drawing:
    path: Path
    shape: tuple[int, int]
    grid: Grid | None
    classes: tuple[str, ...] | None
    """as a tag names them"""
    date: str | None
    dtype: np.dtype
    bands: tuple[int, ...]
    """numbers of those that hold values or colours: all but alpha, or the one named `mask`"""
    alpha: int | None
    """number of the band that is declared as such"""
    masked: bool
    """by a mask inside the file"""
    nodata: tuple[float | None, ...]
    """of each of `bands`"""
    palette: np.ndarray | None
    """(256, 4) uint8 of a PNG's indices; the values of a GeoTIFF mean something by themselves"""
    source: Any
    """the dataset of rasterio, or (H, W) classes of a NetCDF file"""

    @property
    def coloured(self) -> bool:
        """Whether the values are red, green and blue."""
        return self.palette is not None or (len(self.bands) == 3 and self.dtype == np.uint8)

    def read(self, rows: slice) -> Part:
        """These rows as they lie in the file."""
        if isinstance(self.source, np.ndarray):
            return self._part(self.source[None, rows], None)
        window = (rows.start, rows.stop), (0, self.shape[1])
        found = self.source.read(self._numbers(), window=window)
        absent = None
        if self.masked:
            absent = np.equal(self.source.read_masks(self.bands[0], window=window), 0)
        return self._part(found, absent)

    def warped(self, grid: Grid, rows: slice, columns: int) -> Part:
        """The nearest pixels for these rows of a grid that lies elsewhere."""
        import rasterio
        from rasterio.warp import Resampling, reproject

        source, place = self.source, {}
        if isinstance(source, np.ndarray):
            source, place = source[None], grids.placing(self.grid)
            place = {f"src_{key}": value for key, value in place.items()}
            place["src_nodata"] = self.nodata[0]
        else:
            source = rasterio.band(source, self._numbers())
        height = rows.stop - rows.start
        found = np.full((len(self._numbers()), height, columns), np.nan, np.float32)
        target = grids.placing(grid.from_row(rows.start))
        reproject(
            source,
            found,
            **place,
            **{f"dst_{key}": value for key, value in target.items()},
            dst_nodata=np.nan,
            resampling=Resampling.nearest,
        )
        # Then nothing tells what is not set from what is not covered.
        told = found[-1:] if self.alpha else found
        reached = np.any(~np.isnan(told), axis=0) if self.nodata[0] != 0 else None
        return self._part(found, None, reached)

    def _numbers(self) -> list[int]:
        return [*self.bands, *([self.alpha] if self.alpha else [])]

    def _part(
        self, found: np.ndarray, absent: np.ndarray | None, reached: np.ndarray | None = None
    ) -> Part:
        values = found[: len(self.bands)]
        known = np.ones(values.shape, bool)
        for band, nodata, where in zip(values, self.nodata, known, strict=True):
            if nodata is not None:
                where &= band != nodata
            if band.dtype.kind == "f":
                where &= ~np.isnan(band)
        if self.alpha:
            known &= found[-1] > 0  # nor is NaN
        if absent is not None:
            known &= ~absent
        if self.palette is not None:
            shown = self.palette[values[0]]
            values = np.moveaxis(shown[..., :3], -1, 0)
            known = np.repeat(known & (shown[..., 3] > 0), 3, axis=0)
        if reached is None:
            reached = np.ones(values.shape[1:], bool)
        return Part(values, known, reached)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Drawing]:
    """A PNG, a GeoTIFF or a mask .nc of `cloudmask predict`. ImageError, whatever is wrong.

    What the block raises becomes one, too: that of a damaged file, unless it is one already.
    """
    if path.suffix.lower() == ".nc":
        yield _of_netcdf(path)
        return
    with raster.opened(str(path.absolute()), str(path)) as image, raster.guarded(str(path)):
        yield _of_file(path, image.file)


def _of_netcdf(path: Path) -> Drawing:
    from cloudmask.predict.masks.netcdf import read_classes

    found = read_classes(path)
    grid = None
    if found.crs is not None and found.transform is not None:
        grid = grids.of_text(found.crs, found.transform)
    return Drawing(
        path=path,
        shape=found.mask.shape,
        grid=grid,
        classes=tuple(found.classes),
        date=found.start,
        dtype=found.mask.dtype,
        bands=(1,),
        alpha=None,
        masked=False,
        nodata=(UNKNOWN,),
        palette=None,
        source=found.mask,
    )


def _of_file(path: Path, file: Any) -> Drawing:
    tags, kinds = file.tags(), [_kind(file, number) for number in file.indexes]
    bands = tuple(number for number, kind in zip(file.indexes, kinds, strict=True) if kind)
    alpha = next((n for n, kind in zip(file.indexes, kinds, strict=True) if not kind), None)
    if file.descriptions[0] == _MASK:
        bands, alpha = (1,), None
    dtypes = {np.dtype(file.dtypes[number - 1]) for number in bands}
    if not dtypes or len(dtypes) > 1 or next(iter(dtypes)).kind not in "iuf":
        held = ", ".join(sorted(map(str, dtypes))) or "no"
        raise ImageError(f"{path} holds {held} values; needed are numbers of one kind")
    flags = {flag.name for flag in file.mask_flag_enums[bands[0] - 1]}
    return Drawing(
        path=path,
        shape=file.shape,
        grid=grids.of_file(file),
        classes=_names(tags[CLASSES]) if CLASSES in tags else None,
        date=tags.get(DATE_TAG),
        dtype=dtypes.pop(),
        bands=bands,
        alpha=alpha,
        masked="per_dataset" in flags and "alpha" not in flags,
        nodata=tuple(file.nodatavals[number - 1] for number in bands),
        palette=_palette(file) if kinds == ["palette"] and file.driver == "PNG" else None,
        source=file,
    )


def _kind(file: Any, number: int) -> str:
    """What a band is, by what the file declares; empty of alpha."""
    try:
        name = str(file.colorinterp[number - 1].name)
    except ValueError:  # one that rasterio has no name for
        return "undefined"
    return "" if name == "alpha" else name


def _names(text: str) -> tuple[str, ...]:
    try:
        return tuple(parse_json(text))
    except (TypeError, ValueError):
        return (text[:60],)


def _palette(file: Any) -> np.ndarray | None:
    """The colours of indices; None where they are shades of gray in their order."""
    colours = file.colormap(1)
    used = {0, 1, 2} & set(colours)
    for start in range(0, file.height, ROWS):
        window = (start, min(start + ROWS, file.height)), (0, file.width)
        counts = np.bincount(file.read(1, window=window).ravel(), minlength=256)
        used |= set(np.flatnonzero(counts).tolist())
    if all(colours.get(index, ())[:3] == (index,) * 3 for index in used):
        return None
    table = np.zeros((256, 4), np.uint8)
    for index, colour in colours.items():
        table[index] = colour
    return table
