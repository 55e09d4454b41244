"""One file of a patch set: the patches of one scene.

HDF5 with `image` (n, S, S, C) int16, fill -32768, `label` (n, S, S) uint8, 255 = unknown, `row` and
`col` (n,) int32, the patch's corner in its scene; where there are soft targets, `soft` (n, S, S)
uint8, v / 254 the probability of the second class, 255 = does not count; attributes `scene`,
`channels`, `scale_factor` and `add_offset` (both (C,)), `format_version`, and of a gridded scene
`crs` and `transform`, as a Scene has them. The large datasets are
contiguous and uncompressed, so that a patch is one run of bytes: a plain read at its offset is
twice as fast as one through HDF5 and holds no lock that other threads wait for.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from cloudmask.data import tiles
from cloudmask.data.patchset import encoding
from cloudmask.data.patchset.model import FORMAT_VERSION, VERSIONS, FileEntry, Target
from cloudmask.data.scene import Scene, StoredScene, missing_pixels, reason
from cloudmask.files import open_hdf5, write_whole
from cloudmask.metrics import UNKNOWN

Window = tuple[slice, slice]
"""rows and columns of a scene that make a patch"""


def write_patches(
    folder: Path, path: str, scene: Scene | StoredScene, *, patch_size: int, stride: int
) -> FileEntry:
    """Cut a labelled scene and write its patches to `folder / path`: same scene, same bytes.

    Of an image that lies in a file some rows are held at a time.

    Patches without a measurement and patches without a label are left out. The file appears
    complete or not at all. ValueError if the scene is smaller than a patch; OSError, also where the
    folder of the file is a link: what that leads to is not ours.
    """
    assert scene.label is not None
    _refuse_link((folder / path).parent)
    measured = np.concatenate(
        [~missing_pixels(scene.image[rows]) for rows in encoding.bands(scene.image.shape)]
    )
    label = np.where(measured, scene.label, UNKNOWN)
    windows, no_measurement, no_label = _windows(label, measured, size=patch_size, stride=stride)
    coding = encoding.choose(scene.image)
    label_counts = np.zeros(256, np.int64)
    sums = np.zeros((3, len(scene.channels)), np.int64)
    clipped = 0
    stream = io.BytesIO()
    with _hdf5(stream) as file:
        images, labels = _datasets(file, scene, coding, windows, patch_size)
        for index, window in enumerate(windows):
            stored, cut_off = encoding.encode(scene.image[window], coding)
            images[index], labels[index] = stored, label[window]
            clipped += cut_off
            sums += encoding.integer_sums(stored)
            label_counts += np.bincount(label[window].ravel(), minlength=256)
    content = stream.getbuffer()
    if windows:
        write_whole(folder / path, content)
    total = encoding.moments(sums, coding)
    return FileEntry(
        scene=scene.name,
        path=path if windows else "",
        patches=len(windows),
        bytes=len(content) if windows else 0,
        sha256=hashlib.sha256(content).hexdigest() if windows else "",
        scale_factor=tuple(coding.scale.tolist()),
        class_pixels=tuple(label_counts[: len(scene.classes)].tolist()),
        unknown_pixels=int(label_counts[UNKNOWN]),
        clipped_pixels=clipped,
        valid_pixels=tuple(sums[0].tolist()),
        mean=tuple(total.mean.tolist()),
        m2=tuple(total.m2.tolist()),
        left_out_no_measurement=no_measurement,
        left_out_no_label=no_label,
    )


def _refuse_link(split: Path) -> None:
    """OSError where a split's folder is a link."""
    if split.is_symlink():
        raise OSError(errno.ELOOP, "is a link; remove it, or choose another --out", str(split))


def _windows(
    label: np.ndarray, measured: np.ndarray, *, size: int, stride: int
) -> tuple[list[Window], int, int]:
    """The patches with a label, row by row; how many have no measurement, and how many no label."""
    rows, cols = tiles.grid(*label.shape, size=size, stride=stride)
    windows, no_measurement, no_label = [], 0, 0
    for row, col in itertools.product(rows.tolist(), cols.tolist()):
        window = slice(row, row + size), slice(col, col + size)
        if (label[window] != UNKNOWN).any():
            windows.append(window)
        elif measured[window].any():
            no_label += 1
        else:
            no_measurement += 1
    return windows, no_measurement, no_label


def _hdf5(stream: io.BytesIO) -> h5py.File:
    """The file is built in memory: HDF5 crashes on a full disk, a plain write says so."""
    return h5py.File(stream, "w", libver=("earliest", "v110"))


