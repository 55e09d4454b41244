import threading
import time

import numpy as np
import pytest
import tiny

from cloudmask.data.patchset.encoding import FILL, decode
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.train.augmentation import Augmentation
from cloudmask.train.batches import ALIGNMENT, Memory, Source, read_ahead, to_device
from cloudmask.train.schedule import PAD, epoch_plan

CHANNELS = len(tiny.CHANNELS)


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    return open_patchset(tiny.make_patchset(tmp_path_factory.mktemp("pipeline") / "set"))


@pytest.fixture
def reader(patchset):
    with PatchReader(patchset, "train") as reader:
        yield reader


def augmentation(patchset, **changes):
    settings = {"gain": 0.2, "shared": 0.3, "seed": 0} | changes
    return Augmentation(mean=patchset.mean, std=patchset.std, **settings)


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def one_patch(random, size=16):
    """Image, scale, offset and label of a patch, some of it missing."""
    image = random.integers(-30000, 30000, (size, size, CHANNELS)).astype(np.int16)
    image[random.random(image.shape) < 0.1] = FILL
    label = random.choice([0, 1, 255], (size, size)).astype(np.uint8)
    scale = np.array([1e-5, 5e-4, 1e-3], np.float32)
    offset = np.array([0.3, 280, 270], np.float32)
    return image, scale, offset, label


def test_without_augmentation_a_batch_is_what_the_reader_gives(reader):
    row = np.array([7, 0, 29, 7])
    batch, expected = Source(reader).arrays(row, epoch=0), reader.read(row)
    assert equal(batch, (expected.image, expected.scale, expected.offset, expected.label))


def test_augmentation_depends_on_seed_epoch_and_patch_alone(patchset, reader):
    source = Source(reader, augmentation=augmentation(patchset))
    alone = {patch: source.arrays(np.array([patch]), epoch=3) for patch in range(6)}
    other = Source(reader, augmentation=augmentation(patchset))
    other.arrays(np.array([9, 4]), epoch=0)
    batch = other.arrays(np.array([5, 3, 1, 0, 2, 4]), epoch=3)
    for place, patch in enumerate((5, 3, 1, 0, 2, 4)):
        assert equal([part[place : place + 1] for part in batch], alone[patch])
    row = np.array([2])
    assert not equal(source.arrays(row, epoch=3), source.arrays(row, epoch=4))
    another = Source(reader, augmentation=augmentation(patchset, seed=1))
    assert not equal(another.arrays(row, epoch=3), source.arrays(row, epoch=3))


def test_label_and_image_turn_and_flip_together(patchset):
    change = augmentation(patchset)
    size = 8
    place = np.arange(size * size).reshape(size, size)
    image = np.repeat(place[..., None], CHANNELS, axis=-1).astype(np.int16)
    label = (place * 3 % 251).astype(np.uint8)
    scale, offset = np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)
    seen = set()
    for patch in range(100):
        turned, _, _, mask = change.apply(patch, 0, image, scale, offset, label)
        np.testing.assert_array_equal(turned[..., 0] * 3 % 251, mask)
        assert all((turned[..., c] == turned[..., 0]).all() for c in range(CHANNELS))
        seen.add(turned[..., 0].tobytes())
    symmetries = {
        np.rot90(side, turns).astype(np.int16).tobytes()
        for side in (place, place[::-1])
        for turns in range(4)
    }
    assert seen == symmetries


def found_change(patchset, change, patch, random):
    """Gain and offset (in standard deviations) of each channel, from the physical values."""
    image, scale, offset, label = one_patch(random)
    before = decode(image, scale, offset)
    after = decode(*change.apply(patch, 0, image, scale, offset, label)[:3])
    gains, shifts = [], []
    for channel in range(CHANNELS):
        # a turn or a flip changes the order of the values, but not which there are
        x, y = (np.sort(a[..., channel][~np.isnan(a[..., channel])]) for a in (before, after))
        gain, shift = np.polyfit(x.astype(np.float64) - patchset.mean[channel], y, 1)
        fitted = shift + gain * (x - patchset.mean[channel])
        np.testing.assert_allclose(y, fitted, rtol=1e-5, atol=1e-4)
        gains.append(gain)
        shifts.append((shift - patchset.mean[channel]) / patchset.std[channel])
    return gains, shifts


