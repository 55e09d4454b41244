import dataclasses
import gc
import json
import os
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from cloudmask.data.patchset import message
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.files import write_patches
from cloudmask.data.patchset.manifest import build_manifest, write_manifest
from cloudmask.data.patchset.model import FileEntry, PatchSetError
from cloudmask.data.patchset.open import open_patchset, verify_files
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.data.scene import Scene
from cloudmask.metrics import UNKNOWN

SIZE = 16


def make_scene(name, *, seed=0, height=48, width=64):
    """Three channels; the left top patch holds no measurement, the next one no label."""
    rng = np.random.default_rng(seed)
    means = np.array([280 + seed, 0.3, 0.5])
    image = rng.normal(means, [10, 0.1, 0.05], (height, width, 3)).astype(np.float32)
    label = rng.integers(0, 2, (height, width)).astype(np.uint8)
    image[:SIZE, :SIZE] = np.nan
    label[:SIZE, :SIZE] = UNKNOWN
    label[:SIZE, SIZE : 2 * SIZE] = UNKNOWN
    image[20:24, :, 1] = np.nan
    label[30:31] = UNKNOWN
    return Scene(name, image, ("t", "r", "s"), label, ("clear", "cloud"))


def write_set(folder, scenes_by_split, *, stride=SIZE):
    """A finished patch set of the given scenes."""
    splits = {
        split: [
            write_patches(folder, f"{split}/{s.name}.h5", s, patch_size=SIZE, stride=stride)
            for s in scenes
        ]
        for split, scenes in scenes_by_split.items()
    }
    first = next(scenes[0] for scenes in scenes_by_split.values())
    text = build_manifest(
        splits,
        channels=first.channels,
        classes=first.classes,
        patch_size=SIZE,
        stride=stride,
        label_source="any",
        options={},
        skipped={},
        failed={},
    )
    write_manifest(folder, text)
    return folder


@pytest.fixture
def scenes():
    return {
        "train": [make_scene(f"a{seed}", seed=seed) for seed in range(3)],
        "valid": [make_scene("v", seed=9)],
    }


@pytest.fixture
def folder(tmp_path, scenes):
    return write_set(tmp_path / "set", scenes)


def edit_manifest(folder, change):
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_patches_come_back_as_the_scene_had_them(folder, scenes):
    patchset = open_patchset(folder)
    reader = PatchReader(patchset, "train")
    assert (len(reader), reader.num_patches) == (30, 30)  # 10 of 12 per scene
    batch = reader.read(range(30))
    image = decode(batch.image, batch.scale, batch.offset)
    for number, scene in enumerate(scenes["train"]):
        with h5py.File(folder / f"train/{scene.name}.h5") as file:
            corners = list(zip(file["row"][:], file["col"][:], strict=True))
        assert corners[0] == (0, 32)
        for index, (row, col) in enumerate(corners, start=10 * number):
            window = np.s_[row : row + SIZE, col : col + SIZE]
            assert (batch.label[index] == scene.label[window]).all()
            assert np.allclose(image[index], scene.image[window], atol=1e-3, equal_nan=True)


def test_the_file_says_by_itself_what_it_holds(folder, scenes):
    """Read as any HDF5 tool reads it, by the CF rule value = scale_factor * x + add_offset."""
    scene = scenes["train"][1]
    with h5py.File(folder / "train/a1.h5") as file:
        assert file.attrs["scene"] == "a1"
        assert list(file.attrs["channels"]) == ["t", "r", "s"]
        assert file["image"].dtype == np.int16
        assert file["image"].fillvalue == -32768
        assert file["label"].dtype == np.uint8
        assert file["image"].chunks is None
        stored = file["image"][-1]
        value = stored * file.attrs["scale_factor"] + file.attrs["add_offset"]
    assert np.allclose(value, scene.image[-SIZE:, -SIZE:], atol=1e-3)


def test_patches_without_measurement_or_label_are_left_out_and_counted_apart(folder):
    for entry in open_patchset(folder).splits["train"].files:
        assert entry.patches == 10
        assert entry.left_out_no_measurement == 1
        assert entry.left_out_no_label == 1


