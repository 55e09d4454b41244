"""Scenes of any sensor as `.npz`: `image`, `label`, `channels`, `classes`, perhaps `missing` and
more masks, and where and when it was taken (georeference.py)."""

from __future__ import annotations

import lzma
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from cloudmask.data.formats import georeference
from cloudmask.data.formats.claims import SMALL
from cloudmask.data.scene import LabelChoice, Scene, SceneError, missing_pixels, reason
from cloudmask.metrics import UNKNOWN
from cloudmask.record import warn

_DENSEST = 100
"""bytes that one byte of a compressed array may become; of images it is 10, of masks more"""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""what text files cannot hold: NUL and halves of characters"""


def read_npz(path: Path, *, label: LabelChoice, need_label: bool) -> Scene:
    """An .npz file as a Scene. SceneError.

    An array is taken that is no larger than the file, where it is not compressed; where it is, no
    larger than 100 times what it is packed in, or 64 MiB. What of place and time cannot be used is
    told in a line and left out.
    """
    wanted = label_name(label)
    names = ("image", "missing", "channels", "classes", "truth", "summary", wanted)
    try:
        with path.open("rb") as stream:
            arrays, present, unread = load_arrays(stream, names, georeference.KEYS)
    except DAMAGED as error:
        problem = f"cannot be read ({reason(error) or type(error).__name__})"
        raise SceneError(path, problem, "get the file again or write it with numpy.savez") from None
    for name, why in unread.items():
        warn(f"{path}: cannot read '{name}' ({why}), the scene is read without it")
    for name in ("image", *([wanted] if need_label else [])):
        if name not in arrays:
            raise SceneError(path, f"holds no '{name}' (but {present})", "add it to the file")
    image = _npz_image(path, arrays["image"], arrays.get("missing"))
    missing = missing_pixels(image)
    channels = channels_of(path, arrays, image.shape[2])
    classes, labels = labels_of(path, arrays, image.shape, missing)
    return Scene(
        name=path.stem,
        image=image,
        channels=channels,
        label=labels.get(wanted),
        classes=classes,
        truth=labels.get("truth"),
        summary=labels.get("summary"),
        label_source=wanted,
        **georeference.places(path, arrays, image.shape[:2]),
    )


def label_name(label: LabelChoice) -> str:
    """What the array of a label is called."""
    return {"any": "label"}.get(label, label)


def labels_of(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    shape: tuple[int, ...],
    missing: np.ndarray | None,
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the classes, and of `arrays` the masks of an image of this shape by their names:
    (H, W) uint8, unknown where (H, W) `missing`. SceneError."""
    masks = {name: mask for name, mask in arrays.items() if name not in _NO_MASKS}
    for name, mask in masks.items():
        if mask.shape != shape[:2]:
            raise SceneError(
                path,
                f"'{name}' has shape {mask.shape}, the image {shape}",
                "a mask must be (rows, columns) of the image",
            )
    known = [int(mask[mask != UNKNOWN].max(initial=1)) for mask in masks.values()]
    classes = _names(path, arrays, "classes", max([1, *known]) + 1, "class_{}", first=0)
    labels = {name: _as_label(path, name, mask, len(classes)) for name, mask in masks.items()}
    for mask in labels.values():
        if missing is not None:
            mask[missing] = UNKNOWN
    return classes, labels


