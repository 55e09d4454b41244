"""A patch set as one short message: rank 0 reads and checks it, the other ranks are handed this.

It has what reading takes: some 80 bytes a file, where the manifest has two thousand. What a file's
measurements were is left out, and so are the options of `prepare`.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.data.patchset.model import PatchFile, PatchSet, Split
from cloudmask.data.patchset.open import open_patchset


def open_for_all(folder: Path, on_root: Callable[[Callable[[], bytes]], bytes]) -> PatchSet:
    """Open a patch set on rank 0 for all ranks, by their `on_root`. Collective; AgreedError."""
    return unpack(on_root(lambda: pack(open_patchset(folder))))


def pack(patchset: PatchSet) -> bytes:
    """To be unpacked by another process of this program."""
    facts = dataclasses.replace(patchset, splits={}, options={})
    return pickle.dumps((facts, [_columns(split) for split in patchset.splits.values()]))


def unpack(message: bytes) -> PatchSet:
    facts, columns = pickle.loads(message)
    splits = [_split(**each) for each in columns]
    return dataclasses.replace(facts, splits={split.name: split for split in splits})


def _columns(split: Split) -> dict[str, Any]:
    files = split.files
    return {
        "facts": dataclasses.replace(split, files=()),
        "paths": "\0".join(entry.path for entry in files),
        "numbers": np.array([(entry.patches, entry.bytes) for entry in files], np.int64),
        "checksums": b"".join(bytes.fromhex(entry.sha256) for entry in files),
    }


def _split(facts: Split, paths: str, numbers: np.ndarray, checksums: bytes) -> Split:
    sums = (checksums[place : place + 32].hex() for place in range(0, len(checksums), 32))
    rows = zip(paths.split("\0") if len(numbers) else (), numbers.tolist(), sums, strict=True)
    files = tuple(PatchFile(path, patches, size, sha256) for path, (patches, size), sha256 in rows)
    return dataclasses.replace(facts, files=files)