def test_counts_are_those_of_the_pixels_that_are_stored(folder):
    patchset = open_patchset(folder)
    for name, split in patchset.splits.items():
        label = PatchReader(patchset, name).read(range(split.patches)).label
        assert split.class_pixels == tuple((label == c).sum() for c in (0, 1))
        assert sum(e.unknown_pixels for e in split.files) == (label == UNKNOWN).sum()
        assert split.class_fractions == pytest.approx(
            [(label == c).sum() / (label != UNKNOWN).sum() for c in (0, 1)]
        )


def test_mean_and_deviation_are_those_of_the_valid_training_pixels(folder):
    patchset = open_patchset(folder)
    batch = PatchReader(patchset, "train").read(range(30))
    pixels = decode(batch.image, batch.scale, batch.offset).reshape(-1, 3).astype(np.float64)
    assert patchset.mean == pytest.approx(np.nanmean(pixels, axis=0), rel=1e-6)
    assert patchset.std == pytest.approx(np.nanstd(pixels, axis=0), rel=1e-6)
    assert patchset.mean.dtype == patchset.std.dtype == np.float32


def test_channel_without_variation_can_be_divided_by(tmp_path):
    scene = make_scene("a")
    scene.image[..., 1] = 0.25
    scene.image[..., 2] = np.nan
    patchset = open_patchset(write_set(tmp_path / "set", {"train": [scene]}))
    assert patchset.mean.tolist()[1:] == [0.25, 0]
    assert patchset.std.tolist()[1:] == [1, 1]


def test_without_a_training_split_all_patches_give_the_mean(tmp_path):
    patchset = open_patchset(write_set(tmp_path / "set", {"test": [make_scene("a")]}))
    assert patchset.mean[0] == pytest.approx(280, abs=1)


def test_overlapping_patches_are_cut_at_every_stride(tmp_path, scenes):
    patchset = open_patchset(write_set(tmp_path / "set", scenes, stride=8))
    assert patchset.stride == 8
    with h5py.File(tmp_path / "set/valid/v.h5") as file:
        assert sorted(set(file["row"][:])) == [0, 8, 16, 24, 32]
        assert sorted(set(file["col"][:])) == [0, 8, 16, 24, 32, 40, 48]


def test_scene_without_any_patch_gives_no_file(tmp_path):
    scene = make_scene("a", height=SIZE, width=2 * SIZE)
    entry = write_patches(tmp_path, "train/a.h5", scene, patch_size=SIZE, stride=SIZE)
    assert (entry.patches, entry.path) == (0, "")
    assert (entry.left_out_no_measurement, entry.left_out_no_label) == (1, 1)
    assert not list(tmp_path.rglob("*.h5"))


def test_the_same_scenes_give_the_same_bytes_at_another_time_and_place(tmp_path, scenes, tree):
    first = tree(write_set(tmp_path / "first", scenes))
    time.sleep(1.1)  # HDF5 keeps dates in seconds
    assert tree(write_set(tmp_path / "second", scenes)) == first
    assert str(tmp_path) not in first["manifest.json"].decode()


def test_entry_survives_json(folder):
    entry = open_patchset(folder).splits["train"].files[0]
    assert FileEntry.from_json(json.loads(json.dumps(dataclasses.asdict(entry)))) == entry


# Reading


def open_files():
    gc.collect()  # what earlier tests have left in cycles would be closed at any moment
    return len(list(Path("/proc/self/fd").iterdir()))


def test_patches_are_read_in_any_order_from_more_files_than_are_kept_open(tmp_path):
    scenes = [make_scene(f"s{number:02d}", seed=number) for number in range(40)]
    patchset = open_patchset(write_set(tmp_path / "set", {"train": scenes}))
    order = np.random.default_rng(0).permutation(400)
    without = open_files()
    with PatchReader(patchset, "train") as reader:
        everything = reader.read(range(400))
        before = open_files()
        for some in (order, order[:7], [3, 3, 399, 0], []):
            batch = reader.read(some)
            for field in dataclasses.fields(batch):
                expected = getattr(everything, field.name)[np.asarray(some, int)]
                assert (getattr(batch, field.name) == expected).all()
        assert open_files() == before <= without + len(scenes)
    assert open_files() < before


