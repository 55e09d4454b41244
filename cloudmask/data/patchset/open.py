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
        problem = _size_problem(patchset.folder, entry)
        if problem:
            raise PatchSetError(f"{problem}; run prepare again, or copy the patch set again")
    return patchset


def _size_problem(folder: Path, entry: FileEntry) -> str | None:
    path = folder / entry.path
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    return None if size == entry.bytes else f"{path} has {size} bytes instead of {entry.bytes}"


def verify_files(patchset: PatchSet, files: Sequence[FileEntry]) -> list[str]:
    """Problems of some files, found by their checksums, so that ranks can share the work."""
    problems = []
    for entry in files:
        problem = _size_problem(patchset.folder, entry)
        if problem is None:
            try:
                found = sha256_of(patchset.folder / entry.path)
            except OSError as error:
                problem = f"{patchset.folder / entry.path} cannot be read ({error.strerror})"
            else:
                if found != entry.sha256:
                    problem = f"{patchset.folder / entry.path} has changed: its sha256 differs"
        if problem:
            problems.append(problem)
    return problems
