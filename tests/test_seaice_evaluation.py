"""Scores against plain computations, patch sets from pictures, and the whole road."""

import json
import re

import cv2
import numpy as np
import pytest
import tiny
from test_seaice_label import scene, write

from cloudmask import __main__ as cloudmask_cli
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.metrics import UNKNOWN
from seaice import __main__ as cli
from seaice.colour import CLASSES
from seaice.io import classmap


def run(*words):
    return cli.main([str(word) for word in words])


@pytest.fixture
def archive(tmp_path):
    """Six synthetic scenes with truth, and their filtered and raw labels."""
    words = ("--scenes", 6, "--height", 128, "--width", 128)
    assert run("synth", "--out", tmp_path / "ice", *words) == 0
    assert run("label", tmp_path / "ice/scenes", "--out", tmp_path / "filtered") == 0
    words = ("--out", tmp_path / "raw", "--filter", "none")
    assert run("label", tmp_path / "ice/scenes", *words) == 0
    return tmp_path


def prepare(archive, out, *words):
    labels = ("--labels", archive / "filtered", "--patch-size", 64)
    split = ("--split", "train=0.5,valid=0.5")
    return run("prepare", archive / "ice/scenes", *labels, "--out", out, *split, *words)


def test_patches_hold_the_pictures_and_labels_of_whole_scenes(archive):
    assert prepare(archive, archive / "patches") == 0
    patchset = open_patchset(archive / "patches")
    assert patchset.classes == CLASSES
    assert patchset.channels == ("red", "green", "blue")
    scenes = {name: [e.scene for e in s.files] for name, s in patchset.splits.items()}
    assert not set(scenes["train"]) & set(scenes["valid"])
    assert len(scenes["train"]) == len(scenes["valid"]) == 3
    with PatchReader(patchset, "valid") as reader:
        batch = reader.read([0])
    name = scenes["valid"][0]
    picture = cv2.imread(str(archive / f"ice/scenes/{name}.png"))[..., ::-1]
    label = classmap.read(archive / f"filtered/labels/{name}.tif").label
    image = decode(batch.image, batch.scale, batch.offset)[0]
    known = batch.label[0] != UNKNOWN
    assert np.array_equal(batch.label[0], label[:64, :64])
    assert np.array_equal(np.rint(image[known]), picture[:64, :64][known])
    assert np.isnan(image[~known]).all()


def test_engines_prepare_the_same_patch_set(archive, tree, capsys):
    assert prepare(archive, archive / "one") == 0
    assert prepare(archive, archive / "two", "--engine", "processes", "--workers", 2) == 0
    assert tree(archive / "one") == tree(archive / "two")
    capsys.readouterr()
    assert prepare(archive, archive / "one") == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.mpi
def test_two_ranks_prepare_the_patch_set_of_one(archive, tree, start):
    assert prepare(archive, archive / "one") == 0
    code = "import sys; from seaice.__main__ import main; sys.exit(main(sys.argv[1:]))"
    labels = ("--labels", archive / "filtered", "--patch-size", 64, "--engine", "mpi")
    words = ("--out", archive / "two", "--split", "train=0.5,valid=0.5")
    process = start(code, "prepare", archive / "ice/scenes", *labels, *words, ranks=2)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert tree(archive / "one") == tree(archive / "two")


def test_a_scene_without_a_label_is_named_and_left_out(archive, capsys):
    write(archive / "ice/scenes/new.png", scene())
    assert prepare(archive, archive / "patches") == 1
    said = capsys.readouterr()
    assert "6 scenes" in said.out
    assert "new.png has no label in" in said.err


def test_labels_are_scored_side_by_side_and_by_cloud_cover(archive, capsys):
    folders = [f"{name}={archive / name}" for name in ("filtered", "raw")]
    truth = f"truth={archive / 'ice/truth'}"
    words = ("--out", archive / "out", "--scenes", archive / "ice/scenes", "--pixel-metres", 10)
    assert run("evaluate", "--predictions", *folders, "--against", folders[1], truth, *words) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 5
    record = json.loads((archive / "out/evaluation.json").read_text())
    rows = {(r["prediction"], r["against"], r["scenes_of"]): r for r in record["scores"]}
    same = rows["raw", "raw", "all"]
    assert (same["accuracy"], same["kappa"], same["mean_iou"], same["ssim"]) == (1, 1, 1, 1)
    counts = np.zeros((3, 3), int)
    for path in sorted((archive / "ice/truth").glob("*.png")):
        known = classmap.read(path).label
        found = classmap.read(archive / f"filtered/labels/{path.stem}.tif").label
        for a, b in np.ndindex(3, 3):
            counts[a, b] += ((known == a) & (found == b)).sum()
    assert rows["filtered", "truth", "all"]["confusion"] == counts.tolist()
    records = sorted((archive / "ice/truth").glob("*.json"))
    covers = {path.stem: json.loads(path.read_text())["cloud_cover"] for path in records}
    assert {name: facts["cloud_cover"] for name, facts in record["scenes"].items()} == covers
    cloudy = sum(cover >= 0.1 for cover in covers.values())
    assert rows["raw", "truth", "cloudy"]["scenes"] == cloudy
    assert rows["raw", "truth", "clear"]["scenes"] == 6 - cloudy
    page = (archive / "out/index.html").read_text()
    assert page.count("<figure>") == 4 * 5
    assert re.findall(r'background: rgb\((.*?)\)"></span>(.*)', page) == [
        ("255, 0, 0", "thick ice"),
        ("0, 0, 255", "thin ice"),
        ("0, 255, 0", "open water"),
        ("0, 0, 0", "unknown"),
    ]
    assert "<th>of all</th>" in page
    assert "km2" in page


