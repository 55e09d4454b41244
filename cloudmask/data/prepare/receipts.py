"""Notes of scenes that are done, by which an interrupted `prepare` goes on where it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloudmask.data.entry import Entry
from cloudmask.data.patchset.model import FORMAT_VERSION, WORK_FOLDER, FileEntry
from cloudmask.data.prepare.split import is_split
from cloudmask.files import parse_json, write_whole

LONGEST_NAME = 255 - len(".json")
"""of a scene, in bytes: its note has the longest name of its files"""


@dataclass(frozen=True)
class Receipt:
    """A scene that is done: `OUT/.prepare/<scene>.json`, written after the scene's file."""

    key: str
    """of everything that the file depends on"""
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    entry: FileEntry


def key_of(source: Entry, options: Mapping[str, Any]) -> str:
    """Changes with the options, and with the scene file as far as its size and date tell."""
    facts = {
        **options,
        "format_version": FORMAT_VERSION,
        "scene": source.path.name,
        "bytes": source.bytes,
        "modified_ns": source.changed,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_key_of(key: str, source: Entry, options: Mapping[str, Any]) -> bool:
    """Whether `key_of` gave this key, now or in versions that looked at all files of a product."""
    if key == key_of(source, options):
        return True
    if not isinstance(source.path, Path) or not source.path.is_dir():
        return False
    try:
        found = [file.stat() for file in source.path.iterdir() if file.is_file()]
    except OSError:
        return False
    size, changed = sum(f.st_size for f in found), max((f.st_mtime_ns for f in found), default=0)
    return key == key_of(dataclasses.replace(source, bytes=size, changed=changed), options)


def write_receipt(out: Path, receipt: Receipt) -> None:
    values = asdict(receipt)
    values["checksum"] = _checksum(values)
    write_whole(_note(out, receipt.entry.scene), json.dumps(values).encode())


def read_receipts(out: Path) -> dict[str, Receipt]:
    """By scene name, which is that of the note. One that is damaged, as by a power failure, or that
    tells of another scene's file or of one elsewhere, is as good as none: it is removed.

    ValueError if the folder of the notes is a link: what it leads to is not ours.
    """
    folder = out / WORK_FOLDER
    if folder.is_symlink():
        raise ValueError(f"{folder} is a link; remove it, or choose another --out")
    receipts = {}
    for path in sorted(folder.glob("*.json")):
        try:
            receipts[path.stem] = _receipt(parse_json(path.read_bytes()), path.stem)
        except (ValueError, LookupError, TypeError, AttributeError):
            path.unlink()
    return receipts


def _receipt(values: dict[str, Any], scene: str) -> Receipt:
    """One of these errors if it is not what `write_receipt` wrote of this scene.

    Versions before the checksum wrote none: what is asked of a note below makes those safe too.
    """
    if "checksum" in values and values.pop("checksum") != _checksum(values):
        raise ValueError("checksum")
    key, channels, classes = values["key"], tuple(values["channels"]), tuple(values["classes"])
    entry = FileEntry.from_json(values["entry"])
    entry.check(channels=channels, classes=classes)
    split = entry.path.partition("/")[0]
    place = path_of(split, scene) if entry.patches else ""
    if (entry.scene, entry.path) != (scene, place) or not (is_split(split) or not entry.patches):
        raise ValueError(entry.path)
    if not isinstance(key, str):
        raise TypeError(key)
    return Receipt(key, channels, classes, entry)


def _checksum(values: Mapping[str, Any]) -> str:
    """Of what the manifest takes over: nothing else would show that a figure in it has changed."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def path_of(split: str, scene: str) -> str:
    """Where the patches of a scene lie, relative to the patch set."""
    return f"{split}/{scene}.h5"


def is_there(out: Path, entry: FileEntry) -> bool:
    """Whether a scene's file stands there with its size; `verify` looks at every byte.

    What a link leads to is somebody else's.
    """
    if not entry.patches:
        return True
    try:
        found = (out / entry.path).lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == entry.bytes


def forget(out: Path, receipt: Receipt) -> None:
    """Remove a scene that no longer belongs here: first its file, then the note that it is ours.

    The file of a receipt that was read is that of its scene in a split. A split's folder that is a
    link leads to somebody else's files, which stay.
    """
    path = out / receipt.entry.path
    if receipt.entry.path and not path.parent.is_symlink():
        path.unlink(missing_ok=True)
    _note(out, receipt.entry.scene).unlink(missing_ok=True)


def _note(out: Path, scene: str) -> Path:
    return out / WORK_FOLDER / f"{scene}.json"
