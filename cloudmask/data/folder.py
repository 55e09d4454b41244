"""The folder of a patch set: what its parts are called, and how a file gets into it."""

from __future__ import annotations

import os
from pathlib import Path

FORMAT = "cloudmask patch set"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WORK_FOLDER = ".prepare"
"""files while they are written, and notes of what is done"""


def is_patchset(folder: Path) -> bool:
    """Whether prepare wrote this folder or is writing it."""
    if (folder / WORK_FOLDER).is_dir():
        return True
    try:
        return f'"format": "{FORMAT}"'.encode() in (folder / MANIFEST).read_bytes()
    except OSError:
        return False


def write_whole(folder: Path, path: str, content: bytes | memoryview) -> None:
    """Write `folder / path` aside, flush it to disk, then rename it: all or nothing. OSError."""
    # A name of its own for each process: one may linger after its mpirun was killed.
    aside = folder / WORK_FOLDER / f"{Path(path).name}.{os.getpid()}.part"
    aside.parent.mkdir(parents=True, exist_ok=True)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        aside.unlink(missing_ok=True)  # on a full disk it would stand in the way
        # write() and fsync() do not say which file they failed for
        raise OSError(error.errno, error.strerror, str(folder / path)) from None
    aside.replace(folder / path)


def remove_leftovers(folder: Path) -> None:
    """Files that were being written when an earlier run was killed."""
    for path in (folder / WORK_FOLDER).glob("*.part"):
        path.unlink(missing_ok=True)
