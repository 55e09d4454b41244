"""A rank's patches in the memory of its device, from which batches are taken there.

The patches lie there as on disk. What augmentation draws is drawn on the host, with the same random
numbers as without a cache (Augmentation.change, Hiding.hides); gain and offset go into the decoding
as ever. Turns and flips are done by the device as permutations of pixels, and it hides channels by
a choice between two values: the same bits reach the network.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cloudmask import host
from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.metrics import UNKNOWN
from cloudmask.train import gpus, room
from cloudmask.train.augmentation import Augmentation, augmentation
from cloudmask.train.batches import Batches, Source, Tensors
from cloudmask.train.hiding import Hiding
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.schedule import PAD
from cloudmask.train.stall import Watch
from cloudmask.train.state import State, patches_to_read

CHUNK = 64
"""patches that are read at once on their way to the device"""


class DeviceSource:
    """Patches for one rank, read once and for all, and handed out as tensors of the device.

    Device kernels gather 32-bit floats but not the 8- and 16-bit integers of a patch, so these lie
    in memory under that name: gathering moves bits and computes nothing.
    """

    def __init__(
        self,
        reader: PatchReader,
        patches: np.ndarray,
        *,
        watch: Watch,
        augmentation: Augmentation | None = None,
        hiding: Hiding | None = None,
    ) -> None:
        """`patches`: (n,) sorted indices. OSError and ValueError of the reader; ValueError if the
        device's memory does not suffice."""
        self._patches = patches
        self._augmentation = augmentation
        self._hiding = hiding
        size, channels = reader.patchset.patch_size, len(reader.patchset.channels)
        self._size, self._channels = size, channels
        count = len(patches) + 1  # the last one stands where the plan has no patch
        try:
            self._images = _words(count, 2 * size * size * channels)
            self._labels = _words(count, size * size)
        except tf.errors.ResourceExhaustedError:
            raise ValueError(_no_room(count * reader.patch_bytes, "", None)) from None
        self._watch = watch
        self._scale = np.ones((count, channels), np.float32)
        self._offset = np.zeros((count, channels), np.float32)
        self._fill(reader)
        self._symmetries = tf.constant(symmetries(size))
        hidden = np.isin(np.arange(channels), hiding.channels if hiding else ())
        self._hidden = tf.constant(hidden)

    def _fill(self, reader: PatchReader) -> None:
        count = len(self._patches)
        for start in range(0, count, CHUNK):
            part = slice(start, min(start + CHUNK, count))
            self._watch.at("patches for the device", start)
            batch = reader.read(self._patches[part])
            self._scale[part], self._offset[part] = batch.scale, batch.offset
            self._images[part].assign(_as_words(batch.image))
            self._labels[part].assign(_as_words(batch.label))
        pixels = (1, self._size, self._size)
        self._images[count:].assign(_as_words(np.full((*pixels, self._channels), FILL, "<i2")))
        self._labels[count:].assign(_as_words(np.full(pixels, UNKNOWN, np.uint8)))

    def batch(self, row: np.ndarray, *, epoch: int) -> Tensors:
        """(B,) patch indices or PAD -> image, scale, offset, label of an Input."""
        slots = self._slots(row)
        scale, offset = self._scale[slots], self._offset[slots]
        symmetry = np.zeros(len(row), np.int64)
        hides = np.zeros(len(row), bool)
        for place, patch in enumerate(row.tolist()):
            if patch != PAD and self._augmentation is not None:
                change = self._augmentation.change(patch, epoch)
                symmetry[place] = change.turns + 4 * change.flip
                scale[place], offset[place] = self._augmentation.decoding(
                    change, scale[place], offset[place]
                )
            if patch != PAD and self._hiding is not None:
                hides[place] = self._hiding.hides(patch, epoch)
        if self._augmentation is None:
            image, label = self._take(tf.constant(slots))
        else:
            image, label = self._take_turned(tf.constant(slots), tf.constant(symmetry))
        if self._hiding is not None:
            image, label = self._hide(image, label, tf.constant(hides))
        return image, tf.constant(scale), tf.constant(offset), label

    def _slots(self, row: np.ndarray) -> np.ndarray:
        """(B,) patch indices or PAD -> where they lie on the device."""
        held = np.isin(row[row != PAD], self._patches)
        assert held.all(), "a patch of the plan is not among this rank's"
        return np.where(row == PAD, len(self._patches), np.searchsorted(self._patches, row))

    @tf.function(reduce_retracing=True, autograph=False)
    def _take(self, slots: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(B,) -> (B, S, S, C) int16, (B, S, S) uint8."""
        shape = (-1, self._size, self._size)
        image = tf.bitcast(tf.gather(self._images, slots), tf.int16)
        label = tf.bitcast(tf.gather(self._labels, slots), tf.uint8)
        return tf.reshape(image, (*shape, self._channels)), tf.reshape(label, shape)

    @tf.function(reduce_retracing=True, autograph=False)
    def _take_turned(self, slots: tf.Tensor, symmetry: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The same, each patch after its own turns and flip."""
        image, label = self._take(slots)
        places = tf.gather(self._symmetries, symmetry)

        def turned(array: tf.Tensor, channels: int) -> tf.Tensor:
            pixels = tf.reshape(tf.cast(array, tf.float32), (-1, self._size**2, channels))
            there = tf.gather(pixels, places, batch_dims=1)
            return tf.reshape(tf.cast(there, array.dtype), tf.shape(array))

        return turned(image, self._channels), turned(label, 1)

    @tf.function(reduce_retracing=True, autograph=False)
    def _hide(
        self, image: tf.Tensor, label: tf.Tensor, hides: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What Hiding.apply does, to the patches for which `hides`, (B,) bool, says so.

        Here too small integers pass as floats, of which each is one exactly.
        """
        hides = hides[:, None, None]
        values = tf.cast(image, tf.float32)
        values = tf.where(hides[..., None] & self._hidden, float(FILL), values)
        empty = hides & tf.reduce_all(tf.equal(values, float(FILL)), axis=-1)
        known = tf.where(empty, float(UNKNOWN), tf.cast(label, tf.float32))
        return tf.cast(values, image.dtype), tf.cast(known, label.dtype)


def symmetries(size: int) -> np.ndarray:
    """(8, S * S) int64: for `turns + 4 * flip`, where each pixel of a square is taken from."""
    place = np.arange(size * size).reshape(size, size)
    turned = [np.rot90(place, turns) for turns in range(4)]
    return np.stack([each.ravel() for each in (*turned, *(side[:, ::-1] for side in turned))])


def make_source(
    plan: Plan, ranks: Ranks, state: State, reader: PatchReader, watch: Watch
) -> Batches:
    """Where --cache says: from disk, from memory once read, or from the device."""
    change = augmentation(plan)
    if plan.config.cache == "device":
        patches = patches_to_read(plan, ranks.rank, state)
        source = DeviceSource(reader, patches, watch=watch, augmentation=change, hiding=plan.hiding)
        watch.at("patches for the devices of other ranks")
        return source
    return Source(
        reader, cache=plan.config.cache == "memory", augmentation=change, hiding=plan.hiding
    )


def validation_source(plan: Plan, ranks: Ranks, reader: PatchReader, watch: Watch) -> Batches:
    """The same for a rank's validation patches, which are read once where they are kept."""
    if plan.config.cache == "device":
        return DeviceSource(reader, np.sort(plan.validation_patches(ranks.rank)), watch=watch)
    return Source(reader, cache=plan.config.cache == "memory")


def check_room(plan: Plan, ranks: Ranks) -> None:
    """Raise ValueError when the ranks' patches would not fit where --cache wants them, beside what
    their training steps take.

    Of a GPU this is asked before anything is read; one that cannot say what is free is tried.
    """
    config, step = plan.config, room.step_bytes(plan)
    if config.cache == "none":
        return
    if config.cache == "device" and gpus.visible():
        free, count, where = gpus.free_bytes(), 1, f"on this rank's {ranks.device}"
        step += room.RUNTIME_BYTES
    else:
        count = ranks.local_size
        free, where = host.free_memory_bytes(processes=count), "on this host"
    if free is not None and count * (plan.cache_bytes() + step) > 0.9 * free:
        beside = f" beside {count * step / 1e9:.1f} GB for steps of {plan.batch_per_rank} patches"
        needed = count * plan.cache_bytes()
        raise ValueError(_no_room(needed, f"{beside} {where}", free, cache=config.cache))


def _no_room(needed: int, where: str, free: int | None, *, cache: str = "device") -> str:
    known = "more than is free" if free is None else f"{free / 1e9:.1f} GB are free"
    return (
        f"--cache {cache} would take {needed / 1e9:.1f} GB{where}, {known}; "
        f"leave it out, or use more {'hosts' if cache == 'memory' else 'ranks'}"
    )


def _words(count: int, size: int) -> tf.Variable:
    """(count, size bytes) on the device, under the name of 32-bit floats."""
    assert size % 4 == 0, "patches halve at least once, so their pixels come in fours"
    return tf.Variable(tf.zeros((count, size // 4), tf.float32), trainable=False)


def _as_words(array: np.ndarray) -> np.ndarray:
    """(n, ...) -> (n, bytes / 4) float32 with the same bits."""
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.float32)
