import json
import os
import shutil
import signal

import numpy as np
import pytest
import tiny

from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import PrepareConfig, VerifyConfig
from cloudmask.data import parallel, slstr
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.model import PatchSetError
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.data.prepare import command as module
from cloudmask.data.prepare.command import prepare, verify
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError

OPTIONS = {"patch_size": 16, "seed": 42}


def run(scenes, out, **changes):
    paths = [scenes] if not isinstance(scenes, list) else scenes
    return prepare(PrepareConfig(tuple(paths), out, **(OPTIONS | changes)))


def test_patch_set_holds_every_scene_in_the_split_that_the_seed_gives(archive, tmp_path, capsys):
    assert run(archive, tmp_path / "out") == 0
    patchset = open_patchset(tmp_path / "out")
    assert [e.scene for e in patchset.splits["valid"].files] == ["S3A_01", "S3A_08"]
    assert len(patchset.splits["train"].files) == 8
    assert patchset.channels == ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")
    assert patchset.classes == ("clear", "cloud")
    assert (patchset.patch_size, patchset.stride, patchset.label_source) == (16, 16, "any")
    assert patchset.mean[6] == pytest.approx(270, abs=3)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.startswith("10 scenes | train 160 patches | valid 40 patches | left out 0 without")


def test_patches_are_the_scenes_pixels(archive, tmp_path):
    run(archive, tmp_path / "out", split="train=1", stride=8)
    patchset = open_patchset(tmp_path / "out")
    scene = read_scene(archive / "day/S3A_01.hdf")
    assert [e.scene for e in patchset.splits["train"].files][1] == "S3A_01"
    per_scene = 7 * 9
    batch = PatchReader(patchset, "train").read([per_scene + 9 + 2])  # second row, third column
    image = decode(batch.image, batch.scale, batch.offset)[0]
    assert np.allclose(image, scene.image[8:24, 16:32], atol=2e-3, equal_nan=True)
    assert (batch.label[0] == scene.label[8:24, 16:32]).all()