_NO_MASKS = ("image", "missing", "channels", "classes", *georeference.KEYS)
DAMAGED = (
    *(OSError, ValueError, TypeError, EOFError, LookupError, RuntimeError, ArithmeticError),
    *(MemoryError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
"""what reading a damaged archive may end in"""


def load_arrays(
    stream: IO[bytes], names: Sequence[str], optional: Sequence[str]
) -> tuple[dict[str, np.ndarray], str, dict[str, str]]:
    """Those arrays of an archive that are named, the names of all, and why an optional one could
    not be read; raises DAMAGED for the others.

    An array is made as large as its header says: one that says more than there is would take the
    memory of the machine.
    """
    found: dict[str, np.ndarray] = {}
    unread: dict[str, str] = {}
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as file:
        members = {
            name.removesuffix(".npy"): file.zip.getinfo(name) for name in file.zip.namelist()
        }
        for name in (name for name in (*names, *optional) if name in members):
            try:
                _check_size(name, members[name], length)
                with file.zip.open(members[name]) as member:
                    _check_header(name, member, members[name].file_size)
                found[name] = file[name]
            except DAMAGED as error:
                if name not in optional:
                    raise
                unread[name] = reason(error) or type(error).__name__
        return found, ", ".join(file.files), unread


def _check_size(name: str, member: zipfile.ZipInfo, length: int) -> None:
    packed, most = min(member.compress_size, length), length
    if member.compress_type != zipfile.ZIP_STORED:
        most = max(SMALL, _DENSEST * packed)
    if member.file_size > most:
        raise ValueError(f"'{name}' would have {member.file_size} bytes, made of {packed}")


def header_of(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether column by column, and type of an array; it stands behind. DAMAGED."""
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    return np.lib.format.read_array_header_2_0(member)


def _check_header(name: str, member: IO[bytes], size: int) -> None:
    shape, _, kind = header_of(member)
    if kind.hasobject:
        raise ValueError(f"'{name}' is stored as Python objects, not as numbers or text")
    if member.tell() + math.prod(shape) * kind.itemsize != size:
        raise ValueError(f"'{name}' says it is {kind} of shape {shape}, which is not its size")


def _npz_image(path: Path, image: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """(H, W, C) of any number type -> float32, NaN where it is infinite or (H, W) `missing`.

    So whole numbers need not be stored as floating ones, which are four times as large.
    """
    if image.ndim != 3 or image.dtype.kind not in "buif" or 0 in image.shape:
        problem = f"'image' is {image.dtype} of shape {image.shape}"
        raise SceneError(path, problem, "store numbers of shape (rows, columns, channels)")
    with np.errstate(over="ignore"):  # float64 beyond float32 is infinite, hence missing
        image = image.astype(np.float32, copy=False)
    image[~np.isfinite(image)] = np.nan
    check_missing(path, missing, image.shape[:2])
    if missing is not None:
        image[missing] = np.nan
    return image


def check_missing(path: Path, missing: np.ndarray | None, shape: tuple[int, ...]) -> None:
    """SceneError unless it is bool of (rows, columns), or not there."""
    if missing is not None and (missing.dtype != np.bool_ or missing.shape != shape):
        problem = f"'missing' is {missing.dtype} of shape {missing.shape}"
        raise SceneError(path, problem, "store bool of the image's shape (rows, columns)")


def channels_of(path: Path, arrays: Mapping[str, np.ndarray], count: int) -> tuple[str, ...]:
    """Names of the `count` channels. SceneError."""
    channels = _names(path, arrays, "channels", count, "band_{}", first=1)
    if len(channels) != count:
        problem = f"{count} channels but {len(channels)} names in 'channels'"
        raise SceneError(path, problem, "name each")
    return channels


def _as_label(path: Path, name: str, array: np.ndarray, classes: int) -> np.ndarray:
    """(H, W) whole numbers -> uint8, checked: 0 to classes - 1, or 255."""
    if array.dtype.kind not in "bui":
        raise SceneError(path, f"{name} is {array.dtype}", "store whole numbers, 255 = unknown")
    wrong = (array != UNKNOWN) & ((array < 0) | (array >= classes))
    if wrong.any():
        raise SceneError(
            path,
            f"{name} holds the value {array[wrong][0]} but there are {classes} classes",
            f"use 0 to {classes - 1}, or 255 for unknown",
        )
    return array.astype(np.uint8)


def _names(
    path: Path, arrays: Mapping[str, np.ndarray], key: str, count: int, default: str, *, first: int
) -> tuple[str, ...]:
    if key not in arrays:
        return tuple(default.format(first + index) for index in range(count))
    names = tuple(str(name) for name in arrays[key].ravel())
    if arrays[key].dtype.kind != "U" or len(set(names)) != len(names):
        raise SceneError(path, f"'{key}' holds {names}", "store different names, as strings")
    for name in filter(_NO_TEXT.search, names):
        raise SceneError(path, f"'{key}' holds {name!r}, which is no text", "rename it")
    return names
