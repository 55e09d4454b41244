"""`--label dual`: labels in the strip that the oblique view sees too, and unknown outside it."""

import json
import os

import forms
import h5py
import numpy as np
import pytest
import sen3
import tiny
from test_evaluate_scenes import evaluate, make_mask

from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import PrepareConfig
from cloudmask.data import dual, survey
from cloudmask.data.archive import search
from cloudmask.data.parallel import World
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.prepare.command import prepare
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import write_netcdf
from cloudmask.report import pictures

# Columns with bits of both views: none, some at either side, all; together 18 to 61 of 80.
PARTS = {0: None, 1: (18, 30), 2: (40, 61), 3: (25, 50), 4: (25, 50), 5: (25, 50)}
STRIP = (18, 61)


def bits(columns, *, width=80, seed=0):
    """(64, W) bits of one view anywhere and of both in these columns, 255 in the last ones."""
    rng = np.random.default_rng(seed)
    bayes = rng.choice([0, 0, 1, 2, 3], (64, width)).astype(np.uint8)
    if columns:
        first, end = columns
        bayes[:, first:end] |= rng.choice([0, 4, 8, 12], (64, end - first)).astype(np.uint8)
        bayes[rng.integers(64), [first, end - 1]] = 4, 8
    bayes[:30, -7:] = 255  # not computed, though it has all bits
    return bayes


@pytest.fixture
def scenes(tmp_path, write_hdf):
    folder = tmp_path / "scenes"
    for number, columns in PARTS.items():
        bayes = bits(columns, seed=number)[..., None]
        write_hdf(folder / f"S3A_{number}.hdf", seed=number, bayes=bayes)
    return folder


def run(scenes, out, **changes):
    options = {"patch_size": 16, "label": "dual", "split": "train=1"} | changes
    paths = scenes if isinstance(scenes, tuple) else (scenes,)
    return prepare(PrepareConfig(paths, out, **options))


def labels(folder, name, shape=(64, 80)):
    """A scene's labels, put together from its patches; unknown where no patch was cut."""
    found = np.full(shape, UNKNOWN, np.uint8)
    with h5py.File(folder / f"train/{name}.h5") as file:
        for label, row, column in zip(file["label"], file["row"], file["col"], strict=True):
            found[row : row + 16, column : column + 16] = label
    return found


def expected(bayes, strip):
    """Pixel by pixel; the two columns at each side of a scene are not measured."""
    height, width = bayes.shape
    label = np.full(bayes.shape, UNKNOWN, np.uint8)
    for row in range(height):
        for column in range(max(2, strip[0]), min(width - 2, strip[1])):
            value = int(bayes[row, column])
            label[row, column] = UNKNOWN if value == 255 else value != 0
    return label


def test_columns_are_those_of_the_bits_of_both_views():
    assert dual.columns_of(np.array([[0, 3, 255, 0], [1, 2, 0, 255]], np.uint8)) is None
    assert dual.columns_of(np.array([[0, 3, 4, 0, 0], [1, 2, 0, 9, 255]], np.uint8)) == (2, 4)
    assert dual.columns_of(np.array([[8]])) == (0, 1)
    assert dual.joined([(80, (5, 9)), (96, None), (80, (2, 6)), (80, None)]) == {80: (2, 9)}
    strips = {80: (2, 9), 1500: (548, 1448)}
    assert dual.from_json(json.loads(json.dumps(dual.as_json(strips)))) == strips
    assert dual.from_json(None) is None
    for record in ([1], {"a": [1, 2]}, {"1": [1]}, {"1": 2}):
        with pytest.raises(ValueError, match="no record of the oblique view's columns"):
            dual.from_json(record)


def test_labels_stand_in_the_strip_of_the_whole_archive_alone(tmp_path, scenes, write_hdf):
    wide = bits((30, 40), width=96, seed=9)
    write_hdf(scenes / "S3B_wide.hdf", width=96, seed=9, bayes=wide)
    assert run(scenes, tmp_path / "out") == 0
    patchset = open_patchset(tmp_path / "out")
    assert patchset.label_source == "dual"
    assert patchset.options["strips"] == {"80": list(STRIP), "96": [30, 40]}
    for number, columns in PARTS.items():
        label = expected(bits(columns, seed=number), STRIP)
        np.testing.assert_array_equal(labels(tmp_path / "out", f"S3A_{number}"), label)
    found = labels(tmp_path / "out", "S3B_wide", (64, 96))
    np.testing.assert_array_equal(found, expected(wide, (30, 40)))
    entries = {entry.scene: entry for entry in patchset.splits["train"].files}
    assert (entries["S3A_0"].patches, entries["S3A_0"].left_out_no_label) == (12, 8)
    assert (entries["S3B_wide"].patches, entries["S3B_wide"].left_out_no_label) == (8, 16)


