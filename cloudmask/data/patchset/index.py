"""The manifest's index: what reading takes of a large manifest, found without parsing all of it.

A manifest of 26,000 files has 44 MB of JSON, which take seconds and hundreds of megabytes to parse.
The index beside it holds the short message that ranks are handed (see handed.py), after a checksum
of itself. It is derived: the manifest stays the truth, and an index that is not of this very
manifest, to the byte, or is damaged, is as good as none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cloudmask.data.patchset.manifest import check_paths, parse_manifest
from cloudmask.data.patchset.message import pack, unpack
from cloudmask.data.patchset.model import MANIFEST, VERSIONS, PatchSet
from cloudmask.files import sha256_of, write_whole

INDEX = "manifest.index"
_HEAD_BYTES = len(b"cloudmask patch set index 1\n") + 32


def write_index(folder: Path, manifest: bytes) -> None:
    """Write the index of this manifest, which is to stand in the folder. PatchSetError, OSError."""
    patchset = parse_manifest(folder, manifest)
    message = pack(patchset)
    write_whole(folder / INDEX, _head(patchset, message) + message)


def _head(patchset: PatchSet, message: bytes) -> bytes:
    """Programs that do not read this version of patch sets take it for none, as they must."""
    name = f"cloudmask patch set index {VERSIONS[patchset.target]}\n".encode()
    return name + hashlib.sha256(message).digest()


def read_index(folder: Path) -> bytes | None:
    """The message of an index that is whole and of the manifest that is there, else None.

    PatchSetError for paths in it that lead out of the folder.
    """
    try:
        content = (folder / INDEX).read_bytes()
        fingerprint = sha256_of(folder / MANIFEST)
    except OSError:
        return None
    head, message = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
    if head[-32:] != hashlib.sha256(message).digest():
        return None
    try:
        patchset = unpack(message, folder)
    except (ValueError, LookupError, TypeError):
        return None
    if patchset.fingerprint != fingerprint or head != _head(patchset, message):
        return None
    check_paths(folder / INDEX, patchset)
    return message


def index_problems(folder: Path, message: bytes) -> list[str]:
    """What is wrong with the index that is there, if there is one; `message` is the manifest's."""
    path = folder / INDEX
    if not path.exists() or read_index(folder) == message:
        return []
    return [f"{path} is not that of {MANIFEST}; remove it, which costs seconds at each start"]