def evaluate(out, *words):
    """Exit code and record of an evaluation."""
    code = run("evaluate", *words, "--out", out)
    return code, json.loads((out / "evaluation.json").read_text())


def test_pictures_that_cannot_be_read_cost_the_page_a_picture_alone(archive, capsys):
    scenes = archive / "sixteen"
    scenes.mkdir()
    for path in (archive / "ice/scenes").glob("*.png"):
        deep = cv2.imread(str(path)).astype(np.uint16) * 200
        cv2.imwrite(str(scenes / path.name), deep)
    words = ("--predictions", f"raw={archive / 'raw'}", "--against", f"t={archive / 'ice/truth'}")
    code, record = evaluate(archive / "out", *words, "--scenes", scenes)
    assert (code, record["scores"][0]["scenes"]) == (0, 6)
    said = capsys.readouterr()
    assert "accuracy" in said.out
    assert said.err.count("the page goes without a picture") == 4
    assert "--stretch" in said.err
    assert (archive / "out/index.html").read_text().count("<figure>") == 4 * 2
    words = (*words, "--scenes", scenes, "--stretch", 0, 51000)
    assert evaluate(archive / "out", *words)[0] == 0
    assert capsys.readouterr().err == ""
    assert (archive / "out/index.html").read_text().count("<figure>") == 4 * 3


def test_scenes_that_a_folder_lacks_are_named_and_counted(archive, capsys):
    for number in (1, 4):
        (archive / f"raw/labels/ice_0_{number:04d}.tif").unlink()
    words = ("--predictions", f"raw={archive / 'raw'}", "--against", f"t={archive / 'ice/truth'}")
    code, record = evaluate(archive / "out", *words)
    assert (code, record["scores"][0]["scenes"]) == (0, 4)
    assert record["lacking"] == {str(archive / "raw"): ["ice_0_0001", "ice_0_0004"]}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("raw lacks 2 scenes, not scored: ice_0_0001, ice_0_0004")


def test_a_map_that_does_not_fit_costs_its_scene_alone(archive, capsys):
    write(archive / "raw/labels/ice_0_0002.png", np.zeros((9, 9), np.uint8))
    (archive / "raw/labels/ice_0_0002.tif").unlink()
    words = ("--predictions", f"raw={archive / 'raw'}", "--against", f"t={archive / 'ice/truth'}")
    code, record = evaluate(archive / "out", *words)
    assert (code, record["scores"][0]["scenes"]) == (1, 5)
    assert record["failed"]["ice_0_0002"] in capsys.readouterr().err
    assert "raw has 9 x 9 pixels, t has 128 x 128" in record["failed"]["ice_0_0002"]


@pytest.fixture
def days(tmp_path):
    """60 scenes of 24 days: a reference, a good map, a worse one, and one that keeps silent."""
    rng = np.random.default_rng(3)
    kinds = {"truth": 0, "good": 0.1, "worse": 0.3, "silent": 0.3}
    for number in range(60):
        truth = rng.integers(0, 3, (32, 32)).astype(np.uint8)
        for kind, wrong in kinds.items():
            label = truth.copy()
            where = rng.random(truth.shape) < wrong * rng.uniform(0.2, 1.8)
            label[where] = UNKNOWN if kind == "silent" else (label[where] + 1) % 3
            path = tmp_path / kind / f"scene_{number:02d}.tif"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(classmap.encode(label, None, date=f"2024-10-{number % 24 + 1:02d}"))
    return tmp_path