def test_other_labels_record_no_strip_and_look_at_no_mask_beforehand(tmp_path, scenes, monkeypatch):
    monkeypatch.setattr(survey, "read_strip", None)
    assert run(scenes, tmp_path / "out", label="any") == 0
    assert "strips" not in open_patchset(tmp_path / "out").options


def test_the_look_beforehand_reads_the_masks_alone(scenes, monkeypatch):
    read = []
    plain = h5py.Dataset.__getitem__
    monkeypatch.setattr(
        h5py.Dataset, "__getitem__", lambda self, at: read.append(self.name) or plain(self, at)
    )
    assert survey.strips_of(search([scenes]).scenes, World()) == {80: STRIP}
    assert read == ["/bayes"] * len(PARTS)


def test_one_scene_by_itself_has_the_strip_of_its_own_bits(scenes):
    scene = read_scene(scenes / "S3A_1.hdf", label="dual")
    np.testing.assert_array_equal(scene.label, expected(bits((18, 30), seed=1), (18, 30)))
    assert scene.label_source == "dual"
    scene = read_scene(scenes / "S3A_1.hdf", label="dual", strips={80: (20, 61)})
    np.testing.assert_array_equal(scene.label, expected(bits((18, 30), seed=1), (20, 61)))
    with pytest.raises(SceneError, match="none of its pixels has bit 4 or 8 in 'bayes'"):
        read_scene(scenes / "S3A_0.hdf", label="dual")
    with pytest.raises(SceneError, match="archive's scenes 80 columns wide has bit 4 or 8"):
        read_scene(scenes / "S3A_1.hdf", label="dual", strips={96: (20, 61)})
    assert (read_scene(scenes / "S3A_0.hdf", label="dual", need_label=False).label == 255).all()


def test_archives_and_scenes_without_a_dual_view_are_told_of_in_a_line(
    tmp_path, scenes, write_hdf, capsys
):
    for number in range(2):
        write_hdf(tmp_path / f"one/S3A_{number}.hdf", bayes=bits(None, seed=number))
        tiny.write_scene(tmp_path / f"npz/other_{number}.npz", size=16, patches=2, seed=number)
    with pytest.raises(AgreedError, match=r"^no pixel of 2 scenes has bit 4 or 8 in 'bayes'"):
        run(tmp_path / "one", tmp_path / "out")
    with pytest.raises(AgreedError, match="none of the 2 scenes is one of SLSTR, and --label dual"):
        run(tmp_path / "npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert run((scenes, tmp_path / "npz/other_0.npz"), tmp_path / "out") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"left out: {tmp_path}/npz/other_0.npz: is no SLSTR scene, and --label dual is the strip "
        "that its oblique view sees; choose another --label or leave this scene out"
    )
    assert len(open_patchset(tmp_path / "out").splits["train"].files) == len(PARTS)


def test_a_broken_scene_is_named_once_and_tells_nothing_of_the_strip(tmp_path, scenes, capsys):
    path = scenes / "S3A_2.hdf"  # which alone knows where the strip ends
    path.write_bytes(path.read_bytes()[:3000])
    os.mkfifo(scenes / "S3A_pipe.hdf")
    assert run(scenes, tmp_path / "out") == 1
    assert sorted(line[:40] for line in capsys.readouterr().err.splitlines()) == sorted(
        f"left out: {scenes}/S3A_{name}.hdf"[:40] for name in ("2", "pipe")
    )
    assert open_patchset(tmp_path / "out").options["strips"] == {"80": [18, 50]}


def test_a_finished_patch_set_is_complete_until_a_mask_moves_the_strip(
    tmp_path, scenes, write_hdf, tree, capsys
):
    assert run(scenes, tmp_path / "out") == 0
    before = tree(tmp_path / "out")
    capsys.readouterr()
    assert run(scenes, tmp_path / "out") == 0
    assert "6 scenes, nothing to do" in capsys.readouterr().out
    write_hdf(scenes / "S3A_2.hdf", seed=2, bayes=bits((40, 63), seed=2))
    with pytest.raises(
        AgreedError, match=r"were \{'80': \[18, 61\]\} and are .*63.*choose another"
    ):
        run(scenes, tmp_path / "out")
    with pytest.raises(AgreedError, match="other options"):
        run(scenes, tmp_path / "out", label="any")
    assert tree(tmp_path / "out") == before


PREPARE = """
import sys, threading
from pathlib import Path
from cloudmask.cli import errors
from cloudmask.data.prepare import command as module

written = []

def once(*args, write=module.write_patches, **options):
    if written:
        threading.Event().wait()
    written.append(write(*args, **options))
    return written[0]

def main(words):
    if "once" in words:
        module.write_patches = once
    config = module.PrepareConfig(
        (Path(words[0]),), Path(words[1]), patch_size=16, label="dual", split="train=1"
    )
    return module.prepare(config)

sys.exit(errors.run(main, sys.argv[1:], program="prepare"))
"""


