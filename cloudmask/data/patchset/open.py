"""A patch set opened, and its files held against its manifest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cloudmask.data.patchset.manifest import read_manifest
from cloudmask.data.patchset.model import (
    FORMAT,
    MANIFEST,
    WORK_FOLDER,
    FileEntry,
    PatchSet,
    PatchSetError,
)
from cloudmask.files import sha256_of


def is_patchset(folder: Path) -> bool:
    """Whether prepare wrote this folder or is writing it."""
    if (folder / WORK_FOLDER).is_dir():
        return True
    try:
        return f'"format": "{FORMAT}"'.encode() in (folder / MANIFEST).read_bytes()
    except OSError:
        return False


def open_patchset(folder: str | os.PathLike[str]) -> PatchSet:
    """The patch set in a folder that `prepare` wrote: channels, classes, splits, mean and std.

    Every file must be there with the size that the manifest tells; contents are not read
    (`verify_files` does that). Patches come from `PatchReader(patchset, "train")`, by number, as
    stored int16 with the scale and offset that give physical units. PatchSetError, a ValueError of
    one line, for a folder without a manifest, one of another format version, and missing or cut
    files.
    """
    patchset = read_manifest(Path(folder))
    for entry in patchset.files:
        problem = _problem(patchset.folder / entry.path, entry, contents=False)
        if problem:
            raise PatchSetError(f"{problem}; run prepare again, or copy the patch set again")
    return patchset


def verify_files(patchset: PatchSet, files: Sequence[FileEntry]) -> list[str]:
    """Problems of some files, found by their checksums, so that ranks can share the work."""
    found = (_problem(patchset.folder / entry.path, entry, contents=True) for entry in files)
    return [problem for problem in found if problem]


def _problem(path: Path, entry: FileEntry, *, contents: bool) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != entry.bytes:
        return f"{path} has {size} bytes instead of {entry.bytes}"
    try:
        changed = contents and sha256_of(path) != entry.sha256
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return f"{path} has changed: its sha256 differs" if changed else None