def test_scores_come_with_coverage_and_with_intervals_over_days(days, capsys):
    words = [f"{name}={days / name}" for name in ("good", "worse", "silent")]
    against = ("--against", f"truth={days / 'truth'}")
    code, record = evaluate(days / "out", "--predictions", *words, *against)
    assert (code, record["unit"], record["units"]) == (0, "day", 24)
    good, worse, silent = record["scores"]
    for row in (good, worse):
        assert row["coverage"] == 1
        assert row["with_abstentions_wrong"]["accuracy"] == row["accuracy"]
        for name in ("accuracy", "mean_iou", "kappa"):
            low, high = row["intervals"][name]
            assert low < row[name] < high < low + 0.2
    # Silence is no error, but it is not hidden either.
    assert silent["accuracy"] == 1
    assert 0.6 < silent["coverage"] < 0.8
    assert silent["with_abstentions_wrong"]["accuracy"] == silent["coverage"]
    assert silent["with_abstentions_wrong"]["mean_iou"] < 0.8
    assert silent["intervals"]["accuracy"] is None
    first = record["differences"][0]
    assert (first["prediction"], first["less"]) == ("good", "worse")
    assert first["accuracy"] == pytest.approx(good["accuracy"] - worse["accuracy"])
    assert 0 < first["intervals"]["accuracy"][0] < first["accuracy"]
    said = capsys.readouterr().out
    assert f"{silent['coverage']:.4f}" in said
    assert "95 % intervals over 24 days" in said
    assert "good less worse against truth: accuracy 0." in said
    page = (days / "out/index.html").read_text()
    assert f"{silent['coverage']:.4f}" in page
    assert "95 % intervals" in page


def test_few_scenes_have_no_intervals_and_that_is_said(archive, capsys):
    words = ("--predictions", f"raw={archive / 'raw'}", "--against", f"t={archive / 'ice/truth'}")
    _, record = evaluate(archive / "out", *words)
    assert record["scores"][0]["intervals"]["accuracy"] is None
    assert "no intervals: 6 scenes, and 20 are needed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--predictions", "{raw}"], "write NAME=FOLDER"),
        (["--predictions", "a={raw}", "a={raw}"], "a name of its own"),
        (["--predictions", "a={raw}/none"], "is not a folder"),
        (["--predictions", "a={raw}", "--split", "x", "--patchset", "{raw}"], "not a patch set"),
        (["--predictions", "a={other}"], "holds no class maps"),
    ],
)
def test_what_the_user_must_mend_is_one_line(archive, words, problem):
    (archive / "other").mkdir()
    words = [word.format(raw=archive / "raw", other=archive / "other") for word in words]
    with pytest.raises(ValueError, match=problem):
        run("evaluate", *words, "--against", f"t={archive / 'ice/truth'}", "--out", archive / "o")


@pytest.mark.slow
@pytest.mark.mpi
def test_the_whole_road_on_two_ranks(archive):
    assert prepare(archive, archive / "patches") == 0
    small = (
        "--widths",
        "4",
        "8",
        "8",
        "--dropout",
        "0.1",
        "0.1",
        "0.1",
        "--epochs",
        "40",
        "--lr",
        "0.005",
    )
    words = ("--data", archive / "patches", "--out", archive / "run", "--preset", "seaice")
    ended = tiny.train(*words, *small, "--batch-size", 2, ranks=2)
    assert ended.code == 0, ended.err
    assert run("scenes", archive / "ice/scenes", "--out", archive / "npz") == 0
    words = ["predict", archive / "run", archive / "npz", "--out", archive / "masks"]
    assert cloudmask_cli.main([str(word) for word in words]) == 0
    words = ["evaluate", archive / "run", archive / "patches"]
    assert cloudmask_cli.main([str(word) for word in words]) == 0
    own = json.loads((archive / "run/evaluation-valid.json").read_text())
    words = ("--predictions", f"network={archive / 'masks'}", "--patchset", archive / "patches")
    references = (f"filtered={archive / 'filtered'}", f"truth={archive / 'ice/truth'}")
    assert run("evaluate", *words, "--against", *references, "--out", archive / "out") == 0
    record = json.loads((archive / "out/evaluation.json").read_text())
    rows = {(r["against"], r["scenes_of"]): r for r in record["scores"]}
    assert rows["filtered", "all"]["accuracy"] > own["majority"] + 0.1
    assert rows["filtered", "all"]["accuracy"] == pytest.approx(own["accuracy"], abs=0.05)
    missing = sum(
        np.count_nonzero(classmap.read(archive / f"masks/{name}.nc").label == UNKNOWN)
        for name in record["scenes"]
    )
    assert missing == sum(
        np.count_nonzero(classmap.read(archive / f"ice/truth/{name}.png").label == UNKNOWN)
        for name in record["scenes"]
    )