@pytest.mark.mpi
def test_two_ranks_that_were_killed_and_go_on_write_what_one_writes(
    tmp_path, scenes, write_hdf, start, tree
):
    """Each has written one scene. Then another one tells of more columns, so all are cut anew."""
    out = tmp_path / "out"
    process = start(PREPARE, scenes, out, "once", ranks=2)
    tiny.wait_until(lambda: len(list(out.glob(".prepare/*.json"))) == 2)
    tiny.kill_everything(process)
    process.communicate()
    assert not (out / "manifest.json").exists()
    write_hdf(scenes / "S3A_5.hdf", seed=5, bayes=bits((25, 64), seed=5))
    process = start(PREPARE, scenes, out, ranks=2)
    said, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    assert said.count("6 scenes") == 1
    assert run(scenes, tmp_path / "alone") == 0
    assert tree(out) == tree(tmp_path / "alone")
    assert open_patchset(out).options["strips"] == {"80": [18, 64]}


@pytest.fixture
def values():
    """A product whose mask has cloud everywhere in a checked pattern, of one view's bits."""
    values = sen3.make_values()
    values.oblique = sen3.make_oblique()
    values.bayes = (np.indices(values.bayes.shape).sum(axis=0) % 3).astype(np.uint8)
    values.bayes[3, 9:12] = 255
    return values


@pytest.mark.parametrize(
    ("form", "down", "track"), [("zip", 0, 6), ("folder", 3, 6), ("folder", -2, 20)]
)
def test_of_a_product_the_strip_is_the_grid_of_its_oblique_view(
    tmp_path, values, form, down, track
):
    view = values.oblique
    view.start_offset, view.track_offset = sen3.START_OFFSET + down, track
    product = sen3.write_product(tmp_path / "in", values)
    whole = read_scene(product).label
    place = product if form == "folder" else forms.zipped(product, tmp_path / "zip")
    found = read_scene(place, label="dual", strips={30: (0, 30)}).label
    label = np.full_like(whole, UNKNOWN)
    for row in range(24):
        for column in range(30):
            if 0 <= row - down < 24 and 0 <= column - (14 - track) < 16:
                label[row, column] = whole[row, column]
    np.testing.assert_array_equal(found, label)
    assert 0.2 < (found != UNKNOWN).mean() < 0.6


def test_a_product_without_oblique_grid_is_left_out_in_a_line(tmp_path, values):
    values.leave_out = {"indices_io.nc"}
    product = sen3.write_product(tmp_path, values)
    assert read_scene(product).label is not None
    with pytest.raises(SceneError, match=r"needed files are missing: indices_io\.nc"):
        read_scene(product, label="dual")


def test_products_and_the_benchmarks_files_make_one_patch_set(tmp_path, scenes, values):
    product = sen3.write_product(tmp_path, values)
    assert run((scenes, product), tmp_path / "out") == 0
    patchset = open_patchset(tmp_path / "out")
    assert patchset.options["strips"] == {"80": list(STRIP)}
    found = labels(tmp_path / "out", product.stem, (24, 30))
    label = read_scene(product).label
    inside = np.s_[4:20, 8:23]  # of the one patch, which stands in the middle
    np.testing.assert_array_equal(found[inside], label[inside])
    assert (found[:, :8] == UNKNOWN).all()
    assert run((product,), tmp_path / "alone") == 0, "which needs no other scene"


def test_masks_are_measured_in_the_strip_of_the_scenes_they_are_compared_with(tmp_path, scenes):
    (tmp_path / "masks").mkdir()
    pairs = []
    for number, columns in PARTS.items():
        scene = read_scene(scenes / f"S3A_{number}.hdf")
        mask = make_mask(scene, number)
        write_netcdf(tmp_path / f"masks/S3A_{number}.nc", mask)
        label = expected(bits(columns, seed=number), STRIP)
        known = label != UNKNOWN
        pairs.append((mask.mask[known], label[known]))
    assert evaluate(tmp_path / "masks", scenes, "--label", "dual") == 0
    record = json.loads((tmp_path / "masks/evaluation.json").read_text())
    assert record["label_source"] == "dual"
    assert record["strips"] == {"80": list(STRIP)}
    (of_scene,) = (one for one in record["scenes"] if one["name"] == "S3A_1")
    shown, problem = pictures._read_scene(of_scene, record, tmp_path / "masks")
    assert problem == ""
    np.testing.assert_array_equal(shown.label, expected(bits((18, 30), seed=1), STRIP))
    found, known = (np.concatenate(part) for part in zip(*pairs, strict=True))
    against = record["pooled"]["label"]
    assert against["accuracy"] == pytest.approx((found == known).mean())
    assert sum(map(sum, against["confusion"])) == len(known)
    assert evaluate(tmp_path / "masks", scenes) == 0
    assert "strips" not in json.loads((tmp_path / "masks/evaluation.json").read_text())
