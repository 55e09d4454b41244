"""Patches by number, in any order, as fast as memory is copied."""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import itertools
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudmask.data.patchset.files import Layout, read_layout
from cloudmask.data.patchset.model import PatchFile, PatchSet
from cloudmask.data.scene import reason

_OF_OTHERS = 512
"""descriptors that are left to the rest of the program"""
_FEWEST = 32
_MOST_RAISED = 2**16
"""the largest limit on descriptors that is asked for: child processes inherit it, and some of them
go through all numbers below it"""
_OF_SELECT = 1024
"""descriptors below this number are the only ones that select() knows"""


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches as they are stored; `decode(image, scale, offset)` gives physical values."""

    image: np.ndarray
    """(n, S, S, C) int16, -32768 = no measurement"""
    scale: np.ndarray
    offset: np.ndarray
    """(n, C) float32: every scene has its own"""
    label: np.ndarray
    """(n, S, S) uint8, 255 = unknown; of a set with soft targets these, in steps of 1/254"""


class _OpenFile:
    """A descriptor that lives as long as somebody reads from it, whoever has dropped it.

    Its number is high where that is allowed: the low ones are left to libraries that use select().
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):  # the limit is lower, or all of those are taken
            high = fcntl.fcntl(self.descriptor, fcntl.F_DUPFD_CLOEXEC, _OF_SELECT)
            os.close(self.descriptor)
            self.descriptor = high

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class PatchReader:
    """One split of a patch set, from several threads if need be: reading does not hold the GIL.

    HDF5 is asked once per file where the patches lie; they are then read straight from there, and
    the file is kept open. In a shuffled epoch every patch is likely to lie in another file than the
    last one: so all files are kept open, or as many as the system allows a process.
    """

    def __init__(self, patchset: PatchSet, split: str) -> None:
        if split not in patchset.splits:
            known = ", ".join(patchset.splits)
            raise ValueError(f"{patchset.folder} has no split '{split}'; it has: {known}")
        self.patchset = patchset
        self.files = patchset.splits[split].files
        self.num_patches = patchset.splits[split].patches
        size = patchset.patch_size
        self._image_shape = (size, size, len(patchset.channels))
        self._label_shape = (size, size)
        self._image_bytes = 2 * size * size * len(patchset.channels)
        self._label_bytes = size * size
        self.patch_bytes = self._image_bytes + self._label_bytes
        self._ends = list(itertools.accumulate(entry.patches for entry in self.files))
        self._layouts: dict[int, Layout] = {}
        self._open: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._most_open = _allowed(len(self.files), len(patchset.files))

    def __len__(self) -> int:
        return self.num_patches

    def __enter__(self) -> PatchReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; a later `read` opens them again."""
        with self._lock:
            self._open.clear()

    def files_of(self, indices: Iterable[int]) -> tuple[PatchFile, ...]:
        """The files that hold these patches, each once, in the order of the patch set."""
        wanted = np.unique(np.fromiter(indices, np.int64))
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self.num_patches:
            raise IndexError(f"patches {wanted[0]} to {wanted[-1]} of {self.num_patches}")
        numbers = np.unique(np.searchsorted(self._ends, wanted, side="right"))
        return tuple(self.files[number] for number in numbers.tolist())

    def read(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Patches in the order of `indices`, repeats allowed. IndexError; OSError; ValueError for a
        file that is shorter than it should be or of another shape."""
        count = len(indices)
        image = np.empty((count, *self._image_shape), np.dtype("<i2"))
        label = np.empty((count, *self._label_shape), np.uint8)
        scale = np.empty((count, self._image_shape[2]), np.float32)
        offset = np.empty_like(scale)
        self.read_into(indices, image, scale, offset, label)
        return Batch(image, scale, offset, label)

    def read_into(
        self,
        indices: Sequence[int] | np.ndarray,
        image: np.ndarray,
        scale: np.ndarray,
        offset: np.ndarray,
        label: np.ndarray,
    ) -> None:
        """The same into contiguous arrays of a Batch's shapes and types."""
        count = len(indices)
        places = [self._locate(index) for index in indices]
        # In the order of the disk, which matters wherever the page cache does not hold the files.
        for row in sorted(range(count), key=places.__getitem__):
            number, position = places[row]
            file, layout = self._file(number)
            image_at = layout.image_at + position * self._image_bytes
            label_at = layout.target_at + position * self._label_bytes
            self._fill(number, file.descriptor, image[row], image_at)
            self._fill(number, file.descriptor, label[row], label_at)
            scale[row], offset[row] = layout.scale, layout.offset

    def _locate(self, index: int) -> tuple[int, int]:
        """Patch number -> number of the file, position in the file."""
        if not 0 <= index < self.num_patches:
            raise IndexError(f"patch {index} of {self.num_patches}")
        number = bisect.bisect_right(self._ends, index)
        return number, int(index) - (self._ends[number] - self.files[number].patches)

    def _file(self, number: int) -> tuple[_OpenFile, Layout]:
        """Opening a file can take long, so other threads go on meanwhile."""
        with self._lock:
            file, layout = self._open.get(number), self._layouts.get(number)
            if file is not None:
                self._open.move_to_end(number)
        if file is not None and layout is not None:
            return file, layout
        layout = layout or self._checked_layout(number)
        file = file or _OpenFile(self._path(number))
        with self._lock:
            self._layouts[number] = layout
            self._open[number] = file
            while len(self._open) > self._most_open:
                self._open.popitem(last=False)
        return file, layout

    def _path(self, number: int) -> Path:
        return self.patchset.folder / self.files[number].path

    def _checked_layout(self, number: int) -> Layout:
        path, entry = self._path(number), self.files[number]
        try:
            layout = read_layout(path, target=self.patchset.target)
        except (LookupError, ValueError, RuntimeError, TypeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
            raise ValueError(f"{path} is no patch file ({reason(error)}); prepare again") from None
        expected = (entry.patches, *self._image_shape)
        if layout.shape != expected:
            raise ValueError(
                f"{path} holds patches of shape {layout.shape}, the manifest says {expected}; "
                "prepare again"
            )
        parts = (layout.image_at, self._image_bytes), (layout.target_at, self._label_bytes)
        if any(start + entry.patches * size > entry.bytes for start, size in parts):
            raise ValueError(f"{path} is cut short; prepare again")
        return layout

    def _fill(self, number: int, descriptor: int, array: np.ndarray, position: int) -> None:
        """Read the bytes of one contiguous array; the system may hand them out in pieces."""
        view = array.reshape(-1).view(np.uint8).data
        while view.nbytes:
            count = os.preadv(descriptor, [view], position)
            if count == 0:
                raise ValueError(f"{self._path(number)} is cut short; prepare again")
            view, position = view[count:], position + count


def _allowed(files: int, of_all: int) -> int:
    """How many of its files a reader may keep open, where those of the other splits have readers
    of their own. The limit is raised to what an epoch in any order needs, one for each file."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = of_all + _OF_OTHERS
    wanted = min(needed, _MOST_RAISED)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return max(files, 1)
    return max(_FEWEST, (limit - _OF_OTHERS) * files // of_all)
