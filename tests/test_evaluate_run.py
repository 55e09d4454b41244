"""`cloudmask evaluate RUN SCENES`: figures are of masks that this run made of these scenes."""

import json
import os
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny

from cloudmask.cli import errors
from cloudmask.model import keras_file
from cloudmask.predict.masks import read_mask, write_mask


def evaluate(*words):
    """Exit code of the command line, run in this process."""
    words = ["evaluate", *map(str, words), "--precision", "float32"]
    return errors.run(tiny.cli.main, words, program="cloudmask")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a real process, of two epochs, and three scenes that are like those it learned."""
    work = tmp_path_factory.mktemp("evaluate-run")
    patchset = tiny.make_patchset(work / "set", scenes=4, patches=6)
    words = ("--preset", "tiny", "--data", patchset, "--out", work / "run", "--lr", 0.02)
    ended = tiny.train(*words, "--epochs", 4)
    assert ended.code == 0, ended.err
    for number in range(3):
        tiny.write_scene(work / "scenes" / f"s{number}.npz", size=32, patches=2, seed=50 + number)
    return work


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    shutil.copytree(trained / "scenes", tmp_path / "scenes")
    return tmp_path / "run"


def flip(run):
    """Turn every answer of a network around: what retraining into the same folder may do."""
    weights, info = keras_file.read(run / "model.keras")
    values = [np.array(weight) for weight in weights]
    values[-2:] = [-value for value in values[-2:]]  # kernel and bias of the last layer
    keras.config.set_dtype_policy("float32")
    keras_file.save(run / "model.keras", values, info)


def record_of(run):
    return json.loads((run / "masks" / "evaluation.json").read_text())


def accuracy_of(run):
    return record_of(run)["pooled"]["label"]["accuracy"]


def test_a_retrained_run_is_never_judged_by_its_old_masks(run):
    scenes = run.parent / "scenes"
    words = ["-m", "cloudmask", "evaluate", run, scenes, "--precision", "float32"]
    ended = tiny.finish(tiny.start(*words))
    assert ended.code == 0, ended.err
    before = record_of(run)
    assert before["pooled"]["label"]["accuracy"] > 0.7

    flip(run)
    ended = tiny.finish(tiny.start(*words))
    assert ended.code == 1
    assert "none of the 3 scenes could be compared" in ended.err
    assert "was made by another model" in ended.err
    assert "Traceback" not in ended.err
    assert record_of(run) == before, "the old verdict stands, and says of which model it is"

    assert evaluate(run, scenes, "--overwrite") == 0
    confusion = [np.array(one["pooled"]["label"]["confusion"]) for one in (before, record_of(run))]
    np.testing.assert_array_equal(confusion[0][:, ::-1], confusion[1])


def test_masks_of_two_makings_are_counted_only_as_far_as_the_run_made_them(run, capsys):
    scenes = run.parent / "scenes"
    assert evaluate(run, scenes) == 0
    flip(run)
    (run / "masks" / "s1.nc").unlink()
    capsys.readouterr()
    assert evaluate(run, scenes) == 1
    found = record_of(run)
    assert [scene["name"] for scene in found["scenes"]] == ["s1"]
    assert found["num_failed"] == 2
    assert found["pooled"]["label"]["accuracy"] < 0.3
    assert capsys.readouterr().err.count("was made by another model") == 2


def test_a_threshold_is_of_the_evaluation_and_not_of_the_masks(run, capsys):
    """--threshold 0.9 and then none gave the figures of 0.9 twice."""
    scenes = run.parent / "scenes"
    assert evaluate(run, scenes, "--threshold", 0.9) == 0
    other = record_of(run)
    assert other["threshold"] == 0.9
    capsys.readouterr()
    assert evaluate(run, scenes) == 0
    assert "0 masks written" in capsys.readouterr().out
    plain = record_of(run)
    assert other["pooled"] != plain["pooled"]
    rows = {row["threshold"]: row for row in plain["calibration"]["label"]["class 1"]["sweep"]}
    for threshold, found in ((0.9, other), (0.5, plain)):
        assert rows[threshold]["accuracy"] == found["pooled"]["label"]["accuracy"]


def test_a_replaced_scene_is_predicted_anew(run, capsys):
    scenes = run.parent / "scenes"
    assert evaluate(run, scenes) == 0
    before = record_of(run)
    tiny.write_scene(scenes / "s1.npz", size=32, patches=2, seed=99)
    assert evaluate(run, scenes) == 0
    after = record_of(run)
    assert "1 mask written" in capsys.readouterr().out
    assert [a == b for a, b in zip(before["scenes"], after["scenes"], strict=True)] == [
        True,
        False,
        True,
    ]
    assert after["pooled"]["label"]["accuracy"] > 0.7


def test_masks_of_another_scene_of_the_same_name_are_not_scored(run, capsys):
    scenes = run.parent / "scenes"
    assert evaluate(run, scenes) == 0
    now = (scenes / "s0.npz").stat().st_mtime
    os.utime(scenes / "s0.npz", (now + 60, now + 60))
    tiny.write_scene(scenes / "s2.npz", size=32, patches=2, seed=7, classes=3)
    with np.load(scenes / "s2.npz") as file:
        arrays = dict(file)
    np.savez_compressed(scenes / "s2.npz", **arrays)
    capsys.readouterr()
    assert evaluate(run / "masks", scenes) == 1
    shown = capsys.readouterr()
    assert "s2.nc was made of a scene of" in shown.err
    assert "1 scene with another date than when the masks were made" in shown.out
    found = json.loads((run / "masks" / "evaluation.json").read_text())
    assert (found["num_scenes"], found["redated"]) == (2, 1)


def test_masks_in_the_run_folder_are_held_against_the_run_as_well(run, capsys):
    """And those of another format beside them, which another model has made, do not count."""
    scenes = run.parent / "scenes"
    words = (run, scenes, "--masks", run)
    assert evaluate(*words) == 0
    mask = read_mask(run / "s0.nc", classes=())
    write_mask(run / "s0.h5", replace(mask, probability=1 - mask.probability))
    assert evaluate(*words) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert [scene["mask"] for scene in found["scenes"]] == ["s0.nc", "s1.nc", "s2.nc"]
    flip(run)
    capsys.readouterr()
    assert evaluate(*words) == 1
    assert "was made by another model" in capsys.readouterr().err


def test_what_predict_cannot_read_fails_the_evaluation_and_the_rest_counts(run, capsys):
    scenes = run.parent / "scenes"
    (scenes / "s1.npz").write_bytes(b"no scene")
    assert evaluate(run, scenes) == 1
    shown = capsys.readouterr()
    assert shown.err.count("left out: ") == 1
    assert f"{scenes / 's1.npz'}" in shown.err
    found = record_of(run)
    assert (found["num_scenes"], list(found["failed"])) == (2, [str(scenes / "s1.npz")])
    listed = (run / "masks" / "evaluation.csv").read_text().splitlines()
    assert len(listed) == 4
    assert listed[-1].startswith("s1.npz,")
