"""What lies in an archive: scenes of every kind, found below folders, each name once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudmask.data.patchset.open import is_patchset

HDF_SUFFIXES = (".hdf", ".h5", ".hdf5")
PRODUCT_SUFFIX = ".sen3"  # of a folder, in any case
_PREFIXES = ("S3A", "S3B")
_PRODUCTS = tuple(f"S3{satellite}_SL_1_RBT_" for satellite in "ABCD")
"""an archive keeps those of other instruments beside them, which are no scenes"""


@dataclass(frozen=True)
class Entry:
    """A scene of an archive as it was found there; nothing of it has been read."""

    path: Path
    name: str
    """of the scene, and so of its mask and of its patch file"""
    bytes: int
    changed: int
    """nanoseconds since 1970, of the last change of any of its files"""


def find_scenes(paths: Sequence[Path]) -> list[Entry]:
    """Scenes among and below `paths`, sorted by name whatever the file system does.

    Call it on one rank and send the list: an archive may grow while it is read.

    Folders are searched for S3A*.hdf, S3B*.hdf (.h5, .hdf5), S3?_SL_1_RBT*.SEN3 and *.npz, links
    included; what is named is taken if its suffix is known. ValueError for a path that does not
    exist, for two scenes of the same name, and if nothing is found.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += [path] if is_product(path) else _search(path)
        elif not path.exists():
            raise ValueError(f"{path} does not exist; give scene files or folders that hold them")
        elif path.suffix.lower() not in (*HDF_SUFFIXES, ".npz"):
            raise ValueError(f"{path} is no scene: expected .npz or {', '.join(HDF_SUFFIXES)}")
        else:
            found.append(path)
    if not found:
        under = ", ".join(map(str, paths))
        kinds = "S3A*.hdf, S3B*.hdf, *.SEN3 or *.npz"
        raise ValueError(f"no scenes found under {under}; expected {kinds}")
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(scene_name(path), path)
        if other.resolve() != path.resolve():
            raise ValueError(
                f"two scenes are named {scene_name(path)}: {other} and {path}; remove or rename one"
            )
    return [entry_of(by_name[name]) for name in sorted(by_name)]


def entry_of(path: Path) -> Entry:
    """A scene that is known to be there. OSError."""
    return Entry(path, scene_name(path), *_size_and_date(path))


def scene_name(path: Path) -> str:
    """The name of the scene that a file or folder holds."""
    return path.stem


def is_product(path: Path) -> bool:
    """Whether this is the folder of a Sentinel-3 product, going by its name."""
    return path.suffix.lower() == PRODUCT_SUFFIX


def _search(top: Path) -> list[Path]:
    """Scenes below a folder. Patch sets are passed over: their files bear the names of scenes."""
    found, seen = [], set()
    for folder, subfolders, files in os.walk(top, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen or is_patchset(Path(folder)):
            subfolders.clear()
            continue
        seen.add(place)
        found += [Path(folder, name) for name in files if _is_scene(name)]
        found += [Path(folder, name) for name in subfolders if name.startswith(_PRODUCTS)]
        subfolders[:] = [name for name in subfolders if not is_product(Path(name))]
    return found


def _is_scene(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix == ".npz" or (suffix in HDF_SUFFIXES and name.startswith(_PREFIXES))


def _size_and_date(path: Path) -> tuple[int, int]:
    """Bytes of a scene, and nanoseconds of its last change; of all files of a product folder."""
    files = [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    found = [file.stat() for file in files]
    return sum(f.st_size for f in found), max((f.st_mtime_ns for f in found), default=0)
