"""Masks that are laid over scenes: land, clouds. From a folder of masks, a raster or outlines.

A mask is set where it is not zero; one of `cloudmask predict` where it says cloud.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cloudmask.files import sha256_of
from seaice.io import drawing, lookup, outlines
from seaice.io import grid as grids
from seaice.io.drawing import Drawing, Part
from seaice.io.grid import Grid
from seaice.io.reading import ImageError

_RASTERS = (".tif", ".tiff")
_CLOUD = "cloud"


@dataclass(frozen=True)
class MaskSource:
    """Where the masks of all scenes come from."""

    flag: str
    """the option that named it"""
    path: str
    kind: Literal["folder", "raster", "vector"]
    sha256: str
    """of the content; empty of a folder, where each mask counts by itself"""

    def content(self, name: str) -> str:
        """Changes with all that a scene's mask depends on."""
        if self.kind != "folder":
            return self.sha256
        path = lookup.find(Path(self.path), name)
        try:
            return sha256_of(path) if path is not None else ""
        except OSError:
            return "not readable"  # which `lay` tells of


@dataclass(frozen=True, eq=False)
class Laid:
    """What lies over a scene: a mask, or in `told` why there is none; a part may have none."""

    mask: np.ndarray | None
    """(H, W) bool"""
    told: str = ""


def source_of(flag: str, path: Path) -> MaskSource:
    """A folder, a raster or a vector file, looked at. ValueError, OSError."""
    place = str(path.absolute())
    if path.is_dir():
        return MaskSource(flag, place, "folder", "")
    suffix = path.suffix.lower()
    if not path.exists():
        raise ValueError(f"{flag} {path} does not exist")
    if suffix not in (*_RASTERS, *outlines.SUFFIXES):
        kinds = ", ".join((*_RASTERS, *outlines.SUFFIXES))
        raise ValueError(f"{flag} {path} is neither a folder of masks nor one of {kinds}")
    if suffix in outlines.SUFFIXES:
        outlines.check(path)
        return MaskSource(flag, place, "vector", _sha256_of_all(path))
    with drawing.opened(path) as drawn:
        grid = drawn.grid
    if grid is None:
        raise ValueError(
            f"{flag} {path} does not say where it lies; one raster for all scenes needs a CRS and "
            "a transform, or give a folder with a mask NAME.png for each"
        )
    return MaskSource(flag, place, "raster", sha256_of(path))


def lay(source: MaskSource, name: str, grid: Grid | None, shape: tuple[int, int]) -> Laid:
    """The mask of one scene. ValueError for one that cannot be read or does not fit."""
    path = Path(source.path)
    if source.kind == "folder":
        found = lookup.find(path, name)
        if found is None:
            return Laid(None, f"{source.flag} has no mask of it ({lookup.WANTED})")
        return _lay_own(source, found, grid, shape)
    if grid is None:
        return Laid(None, f"it does not say where it lies, so {source.flag} cannot be laid over it")
    if source.kind == "raster":
        with drawing.opened(path) as drawn:
            return _warped(source, drawn, grid, shape)
    if not grids.are_joined(outlines.check(path), grid.crs):
        return Laid(None, _no_way(source))
    mask = outlines.burn(path, grid, shape)
    return Laid(mask) if mask is not None else Laid(None, f"{source.flag} does not reach it")


def _lay_own(source: MaskSource, path: Path, grid: Grid | None, shape: tuple[int, int]) -> Laid:
    """A mask that was made for this scene: pixel for pixel, or warped where it lies elsewhere."""
    with drawing.opened(path) as drawn:
        own = drawn.grid
        if own is not None and grid is not None and not own.lies_on(grid, shape):
            return _warped(source, drawn, grid, shape)
        if drawn.shape != shape:
            raise ImageError(
                f"{source.flag}: {path} has {drawn.shape[0]} x {drawn.shape[1]} pixels, the scene "
                f"{shape[0]} x {shape[1]}"
            )
        mask = np.empty(shape, bool)
        for rows in _rows(shape):
            mask[rows] = _is_set(drawn.read(rows), drawn)
        return Laid(mask)


def _warped(source: MaskSource, drawn: Drawing, grid: Grid, shape: tuple[int, int]) -> Laid:
    """The nearest pixels of a raster that lies anywhere, in bands of rows."""
    if drawn.grid is None or not grids.are_joined(drawn.grid.crs, grid.crs):
        return Laid(None, _no_way(source))
    mask, reached = np.empty(shape, bool), 0
    for rows in _rows(shape):
        part = drawn.warped(grid, rows, shape[1])
        reached += int(np.count_nonzero(part.reached))
        mask[rows] = _is_set(part, drawn)
    if not reached:
        return Laid(None, f"{source.flag} does not reach it")
    share = reached / mask.size
    return Laid(mask, f"{source.flag} reaches {share:.1%} of it" if share < 1 else "")


def _rows(shape: tuple[int, int]) -> Iterator[slice]:
    for start in range(0, shape[0], drawing.ROWS):
        yield slice(start, min(start + drawing.ROWS, shape[0]))


def _is_set(part: Part, drawn: Drawing) -> np.ndarray:
    """(h, W) bool: cloud by the classes that the file names, or not zero in any of its bands."""
    if drawn.classes is not None and _CLOUD in drawn.classes:
        return part.known[0] & (part.values[0] == drawn.classes.index(_CLOUD))
    return (part.known & (part.values != 0)).any(axis=0)


def _no_way(source: MaskSource) -> str:
    return (
        f"no way leads from the CRS of {source.flag} to that of the scene, so it cannot be laid "
        "over it"
    )


def _sha256_of_all(path: Path) -> str:
    """Of a vector file, and of what lies beside a shapefile and belongs to it."""
    if path.suffix.lower() != ".shp":
        return sha256_of(path)
    parts = sorted(p for p in path.parent.iterdir() if p.stem == path.stem and p.is_file())
    return hashlib.sha256("".join(sha256_of(part) for part in parts).encode()).hexdigest()
