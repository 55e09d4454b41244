"""The one way to write a file here: whole or not at all. The one way to lock one, and HDF5.

A file is written beside its place under a name of its own, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

BUSY = (errno.EAGAIN, errno.EACCES)
"""what flock and its emulations answer when another process holds the lock; on file systems that
have no locks (NFS, Lustre) it fails otherwise"""
_DAY_SECONDS = 24 * 3600
_HEAP = b"GCOL\x01"  # how a global heap of HDF5 begins
TRIES = 5
"""to lock a new file, of which another process knows only if it just cleans up"""
_CHUNK = 2**18  # bytes: of what is looked through at once, the CPU's cache holds all


@contextlib.contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A new file that gets the name `path` when the block ends, unless something is raised.

    The folder is made if need be. While it is written the file is locked, so that nobody takes it
    for a leftover (see remove_leftovers). `durable=False` leaves the flushing to the system.
    OSError names `path`.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    whole, tries = False, 0
    while not whole:
        tries += 1
        # Processes of several hosts may write to one folder, so a process number is not enough.
        aside = path.with_name(f".{_shortened(path.name)}.{uuid.uuid4().hex[:12]}.part")
        try:
            with naming(path), aside.open("x+b") as file:
                held = _try_lock(file.fileno())
                gone = held and not os.fstat(file.fileno()).st_nlink
                # A clean-up has it or had it before us; or there are no locks to be had here.
                if gone or (held is False and tries < TRIES):
                    continue
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                aside.replace(path)
                whole = True
        finally:
            aside.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def _shortened(name: str) -> str:
    """So that a name of any length that a file may have leaves room for more."""
    return name.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore")


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write all of a file, to the disk, or nothing. OSError names it."""
    with whole_file(path) as file:
        file.write(content)


def write_json(path: Path, value: object) -> None:
    """A value as an indented JSON file; NaN and infinity become null, which JSON has."""
    text = json.dumps(finite(value), indent=1, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds. ValueError for what is none, also where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def finite(value: Any) -> Any:
    """The same value with every NaN and infinity replaced by None, and paths by text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def remove_leftovers(folder: Path) -> None:
    """Delete below a folder what killed processes were writing; a living one holds its lock.

    Where there are no locks, what has not changed for a day is taken for a leftover.
    """
    for path in folder.rglob(".*.part"):
        if path.is_symlink() or not path.is_file():
            continue  # of somebody else
        with contextlib.suppress(OSError), path.open("rb") as file:
            free = _try_lock(file.fileno())
            if free is None:
                free = time.time() - os.fstat(file.fileno()).st_mtime > _DAY_SECONDS
            if free:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Checksum of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_hdf5(path: Path) -> Any:
    """An h5py.File to read from, without HDF5's locks. OSError.

    cloudmask/__init__.py has switched them off for whoever opens files, unless HDF5 was loaded
    before it: here they are off in any case.
    """
    import h5py

    return h5py.File(path, "r", locking=False)


def check_heaps(path: Path) -> None:
    """OSError for a file in which HDF5 would go round for ever: all of it is looked through.

    A global heap holds texts and references: pieces, each with its size, to the heap's end. HDF5
    1.14 steps from one to the next without asking whether a size is 0. Damage of this kind is rare,
    and checksums find it; without them nothing else would.
    """
    buffer = bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        handle, place = file.fileno(), 0
        # Read, not mapped: where a mapped page cannot be had, the process is killed.
        while (count := os.preadv(handle, [buffer], place)) >= len(_HEAP):
            found = buffer.find(_HEAP, 0, count)
            while found >= 0:
                _check_heap(handle, place + found, os.fstat(handle).st_size)
                found = buffer.find(_HEAP, found + 1, count)
            place += count - len(_HEAP) + 1  # a heap may begin at the end of what was read


def _check_heap(handle: int, start: int, length: int) -> None:
    end = min(start + int.from_bytes(os.pread(handle, 8, start + 8), "little"), length)
    place = start + 16
    while place + 16 <= end and len(piece := os.pread(handle, 16, place)) == 16:
        number, size = (int.from_bytes(part, "little") for part in (piece[:2], piece[8:]))
        if number == 0 and size == 0:
            raise OSError("a heap in it has no end")
        place += size if number == 0 else 16 + -(-size // 8) * 8


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock of this file, which is made if need be, for the length of the block.

    BlockingIOError if another process holds it. A file system without locks excludes nobody: there
    the block begins with False.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        held = _try_lock(handle)
        if held is False:
            raise BlockingIOError(errno.EAGAIN, "another process holds the lock", str(path))
        yield held is True
    finally:
        os.close(handle)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file's name to an OSError without one: read(), write() and fsync() do not say it.

    Of a rename, it is the name that was to be given.
    """
    try:
        yield
    except OSError as error:
        name = error.filename2 or error.filename or str(path)
        raise OSError(error.errno, error.strerror, name) from None


def _try_lock(handle: int) -> bool | None:
    """Whether the lock was had: not if another process holds it; None where there are none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in BUSY else None
    return True
