"""The manifest of a patch set, whose presence says that the set is complete.

It holds nothing of the machine or the day: the same scenes and options give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.data.patchset.encoding import combine
from cloudmask.data.patchset.model import FORMAT, FORMAT_VERSION, MANIFEST, FileEntry
from cloudmask.files import sync_folder, write_whole


def build_manifest(
    splits: Mapping[str, Sequence[FileEntry]],
    *,
    channels: Sequence[str],
    classes: Sequence[str],
    patch_size: int,
    stride: int,
    label_source: str,
    options: Mapping[str, Any],
    skipped: Mapping[str, str],
    failed: Mapping[str, str],
) -> str:
    """The manifest's text. Skipped and failed scenes come with their reasons.

    Mean and standard deviation are those of the split `train`, or of everything without one.
    """
    entries = [entry for files in splits.values() for entry in files]
    total = combine(entry.moments for entry in splits.get("train", entries))
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "channels": list(channels),
        "classes": list(classes),
        "patch_size": patch_size,
        "stride": stride,
        "label_source": label_source,
        "mean": total.mean.tolist(),
        "std": total.std.tolist(),
        "mean_and_std_of": "train" if "train" in splits else "all splits",
        "largest_step": np.max([entry.scale_factor for entry in entries], axis=0).tolist(),
        "clipped_pixels": sum(entry.clipped_pixels for entry in entries),
        "splits": {name: _split_values(files, len(classes)) for name, files in splits.items()},
        "scenes": {"prepared": len(entries), "skipped": dict(skipped), "failed": dict(failed)},
        "options": dict(options),
    }
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _split_values(files: Sequence[FileEntry], classes: int) -> dict[str, Any]:
    pixels = class_pixels(files, classes)
    return {
        "patches": sum(entry.patches for entry in files),
        "bytes": sum(entry.bytes for entry in files),
        "class_pixels": pixels,
        "class_fractions": [count / max(sum(pixels), 1) for count in pixels],
        "unknown_pixels": sum(entry.unknown_pixels for entry in files),
        "left_out_no_measurement": sum(entry.left_out_no_measurement for entry in files),
        "left_out_no_label": sum(entry.left_out_no_label for entry in files),
        "files": [entry.to_json() for entry in files],
    }


def class_pixels(files: Sequence[FileEntry], classes: int) -> list[int]:
    """Labelled pixels of each class in all files together."""
    return [sum(entry.class_pixels[index] for entry in files) for index in range(classes)]


def write_manifest(folder: Path, text: str) -> None:
    """The last step: from here on the folder is a patch set."""
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        sync_folder(subfolder)
    write_whole(folder / MANIFEST, text.encode())
