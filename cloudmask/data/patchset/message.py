"""A patch set as one short message, which rank 0 hands to the other ranks.

It has what reading takes: some 150 bytes a file, where the manifest has two thousand. What a file's
measurements were is left out, and so are the options of `prepare`. The same message stands beside
the manifest as its index (see index.py). It is a line of JSON, then for each split the numbers,
checksums and paths of its files as plain bytes: nothing in it is executed by whoever reads it.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.data.patchset.model import PatchFile, PatchSet, Split
from cloudmask.files import parse_json


def pack(patchset: PatchSet) -> bytes:
    """All but the folder, the options and the measurements."""
    plain = (
        "channels",
        "classes",
        "patch_size",
        "stride",
        "label_source",
        "always_there",
        "reading",
    )
    facts: dict[str, Any] = {name: getattr(patchset, name) for name in (*plain, "fingerprint")}
    facts |= {"mean": patchset.mean.tolist(), "std": patchset.std.tolist()}
    if patchset.target != "label":  # told where it is another, so that all other indices stay
        facts["target"] = patchset.target
    columns = [_columns(split) for split in patchset.splits.values()]
    facts["splits"] = [
        {
            "name": split.name,
            "patches": split.patches,
            "class_pixels": split.class_pixels,
            "class_fractions": split.class_fractions,
            "files": len(split.files),
            "bytes": [len(column) for column in of_split],
        }
        for split, of_split in zip(patchset.splits.values(), columns, strict=True)
    ]
    line = json.dumps(facts, allow_nan=False).encode() + b"\n"
    return b"".join((line, *(column for of_split in columns for column in of_split)))


def unpack(message: bytes, folder: Path) -> PatchSet:
    """ValueError, LookupError or TypeError for what `pack` did not make."""
    stream = io.BytesIO(message)
    facts = parse_json(stream.readline())
    splits = [_split(values, stream) for values in facts["splits"]]
    return PatchSet(
        folder=folder,
        channels=tuple(facts["channels"]),
        classes=tuple(facts["classes"]),
        patch_size=facts["patch_size"],
        stride=facts["stride"],
        label_source=facts["label_source"],
        mean=np.array(facts["mean"], np.float32),
        std=np.array(facts["std"], np.float32),
        splits={split.name: split for split in splits},
        always_there=tuple(facts["always_there"]),
        fingerprint=facts["fingerprint"],
        options={},
        reading=dict(facts["reading"]),
        target=facts.get("target", "label"),
    )


def _columns(split: Split) -> tuple[bytes, bytes, bytes]:
    files = split.files
    numbers = np.array([(entry.patches, entry.bytes) for entry in files], "<i8")
    checksums = b"".join(bytes.fromhex(entry.sha256) for entry in files)
    # Names of files may be of another encoding than ours.
    paths = "\0".join(entry.path for entry in files).encode(errors="surrogatepass")
    return numbers.tobytes(), checksums, paths


def _split(values: dict[str, Any], stream: io.BytesIO) -> Split:
    numbers, checksums, paths = (stream.read(size) for size in values["bytes"])
    rows = np.frombuffer(numbers, "<i8").reshape(values["files"], 2).tolist()
    named = paths.decode(errors="surrogatepass").split("\0") if rows else []
    digits = checksums.hex()
    sums = (digits[place : place + 64] for place in range(0, len(digits), 64))
    files = tuple(
        PatchFile(path, patches, size, sha256)
        for path, (patches, size), sha256 in zip(named, rows, sums, strict=True)
    )
    pixels, fractions = (tuple(values[name]) for name in ("class_pixels", "class_fractions"))
    return Split(values["name"], files, values["patches"], pixels, fractions)