def _datasets(
    file: h5py.File,
    scene: Scene | StoredScene,
    coding: encoding.Encoding,
    windows: Sequence[Window],
    size: int,
) -> tuple[h5py.Dataset, h5py.Dataset]:
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["scene"] = scene.name
    file.attrs["channels"] = list(scene.channels)
    file.attrs["scale_factor"] = coding.scale
    file.attrs["add_offset"] = coding.offset
    if scene.crs is not None and scene.transform is not None:
        file.attrs["crs"] = scene.crs
        file.attrs["transform"] = np.array(scene.transform)
    for axis, name in enumerate(("row", "col")):
        values = np.array([window[axis].start for window in windows], "<i4")
        file.create_dataset(name, data=values, track_times=False)
    return tuple(
        file.create_dataset(
            name, (len(windows), size, size, *more), kind, fillvalue=fill, track_times=False
        )
        for name, more, kind, fill in (
            ("image", (len(scene.channels),), "<i2", encoding.FILL),
            ("label", (), "|u1", UNKNOWN),
        )
    )


def write_soft(source: Path, folder: Path, entry: FileEntry, soft: np.ndarray) -> FileEntry:
    """The file of a scene again, from one patch set to the folder of another, with soft targets.

    (n, S, S) uint8. All but those stays as it is: images, labels and what is counted of them. The
    same file and targets give the same bytes, which appear complete or not at all. OSError;
    KeyError or ValueError for a file that is not what `write_patches` writes.
    """
    _refuse_link((folder / entry.path).parent)
    stream = io.BytesIO()
    with open_hdf5(source / entry.path) as old, _hdf5(stream) as new:
        if old["label"].shape != soft.shape or soft.dtype != np.uint8:
            raise ValueError(f"soft targets of shape {soft.shape} for {old['label'].shape} labels")
        new.attrs["format_version"] = VERSIONS["soft"]
        new.attrs["scene"] = old.attrs["scene"]
        new.attrs["channels"] = list(old.attrs["channels"])
        for name in ("scale_factor", "add_offset", "crs", "transform"):
            if name in old.attrs:
                new.attrs[name] = old.attrs[name]
        for name in ("row", "col", "image", "label"):
            fill = old[name].fillvalue
            new.create_dataset(name, data=old[name][()], fillvalue=fill, track_times=False)
        new.create_dataset("soft", data=soft, fillvalue=UNKNOWN, track_times=False)
    content = stream.getbuffer()
    write_whole(folder / entry.path, content)
    checksum = hashlib.sha256(content).hexdigest()
    return dataclasses.replace(entry, bytes=len(content), sha256=checksum)


@dataclass(frozen=True, eq=False)
class FilePatches:
    """All patches of a scene, with their labels, as they are stored."""

    image: np.ndarray
    """(n, S, S, C) int16"""
    scale: np.ndarray
    offset: np.ndarray
    """(C,) float32"""
    label: np.ndarray
    """(n, S, S) uint8"""
    row: np.ndarray
    col: np.ndarray
    """(n,) int32, of a patch's corner in the scene"""


def read_patches(path: Path) -> FilePatches:
    """A file at once; `PatchReader` reads patches one by one. OSError, ValueError."""
    try:
        with open_hdf5(path) as file:
            names = ("image", "label", "row", "col")
            image, label, row, col = (file[name][()] for name in names)
            scale, offset = (
                np.asarray(file.attrs[name], np.float32) for name in ("scale_factor", "add_offset")
            )
    except (LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} is no patch file ({reason(error)}); prepare again") from None
    return FilePatches(image, scale, offset, label, row, col)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the bytes of a file lie and what they mean."""

    shape: tuple[int, ...]
    """(n, S, S, C) of the image"""
    image_at: int
    target_at: int
    """offset of the first patch in the file, bytes"""
    scale: np.ndarray
    offset: np.ndarray
    """(C,) float32"""


def read_layout(path: Path, *, target: Target = "label") -> Layout:
    """OSError, KeyError or ValueError if the file is not what `write_patches` writes, or
    `write_soft` where its soft targets are asked for."""
    with open_hdf5(path) as file:
        image, label = file["image"], file[target]
        image_at, label_at = (dataset.id.get_offset() for dataset in (image, label))
        if image_at is None or label_at is None or (image.dtype, label.dtype) != ("<i2", "|u1"):
            raise ValueError(f"'image' and '{target}' are not plain int16 and uint8")
        if label.shape != image.shape[:3]:
            raise ValueError(f"'image' has shape {image.shape} but '{target}' {label.shape}")
        scale = np.asarray(file.attrs["scale_factor"], np.float32)
        offset = np.asarray(file.attrs["add_offset"], np.float32)
        if not scale.shape == offset.shape == image.shape[3:]:
            raise ValueError("'scale_factor' and 'add_offset' are not those of the channels")
        return Layout(image.shape, image_at, label_at, scale, offset)
