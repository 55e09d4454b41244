"""A mask in the layout of the MLCommons benchmark: HDF5 with one array of probabilities."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from cloudmask.files import open_hdf5, parse_json, write_whole
from cloudmask.predict.masks.values import SceneMask, check_range, classify


class Unfailing(io.RawIOBase):
    """A file that HDF5 can write to: HDF5 itself crashes on a full disk.

    So it is never told. What was wrong is kept, nothing more is written, and `complain` raises it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.problem: OSError | None = None

    def complain(self) -> None:
        """OSError if anything could not be written."""
        self.flush()
        if self.problem is not None:
            raise self.problem

    def _attempt(self, work: Callable[[], Any]) -> Any:
        if self.problem is None:
            try:
                return work()
            except OSError as error:
                self.problem = error
        return None

    def write(self, content: Any, /) -> int:
        self._attempt(lambda: self.file.write(content))
        return memoryview(content).nbytes

    def readinto(self, buffer: Any, /) -> int:
        found = self._attempt(lambda: self.file.read(memoryview(buffer).nbytes)) or b""
        memoryview(buffer).cast("B")[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._attempt(lambda: self.file.seek(offset, whence)) or 0

    def tell(self) -> int:
        return self._attempt(self.file.tell) or 0

    def truncate(self, size: int | None = None, /) -> int:
        return self._attempt(lambda: self.file.truncate(size)) or 0

    def flush(self) -> None:
        self._attempt(self.file.flush)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def write_hdf5(path: Path, mask: SceneMask) -> None:
    """`mask` (1, H, W, K) float32 probability, NaN = no measurement. Raises OSError."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("mask", data=mask.probability[None].astype(np.float32))
        file.attrs["classes"] = json.dumps(mask.classes)
        for key, value in (mask.attributes or {}).items():
            file.attrs[key] = value
    write_whole(path, content.getvalue())


def read_hdf5(path: Path, *, classes: Sequence[str]) -> SceneMask:
    """A file of `write_hdf5`, or of another program, whose classes are `classes`. ValueError."""
    try:
        with open_hdf5(path) as file:
            probability = file["mask"][...]
            attributes = attributes_in(file)
        named = tuple(parse_json(attributes.get("classes", json.dumps(list(classes)))))
        threshold = float(parse_json(attributes.get("options", "{}")).get("threshold", 0.5))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
    channels = 1 if len(named) == 2 else len(named)
    if probability.ndim != 4 or (len(probability), probability.shape[-1]) != (1, channels):
        raise ValueError(
            f"{path}: its mask has shape {probability.shape}, not (1, H, W, {channels})"
        )
    probability = probability[0].astype(np.float32)
    check_range("probability", probability, path)
    return SceneMask(
        name=path.stem,
        classes=named,
        probability=probability,
        spread=None,
        mask=classify(probability, threshold=threshold),
        attributes=attributes,
    )


def attributes_in(file: Any) -> dict[str, str]:
    """Those of an h5py.File, or of a thing in it, as text.

    Programs in C or Fortran, and netCDF4, store bytes of a fixed length where h5py stores text.
    """
    return {str(key): text_of(value) for key, value in file.attrs.items()}


def text_of(value: Any) -> str:
    """An attribute as h5py gives it, as text without the filling of a fixed length."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip(" \0")