def test_threads_can_share_a_reader(tmp_path):
    scenes = [make_scene(f"s{number:02d}", seed=number) for number in range(40)]
    patchset = open_patchset(write_set(tmp_path / "set", {"train": scenes}))
    reader = PatchReader(patchset, "train")
    everything = reader.read(range(400))
    wrong = []

    def work(seed):
        for index in np.random.default_rng(seed).permutation(400):
            batch = reader.read([index])
            if not (batch.image[0] == everything.image[index]).all():
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("index", [-1, 30, 10**9])
def test_patch_number_out_of_range_is_an_error(folder, index):
    with pytest.raises(IndexError, match=str(index)):
        PatchReader(open_patchset(folder), "train").read([0, index])


def test_files_of_patches_are_named_once_in_order(folder):
    reader = PatchReader(open_patchset(folder), "train")
    assert [entry.scene for entry in reader.files_of([29, 0, 9, 21])] == ["a0", "a2"]
    assert reader.patch_bytes == SIZE * SIZE * (3 * 2 + 1)


def test_split_that_is_not_there_is_refused_with_those_that_are(folder):
    with pytest.raises(ValueError, match="no split 'test'; it has: train, valid"):
        PatchReader(open_patchset(folder), "test")


def test_file_of_another_shape_or_kind_is_refused_when_read(folder):
    patchset = open_patchset(folder)
    path = folder / "train/a1.h5"
    reader = PatchReader(patchset, "train")
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = np.zeros((9, 16, 16, 3), "<i2"), np.zeros((9, 16, 16), "u1")
        file.attrs["scale_factor"] = file.attrs["add_offset"] = np.ones(3)
    with pytest.raises(ValueError, match=r"a1\.h5 holds patches of shape \(9, 16, 16, 3\)"):
        reader.read([10])
    with h5py.File(path, "w") as file:
        file["something"] = 1
    with pytest.raises(ValueError, match=r"a1\.h5 is no patch file"):
        reader.read([10])
    assert reader.read([0]).label.shape == (1, SIZE, SIZE)


def test_file_that_shrinks_while_it_is_read_is_an_error(folder):
    reader = PatchReader(open_patchset(folder), "train")
    reader.read([0])
    os.truncate(folder / "train/a0.h5", 4000)
    with pytest.raises(ValueError, match=r"a0\.h5 is cut short"):
        reader.read([9])


# Opening and verifying


def test_folder_without_manifest_is_no_patch_set(folder, tmp_path):
    (folder / "manifest.json").unlink()
    with pytest.raises(PatchSetError, match=r"holds no manifest\.json.*prepare .* again"):
        open_patchset(folder)
    with pytest.raises(PatchSetError, match="is not a folder"):
        open_patchset(tmp_path / "typo")


def test_changed_and_missing_files_are_named(folder):
    path = folder / "valid/v.h5"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(PatchSetError, match=rf"v\.h5 has {len(content) - 1} bytes instead of"):
        open_patchset(folder)
    path.unlink()
    with pytest.raises(PatchSetError, match=r"v\.h5 is missing"):
        open_patchset(folder)


def remove_files(values):
    del values["splits"]["train"]["files"]


def text_for_number(values):
    values["splits"]["train"]["files"][0]["patches"] = "ten"


def wrong_count(values):
    values["splits"]["train"]["patches"] = 99


