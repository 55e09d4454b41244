"""Class maps in folders: what `label` wrote, what `cloudmask predict` wrote, or masks by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cloudmask.metrics import UNKNOWN
from seaice import opencv
from seaice.colour import CLASSES

LABELS, PICTURES, RECORDS = "labels", "pictures", "records"
"""folders of what `label` writes"""
SUFFIXES = (".tif", ".png", ".nc")


def find(folder: Path, name: str) -> Path | None:
    """The class map of a scene: FOLDER/labels/NAME or FOLDER/NAME, as .tif, .png or .nc."""
    for top in (folder / LABELS, folder):
        for suffix in SUFFIXES:
            path = top / f"{name}{suffix}"
            if path.is_file():
                return path
    return None


def names(folder: Path) -> list[str]:
    """Scenes that a folder has class maps of, sorted. ValueError without any."""
    for top in (folder / LABELS, folder):
        found = [p.stem for p in top.glob("*") if p.suffix in SUFFIXES]
        if found:
            return sorted(set(found))
    raise ValueError(f"{folder} holds no class maps (NAME.tif, NAME.png or NAME.nc)")


def of_scene(folder: Path, name: str) -> np.ndarray:
    """(H, W) uint8 classes of a scene that the folder has a class map of. ValueError."""
    path = find(folder, name)
    if path is None:
        raise ValueError(f"{folder} holds no class map of the scene {name}")
    return read(path)


def read(path: Path) -> np.ndarray:
    """(H, W) uint8 classes, 255 = unknown. ValueError for anything else."""
    if path.suffix == ".nc":
        from cloudmask.predict.masks import read_netcdf

        mask = read_netcdf(path)
        if mask.classes != CLASSES:
            raise ValueError(f"{path} has the classes {mask.classes}; needed are {CLASSES}")
        return mask.mask
    cv2 = opencv.load()
    found = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim != 2 or found.dtype != np.uint8:
        raise ValueError(f"{path} is no class map: one 8-bit band is needed")
    wrong = (found >= len(CLASSES)) & (found != UNKNOWN)
    if wrong.any():
        raise ValueError(
            f"{path} holds the value {found[wrong][0]}; classes are 0 to {len(CLASSES) - 1}, "
            f"{UNKNOWN} is unknown"
        )
    return found
