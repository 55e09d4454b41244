"""Large `.npz` scenes of whole numbers, whose image stays in its file and is read row by row.

As floating numbers, which networks take, a full Sentinel-2 tile would have 1.4 GB.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from cloudmask.data.formats import georeference, npz
from cloudmask.data.scene import LabelChoice, StoredScene
from cloudmask.metrics import UNKNOWN

LARGE_BYTES = 2**28
"""of an image as float32, from which on it stays in its file"""
_PIECE = 2**22  # bytes that are read at once to see that a file is whole


@dataclass(frozen=True, eq=False)
class StoredImage:
    """(H, W, C) of an .npz file, as float32 where rows of it are asked for, NaN = missing."""

    path: Path
    offset: int
    """bytes before the first pixel"""
    shape: tuple[int, int, int]
    dtype: np.dtype
    missing: np.ndarray | None
    """(H, W) bool"""

    def __getitem__(self, place: tuple[slice, slice], /) -> np.ndarray:
        """(h, w, C) float32 of rows and columns."""
        rows, columns = place
        first, stop, _ = rows.indices(self.shape[0])
        width, channels = self.shape[1:]
        row_values = width * channels
        with self.path.open("rb") as file:
            file.seek(self.offset + first * row_values * self.dtype.itemsize)
            values = np.fromfile(file, self.dtype, max(0, stop - first) * row_values)
        part = values.reshape(-1, width, channels)[:, columns].astype(np.float32)
        if self.missing is not None:
            part[self.missing[rows, columns]] = np.nan
        return part


def read_stored(path: Path, *, label: LabelChoice | None = None) -> StoredScene | None:
    """The scene of a file whose image is large, of whole numbers, and not compressed; else None.

    With a label, if one is asked for. None too for what is damaged or wrong, such as a label that
    is not there: whoever reads all of it tells what.
    """
    try:
        with path.open("rb") as stream:
            return _read(path, stream, None if label is None else npz.label_name(label))
    except npz.DAMAGED:
        return None


def _read(path: Path, stream: IO[bytes], wanted: str | None) -> StoredScene | None:
    with zipfile.ZipFile(stream) as archive:
        member = archive.getinfo("image.npy")
        with archive.open(member) as content:
            shape, in_columns, dtype = npz.header_of(content)
            within = content.tell()
            pixels = np.prod(shape, dtype=np.int64)
            if len(shape) != 3 or dtype.kind not in "bui" or in_columns:
                return None
            if member.compress_type != zipfile.ZIP_STORED or 4 * pixels < LARGE_BYTES:
                return None
            if within + pixels * dtype.itemsize != member.file_size:
                return None
            while content.read(_PIECE):  # whose checksum is seen at the end
                pass
        offset = _start_of(member, stream) + within
    stream.seek(0)
    names = ("missing", "channels", *(("classes", wanted) if wanted is not None else ()))
    arrays, _, _ = npz.load_arrays(stream, names, georeference.KEYS)
    missing = arrays.get("missing")
    npz.check_missing(path, missing, shape[:2])
    if missing is not None and missing.all():
        return None
    height, width, channels = shape
    classes: tuple[str, ...] = ()
    labels: dict[str, np.ndarray] = {}
    if wanted is not None:
        classes, labels = npz.labels_of(path, arrays, shape, missing)
        if wanted not in labels or (labels[wanted] == UNKNOWN).all():
            return None
    return StoredScene(
        name=path.stem,
        image=StoredImage(path, offset, (height, width, channels), dtype, missing),
        channels=npz.channels_of(path, arrays, channels),
        label=labels.get(str(wanted)),
        classes=classes,
        **georeference.places(path, arrays, (height, width)),
    )


def _start_of(member: zipfile.ZipInfo, stream: IO[bytes]) -> int:
    """Where the content of a member begins: behind a header of 30 bytes, a name and more.

    APPNOTE.TXT of PKWARE, 4.3.7.
    """
    stream.seek(member.header_offset + 26)
    lengths = stream.read(4)
    name, more = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return member.header_offset + 30 + name + more