def test_scenes_that_an_engine_did_not_reach_are_no_finished_patch_set(archive, tmp_path, tree):
    def lossy(function, items, *, weights, **options):
        done = parallel.map_items(function, items[:-2], weights=weights[:-2], **options)
        return [*done, None, None]

    config = PrepareConfig((archive,), tmp_path / "out", **OPTIONS)
    with pytest.raises(ValueError, match="2 scenes not reached; run the same command again"):
        prepare(config, map_items=lossy)
    assert not (tmp_path / "out/manifest.json").exists()
    assert prepare(config) == 0
    run(archive, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_second_run_reads_no_scene_and_changes_nothing(
    archive, tmp_path, tree, monkeypatch, capsys
):
    run(archive, tmp_path / "out")
    before = tree(tmp_path / "out")
    dates = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    capsys.readouterr()
    monkeypatch.setattr(module, "read_scene", None)
    assert run(archive, tmp_path / "out") == 0
    assert "10 scenes, nothing to do" in capsys.readouterr().out
    assert tree(tmp_path / "out") == before
    assert dates == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_patch_set_that_was_copied_without_notes_is_still_known(archive, tmp_path, monkeypatch):
    run(archive, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/.prepare")
    monkeypatch.setattr(module, "read_scene", None)
    assert run(archive, tmp_path / "out") == 0


def test_file_that_was_lost_is_made_again_with_the_same_bytes(archive, tmp_path, tree):
    run(archive, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out/train/S3A_02.h5").unlink()
    os.truncate(tmp_path / "out/valid/S3A_08.h5", 100)
    assert run(archive, tmp_path / "out") == 0
    assert tree(tmp_path / "out") == before


def test_place_and_order_of_the_scenes_do_not_matter(archive, tmp_path, tree):
    run(archive, tmp_path / "first")
    moved = tmp_path / "elsewhere"
    shutil.copytree(archive, moved)
    scattered = [*sorted(moved.rglob("*.hdf"), reverse=True)]
    run(scattered, tmp_path / "second")
    assert tree(tmp_path / "first") == tree(tmp_path / "second")


BREAKS_OFF = """
import signal, sys
from pathlib import Path
from cloudmask.data.prepare import command as module

def some(out, *args, write=module.write_patches, **options):
    if len(list(out.glob(".prepare/*.json"))) == int(sys.argv[3]):
        signal.pause()  # until it is killed
    return write(out, *args, **options)

module.write_patches = some
config = module.PrepareConfig((Path(sys.argv[1]),), Path(sys.argv[2]), patch_size=16)
sys.exit(module.prepare(config))
"""


def test_killed_run_goes_on_and_ends_with_the_bytes_of_an_unbroken_one(
    archive, tmp_path, tree, start, monkeypatch
):
    run(archive, tmp_path / "whole")
    out = tmp_path / "out"
    for done in (2, 5):
        process = start(BREAKS_OFF, archive, out, done)
        tiny.wait_until(lambda done=done: len(list(out.glob(".prepare/*.json"))) == done)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (out / "manifest.json").exists()
        with pytest.raises(PatchSetError, match="prepare has not finished"):
            open_patchset(out)
    (out / ".prepare/.S3A_09.h5.0123.part").write_bytes(b"half a file")
    finished = len(list(out.glob(".prepare/*.json")))
    read = []
    monkeypatch.setattr(module, "read_scene", lambda *a, **k: read.append(a) or read_scene(*a, **k))
    assert run(archive, out) == 0
    assert len(read) == 10 - finished
    assert tree(out) == tree(tmp_path / "whole")
    assert not list(out.rglob(".*.part"))


def test_damaged_note_of_a_scene_means_the_scene_is_done_again(archive, tmp_path, tree):
    run(archive, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "out")
    (tmp_path / "out/manifest.json").unlink()
    for name, content in (("S3A_00", ""), ("S3A_01", "{}"), ("S3A_02", "[1"), ("S3A_03", "null")):
        (tmp_path / f"out/.prepare/{name}.json").write_text(content)
        (tmp_path / f"out/train/{name}.h5").unlink(missing_ok=True)
    assert run(archive, tmp_path / "out") == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_unfinished_run_with_other_options_starts_anew_and_leaves_nothing_old(
    archive, tmp_path, tree
):
    run(archive, tmp_path / "out")
    (tmp_path / "out/manifest.json").unlink()
    (archive / "day/S3A_01.hdf").unlink()
    assert run(archive, tmp_path / "out", patch_size=32, seed=1) == 0
    assert run(archive, tmp_path / "fresh", patch_size=32, seed=1) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 32}, r"patch_size 16, asked 32"),
        ({"stride": 8}, "stride 16, asked 8"),
        ({"seed": 7}, "seed 42, asked 7"),
        ({"label": "summary"}, "label any, asked summary"),
        ({"split": "train=1"}, "split train=0.8,valid=0.2, asked train=1"),
    ],
)
def test_finished_patch_set_of_other_options_is_not_touched(
    archive, tmp_path, tree, changes, message
):
    run(archive, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match=rf"other options \({message}\); choose another --out"):
        run(archive, tmp_path / "out", **changes)
    assert tree(tmp_path / "out") == before


