"""Notes of scenes that are done, by which an interrupted `prepare` goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloudmask.data.archive import Entry
from cloudmask.data.patchset.model import FORMAT_VERSION, WORK_FOLDER, FileEntry
from cloudmask.files import write_whole


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


def write_receipt(out: Path, receipt: Receipt) -> None:
    path = out / WORK_FOLDER / f"{receipt.entry.scene}.json"
    write_whole(path, json.dumps(asdict(receipt)).encode())


def read_receipts(out: Path) -> dict[str, Receipt]:
    """By scene name. One that is damaged, as by a power failure, is as good as none."""
    receipts = {}
    for path in sorted((out / WORK_FOLDER).glob("*.json")):
        try:
            values = json.loads(path.read_bytes())
            entry = FileEntry.from_json(values["entry"])
            channels, classes = tuple(values["channels"]), tuple(values["classes"])
            receipts[path.stem] = Receipt(values["key"], channels, classes, entry)
        except (ValueError, KeyError, TypeError):
            path.unlink()
    return receipts


def is_there(out: Path, entry: FileEntry) -> bool:
    """Whether a scene's file stands there with its size; `verify` looks at every byte."""
    path = out / entry.path
    return not entry.patches or (path.is_file() and path.stat().st_size == entry.bytes)


def forget(out: Path, receipt: Receipt) -> None:
    """Remove a scene that no longer belongs here: first its file, then the note that it is ours."""
    path = Path(receipt.entry.path)
    if len(path.parts) == 2 and ".." not in path.parts:  # <split>/<scene>.h5 and nothing else
        (out / path).unlink(missing_ok=True)
    (out / WORK_FOLDER / f"{receipt.entry.scene}.json").unlink(missing_ok=True)
