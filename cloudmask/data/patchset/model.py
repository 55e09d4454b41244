"""What a patch set is: its folder, its files and its splits, as values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from cloudmask.data.patchset import encoding

FORMAT = "cloudmask patch set"
FORMAT_VERSION = 1
Target = Literal["label", "soft"]
VERSIONS: dict[Target, int] = {"label": FORMAT_VERSION, "soft": 2}
"""of the manifest, its index and its files, by what a network learns from them: programs that know
no soft targets refuse a set that has them"""
MANIFEST = "manifest.json"
WORK_FOLDER = ".prepare"
"""files while they are written, and notes of what is done"""


class PatchSetError(ValueError):
    """A folder that cannot be used as a patch set; one line."""


@dataclass(frozen=True, slots=True)
class PatchFile:
    """What it takes to read a file, and to check it."""

    path: str
    """relative to the patch set, with forward slashes; empty if there are no patches"""
    patches: int
    bytes: int
    sha256: str

    @property
    def scene_name(self) -> str:
        """Of the scene that it was cut from, which it is named after."""
        return self.path.rpartition("/")[2].removesuffix(".h5")


@dataclass(frozen=True, slots=True)
class FileEntry(PatchFile):
    """What the manifest knows about a file; a scene without any patch has no file."""

    scene: str
    scale_factor: tuple[float, ...]
    class_pixels: tuple[int, ...]
    """labelled pixels of each class, in the file's patches as all counts here"""
    unknown_pixels: int
    clipped_pixels: int
    """values, of any channel, that lay outside the range that is stored"""
    valid_pixels: tuple[int, ...]
    """pixels with a measurement in each channel"""
    mean: tuple[float, ...]
    m2: tuple[float, ...]
    """sum of squared deviations from the mean over valid pixels, per channel"""
    left_out_no_measurement: int
    """patches without any measurement"""
    left_out_no_label: int
    """patches with measurements but without any labelled pixel"""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FileEntry:
        """Fields that are not known are passed over. KeyError for one that is not there, TypeError
        or ValueError for one that holds something else."""
        return cls(**{name: read(name, values[name]) for name, read in _READERS.items()})

    def check(self, *, channels: Sequence[str], classes: Sequence[str]) -> None:
        """ValueError unless there are as many figures as channels and classes."""
        per_channel = (self.scale_factor, self.valid_pixels, self.mean, self.m2)
        if any(len(values) != len(channels) for values in per_channel):
            raise ValueError(f"{self.scene} has figures of other channels than {list(channels)}")
        if len(self.class_pixels) != len(classes):
            raise ValueError(f"{self.scene} has figures of other classes than {list(classes)}")
        if self.patches and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"{self.scene} has no checksum")

    @property
    def moments(self) -> encoding.Moments:
        return encoding.Moments(*map(np.array, (self.valid_pixels, self.mean, self.m2)))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(f"{name} is no text")
    return value


def _count(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise TypeError(f"{name} is no count")
    return value


def _counts(name: str, value: Any) -> tuple[int, ...]:
    for number in value:
        if type(number) is not int or not 0 <= number < 2**63:
            raise TypeError(f"{name} holds no counts")
    return tuple(value)


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    for number in value:
        if type(number) not in (float, int) or not math.isfinite(number):
            raise TypeError(f"{name} holds no numbers")
    return tuple(value)


_OF_TYPE: dict[str, Callable[[str, Any], Any]] = {
    "str": _text,
    "int": _count,
    "tuple[int, ...]": _counts,
    "tuple[float, ...]": _numbers,
}
_READERS = {field.name: _OF_TYPE[str(field.type)] for field in fields(FileEntry)}

File = TypeVar("File", bound=PatchFile)


@dataclass(frozen=True)
class Split(Generic[File]):
    """The patches for one purpose; patch numbers count through the files in their order."""

    name: str
    files: tuple[File, ...]
    patches: int
    class_pixels: tuple[int, ...]
    """labelled pixels of each class"""
    class_fractions: tuple[float, ...]
    """the same as shares of all labelled pixels"""

    def part(self, keep: Callable[[File], bool]) -> Split[File]:
        """The files that are kept, in their order; what its classes count is not known."""
        files = tuple(filter(keep, self.files))
        return Split(self.name, files, sum(entry.patches for entry in files), (), ())


@dataclass(frozen=True, eq=False)
class PatchSet:
    """An opened patch set; equal fingerprints mean equal content."""

    folder: Path
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    patch_size: int
    stride: int
    label_source: str
    mean: np.ndarray
    """(C,) float32 over the valid training pixels, physical units; 0 for a channel without any"""
    std: np.ndarray
    """(C,) float32; 1 for a channel that is constant or without any, so that it can divide"""
    splits: dict[str, Split]
    always_there: tuple[str, ...]
    """channels that every training file has measured somewhere"""
    fingerprint: str
    """sha256 of the manifest"""
    options: dict[str, Any]
    """of `prepare`; empty in what was handed on to other ranks (see handed.py)"""
    reading: dict[str, Any] = field(default_factory=dict)
    """those of them that say how scenes were read: a model is to be used so too; empty if it was
    made before they were recorded"""
    target: Target = "label"
    """what a network learns from: the labels, or probabilities beside them (two classes only)"""

    @property
    def files(self) -> tuple[PatchFile, ...]:
        """Of all splits, one after the other."""
        return tuple(entry for split in self.splits.values() for entry in split.files)
