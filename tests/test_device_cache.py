"""Batches out of the device's memory are those from disk; on this machine the device is the CPU."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny

from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.model.losses import confusion_counts
from cloudmask.train import device_cache, gpus, room
from cloudmask.train.augmentation import Augmentation
from cloudmask.train.batches import Source, read_ahead
from cloudmask.train.device_cache import DeviceSource, check_room, symmetries
from cloudmask.train.plan import make_plan
from cloudmask.train.ranks import OneRank
from cloudmask.train.schedule import PAD
from cloudmask.train.stall import Watch
from cloudmask.train.validation import validation_by


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    return open_patchset(tiny.make_patchset(tmp_path_factory.mktemp("device") / "set"))


@pytest.fixture
def reader(patchset):
    with PatchReader(patchset, "train") as reader:
        yield reader


def augmentation(patchset):
    return Augmentation(mean=patchset.mean, std=patchset.std, gain=0.2, shared=0.3, seed=0)


def plan(patchset, *, ranks=3, **changes):
    config = TrainConfig(data=patchset.folder, out="out", widths=(4, 8), **changes)
    return make_plan(config, tiny.pretended_ranks(size=ranks, local_size=ranks))


def equal(one, other):
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True)]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_symmetries_are_quarter_turns_and_then_a_flip():
    image = np.random.default_rng(0).integers(0, 1000, (6, 6, 2))
    for turns in range(4):
        for flip in (False, True):
            expected = np.rot90(image, turns)
            expected = expected[:, ::-1] if flip else expected
            places = symmetries(6)[turns + 4 * flip]
            np.testing.assert_array_equal(image.reshape(36, 2)[places].reshape(6, 6, 2), expected)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_batches_from_the_device_have_the_bits_of_those_from_disk(
    patchset, reader, augmented, shuffle, monkeypatch
):
    monkeypatch.setattr(device_cache, "CHUNK", 4)  # so that the last of several is a part
    change = augmentation(patchset) if augmented else None
    found = plan(patchset, shuffle=shuffle, global_batch=7)
    disk = Source(reader, augmentation=change)
    device = DeviceSource(reader, found.training_patches(1), watch=Watch(0), augmentation=change)
    padded = 0
    for epoch in range(3):
        for row in found.rows(1, epoch):
            assert equal(device.batch(row, epoch=epoch), disk.batch(row, epoch=epoch))
            padded += (row == PAD).sum()
    assert padded > 0


@pytest.mark.parametrize("augmented", [False, True])
def test_places_without_a_patch_are_missing_and_unknown(patchset, reader, augmented):
    change = augmentation(patchset) if augmented else None
    row = np.array([PAD, 4, PAD])
    device = DeviceSource(reader, np.array([2, 4, 9]), watch=Watch(0), augmentation=change)
    disk = Source(reader, augmentation=change)
    batch, expected = device.batch(row, epoch=1), disk.batch(np.array([4, PAD, PAD]), epoch=1)
    assert equal([part[1] for part in batch], [part[0] for part in expected])
    assert equal([part[2] for part in batch], [part[2] for part in expected])


@pytest.mark.parametrize("other", [1, 3, 10])
def test_a_patch_of_another_rank_is_never_another_one_in_its_place(reader, other):
    device = DeviceSource(reader, np.array([2, 4, 9]), watch=Watch(0))
    with pytest.raises(AssertionError, match="not among this rank's"):
        device.batch(np.array([4, other, PAD]), epoch=0)


def test_the_disk_is_read_once_and_for_all(tmp_path):
    folder = tiny.make_patchset(tmp_path / "set", patches=2)
    with PatchReader(open_patchset(folder), "train") as reader:
        source = DeviceSource(reader, np.arange(6), watch=Watch(0))
        expected = reader.read(range(6))
        reader.close()
        for path in (folder / "train").iterdir():
            path.unlink()
        image, _, _, label = source.batch(np.arange(6), epoch=0)
    np.testing.assert_array_equal(image, expected.image)
    np.testing.assert_array_equal(label, expected.label)


def test_reading_tells_the_watch_how_far_it_is(reader, monkeypatch):
    """However long it takes in all, a rank that reads gets on."""
    monkeypatch.setattr(device_cache, "CHUNK", 4)
    told = []
    watch = Watch(0)
    monkeypatch.setattr(watch, "at", lambda *words: told.append(words))
    DeviceSource(reader, np.arange(10), watch=watch)
    assert told == [("patches for the device", start) for start in (0, 4, 8)]


def test_every_patch_that_a_rank_reads_is_among_those_it_keeps(patchset):
    for shuffle in ("shard", "global"):
        found = plan(patchset, shuffle=shuffle, global_batch=7)
        for rank in range(3):
            kept = found.training_patches(rank)
            read = {patch for epoch in range(40) for patch in found.rows(rank, epoch).ravel()}
            assert read - {PAD} == set(kept)
            assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize("cache", ["memory", "device"])
def test_validation_reads_its_patches_once(tmp_path, cache):
    """And a rank that has none of them measures the others' like any rank."""
    opened = open_patchset(tiny.make_patchset(tmp_path / "set", patches=3))
    config = TrainConfig(data=opened.folder, out="out", widths=(4, 8), cache=cache, batch_size=2)
    alone = OneRank(**vars(tiny.pretended_ranks()))
    found = make_plan(config, alone)

    def step(image, scale, offset, label):
        pixels = tf.cast(tf.reduce_sum(tf.cast(image, tf.int64)), tf.float64)
        return tf.stack([pixels, 1.0]), confusion_counts(label, tf.zeros(label.shape, tf.int32), 2)

    validate = validation_by(step, found, alone, Watch(0))
    measured = validate()
    for path in (opened.folder / "valid").iterdir():
        path.unlink()
    assert validate() == measured
    other = validation_by(step, found, alone, Watch(0))
    with pytest.raises((AgreedError, FileNotFoundError)):
        other()
    many = dataclasses.replace(found, num_ranks=5)
    idle = OneRank(**vars(tiny.pretended_ranks(rank=0, size=5)))
    assert many.validation_rows(0).size == 0
    assert validation_by(step, many, idle, Watch(0))()["pixels"] == 0


