"""A scene as an archive has it, and what tells whether it has changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cloudmask.data import kinds
from cloudmask.data.formats import remote
from cloudmask.data.formats.eopf import ROOT_FILES, files_of_store
from cloudmask.data.formats.safe.product import MEMBERS
from cloudmask.data.formats.safe.sources import Folder
from cloudmask.data.kinds import MANIFEST_NAME, scene_name
from cloudmask.data.place import Place, Url
from cloudmask.data.scene import SceneError


@dataclass(frozen=True)
class Entry:
    """A scene of an archive as it was found there; nothing of it has been read."""

    path: Place
    name: str
    """of the scene, and so of its mask and of its patch file"""
    bytes: int
    changed: int
    """nanoseconds since 1970, of the last change of any of its files"""


def entry_of(path: Path) -> Entry:
    """A single scene."""
    return Entry(path, scene_name(path), *size_and_date(path))


def size_and_date(place: Place) -> tuple[int, int]:
    """Bytes of a scene, and nanoseconds of its last change, of a product by the members that are
    read; zeros for what cannot be looked at, as it will not be read either."""
    name = place.name.lower()
    try:
        if isinstance(place, Url):
            return _size_and_date_there(place)
        if name.endswith(".zarr"):
            found = list(files_of_store(place, MEMBERS))
        else:
            files: Iterable[Path] = [place]
            if name.endswith(kinds.PRODUCT_SUFFIX):
                product = Folder(place)
                files = (product.folder / m for m in MEMBERS if m in product.held)
            found = [os.stat(file) for file in files]  # noqa: PTH116 (counted by a test)
    except (OSError, SceneError):
        return 0, 0
    return sum(f.st_size for f in found), max((f.st_mtime_ns for f in found), default=0)


def _size_and_date_there(url: Url) -> tuple[int, int]:
    """Of the one file that tells of a product: few questions, as each takes a while. OSError."""
    name = url.name.lower()
    if name.endswith(".zarr"):
        for member in ROOT_FILES:
            with contextlib.suppress(FileNotFoundError):
                return remote.size_and_date(url / member)
    return remote.size_and_date(url / MANIFEST_NAME if name.endswith(kinds.PRODUCT_SUFFIX) else url)
