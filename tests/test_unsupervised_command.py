"""`cloudmask label --method unsupervised`: patch sets of scenes without a mask, on many ranks."""

import json

import h5py
import numpy as np
import pytest
import tiny
from test_unsupervised import CLOUD, SLSTR, scene

from cloudmask.cli import errors
from cloudmask.cli.options import LabelConfig, PrepareConfig
from cloudmask.data import slstr
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.prepare.command import prepare
from cloudmask.labels.unsupervised import confident_label, unsupervised_log_odds
from cloudmask.labels.unsupervised_command import label


def write_scenes(folder, number=4):
    folder.mkdir()
    for index in range(number):
        image, _ = scene(CLOUD, night=index == 1, seed=index)
        image[:, :3] = np.nan
        np.savez(folder / f"scene{index}.npz", image=image, channels=np.array(SLSTR))
    return folder


def run(scenes, out, **changes):
    options = {"patch_size": 40, "split": "train=0.75,valid=0.25"} | changes
    return label(LabelConfig((scenes,), out, **options))


WORDS = ("--patch-size", "40", "--split", "train=0.75,valid=0.25")


@pytest.mark.mpi
def test_one_and_two_ranks_write_the_same_bytes_and_go_on(tmp_path, tree, capsys):
    scenes = write_scenes(tmp_path / "scenes")
    words = ["-m", "cloudmask", "label", scenes, "--out", tmp_path / "two", *WORDS]
    ended = tiny.finish(tiny.start(*words, ranks=2))
    assert ended.code == 0, ended.err
    assert run(scenes, tmp_path / "one") == 0
    expected = tree(tmp_path / "one")
    assert tree(tmp_path / "two") == expected
    manifest = json.loads(expected["manifest.json"])
    assert manifest["label_source"] == "unsupervised"
    assert manifest["options"]["model"] == ""
    assert open_patchset(tmp_path / "one").classes == ("clear", "cloud")
    assert run(scenes, tmp_path / "two") == 0
    assert "is complete: 4 scenes, nothing to do" in capsys.readouterr().out
    # A run that was broken off: the manifest and a scene are not there yet.
    (tmp_path / "two" / "manifest.json").unlink()
    gone = next((tmp_path / "two" / "train").glob("*.h5"))
    kept = [path for path in (tmp_path / "two" / "train").glob("*.h5") if path != gone]
    times = [path.stat().st_mtime_ns for path in kept]
    gone.unlink()
    assert run(scenes, tmp_path / "two") == 0
    assert tree(tmp_path / "two") == expected
    assert [path.stat().st_mtime_ns for path in kept] == times


def test_the_label_of_a_patch_is_the_confident_part(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 1)
    assert run(scenes, tmp_path / "out", split="train=1") == 0
    image = np.load(scenes / "scene0.npz")["image"]
    expected = confident_label(unsupervised_log_odds(image, SLSTR))
    with h5py.File(tmp_path / "out" / "train" / "scene0.h5") as file:
        rows, cols, labels = (file[name][:] for name in ("row", "col", "label"))
    for row, col, found in zip(rows, cols, labels, strict=True):
        assert np.array_equal(found, expected[row : row + 40, col : col + 40])


def test_a_scene_of_unknown_channels_is_left_out_in_a_line(tmp_path, capsys):
    scenes = write_scenes(tmp_path / "scenes", 2)
    np.savez(scenes / "strange.npz", image=np.ones((60, 60, 2), np.float32))
    assert run(scenes, tmp_path / "out", split="train=1") == 1
    err = capsys.readouterr().err
    assert "strange.npz: no two tests for cloud can be made" in err
    assert "Traceback" not in err


def test_patches_of_another_label_are_not_mixed_in(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 2)
    assert run(scenes, tmp_path / "out", split="train=1") == 0
    config = PrepareConfig((scenes,), tmp_path / "out", patch_size=40, split="train=1")
    with pytest.raises(errors.AgreedError, match="made with other options"):
        prepare(config)


@pytest.fixture
def model(tmp_path):
    """make(name, **info): an untrained network that fits the scenes."""
    from cloudmask.model import keras_file

    def make(name, **changes):
        facts = {
            "channels": SLSTR,
            "classes": ("clear", "cloud"),
            "mean": (0.2,) * 6 + (285.0,) * 3,
            "std": (0.2,) * 6 + (10.0,) * 3,
            "widths": (4, 8),
            "dropout": (),
            "patchset": "0" * 64,
        }
        info = keras_file.ModelInfo(**(facts | changes))
        variables = keras_file.build(info, seed=1).trainable_variables
        keras_file.save(tmp_path / name, [v.numpy() for v in variables], info)
        return tmp_path / name

    return make


def test_round_two_compares_with_what_a_network_finds_clear(tmp_path, model):
    scenes = write_scenes(tmp_path / "scenes", 2)
    first, second = model("a.keras"), tmp_path / "second"
    assert run(scenes, second, split="train=1", model=first) == 0
    manifest = json.loads((second / "manifest.json").read_text())
    assert len(manifest["options"]["model"]) == 64
    with pytest.raises(errors.AgreedError, match="made with other options"):
        run(scenes, second, split="train=1")


def test_a_network_of_something_else_is_refused(tmp_path, model):
    scenes = write_scenes(tmp_path / "scenes", 1)
    other = model("other.keras", classes=("open water", "sea ice"))
    with pytest.raises(errors.AgreedError, match="tells apart open water, sea ice"):
        run(scenes, tmp_path / "out", model=other)
    assert not (tmp_path / "out").exists()


def test_a_network_with_skin_temperature_looks_at_scenes_with_it_alone(
    tmp_path, model, write_hdf, capsys
):
    write_hdf(tmp_path / "scenes/S3A_0.hdf")
    ten = {"channels": (*SLSTR, "TS"), "mean": (0.2,) * 6 + (285.0,) * 4, "std": (10.0,) * 10}
    other = model("skin.keras", reading=slstr.Reading(skin_temperature=True).record(), **ten)
    with pytest.raises(errors.AgreedError, match="all of its scenes failed"):
        run(tmp_path / "scenes", tmp_path / "out", split="train=1", model=other)
    err = capsys.readouterr().err
    assert "with skin temperature); give the options that it was trained with" in err
    assert "S3A_0.hdf: is read otherwise (the sun down to 88 degrees" in err
