"""What a patch set is: its folder, its files and its splits, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from cloudmask.data.patchset import encoding

FORMAT = "cloudmask patch set"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WORK_FOLDER = ".prepare"
"""files while they are written, and notes of what is done"""


class PatchSetError(ValueError):
    """A folder that cannot be used as a patch set; one line."""


@dataclass(frozen=True)
class PatchFile:
    """What it takes to read a file, and to check it."""

    path: str
    """relative to the patch set, with forward slashes; empty if there are no patches"""
    patches: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
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
        """KeyError for a field that is not there; fields that are not known are passed over."""
        known = ((field.name, values[field.name]) for field in fields(cls))
        kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known}
        return cls(**kept)

    @property
    def moments(self) -> encoding.Moments:
        return encoding.Moments(*map(np.array, (self.valid_pixels, self.mean, self.m2)))


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

    @property
    def files(self) -> tuple[PatchFile, ...]:
        """Of all splits, one after the other."""
        return tuple(entry for split in self.splits.values() for entry in split.files)
