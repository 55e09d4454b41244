"""A patch set opened, and its files held against its manifest."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloudmask.data.patchset.manifest import outside, read_manifest
from cloudmask.data.patchset.model import (
    FORMAT,
    MANIFEST,
    WORK_FOLDER,
    PatchFile,
    PatchSet,
    PatchSetError,
)
from cloudmask.files import sha256_of

_HEAD_BYTES = 2**20


def is_patchset(folder: Path) -> bool:
    """Whether prepare wrote this folder or is writing it."""
    if (folder / WORK_FOLDER).is_dir():
        return True
    try:
        with (folder / MANIFEST).open("rb") as file:
            # Its keys are sorted, and lists of files come late.
            return f'"format": "{FORMAT}"'.encode() in file.read(_HEAD_BYTES)
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
    check_files(patchset)
    return patchset


def check_files(patchset: PatchSet) -> None:
    """PatchSetError unless every file is there with its size."""
    problem = problem_of(patchset)
    if problem:
        raise PatchSetError(f"{problem}; run prepare again, or copy the patch set again")


def problem_of(patchset: PatchSet) -> str | None:
    """The first file that is not there with its size; the file system is asked once for each.

    Without paths as objects, which would take longer than asking.
    """
    top = f"{patchset.folder}/"
    for entry in patchset.files:
        try:
            found = os.lstat(top + entry.path)
        except OSError:
            found = None
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != entry.bytes:
            problem = _problem(patchset, entry, contents=False)
            if problem:
                return problem
    return None


def verify_files(patchset: PatchSet, files: Sequence[PatchFile], *, threads: int = 1) -> list[str]:
    """Problems of some files, found by their checksums, so that ranks can share the work.

    Checksums are taken outside of Python's lock, so threads of one process share it as well.
    """

    def look(entry: PatchFile) -> str | None:
        return _problem(patchset, entry, contents=True)

    with ThreadPoolExecutor(threads) as pool:
        return [problem for problem in pool.map(look, files) if problem]


def _problem(patchset: PatchSet, entry: PatchFile, *, contents: bool) -> str | None:
    """What is wrong with a file. The file system is asked once, unless the file is a link."""
    path = patchset.folder / entry.path
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            if not path.resolve().is_relative_to(patchset.folder.resolve()):
                return outside(patchset.folder / MANIFEST, entry.path)
            found = path.stat()
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is missing"
    if found.st_size != entry.bytes:
        return f"{path} has {found.st_size} bytes instead of {entry.bytes}"
    try:
        changed = contents and sha256_of(path) != entry.sha256
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return f"{path} has changed: its sha256 differs" if changed else None