@pytest.mark.parametrize(("cache", "instead"), [("memory", "hosts"), ("device", "ranks")])
def test_more_than_the_host_has_is_refused(patchset, cache, instead):
    found = plan(patchset, cache=cache)
    check_room(found, tiny.pretended_ranks())
    check_room(plan(patchset, cache="none"), tiny.pretended_ranks(local_size=10**9))
    refused = rf"--cache {cache} would take .* GB beside .* on this host, .* more {instead}"
    with pytest.raises(ValueError, match=refused):
        check_room(found, tiny.pretended_ranks(local_size=10**9))


def test_more_than_a_gpu_has_free_is_refused_before_anything_is_read(patchset, monkeypatch):
    found, ranks = plan(patchset, cache="device"), tiny.pretended_ranks(device="GPU X")
    needed = found.cache_bytes()
    monkeypatch.setattr(gpus, "visible", lambda: ["a GPU"])
    step = room.step_bytes(found) + room.RUNTIME_BYTES
    for free in (2 * (needed + step), None):  # one that cannot say what is free is tried
        monkeypatch.setattr(gpus, "free_bytes", lambda free=free: free)
        check_room(found, ranks)
    for free in (needed, needed + step):  # the cache alone would fit: the steps must, too
        monkeypatch.setattr(gpus, "free_bytes", lambda free=free: free)
        refused = r"would take .* GB beside 1\.1 GB for steps of .* patches on this rank's GPU X, "
        with pytest.raises(ValueError, match=refused + r"\d\.\d GB are free; leave it out"):
            check_room(found, ranks)


def test_room_for_a_step_follows_batch_network_and_precision(patchset):
    def bytes_of(**changes):
        return room.step_bytes(plan(patchset, cache="device", **changes))

    # 32 x 32 pixels, 3 channels, 2 classes, widths 4 and 8: 16 + 1 + 16 / 4 values a pixel
    assert bytes_of(batch_size=1, precision="float32") == 2 * 1024 * (21 * 4 + 4 * 12)
    assert bytes_of(batch_size=3, precision="bfloat16") == 3 * 2 * 1024 * (21 * 2 + 4 * 12)
    assert bytes_of(emulate=0.1) == 0


def test_an_emulated_device_without_a_gpu_has_the_hosts_memory(patchset):
    check_room(plan(patchset, cache="device"), tiny.pretended_ranks(device="emulated (1 s)"))


def test_a_device_that_runs_out_of_memory_says_so_in_one_line(reader, monkeypatch):
    def full(*_):  # a real one takes TensorFlow ten seconds of trying again
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(device_cache, "_words", full)
    with pytest.raises(ValueError, match=r"--cache device would take .* GB, more than is free"):
        DeviceSource(reader, np.arange(30), watch=Watch(0))


def test_a_network_can_take_batches_while_another_thread_makes_them(patchset, reader):
    """As in training: batches are made ahead by a thread, the network takes tensors."""
    found = plan(patchset, ranks=1, batch_size=4)
    change = augmentation(patchset)
    device = DeviceSource(reader, found.training_patches(0), watch=Watch(0), augmentation=change)
    disk = Source(reader, augmentation=change)
    add = tf.function(lambda image: tf.reduce_sum(tf.cast(image, tf.int64)))
    rows = found.rows(0, 1)
    batches = read_ahead(device, ((1, row) for row in rows), workers=2)
    for batch, row in zip(batches, rows, strict=True):
        image, *_ = disk.batch(row, epoch=1)
        assert int(add(batch.image)) == int(np.asarray(image).astype(np.int64).sum())
