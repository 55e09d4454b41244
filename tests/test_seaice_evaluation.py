"""Scores against plain computations, patch sets from pictures, and the whole road."""

import json

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
from seaice import scores
from seaice.colour import CLASSES, THICK, THIN, WATER
from seaice.io import classmap

RNG = np.random.default_rng(8)


def plain_similarity(first, second, known):
    """Mean structural similarity over known pixels, window by window (Wang et al. 2004)."""
    table = {WATER: 0, THIN: 128, THICK: 255}
    shades = []
    for classes in (first, second):
        shade = np.zeros(classes.shape)
        for index, value in table.items():
            shade[(classes == index) & known] = value
        shades.append(shade)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    padded = [np.pad(shade, 3, mode="symmetric") for shade in shades]
    values = np.zeros(known.shape)
    for row, column in np.ndindex(known.shape):
        x, y = (p[row : row + 7, column : column + 7].ravel() for p in padded)
        xy = np.cov(x, y)
        above = (2 * x.mean() * y.mean() + c1) * (2 * xy[0, 1] + c2)
        below = (x.mean() ** 2 + y.mean() ** 2 + c1) * (xy[0, 0] + xy[1, 1] + c2)
        values[row, column] = above / below
    return values[known].mean()


def test_structural_similarity_is_that_of_the_documented_shades():
    first = RNG.integers(0, 3, (24, 30)).astype(np.uint8)
    second = np.where(RNG.random(first.shape) < 0.8, first, 0).astype(np.uint8)
    second[:4] = UNKNOWN
    first[:, :3] = UNKNOWN
    known = (first != UNKNOWN) & (second != UNKNOWN)
    total, pixels = scores.similarity(first, second)
    assert pixels == known.sum()
    assert total / pixels == pytest.approx(plain_similarity(first, second, known), abs=1e-6)


def test_scores_of_scenes_add_up_to_the_score_of_all():
    pairs = [RNG.integers(0, 3, (2, 16, 16)).astype(np.uint8) for _ in range(3)]
    total = scores.Score()
    for reference, predicted in pairs:
        total.add(scores.score(reference, predicted))
    found = total.as_dict()
    stacked = np.stack(pairs)
    assert found["accuracy"] == pytest.approx((stacked[:, 0] == stacked[:, 1]).mean())
    assert found["scenes"] == 3
    assert np.sum(found["confusion"]) == 3 * 256


def test_what_is_unknown_on_either_side_does_not_count():
    reference = np.array([[0, 1, UNKNOWN, 2]], np.uint8)
    predicted = np.array([[0, UNKNOWN, 1, 1]], np.uint8)
    assert scores.score(reference, predicted).as_dict()["accuracy"] == 0.5


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
    out, err = process.communicate(timeout=120)
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
    assert "km2" in page


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