def no_mean(values):
    del values["mean"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v.update(format_version=3),
            "format version 3, this program reads 1 and 2; prep",
        ),
        (lambda v: v.update(format_version=2), "damaged .ValueError: the target label is not that"),
        (lambda v: v.update(target="soft"), "damaged .ValueError: the target soft is not that"),
        (lambda v: v.update(format="photo album"), "'photo album', not a patch set"),
        (lambda v: v.clear(), "damaged or of another program"),
        (remove_files, "damaged"),
        (text_for_number, "damaged"),
        (wrong_count, "miscounts split 'train'"),
        (no_mean, "damaged"),
    ],
)
def test_manifest_of_another_kind_is_refused_in_one_line(folder, change, message):
    edit_manifest(folder, change)
    with pytest.raises(PatchSetError, match=message) as caught:
        open_patchset(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00\x80"])
def test_manifest_that_is_not_json_is_refused(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(PatchSetError, match="damaged or of another program"):
        open_patchset(folder)


def test_manifest_cannot_lead_out_of_its_folder(folder, tmp_path):
    outside = tmp_path / "outside.h5"
    (folder / "train/a0.h5").rename(outside)
    (folder / "train/link.h5").symlink_to(outside)
    for path in (str(outside), "../outside.h5", "train/../../outside.h5", "train/link.h5"):

        def lead_out(values, path=path):
            values["splits"]["train"]["files"][0]["path"] = path

        edit_manifest(folder, lead_out)
        with pytest.raises(PatchSetError, match=r"outside of the patch set"):
            open_patchset(folder)


def test_what_other_ranks_are_handed_reads_like_the_patch_set(folder):
    patchset = open_patchset(folder)
    sent = message.pack(patchset)
    found = message.unpack(sent, folder)
    for name, split in patchset.splits.items():
        slim = [(e.path, e.patches, e.bytes, e.sha256) for e in split.files]
        assert [(e.path, e.patches, e.bytes, e.sha256) for e in found.splits[name].files] == slim
        assert dataclasses.replace(found.splits[name], files=split.files) == split
        with PatchReader(patchset, name) as ours, PatchReader(found, name) as theirs:
            every = range(len(ours))
            assert theirs.read(every).image.tolist() == ours.read(every).image.tolist()
    for field in (
        "folder",
        "reading",
        "channels",
        "classes",
        "patch_size",
        "always_there",
        "fingerprint",
    ):
        assert getattr(found, field) == getattr(patchset, field), field
    assert verify_files(found, found.files) == []
    assert message.pack(found) == sent


def test_one_file_in_two_splits_is_refused(folder):
    def twice(values):
        values["splits"]["valid"] = values["splits"]["train"]

    edit_manifest(folder, twice)
    with pytest.raises(PatchSetError, match="listed twice"):
        open_patchset(folder)


def test_verify_finds_a_flipped_bit_and_a_missing_file_and_only_those(folder):
    patchset = open_patchset(folder)
    assert verify_files(patchset, patchset.files) == []
    path = folder / "train/a2.h5"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (folder / "train/a0.h5").unlink()
    problems = verify_files(patchset, patchset.files)
    assert len(problems) == 2
    assert "a0.h5 is missing" in problems[0]
    assert "a2.h5 has changed" in problems[1]


def test_ranks_can_share_the_verification(folder):
    patchset = open_patchset(folder)
    path = folder / "train/a2.h5"
    path.write_bytes(path.read_bytes()[::-1])
    files = patchset.splits["train"].files
    assert [len(verify_files(patchset, files[rank::2])) for rank in range(2)] == [1, 0]


def test_fingerprint_changes_with_the_content(folder, tmp_path, scenes):
    same = write_set(tmp_path / "same", scenes)
    other = write_set(tmp_path / "other", {**scenes, "valid": [make_scene("v", seed=10)]})
    prints = [open_patchset(f).fingerprint for f in (folder, same, other)]
    assert prints[0] == prints[1] != prints[2]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from cloudmask.data.patchset.files import write_patches
from cloudmask.data.scene import Scene

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
rng = np.random.default_rng(0)
scene = Scene("a", rng.random((64, 64, 3), np.float32), ("x", "y", "z"),
              np.ones((64, 64), np.uint8), ("no", "yes"))
try:
    write_patches(Path(sys.argv[1]), "train/a.h5", scene, patch_size=64, stride=64)
except OSError as error:
    print(error)
"""


def test_full_disk_is_one_error_with_the_path_and_leaves_nothing_behind(tmp_path, start):
    process = start(FULL_DISK, tmp_path)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert str(tmp_path / "train/a.h5") in out
    assert err == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
