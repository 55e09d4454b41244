"""Patches of one rank as tensors of its device, read ahead of the network by threads.

A patch stays int16 as on disk until the device decodes it. The threads read, augment and hand the
device what it needs, through all epochs and without a stop between them.
"""

from __future__ import annotations

import itertools
import math
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.metrics import UNKNOWN
from cloudmask.train import gpus
from cloudmask.train.augmentation import Augmentation
from cloudmask.train.hiding import Hiding
from cloudmask.train.schedule import PAD

ALIGNMENT = 64
"""bytes: arrays that start at a multiple of it become tensors without being copied"""
MOST_WORKERS = 4

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Tensors = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
Rows = Iterable[tuple[int, np.ndarray]]
"""an epoch, and (B,) patch indices or PAD of one of its steps"""


@dataclass(frozen=True)
class Input:
    """One rank's part of a batch: physical = image * scale + offset, except where it is FILL."""

    image: tf.Tensor
    """(B, S, S, C) int16"""
    scale: tf.Tensor
    """(B, C) float32"""
    offset: tf.Tensor
    """(B, C) float32"""
    label: tf.Tensor
    """(B, S, S) uint8, or soft targets; 255 = unknown, everywhere so where the plan has no patch"""
    num_patches: int
    wait_seconds: float
    """how long the network stood still for it"""


class Batches(Protocol):
    """Where the batches of one rank come from; asked by several threads at once."""

    def batch(self, row: np.ndarray, *, epoch: int) -> Tensors:
        """(B,) patch indices or PAD -> image, scale, offset, label of an Input."""


class Source:
    """Patches of one split for one rank, from disk or, once read, from memory."""

    def __init__(
        self,
        reader: PatchReader,
        *,
        cache: bool = False,
        augmentation: Augmentation | None = None,
        hiding: Hiding | None = None,
    ) -> None:
        self._reader = reader
        self._cache: dict[int, Arrays] | None = {} if cache else None
        self._augmentation = augmentation
        self._hiding = hiding
        self._memory = Memory()

    def batch(self, row: np.ndarray, *, epoch: int) -> Tensors:
        """(B,) patch indices or PAD -> image, scale, offset, label of an Input."""
        return to_device(*self.arrays(row, epoch=epoch))

    def arrays(self, row: np.ndarray, *, epoch: int) -> Arrays:
        """The same in the host's memory."""
        image, scale, offset, label = self._room(len(row))
        patches = [int(patch) for patch in row if patch != PAD]
        for place, (patch, stored) in enumerate(zip(patches, self._read(patches), strict=True)):
            if self._augmentation is not None:
                stored = self._augmentation.apply(patch, epoch, *stored)
            pixels, scale[place], offset[place], label[place] = stored
            _as_pixels(image[place])[...] = _as_pixels(pixels)
            if self._hiding is not None and self._hiding.hides(patch, epoch):
                self._hiding.apply(image[place], label[place])
        free = slice(len(patches), None)
        image[free], scale[free], offset[free], label[free] = FILL, 1, 0, UNKNOWN
        return image, scale, offset, label

    def _room(self, count: int) -> Arrays:
        size, channels = self._reader.patchset.patch_size, len(self._reader.patchset.channels)
        image = self._memory.take((count, size, size, channels), np.int16)
        label = self._memory.take((count, size, size), np.uint8)
        scale, offset = (self._memory.take((count, channels), np.float32) for _ in range(2))
        return image, scale, offset, label

    def _read(self, patches: list[int]) -> list[Arrays]:
        """Image, scale, offset and label of each patch as it is stored."""
        cache = self._cache
        missing = [p for p in patches if p not in cache] if cache is not None else patches
        new: list[Arrays] = []
        if missing:
            stored = self._room(len(missing))
            self._reader.read_into(missing, *stored)
            new = list(zip(*stored, strict=True))
        if cache is None:
            return new
        for patch, parts in zip(missing, new, strict=True):
            image, scale, offset, label = (part.copy() for part in parts)
            cache[patch] = image, scale, offset, label  # each in memory of its own
        return [cache[patch] for patch in patches]


class Memory:
    """Arrays that tensors can share, made from memory that earlier ones have left.

    Fresh memory costs more than what is written there: the kernel clears every page of it.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[np.ndarray]] = {}

    def take(self, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        """An array, not filled; its memory is taken again when nobody holds the array any more."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        free = self._free.setdefault(size, [])
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        array = memory[start : start + size].view(dtype).reshape(shape)
        weakref.finalize(array, free.append, memory).atexit = False
        return array


def _as_pixels(image: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (H, W): turned and flipped by whole pixels, which is twice as fast."""
    return image.view(f"V{image.itemsize * image.shape[-1]}")[..., 0]


def to_device(*arrays: np.ndarray) -> Tensors:
    """Arrays of a `Memory`, which must not change any more, as tensors of the device.

    The CPU shares their memory; a copy of each batch costs more than all its augmentation.
    """
    tensors = [tf.experimental.dlpack.from_dlpack(array.__dlpack__()) for array in arrays]
    if gpus.visible():
        with tf.device("GPU:0"):
            tensors = [tf.identity(tensor) for tensor in tensors]
    image, scale, offset, label = tensors
    return image, scale, offset, label


def num_workers(device: str, cores: int) -> int:
    """Threads that read ahead: a CPU computes on the cores that they would take."""
    return 1 if device == "CPU" else min(MOST_WORKERS, cores)


def read_ahead(
    source: Batches, rows: Rows, *, workers: int = 1, depth: int = 2
) -> Generator[Input, None, None]:
    """The rows as Inputs, in their order, up to `depth` of them ready in advance.

    An error of a reading thread is raised where its batch would have come.
    """
    upcoming = iter(rows)
    ready: deque[tuple[Future[Tensors], int]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")

    def ask(count: int) -> None:
        for epoch, row in itertools.islice(upcoming, count):
            future = pool.submit(source.batch, row, epoch=epoch)
            ready.append((future, int((row != PAD).sum())))

    try:
        ask(depth + workers)
        while ready:
            future, num_patches = ready.popleft()
            began = time.perf_counter()
            tensors = future.result()
            waited = time.perf_counter() - began
            ask(1)
            yield Input(*tensors, num_patches, waited)
    finally:
        pool.shutdown(cancel_futures=True)
