"""Patches of one rank, read ahead of the network by a thread, and augmented on the way.

A patch stays int16 as on disk until the device decodes it; gain and offset of the augmentation are
folded into the decoding, so they cost nothing. Augmentation of a patch depends on (seed, epoch,
patch) alone: it is the same at every number of ranks and after a resumption.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.metrics import UNKNOWN
from cloudmask.train.plan import Plan
from cloudmask.train.schedule import PAD


@dataclass(frozen=True)
class Input:
    """One rank's part of a batch: physical = image * scale + offset, except where it is FILL.

    Image and label are tensors if they come from the device's memory (device_cache.py).
    """

    image: np.ndarray
    """(B, S, S, C) int16"""
    scale: np.ndarray
    """(B, C) float32"""
    offset: np.ndarray
    """(B, C) float32"""
    label: np.ndarray
    """(B, S, S) uint8, 255 = unknown, everywhere so where the plan has no patch"""
    num_patches: int
    wait_seconds: float
    """how long the network stood still for it"""


@dataclass(frozen=True)
class Change:
    """What augmentation makes of one patch: quarter turns, then a flip, and another decoding."""

    turns: int
    flip: bool
    gain: np.ndarray
    shift: np.ndarray
    """(C,) float32; shift in physical units"""


@dataclass(frozen=True)
class Augmentation:
    """Flips, quarter turns, and x -> mean + g (x - mean) + o std: other sensors and calibrations.

    For each channel g = (1 + s)(1 + c) and o = t + d, with c and d drawn for the channel, uniform
    in +- gain, and s and t drawn once for the patch, uniform in +- shared. `mean` and `std` are
    (C,), of the training pixels.
    """

    mean: np.ndarray
    std: np.ndarray
    gain: float
    shared: float
    seed: int

    def change(self, patch: int, epoch: int) -> Change:
        """What is drawn for a patch in an epoch: the same wherever it is read."""
        random = np.random.default_rng([self.seed, epoch, 2, patch])
        turns, flip = int(random.integers(4)), bool(random.integers(2))
        both = self.shared * random.uniform(-1, 1, 2)
        each = self.gain * random.uniform(-1, 1, (2, len(self.mean)))
        gain = ((1 + both[0]) * (1 + each[0])).astype(np.float32)
        shift = self.std * (both[1] + each[1]).astype(np.float32)
        return Change(turns, flip, gain, shift)

    def decoding(
        self, change: Change, scale: np.ndarray, offset: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(C,) scale and offset of a patch -> the same, changed."""
        return scale * change.gain, change.gain * (offset - self.mean) + self.mean + change.shift

    def apply(
        self,
        patch: int,
        epoch: int,
        image: np.ndarray,
        scale: np.ndarray,
        offset: np.ndarray,
        label: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(S, S, C), (C,), (C,), (S, S) of one patch -> the same, changed."""
        change = self.change(patch, epoch)
        image, label = np.rot90(image, change.turns), np.rot90(label, change.turns)
        if change.flip:
            image, label = image[:, ::-1], label[:, ::-1]
        return image, *self.decoding(change, scale, offset), label


def augmentation(plan: Plan) -> Augmentation | None:
    """What the options ask for; None with --no-augment."""
    config, info = plan.config, plan.info
    if not config.augment:
        return None
    mean, std = (np.asarray(values, np.float32) for values in (info.mean, info.std))
    return Augmentation(mean, std, config.augment_gain, config.augment_shared, config.seed)


class Batches(Protocol):
    """Where the batches of one rank come from."""

    def batch(self, row: np.ndarray, *, epoch: int) -> tuple[Any, ...]:
        """(B,) patch indices or PAD -> image, scale, offset, label of an Input."""


class Source:
    """Patches of one split for one rank, from disk or, once read, from memory."""

    def __init__(
        self, reader: PatchReader, *, cache: bool = False, augmentation: Augmentation | None = None
    ) -> None:
        self._reader = reader
        self._cache: dict[int, tuple[np.ndarray, ...]] | None = {} if cache else None
        self._augmentation = augmentation

    def batch(self, row: np.ndarray, *, epoch: int) -> tuple[np.ndarray, ...]:
        """(B,) patch indices or PAD -> image, scale, offset, label of an Input."""
        patches = [int(patch) for patch in row if patch != PAD]
        found = self._read(patches)
        if self._augmentation is None and len(patches) == len(row):
            return found
        image, scale, offset, label = (
            np.empty((len(row), *array.shape[1:]), array.dtype) for array in found
        )
        for place, patch in enumerate(patches):
            parts = tuple(array[place] for array in found)
            if self._augmentation is not None:
                parts = self._augmentation.apply(patch, epoch, *parts)
            image[place], scale[place], offset[place], label[place] = parts
        free = slice(len(patches), None)
        image[free], scale[free], offset[free], label[free] = FILL, 1, 0, UNKNOWN
        return image, scale, offset, label

    def _read(self, patches: list[int]) -> tuple[np.ndarray, ...]:
        if self._cache is None:
            batch = self._reader.read(patches)
            return batch.image, batch.scale, batch.offset, batch.label
        missing = [patch for patch in patches if patch not in self._cache]
        if missing:
            batch = self._reader.read(missing)
            for place, patch in enumerate(missing):
                arrays = (batch.image, batch.scale, batch.offset, batch.label)
                self._cache[patch] = tuple(array[place].copy() for array in arrays)
        kept = [self._cache[patch] for patch in patches]
        if not kept:
            batch = self._reader.read([])
            return batch.image, batch.scale, batch.offset, batch.label
        return tuple(np.stack(arrays) for arrays in zip(*kept, strict=True))


def read_ahead(
    source: Batches, plan: np.ndarray, *, epoch: int, depth: int = 2
) -> Generator[Input, None, None]:
    """The rows of a (steps, batch) plan as Inputs, up to `depth` of them read in advance.

    An error of the reading thread is raised where its batch would have come.
    """
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for row in plan:
                arrays = source.batch(row, epoch=epoch)
                if not put((arrays, int((row != PAD).sum()))):
                    return
        except Exception as error:  # handed to the thread that can raise it
            put(error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        for _ in range(len(plan)):
            began = time.perf_counter()
            item = ready.get()
            waited = time.perf_counter() - began
            if isinstance(item, Exception):
                raise item
            arrays, num_patches = item
            image, scale, offset, label = arrays
            yield Input(image, scale, offset, label, num_patches, waited)
    finally:
        stop.set()
        thread.join()