def test_finished_patch_set_of_other_scenes_is_not_touched(archive, tmp_path, tree, write_hdf):
    run(archive, tmp_path / "out")
    before = tree(tmp_path / "out")
    write_hdf(archive / "night/S3A_03.hdf", seed=77)
    os.utime(archive / "night/S3A_03.hdf")
    with pytest.raises(ValueError, match=r"S3A_03\.hdf has changed"):
        run(archive, tmp_path / "out")
    write_hdf(archive / "S3A_99.hdf", seed=99)
    with pytest.raises(ValueError, match=r"other scenes .*S3A_99"):
        run(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def break_scene(archive, number):
    path = next(archive.rglob(f"S3A_{number:02d}.hdf"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path, whole


def test_broken_scene_is_left_out_named_and_tried_again(archive, tmp_path, tree, capsys):
    run(archive, tmp_path / "whole")
    path, whole = break_scene(archive, 4)
    capsys.readouterr()
    for _ in range(2):
        assert run(archive, tmp_path / "out") == 1
        told = capsys.readouterr()
        assert told.err.count(f"left out: {path}: cannot be read as HDF5") == 1
        assert "9 scenes | train 140" in told.out
        assert told.out.endswith("1 scene failed\n")
        manifest = json.loads((tmp_path / "out/manifest.json").read_text())
        assert list(manifest["scenes"]["failed"]) == ["S3A_04"]
        assert str(tmp_path) not in json.dumps(manifest)
    path.write_bytes(whole)
    assert run(archive, tmp_path / "out") == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_strict_stops_at_the_first_broken_scene_and_loses_nothing(archive, tmp_path, tree, capsys):
    run(archive, tmp_path / "whole")
    path, whole = break_scene(archive, 4)
    capsys.readouterr()
    assert run(archive, tmp_path / "out", strict=True) == 1
    assert "stopped at a broken scene; 4 of 10 scenes are done" in capsys.readouterr().err
    assert not (tmp_path / "out/manifest.json").exists()
    path.write_bytes(whole)
    assert run(archive, tmp_path / "out", strict=True) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def write_npz(path, *, channels=("a", "b"), classes=("no", "yes"), **changes):
    rng = np.random.default_rng(0)
    image = rng.random((32, 32, len(channels)), np.float32)
    arrays = {"image": image, "label": rng.integers(0, 2, (32, 32))} | changes
    np.savez(path, channels=list(channels), classes=list(classes), **arrays)
    return path


def test_scenes_that_differ_from_the_first_in_channels_or_classes_are_left_out(tmp_path, capsys):
    paths = [
        write_npz(tmp_path / "a.npz"),
        write_npz(tmp_path / "b.npz", channels=("a", "c")),
        write_npz(tmp_path / "c.npz", classes=("no", "ice")),
        write_npz(tmp_path / "d.npz"),
    ]
    assert run(paths, tmp_path / "out", split="train=1") == 1
    err = capsys.readouterr().err
    assert "b.npz: has the channels ('a', 'c'), but a has ('a', 'b')" in err
    assert "c.npz: has the classes ('no', 'ice'), but a has ('no', 'yes')" in err
    files = open_patchset(tmp_path / "out").splits["train"].files
    assert [entry.scene for entry in files] == ["a", "d"]
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == ["a.h5", "d.h5"]


def test_scene_that_gives_no_patch_is_skipped_and_no_failure(tmp_path, capsys):
    label = np.full((40, 40), 255)
    label[0, 0] = 1  # outside of the centred grid
    image = np.ones((40, 40, 2))
    paths = [
        write_npz(tmp_path / "a.npz"),
        write_npz(tmp_path / "b.npz", image=image, label=label),
    ]
    assert run(paths, tmp_path / "out", split="train=1", patch_size=32) == 0
    told = capsys.readouterr()
    assert "skipped: b gives no patch: 0 without measurement, 1 without label" in told.err
    assert "1 scene | train 1 patch | left out 0 without measurement, 1 without" in told.out
    assert run(paths, tmp_path / "out", split="train=1", patch_size=32) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_scene_smaller_than_a_patch_is_left_out_with_its_size(tmp_path, capsys):
    small = {"image": np.ones((8, 40, 2)), "label": np.ones((8, 40), int)}
    paths = [write_npz(tmp_path / "a.npz"), write_npz(tmp_path / "b.npz", **small)]
    assert run(paths, tmp_path / "out", split="train=1") == 1
    assert "b.npz: a scene of 8x40 pixels is smaller than one patch" in capsys.readouterr().err


def test_error_without_advice_is_of_its_scene_alone(tmp_path, capsys, monkeypatch):
    def fail(out, path, scene, *, write=module.write_patches, **sizes):
        if scene.name == "b":
            raise ValueError("no such text")
        return write(out, path, scene, **sizes)

    monkeypatch.setattr(module, "write_patches", fail)
    paths = [write_npz(tmp_path / "a.npz"), write_npz(tmp_path / "b.npz")]
    assert run(paths, tmp_path / "out", split="train=1") == 1
    assert "b.npz: no such text; mend it, or leave it out" in capsys.readouterr().err


def test_split_that_is_a_link_is_not_written_through(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train").symlink_to(other)
    (tmp_path / "out/.prepare").mkdir()
    with pytest.raises(ValueError, match="train: is a link; remove it, or choose another --out"):
        run([write_npz(tmp_path / "a.npz")], tmp_path / "out", split="train=1")
    assert list(other.iterdir()) == []


def test_channels_without_a_value_are_not_called_coarse(tmp_path, capsys):
    """As the solar ones of every product of the night."""
    image = np.full((32, 32, 9), 270, np.float32)
    image[..., 6:] += np.random.default_rng(0).random((32, 32, 3))
    image[..., :6] = np.nan
    scene = write_npz(tmp_path / "a.npz", channels=slstr.CHANNELS, image=image)
    assert run([scene], tmp_path / "out", split="train=1") == 0
    assert "warning" not in capsys.readouterr().err


def test_one_class_alone_is_refused_before_there_is_a_patch_set(tmp_path):
    paths = [write_npz(tmp_path / "a.npz", label=np.ones((32, 32), int))]
    with pytest.raises(ValueError, match="only class 'yes' occurs in the training labels"):
        run(paths, tmp_path / "out", split="train=1")
    assert not (tmp_path / "out/manifest.json").exists()
    assert run(paths, tmp_path / "test", split="test=1") == 0  # to evaluate on, it is fine


def test_split_whose_scenes_all_failed_is_refused(archive, tmp_path):
    for number in (1, 8):
        break_scene(archive, number)
    with pytest.raises(ValueError, match="split 'valid' holds no patch"):
        run(archive, tmp_path / "out")
    assert not (tmp_path / "out/manifest.json").exists()


def test_folder_that_is_something_else_is_not_written_to(archive, tmp_path):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("text")
    with pytest.raises(ValueError, match="not empty and no patch set; choose another --out"):
        run(archive, other)
    with pytest.raises(ValueError, match="is a file"):
        run(archive, other / "chapter.txt")
    (other / "manifest.json").write_text('{"format": "photo album", "format_version": 1}')
    with pytest.raises(ValueError, match="photo album"):
        run(archive, other)
    assert sorted(path.name for path in other.iterdir()) == ["chapter.txt", "manifest.json"]
    with pytest.raises(ValueError, match="not empty and no patch set"):
        run(archive, archive)


def test_folder_that_is_empty_is_used(archive, tmp_path):
    (tmp_path / "out").mkdir()
    assert run(archive, tmp_path / "out") == 0


def test_folder_that_cannot_be_made_is_an_error_with_its_path(archive, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AgreedError, match=r"file/out/.*: a part of that path is a file"):
        run(archive, tmp_path / "file/out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 0}, "patch_size 0"),
        ({"stride": -3}, "stride -3"),
        ({"split": "train=0.5"}, "exactly 1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_written(
    archive, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        run(archive, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_notes_cannot_make_prepare_delete_files_elsewhere(archive, tmp_path):
    run(archive, tmp_path / "out")
    (tmp_path / "out/manifest.json").unlink()
    precious = tmp_path / "precious.h5"
    precious.touch()
    note = tmp_path / "out/.prepare/S3A_00.json"
    for path in (str(precious), "../precious.h5"):
        values = json.loads(note.read_text())
        values["entry"]["path"], values["key"] = path, "old"
        note.write_text(json.dumps(values))
        assert run(archive, tmp_path / "out") == 0
        (tmp_path / "out/manifest.json").unlink()
    assert precious.exists()


def test_full_disk_is_an_error_with_the_path_and_a_rerun_goes_on(
    archive, tmp_path, tree, monkeypatch
):
    run(archive, tmp_path / "whole")
    calls = []

    def full(*args, write=module.write_patches, **options):
        calls.append(args)
        if len(calls) == 4:
            raise OSError(28, "No space left on device", "train/S3A_03.h5")
        return write(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_patches", full)
        with pytest.raises(AgreedError, match=r"train/S3A_03\.h5: the disk is full"):
            run(archive, tmp_path / "out")
    assert len(list((tmp_path / "out").glob(".prepare/*.json"))) == 3
    assert run(archive, tmp_path / "out") == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_verify_says_what_it_found(archive, tmp_path, capsys):
    run(archive, tmp_path / "out")
    capsys.readouterr()
    assert verify(VerifyConfig(tmp_path / "out")) == 0
    assert capsys.readouterr().out == "10 files, 200 patches: all checksums match\n"
    path = tmp_path / "out/train/S3A_00.h5"
    path.write_bytes(path.read_bytes()[::-1])
    assert verify(VerifyConfig(tmp_path / "out")) == 1
    assert "S3A_00.h5 has changed" in capsys.readouterr().out


def test_ranks_without_mpi_are_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("HOROVOD_SIZE", "2")
    with pytest.raises(ValueError, match="mpirun"):
        run(archive, tmp_path / "out")


def test_error_of_one_scene_is_one_line():
    error = SceneError("a.hdf", "is odd", "mend it")
    assert str(error) == "a.hdf: is odd; mend it"


@pytest.mark.real
def test_real_landsat_scenes_become_a_patch_set(real_data, tmp_path):
    config = PrepareConfig((real_data / "landsat",), tmp_path, patch_size=128, split="train=1")
    assert prepare(config) == 0
    patchset = open_patchset(tmp_path)
    assert patchset.splits["train"].patches == 32
    assert patchset.channels == ("blue", "green", "red", "nir", "swir16", "swir22")
    shares = patchset.splits["train"].class_fractions
    assert shares[1] == pytest.approx((0.328 + 0.360) / 2, abs=1e-3)
    batch = PatchReader(patchset, "train").read([0])
    with np.load(real_data / "landsat/landsat5.npz") as file:
        image = file["image"]
    found = decode(batch.image, batch.scale, batch.offset)[0]
    assert np.abs(found - image[:128, :128]).max() <= 5e-5
