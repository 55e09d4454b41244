"""The manifest of a patch set, written last: its presence says that the set is complete.

It holds nothing of the machine or the day: the same scenes and options give the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.data.patchset.encoding import combine
from cloudmask.data.patchset.model import (
    FORMAT,
    MANIFEST,
    VERSIONS,
    FileEntry,
    PatchSet,
    PatchSetError,
    Split,
    Target,
)
from cloudmask.data.slstr import READING
from cloudmask.files import parse_json, sync_folder, write_whole


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
    target: Target = "label",
) -> str:
    """The manifest's text. Skipped and failed scenes come with their reasons.

    Mean and standard deviation are those of the split `train`, or of everything without one.
    """
    entries = [entry for files in splits.values() for entry in files]
    total = combine(entry.moments for entry in splits.get("train", entries))
    values = {
        "format": FORMAT,
        "format_version": VERSIONS[target],
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
        **({} if target == "label" else {"target": target}),
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
        "files": [asdict(entry) for entry in files],
    }


def class_pixels(files: Sequence[FileEntry], classes: int) -> list[int]:
    """Labelled pixels of each class in all files together."""
    return [sum(entry.class_pixels[index] for entry in files) for index in range(classes)]


def write_manifest(folder: Path, text: str) -> None:
    """The last step: from here on the folder is a patch set."""
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        sync_folder(subfolder)
    write_whole(folder / MANIFEST, text.encode())


def read_manifest(folder: Path) -> PatchSet:
    """A patch set by its manifest alone; its files are not looked at. PatchSetError."""
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
    return parse_manifest(folder, content)


def parse_manifest(folder: Path, content: bytes) -> PatchSet:
    """The same of a manifest that has been read already. PatchSetError."""
    path = folder / MANIFEST
    try:
        values = parse_json(content)
        found, version = values["format"], values["format_version"]
    except (ValueError, KeyError, TypeError):
        raise PatchSetError(f"{path} is damaged or of another program; prepare again") from None
    if found != FORMAT:
        raise PatchSetError(f"{path} describes '{found}', not a patch set; choose another folder")
    if version not in VERSIONS.values():
        raise PatchSetError(
            f"{path} has format version {version}, this program reads "
            f"{' and '.join(map(str, VERSIONS.values()))}; prepare again"
        )
    try:
        patchset = _from_manifest(folder, values, hashlib.sha256(content).hexdigest())
        check_paths(path, patchset)
    except PatchSetError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise PatchSetError(f"{path} is damaged ({problem}); prepare again") from None
    return patchset


def _from_manifest(folder: Path, values: dict[str, Any], fingerprint: str) -> PatchSet:
    channels, classes = (_names(values[key]) for key in ("channels", "classes"))
    size, stride = values["patch_size"], values["stride"]
    if not all(type(number) is int and number > 0 for number in (size, stride)):
        raise ValueError(f"patches of {size} pixels, {stride} apart")
    mean, std = (np.array(values[key], np.float32) for key in ("mean", "std"))
    if not mean.shape == std.shape == (len(channels),) or not np.isfinite([mean, std]).all():
        raise ValueError("mean and std are not those of the channels")
    splits = {name: _split(name, split, classes) for name, split in values["splits"].items()}
    target = _target(values, classes)
    patch_bytes = size * size * (2 * len(channels) + (1 if target == "label" else 2))
    for split in splits.values():
        for entry in split.files:
            entry.check(channels=channels, classes=classes)
            if entry.bytes < entry.patches * patch_bytes:
                raise ValueError(f"{entry.path} is too short for {entry.patches} patches")
        if list(split.class_pixels) != class_pixels(split.files, len(classes)):
            raise ValueError(f"split '{split.name}' miscounts its pixels")
    train = splits["train"].files if "train" in splits else ()
    return PatchSet(
        folder=folder,
        channels=channels,
        classes=classes,
        patch_size=size,
        stride=stride,
        label_source=str(values["label_source"]),
        mean=mean,
        std=np.where(std > 0, std, np.float32(1)),
        splits=splits,
        always_there=tuple(
            name
            for index, name in enumerate(channels)
            if all(entry.valid_pixels[index] for entry in train)
        ),
        fingerprint=fingerprint,
        options=dict(values["options"]),
        reading={key: values["options"][key] for key in READING if key in values["options"]},
        target=target,
    )


def _target(values: dict[str, Any], classes: Sequence[str]) -> Target:
    target: Any = values.get("target", "label")
    if VERSIONS.get(target) != values["format_version"]:
        raise ValueError(f"the target {target} is not that of its format version")
    if target == "soft" and len(classes) != 2:
        raise ValueError("soft targets are of two classes")
    return target


def _names(values: Any) -> tuple[str, ...]:
    if not values or not all(isinstance(name, str) for name in values):
        raise TypeError("channels and classes are names")
    return tuple(values)


def _split(name: str, values: dict[str, Any], classes: Sequence[str]) -> Split[FileEntry]:
    split = Split(
        name=name,
        files=tuple(FileEntry.from_json(entry) for entry in values["files"]),
        patches=values["patches"],
        class_pixels=tuple(values["class_pixels"]),
        class_fractions=tuple(map(float, values["class_fractions"])),
    )
    if len(split.class_fractions) != len(classes):
        raise ValueError(f"split '{name}' counts other classes")
    return split


def check_paths(manifest: Path, patchset: PatchSet) -> None:
    """A manifest may come from anywhere: it must not lead out of its folder. PatchSetError.

    Each folder is looked at once; a file that is itself a link is seen when the file is looked at.
    """
    top = patchset.folder.resolve()
    inside = functools.cache(lambda folder: (top / folder).resolve().is_relative_to(top))
    seen = set()
    for split in patchset.splits.values():
        if split.patches != sum(entry.patches for entry in split.files):
            raise PatchSetError(f"{manifest} miscounts split '{split.name}'; prepare again")
        for entry in split.files:
            path = entry.path
            leads_out = path.startswith("/") or ".." in path.split("/")
            if leads_out or path in seen or not inside(path.rpartition("/")[0]):
                raise PatchSetError(outside(manifest, path))
            seen.add(path)


def outside(manifest: Path, path: str) -> str:
    """The error for a path of the manifest that must not be followed."""
    return (
        f"{manifest} lists {path}, which lies outside of the patch set or is listed twice; "
        "prepare again"
    )
