"""Masks that are laid over scenes: land, clouds. From a folder of masks, a raster or outlines.

A mask is set where it is not zero; one of `cloudmask predict` where it says cloud.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cloudmask.files import parse_json, sha256_of
from cloudmask.metrics import UNKNOWN
from seaice.io import classmap, outlines
from seaice.io import grid as grids
from seaice.io.grid import Grid

SUFFIXES = (".png", ".tif", ".tiff", ".nc")
_RASTERS = (".tif", ".tiff")
_BAND = 1024  # rows that are warped together
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
        path = _of_scene(Path(self.path), name)
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
    with classmap.opened(path) as file:
        grid = grids.of_file(file)
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
        found = _of_scene(path, name)
        if found is None:
            return Laid(None, f"{source.flag} has no mask of it")
        return _lay_own(source, found, grid, shape)
    if grid is None:
        return Laid(None, f"it does not say where it lies, so {source.flag} cannot be laid over it")
    if source.kind == "raster":
        return _warped(source, path, grid, shape)
    mask = outlines.burn(path, grid, shape)
    return Laid(mask) if mask is not None else Laid(None, f"{source.flag} does not reach it")


def _of_scene(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _lay_own(source: MaskSource, path: Path, grid: Grid | None, shape: tuple[int, int]) -> Laid:
    """A mask that was made for this scene: pixel for pixel, or warped where it lies elsewhere."""
    if path.suffix == ".nc":
        from cloudmask.predict.masks.netcdf import read_classes

        found = read_classes(path)
        mask = _is_set(found.mask[None], found.classes, UNKNOWN)
    else:
        with classmap.opened(path) as file:
            own = grids.of_file(file)
            if own is not None and grid is not None and not own.lies_on(grid, shape):
                return _warped(source, path, grid, shape)
            mask = _is_set(_bands(file), _classes(file), file.nodata)
    if mask.shape != shape:
        raise ValueError(
            f"{source.flag}: {path} has {mask.shape[0]} x {mask.shape[1]} pixels, the scene "
            f"{shape[0]} x {shape[1]}"
        )
    return Laid(mask)


def _warped(source: MaskSource, path: Path, grid: Grid, shape: tuple[int, int]) -> Laid:
    """The nearest pixels of a raster that lies anywhere, in bands of rows."""
    import rasterio
    from rasterio.warp import Resampling, reproject

    mask, outside = np.zeros(shape, bool), 0
    with classmap.opened(path) as file:
        nodata, classes = file.nodata, _classes(file)
        for start in range(0, shape[0], _BAND):
            band = np.full((min(_BAND, shape[0] - start), shape[1]), np.nan, np.float32)
            place = grids.placing(grid.from_row(start))
            reproject(
                rasterio.band(file, 1),
                band,
                **{f"dst_{key}": value for key, value in place.items()},
                dst_nodata=np.nan,
                resampling=Resampling.nearest,
            )
            nowhere = np.isnan(band)
            outside += int(np.count_nonzero(nowhere))
            mask[start : start + len(band)] = _is_set(band[None], classes, nodata) & ~nowhere
    if nodata == 0 or not outside:  # then nothing tells what is not set from what is not covered
        return Laid(mask)
    if outside == mask.size:
        return Laid(None, f"{source.flag} does not reach it")
    return Laid(mask, f"{source.flag} reaches {1 - outside / mask.size:.1%} of it")


def _bands(file: Any) -> np.ndarray:
    """(bands, H, W): the colours of a palette, or what the file has."""
    bands = file.read(1)[None] if len(file.descriptions) and file.descriptions[0] else file.read()
    if not classmap.has_palette(file):
        return bands
    table = np.zeros((256, 4), np.uint8)
    for index, colour in file.colormap(1).items():
        table[index] = colour
    return np.moveaxis(table[bands[0]], -1, 0)


def _classes(file: Any) -> tuple[str, ...]:
    try:
        return tuple(parse_json(file.tags().get("classes", "[]")))
    except (TypeError, ValueError):
        return ()


def _is_set(bands: np.ndarray, classes: tuple[str, ...], nodata: float | None) -> np.ndarray:
    """(bands, H, W) -> (H, W) bool. The last of two or four bands is alpha."""
    alpha = bands[-1] if len(bands) in (2, 4) else None
    shown = bands[: len(bands) - 1] if alpha is not None else bands
    if _CLOUD in classes:
        return shown[0] == classes.index(_CLOUD)
    found = np.zeros(shown.shape[1:], bool)
    for band in shown:
        found |= (band != 0) if nodata is None else (band != 0) & (band != nodata)
    return found if alpha is None else found & (alpha != 0)


def _sha256_of_all(path: Path) -> str:
    """Of a vector file, and of what lies beside a shapefile and belongs to it."""
    if path.suffix.lower() != ".shp":
        return sha256_of(path)
    parts = sorted(p for p in path.parent.iterdir() if p.stem == path.stem and p.is_file())
    return hashlib.sha256("".join(sha256_of(part) for part in parts).encode()).hexdigest()
