"""A patch set that rank 0 reads and checks, and hands to the other ranks in a short message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cloudmask.data.patchset.index import read_index
from cloudmask.data.patchset.message import pack, unpack
from cloudmask.data.patchset.model import PatchSet
from cloudmask.data.patchset.open import check_files, open_patchset


def open_for_all(folder: Path, on_root: Callable[[Callable[[], bytes]], bytes]) -> PatchSet:
    """Open a patch set on rank 0 for all ranks, by their `on_root`. Collective; AgreedError.

    With an index the manifest is not parsed, which takes seconds where there are many files.
    """
    return unpack(on_root(lambda: _checked(folder)), folder)


def _checked(folder: Path) -> bytes:
    """The message of a patch set whose files are there. PatchSetError."""
    message = read_index(folder)
    if message is None:
        return pack(open_patchset(folder))
    check_files(unpack(message, folder))
    return message