@pytest.mark.parametrize(
    ("gain", "shared"), [(0.2, 0.3), (0.2, 0.0), (0.0, 0.3), (0.05, 0.0), (0.0, 0.0)]
)
def test_gain_and_offset_are_as_large_as_asked(patchset, gain, shared):
    random = np.random.default_rng(0)
    change = augmentation(patchset, gain=gain, shared=shared)
    found = np.array([found_change(patchset, change, patch, random) for patch in range(60)])
    gains, shifts = found[:, 0], found[:, 1]
    low, high = (1 - gain) * (1 - shared), (1 + gain) * (1 + shared)
    slack = 1e-3
    assert low - slack <= gains.min() <= 1 - 0.7 * (1 - low) + slack
    assert 1 + 0.7 * (high - 1) - slack <= gains.max() <= high + slack
    assert np.abs(shifts).max() <= gain + shared + slack
    assert np.abs(shifts).max() >= 0.7 * (gain + shared) - slack
    alike = np.ptp(gains, axis=1).max() < slack and np.ptp(shifts, axis=1).max() < 0.01
    assert alike == (gain == 0), "channels differ just if each has a part of its own"
    if shared:
        assert np.ptp(gains.mean(axis=1)) > 0.3


def test_missing_values_stay_missing(patchset):
    image, scale, offset, label = one_patch(np.random.default_rng(0))
    turned, *rest, _ = augmentation(patchset).apply(5, 0, image, scale, offset, label)
    assert (turned == FILL).sum() == (image == FILL).sum() > 0
    assert np.isnan(decode(turned, *rest)).sum() == (image == FILL).sum()


def test_stored_values_change_only_their_place(patchset):
    """What is augmented is the decoding, so that nothing is rounded or clipped."""
    image, scale, offset, label = one_patch(np.random.default_rng(0))
    turned, new_scale, new_offset, mask = augmentation(patchset).apply(
        5, 0, image, scale, offset, label
    )
    assert turned.dtype == np.int16
    assert np.array_equal(np.sort(turned.ravel()), np.sort(image.ravel()))
    assert new_scale.dtype == new_offset.dtype == np.float32
    assert np.array_equal(np.bincount(mask.ravel()), np.bincount(label.ravel()))


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("augmented", [False, True])
def test_places_without_a_patch_are_missing_and_unknown(patchset, reader, cache, augmented):
    change = augmentation(patchset) if augmented else None
    source = Source(reader, cache=cache, augmentation=change)
    whole = source.arrays(np.array([4, 8]), epoch=1)
    image, scale, offset, label = source.arrays(np.array([4, 8, PAD, PAD]), epoch=1)
    assert equal((image[:2], scale[:2], offset[:2], label[:2]), whole)
    assert (image[2:] == FILL).all()
    assert (label[2:] == 255).all()
    assert np.isnan(decode(image[2:], scale[2:], offset[2:])).all()
    image, _, _, label = source.arrays(np.array([PAD, PAD]), epoch=1)
    assert image.shape == (2, 32, 32, CHANNELS)
    assert (image == FILL).all()
    assert (label == 255).all()


@pytest.mark.parametrize("augmented", [False, True])
def test_cached_patches_are_those_on_disk(patchset, reader, augmented):
    change = augmentation(patchset) if augmented else None
    plain, cached = (Source(reader, cache=cache, augmentation=change) for cache in (False, True))
    for epoch in range(3):
        for row in plan(epoch):
            assert equal(plain.arrays(row, epoch=epoch), cached.arrays(row, epoch=epoch))


def plan(epoch):
    settings = {"global_batch": 4, "shuffle": "shard", "seed": 0, "epoch": epoch}
    return epoch_plan(30, 1, 0, **settings)


