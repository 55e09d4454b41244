"""The formats of mask files, each known by its suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloudmask.files import open_hdf5
from cloudmask.predict.masks.geotiff import read_geotiff, read_tags, write_geotiff
from cloudmask.predict.masks.hdf5 import attributes_in, read_hdf5, write_hdf5
from cloudmask.predict.masks.netcdf import read_netcdf, write_netcdf
from cloudmask.predict.masks.values import SceneMask

FORMATS = {
    "netcdf": (".nc", write_netcdf),
    "hdf5": (".h5", write_hdf5),
    "geotiff": (".tif", write_geotiff),
}
SUFFIXES = tuple(suffix for suffix, _ in FORMATS.values())


def path_of(folder: Path, name: str, kind: str) -> Path:
    """Where the mask of a scene of this name goes."""
    return folder / f"{name}{FORMATS[kind][0]}"


def write_mask(path: Path, mask: SceneMask) -> None:
    """One file, whole or not at all, of the kind that its suffix says. OSError."""
    dict(FORMATS.values())[path.suffix](path, mask)


def read_mask(path: Path, *, classes: Sequence[str]) -> SceneMask:
    """A file of `write_mask`, or of another program in the benchmark's layout.

    Such a file may not name its classes: then they are `classes`. ValueError.
    """
    if path.suffix == ".nc":
        return read_netcdf(path)
    if path.suffix == ".tif":
        return read_geotiff(path)
    return read_hdf5(path, classes=classes)


def attributes_of(path: Path) -> dict[str, str]:
    """What a mask says of its making. ValueError for a file that is no mask."""
    if path.suffix == ".tif":
        return read_tags(path)
    try:
        with open_hdf5(path) as file:
            return attributes_in(file)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
