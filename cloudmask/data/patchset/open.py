"""A patch set opened: the contract between preparing scenes and training on them.

A patch set is a folder: one HDF5 file per scene, `<split>/<scene>.h5` (see files.py), and
`manifest.json`, which is written last. No manifest, no patch set. The manifest holds nothing of
the machine or the day, so the same scenes and options give the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cloudmask.data.patchset.model import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    WORK_FOLDER,
    FileEntry,
    PatchSet,
    PatchSetError,
    Split,
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
    """Read the manifest and see that every file is there with its size. PatchSetError."""
    patchset = read_manifest(folder)
    for split in patchset.splits.values():
        for entry in split.files:
            problem = _size_problem(patchset.folder, entry)
            if problem:
                raise PatchSetError(f"{problem}; run prepare again, or copy the patch set again")
    return patchset


def read_manifest(folder: str | os.PathLike[str]) -> PatchSet:
    """Like `open_patchset`, without a look at the files."""
    folder = Path(folder)
    if not folder.is_dir():
        raise PatchSetError(f"{folder} is not a folder; prepare writes patch sets")
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise PatchSetError(
            f"{folder} holds no {MANIFEST}: it is not a patch set, or prepare has not finished; "
            "run the same prepare command again"
        ) from None
    try:
        values = json.loads(content)
        found, version = values["format"], values["format_version"]
    except (ValueError, KeyError, TypeError):
        raise PatchSetError(f"{path} is damaged or of another program; prepare again") from None
    if found != FORMAT:
        raise PatchSetError(f"{path} describes '{found}', not a patch set; choose another folder")
    if version != FORMAT_VERSION:
        raise PatchSetError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}; "
            "prepare again"
        )
    try:
        patchset = _from_manifest(folder, values, hashlib.sha256(content).hexdigest())
        _check_paths(path, patchset)
    except PatchSetError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PatchSetError(f"{path} is damaged ({error!r}); prepare again") from None
    return patchset


def _from_manifest(folder: Path, values: dict[str, Any], fingerprint: str) -> PatchSet:
    std = np.array(values["std"], np.float32)
    return PatchSet(
        folder=folder,
        channels=tuple(values["channels"]),
        classes=tuple(values["classes"]),
        patch_size=int(values["patch_size"]),
        stride=int(values["stride"]),
        label_source=values["label_source"],
        mean=np.array(values["mean"], np.float32),
        std=np.where(std > 0, std, np.float32(1)),
        splits={
            name: Split(
                name=name,
                files=tuple(FileEntry.from_json(entry) for entry in split["files"]),
                patches=int(split["patches"]),
                class_pixels=tuple(split["class_pixels"]),
                class_fractions=tuple(split["class_fractions"]),
            )
            for name, split in values["splits"].items()
        },
        fingerprint=fingerprint,
        options=dict(values["options"]),
    )


def _check_paths(manifest: Path, patchset: PatchSet) -> None:
    """A manifest may come from anywhere: it must not lead out of its folder."""
    top = patchset.folder.resolve()
    seen = set()
    for split in patchset.splits.values():
        if split.patches != sum(entry.patches for entry in split.files):
            raise PatchSetError(f"{manifest} miscounts split '{split.name}'; prepare again")
        for entry in split.files:
            path = PurePosixPath(entry.path)
            inside = (top / path).resolve().is_relative_to(top)
            if path.is_absolute() or ".." in path.parts or not inside or entry.path in seen:
                raise PatchSetError(
                    f"{manifest} lists {entry.path}, which lies outside of the patch set or is "
                    "listed twice; prepare again"
                )
            seen.add(entry.path)


def _size_problem(folder: Path, entry: FileEntry) -> str | None:
    path = folder / entry.path
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    return None if size == entry.bytes else f"{path} has {size} bytes instead of {entry.bytes}"


def verify(folder: Path, *, files: Sequence[FileEntry] | None = None) -> list[str]:
    """Problems of a patch set's files (default: all of them), found by their checksums."""
    patchset = read_manifest(folder)
    everything = [entry for split in patchset.splits.values() for entry in split.files]
    return verify_files(patchset, everything if files is None else files)


def verify_files(patchset: PatchSet, entries: Sequence[FileEntry]) -> list[str]:
    """Problems of some files, so that ranks can share the work."""
    problems = []
    for entry in entries:
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