def test_a_cached_patch_is_read_from_disk_only_once(tmp_path):
    folder = tiny.make_patchset(tmp_path / "set", patches=2)
    with PatchReader(open_patchset(folder), "train") as reader:
        source = Source(reader, cache=True)
        first = source.arrays(np.arange(6), epoch=0)
        reader.close()
        for path in (folder / "train").iterdir():
            path.unlink()
        assert equal(source.arrays(np.arange(6), epoch=0), first)


def test_batches_come_in_the_order_of_the_plan_and_are_counted(patchset, reader):
    source = Source(reader, augmentation=augmentation(patchset))
    batches = list(read_ahead(source, of(2, plan(2))))
    assert [batch.num_patches for batch in batches] == [4] * 7 + [2]
    for batch, row in zip(batches, plan(2), strict=True):
        parts = (batch.image, batch.scale, batch.offset, batch.label)
        assert equal(parts, source.arrays(row, epoch=2))
        assert batch.wait_seconds >= 0
    assert list(read_ahead(source, of(2, plan(2)[:0]))) == []


def of(epoch, rows):
    return ((epoch, row) for row in rows)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_reading_goes_on_ahead_but_not_without_end(reader):
    source = Source(reader)
    rows = []
    real = source.batch

    def batch(row, *, epoch):
        rows.append(row)
        return real(row, epoch=epoch)

    source.batch = batch
    batches = read_ahead(source, of(0, plan(0)), depth=2)
    next(batches)
    tiny.wait_until(lambda: len(rows) == 4)  # one taken, two ready, one in hand
    time.sleep(0.05)
    assert len(rows) == 4
    batches.close()


def test_a_generator_closed_early_leaves_no_thread(reader):
    batches = read_ahead(Source(reader), of(0, plan(0)))
    next(batches)
    assert len(readers()) == 1
    batches.close()
    assert readers() == []


def test_a_generator_read_to_its_end_leaves_no_thread(reader):
    assert len(list(read_ahead(Source(reader), of(0, plan(0))))) == 8
    assert readers() == []


def test_an_error_of_the_reading_thread_is_raised_where_its_batch_would_come(tmp_path):
    folder = tiny.make_patchset(tmp_path / "set")
    patchset = open_patchset(folder)
    reader = PatchReader(patchset, "train")
    reader.read([10])
    path = folder / patchset.splits["train"].files[1].path
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    seen = []

    def read_all():
        for batch in read_ahead(Source(reader), of(0, np.arange(30).reshape(10, 3))):
            seen.append(batch.num_patches)

    with pytest.raises(ValueError, match="is cut short"):
        read_all()
    reader.close()
    assert seen == [3, 3, 3], "the fourth batch has a patch of the second file"
    assert readers() == []


# --- Memory ---------------------------------------------------------------------------------------


def test_memory_is_taken_again_once_nobody_holds_it():
    memory = Memory()
    one = memory.take((2, 8), np.int16)
    other = memory.take((2, 8), np.int16)
    assert one.ctypes.data % ALIGNMENT == other.ctypes.data % ALIGNMENT == 0
    place = one.ctypes.data
    assert other.ctypes.data != place
    del one
    assert memory.take((4, 8), np.uint8).ctypes.data == place, "as many bytes"


def test_memory_that_a_tensor_shares_is_not_taken_again():
    memory = Memory()
    array = memory.take((2, 8), np.int16)
    array[...] = 7
    place = array.ctypes.data
    (tensor,) = (to_device(array, array, array, array)[0],)
    del array
    other = memory.take((2, 8), np.int16)
    other[...] = 1
    assert other.ctypes.data != place
    assert (tensor.numpy() == 7).all()
    del tensor
    assert memory.take((2, 8), np.int16).ctypes.data == place


def test_reading_an_epoch_needs_the_memory_of_a_few_batches(reader, monkeypatch):
    made = []
    real = np.empty

    def empty(size, dtype):
        made.append(size)
        return real(size, dtype)

    monkeypatch.setattr(np, "empty", empty)
    for _ in read_ahead(
        Source(reader), (pair for epoch in range(9) for pair in of(epoch, plan(0)))
    ):
        pass
    batches = 2 + 1 + 1 + 1  # ready, in hand, with the network, on its way
    assert len(made) <= 4 * 2 * batches, "four arrays, as stored and as handed out"
