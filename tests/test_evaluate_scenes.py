"""`cloudmask evaluate` on masks of whole scenes, against figures computed pixel by pixel."""

import csv
import json
import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tiny

from cloudmask import metrics
from cloudmask.cli import errors
from cloudmask.data.read import read_scene
from cloudmask.data.scene import Scene
from cloudmask.data.slstr import CHANNELS, Confidence
from cloudmask.evaluate import command, tables
from cloudmask.evaluate.regions import regions
from cloudmask.predict.masks import (
    SceneMask,
    classify,
    read_mask,
    write_hdf5,
    write_mask,
    write_netcdf,
)
from cloudmask.report import listing

CLASSES = ("clear", "cloud")


def evaluate(*words):
    return errors.run(tiny.cli.main, ["evaluate", *map(str, words)], program="cloudmask")


def make_mask(scene, seed, /, *, classes=CLASSES, **attributes):
    """Probabilities that lean to the scene's truth, or to its label where it has no truth."""
    rng = np.random.default_rng(seed)
    known = scene.truth if scene.truth is not None else scene.label
    cloud = np.where(known == 1, 0.65, 0.3)[..., None] + rng.normal(0, 0.2, (*known.shape, 1))
    probability = np.clip(np.rint(cloud * 1e4) / 1e4, 0, 1).astype(np.float32)
    probability[np.isnan(scene.image).all(axis=-1)] = np.nan
    options = {"models": ["runs/a"], "threshold": 0.5, "precision": "float32"}
    told = {"fingerprint": "f", "training_patchset": "p", "options": json.dumps(options)}
    return SceneMask(
        name=scene.name,
        classes=classes,
        probability=probability,
        spread=None,
        mask=classify(probability, threshold=0.5),
        attributes=told | attributes,
    )


@pytest.fixture
def work(tmp_path, write_hdf, scene_arrays):
    """Four benchmark scenes with a mask each; in two the sun is down in a part."""
    (tmp_path / "masks").mkdir()
    for number in range(4):
        arrays = scene_arrays(64, 80, number)
        rng = np.random.default_rng(100 + number)
        wrong = rng.random(arrays["truth"].shape) < 0.25
        arrays["bayes"] = 2 * (arrays["truth"] ^ wrong).astype(np.uint8)
        arrays["bayes"][:, :2] = arrays["bayes"][:, -2:] = 0
        arrays["bayes"][5, 7] = 255
        if number % 2:
            arrays["refs"][:20] = 0
        path = write_hdf(tmp_path / "scenes" / f"S3A_{number}.hdf", **arrays)
        mask = make_mask(read_scene(path), number)
        write_netcdf(tmp_path / "masks" / f"{path.stem}.nc", mask)
    return tmp_path


def pixels(work):
    """Network, label, truth, probability and daylight of every labelled pixel of all scenes."""
    found = []
    for path in sorted((work / "scenes").iterdir()):
        scene = read_scene(path)
        mask = read_mask(work / "masks" / f"{path.stem}.nc", classes=CLASSES)
        known = scene.label != 255
        assert (mask.mask[known] != 255).all()
        lit = ~np.isnan(scene.image[..., :6]).all(axis=-1)
        arrays = mask.mask, scene.label, scene.truth, mask.probability[..., 0], lit
        found.append([array[known] for array in arrays])
    return found


def test_pooled_figures_are_those_of_all_measured_pixels(work):
    assert evaluate(work / "masks", work / "scenes") == 0
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    network, label, _, _, lit = map(np.concatenate, zip(*pixels(work), strict=True))
    counts = metrics.confusion(label, network, num_classes=2)
    assert record["pooled"]["label"]["confusion"] == counts.tolist()
    assert record["pooled"]["label"]["accuracy"] == pytest.approx(np.mean(label == network))
    assert record["pooled"]["truth"]["pixels"] == len(label) + 4, "the label knows 4 pixels less"
    night = metrics.confusion(label[~lit], network[~lit], num_classes=2)
    assert record["regions"]["night"]["label"]["confusion"] == night.tolist()
    assert set(record["regions"]) == {"day", "night"}
    assert record["members"]["label"] == "Bayesian mask (any bit)"
    assert record["models"] == ["runs/a"]
    assert record["failed"] == {}


def test_three_way_table_and_duel(work):
    assert evaluate(work / "masks", work / "scenes") == 0
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    network, label, truth, _, _ = map(np.concatenate, zip(*pixels(work), strict=True))
    of_pairs = {(pair["of"], pair["against"]): pair for pair in record["pairs"]}
    assert of_pairs["label", "truth"]["accuracy"] == pytest.approx(np.mean(label == truth))
    assert len(of_pairs) == 6
    duel = next(d for d in record["comparisons"] if (d["reference"], d["b"]) == ("truth", "label"))
    assert duel["a_only"] == np.sum((network == truth) & (label != truth))
    assert duel["b_only"] == np.sum((network != truth) & (label == truth))
    assert duel["accuracy_a"] == pytest.approx(np.mean(network == truth))
    assert duel["iou_b"]["cloud"] == pytest.approx(
        np.sum((label == 1) & (truth == 1)) / np.sum((label == 1) | (truth == 1))
    )
    assert duel["difference"] == pytest.approx(np.mean(network == truth) - np.mean(label == truth))
    better = [np.mean(n == t) > np.mean(b == t) for n, b, t, _, _ in pixels(work)]
    assert duel["scenes_a_better"] == sum(better)
    assert duel["interval"] is None, "four scenes are too few"


def test_scenes_have_their_own_figures_and_the_legacy_one(work):
    assert evaluate(work / "masks", work / "scenes") == 0
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    legacy = []
    for path, found in zip(sorted((work / "scenes").iterdir()), record["scenes"], strict=True):
        scene = read_scene(path)
        mask = read_mask(work / "masks" / found["mask"], classes=CLASSES)
        assert found["scene"] == str(path)
        assert found["missing"] == np.isnan(scene.image).all(axis=-1).sum()
        known = scene.label != 255
        accuracy = np.mean(mask.mask[known] == scene.label[known])
        assert found["against"]["label"]["accuracy"] == pytest.approx(accuracy)
        with h5py.File(path) as file:
            whole = np.mean((mask.mask == 1) == (file["bayes"][..., 0] > 0))
        assert found["legacy_accuracy"] == pytest.approx(whole)
        legacy.append(whole)
    assert record["legacy"]["accuracy"] == pytest.approx(np.mean(legacy))


def test_calibration_is_that_of_the_probabilities(work):
    assert evaluate(work / "masks", work / "scenes") == 0
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    _, label, _, probability, _ = map(np.concatenate, zip(*pixels(work), strict=True))
    found = record["calibration"]["label"]["cloud"]
    expected = np.mean((probability.astype(float) - label) ** 2)
    assert found["brier"] == pytest.approx(expected, rel=1e-5)
    row = next(row for row in found["sweep"] if row["threshold"] == 0.4)
    said = np.rint(probability * 1e4) >= 4000
    assert row["accuracy"] == pytest.approx(np.mean(said == label))


def test_another_threshold_is_applied_to_the_probabilities(work, tmp_path):
    out = tmp_path / "other.json"
    assert evaluate(work / "masks", work / "scenes", "--threshold", 0.7, "--out", out) == 0
    _, label, _, probability, _ = map(np.concatenate, zip(*pixels(work), strict=True))
    counts = metrics.confusion(label, (probability >= 0.7).astype(int), num_classes=2)
    assert json.loads(out.read_text())["pooled"]["label"]["confusion"] == counts.tolist()


def test_masks_in_the_benchmarks_layout_give_the_same_figures(work, tmp_path):
    (tmp_path / "hdf").mkdir()
    for path in (work / "masks").glob("*.nc"):
        mask = read_mask(path, classes=CLASSES)
        write_hdf5(tmp_path / "hdf" / f"{path.stem}.h5", mask)
    assert evaluate(tmp_path / "hdf", work / "scenes") == 0
    assert evaluate(work / "masks", work / "scenes") == 0
    one, two = (
        json.loads((folder / "evaluation.json").read_text())
        for folder in (tmp_path / "hdf", work / "masks")
    )
    assert one["pooled"] == two["pooled"]
    assert one["calibration"] == two["calibration"]


def test_masks_of_another_program_need_no_names(work, tmp_path):
    (tmp_path / "theirs").mkdir()
    path = min((work / "scenes").iterdir())
    ours = read_mask(work / "masks" / f"{path.stem}.nc", classes=CLASSES)
    with h5py.File(tmp_path / "theirs" / f"{path.stem}.h5", "w") as file:
        file["mask"] = ours.probability[None]
    assert evaluate(tmp_path / "theirs", path) == 0
    found = json.loads((tmp_path / "theirs" / "evaluation.json").read_text())
    assert found["classes"] == ["clear", "cloud"]
    counts = metrics.confusion(read_scene(path).truth, ours.mask, num_classes=2)
    assert found["pooled"]["truth"]["confusion"] == counts.tolist()


def test_a_broken_scene_is_named_and_the_others_count(work, capsys):
    first, second, third, _ = sorted((work / "scenes").iterdir())
    (work / "masks" / f"{first.stem}.nc").unlink()
    (work / "masks" / f"{second.stem}.nc").write_bytes(b"half a file")
    third.write_bytes(third.read_bytes()[:3000])
    assert evaluate(work / "masks", work / "scenes") == 1
    shown = capsys.readouterr()
    assert f"holds no mask {first.stem}.nc or .h5" in shown.err
    assert f"{second.stem}.nc is not a mask of this program" in shown.err
    assert f"{third}: cannot be read" in shown.err
    assert "1 scene, 3 failed" in shown.out
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    assert set(record["failed"]) == {str(first), str(second), str(third)}


def test_masks_of_two_models_are_not_added_up(work, capsys):
    path = min((work / "scenes").iterdir())
    other = make_mask(read_scene(path), 9, fingerprint="other")
    write_netcdf(work / "masks" / f"{path.stem}.nc", other)
    assert evaluate(work / "masks", work / "scenes") == 1
    assert "masks of 2 different models or options" in capsys.readouterr().err
    assert not (work / "masks" / "evaluation.json").exists()


def test_what_cannot_be_compared_is_refused(work, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    path = min((work / "scenes").iterdir())
    unlabelled = tmp_path / "unlabelled.npz"
    scene = read_scene(path)
    np.savez(unlabelled, image=scene.image, channels=np.array(scene.channels))
    write_netcdf(work / "masks" / "unlabelled.nc", make_mask(scene, 0))
    small = tmp_path / "small.npz"
    np.savez(small, image=scene.image[:9], label=scene.label[:9])
    write_netcdf(work / "masks" / "small.nc", make_mask(scene, 0))
    cases = [
        ((tmp_path / "nowhere", path), "nowhere does not exist"),
        ((tmp_path / "empty", path), "holds no masks"),
        ((work / "masks", tmp_path / "empty"), "no scenes found"),
        ((work / "masks", unlabelled), "has no label, summary or truth"),
        ((work / "masks", small), "predict it again"),
    ]
    for words, message in cases:
        assert evaluate(*words) == 1
        shown = capsys.readouterr()
        assert message in shown.err
        assert "Traceback" not in shown.err


def as_npz(work, folder, classes):
    """The scenes of a folder as .npz whose classes are these, in their order."""
    folder.mkdir()
    for path in sorted((work / "scenes").iterdir()):
        scene = read_scene(path)
        table = np.arange(256, dtype=np.uint8)
        if tuple(classes) == CLASSES[::-1]:
            table[:2] = 1, 0
        arrays = {"label": table[scene.label], "truth": table[scene.truth]}
        names = {"channels": np.array(scene.channels), "classes": np.array(classes)}
        np.savez(folder / f"{path.stem}.npz", image=scene.image, **arrays, **names)
    return folder


def test_classes_are_matched_by_name_and_not_by_number(work, tmp_path, capsys):
    found = []
    for classes in (CLASSES, CLASSES[::-1]):
        scenes = as_npz(work, tmp_path / classes[0], classes)
        assert evaluate(work / "masks", scenes) == 0
        found.append(json.loads((work / "masks" / "evaluation.json").read_text()))
    for key in ("classes", "pooled", "pairs", "comparisons", "calibration"):
        assert found[0][key] == found[1][key]
    assert found[0]["pooled"]["truth"]["accuracy"] > 0.7
    assert (found[0]["legacy"] is None, found[1]["legacy"] is None) == (False, True)
    capsys.readouterr()
    other = as_npz(work, tmp_path / "other", ("sea", "land"))
    assert evaluate(work / "masks", other) == 1
    shown = capsys.readouterr().err
    assert "its classes are sea, land, those of its mask clear, cloud" in shown
    assert shown.count("\n") == 1


def test_of_many_failures_some_are_printed_and_all_are_listed(work, capsys):
    (good,) = (path for path in (work / "scenes").iterdir() if path.stem == "S3A_2")
    for number in range(30):
        (work / "scenes" / f"S3A_x{number:02d}.hdf").write_bytes(b"broken")
    assert evaluate(work / "masks", work / "scenes") == 1
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) == tables.MOST_FAILURES + 1
    assert "S3A_x00" in lines[0]
    assert lines[-1].startswith("left out: 10 more; all are in ")
    with (work / "masks" / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False] * 4 + [True] * 30
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    assert (record["num_scenes"], record["num_failed"]) == (4, 30)
    row = next(row for row in rows if row["name"] == good.stem)
    told = next(scene for scene in record["scenes"] if scene["name"] == good.stem)
    assert float(row["against.truth.kappa"]) == told["against"]["truth"]["kappa"]
    assert float(row["fraction.network.cloud"]) == told["fraction"]["network"]["cloud"]


def test_the_worst_scenes_of_many_stand_in_the_json_and_all_in_the_listing(work, monkeypatch):
    assert evaluate(work / "masks", work / "scenes") == 0
    whole = json.loads((work / "masks" / "evaluation.json").read_text())
    monkeypatch.setattr(command, "MOST_SCENES", 2)
    assert evaluate(work / "masks", work / "scenes") == 0
    capped = json.loads((work / "masks" / "evaluation.json").read_text())
    by_truth = sorted(whole["scenes"], key=lambda one: one["against"]["truth"]["accuracy"])
    assert capped["scenes"] == by_truth[:2]
    assert capped["pooled"] == whole["pooled"]
    listed = listing.read(work / "masks" / "evaluation.csv")
    assert [one["name"] for one in listed] == [one["name"] for one in whole["scenes"]]
    for short, full in zip(listed, whole["scenes"], strict=True):
        assert short["fraction"] == full["fraction"]
        for figures in short["against"].values():
            assert len(figures) == 7
        assert short["against"]["label"].items() <= full["against"]["label"].items()


def test_figures_are_not_written_over_by_the_listing(work, capsys):
    """What cannot be written is refused before anything is looked for."""
    cases = [
        (work / "figures.csv", "choose another --out"),
        (work / "masks", "masks is a folder"),
    ]
    for out, message in cases:
        assert evaluate(work / "nowhere", work / "neither", "--out", out) == 1
        assert message in capsys.readouterr().err


def refused(capsys, *words):
    """The one line of an evaluation that is refused as a whole."""
    assert evaluate(*words) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert shown.count("\n") == 1
    return shown


def test_options_that_would_have_no_effect_are_refused(work, tmp_path, capsys):
    masks, scenes = work / "masks", work / "scenes"
    assert "leave it out" in refused(capsys, masks, scenes, "--masks", tmp_path / "other")
    assert "from 0 to 1" in refused(capsys, masks, scenes, "--threshold", 1.5)
    path = tiny.write_scene(tmp_path / "three" / "t.npz", size=16, patches=2, seed=0, classes=3)
    scene = read_scene(path)
    probability = np.eye(3, dtype=np.float32)[np.minimum(scene.label, 2)]
    (tmp_path / "three-masks").mkdir()
    found = classify(probability, threshold=0.5)
    three = SceneMask("t", scene.classes, probability, None, found, attributes={})
    write_netcdf(tmp_path / "three-masks" / "t.nc", three)
    words = (tmp_path / "three-masks", path, "--threshold", 0.9)
    assert "for masks of two classes" in refused(capsys, *words)


def test_of_two_masks_of_one_scene_none_is_scored(work, capsys):
    first, *_ = sorted((work / "scenes").iterdir())
    other = make_mask(read_scene(first), 9, fingerprint="other")
    write_mask(work / "masks" / f"{first.stem}.tif", other)
    assert evaluate(work / "masks", work / "scenes") == 1
    shown = capsys.readouterr().err
    for suffix in (".nc", ".tif"):
        assert f"{first.stem}{suffix}" in shown
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    assert list(record["failed"]) == [str(first)]
    assert "has more than one mask" in refused(capsys, work / "masks", first)


def test_the_mask_of_another_scene_is_not_scored(work, capsys):
    paths = sorted((work / "scenes").iterdir())
    for path in paths[:2]:
        mask = make_mask(read_scene(path), 0, scene=paths[0].stem)
        write_netcdf(work / "masks" / f"{path.stem}.nc", mask)
    assert evaluate(work / "masks", work / "scenes") == 1
    message = f"{paths[1].stem}.nc was made of the scene {paths[0].stem}"
    assert message in capsys.readouterr().err
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    assert list(record["failed"]) == [str(paths[1])]


def test_masks_without_any_measurement_give_no_figures_and_no_traceback(work, capsys):
    for path in (work / "scenes").iterdir():
        mask = make_mask(read_scene(path), 0)
        nothing = np.full_like(mask.probability, np.nan)
        empty = replace(mask, probability=nothing, mask=classify(nothing, threshold=0.5))
        write_netcdf(work / "masks" / f"{path.stem}.nc", empty)
    assert evaluate(work / "masks", work / "scenes") == 0
    assert "no pixel is known" not in capsys.readouterr().out, "label and truth know each other"
    with (work / "masks" / "evaluation.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert [name for name in header if name.endswith(".accuracy")] == [
        f"against.{member}.accuracy" for member in ("label", "summary", "truth")
    ]
    out = work / "report.html"
    assert tiny.cli.main(["report", str(work / "masks"), "--out", str(out)]) == 0
    path = as_npz(work, work / "labels", CLASSES) / "S3A_0.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file if name != "truth"}
    np.savez(path, **arrays)
    assert evaluate(work / "masks", path) == 0
    assert "no pixel is known" in capsys.readouterr().out


@pytest.mark.parametrize("options", ["[]", "5", '"x"', "null", "{", '{"models": 3}'])
def test_options_that_are_no_record_are_none(work, options):
    first, *_ = sorted((work / "scenes").iterdir())
    mask = make_mask(read_scene(first), 0, options=options)
    write_netcdf(work / "masks" / f"{first.stem}.nc", mask)
    assert evaluate(work / "masks", first) == 0
    record = json.loads((work / "masks" / "evaluation.json").read_text())
    assert (record["models"], record["options"]) == ([], {})


def test_the_page_names_the_commonest_class_however_many_scenes_there_are(work, monkeypatch):
    pages = []
    for most in (4, 1):
        monkeypatch.setattr(command, "MOST_SCENES", most)
        assert evaluate(work / "masks", work / "scenes") == 0
        out = work / f"{most}.html"
        assert tiny.cli.main(["report", str(work / "masks"), "--out", str(out), "--show", "3"]) == 0
        pages.append(out.read_text())
    said = [sorted(re.findall(r"always \w+ [\w ]+ would reach", page)) for page in pages]
    assert len(said[0]) > 1
    assert said[0] == said[1]


def test_the_page_shows_no_picture_of_a_mask_that_was_made_anew(work):
    first, *_ = sorted((work / "scenes").iterdir())
    assert evaluate(work / "masks", work / "scenes") == 0
    other = make_mask(read_scene(first), 0, fingerprint="other")
    write_netcdf(work / "masks" / f"{first.stem}.nc", other)
    out = work / "report.html"
    assert tiny.cli.main(["report", str(work / "masks"), "--out", str(out)]) == 0
    text = out.read_text()
    assert f"The mask {first.stem}.nc was made anew since" in text
    shown = {name.name[5:10] for name in (work / "report_files").iterdir()}
    assert shown == {f"S3A_{number}" for number in (1, 2, 3)}


def test_flags_of_a_product_tell_day_and_land(work):
    scene = read_scene(min((work / "scenes").iterdir()))
    flags = np.zeros(scene.image.shape[:2], np.uint16)
    flags[:10] = int(Confidence.DAY | Confidence.OCEAN)
    flags[10:20] = int(Confidence.TWILIGHT | Confidence.LAND)
    flags[20:30] = int(Confidence.INLAND_WATER)
    flags[30:] = int(Confidence.UNFILLED | Confidence.OCEAN)
    found = regions(type(scene)(**(vars(scene) | {"confidence": flags})))
    rows = {name: sorted(set(np.nonzero(part)[0].tolist())) for name, part in found.items()}
    assert rows == {
        "day": list(range(10)),
        "twilight": list(range(10, 20)),
        "night": list(range(20, 30)),
        "sea": list(range(10)),
        "land": list(range(10, 30)),
    }


def test_day_and_night_are_told_of_scenes_with_more_channels_too():
    random = np.random.default_rng(0)
    image = random.random((4, 5, 10)).astype(np.float32)
    image[:2, :, :6] = np.nan
    image[0, 0, 6:9] = np.nan
    found = regions(Scene("s", image, (*CHANNELS, "TS"), None, ("clear", "cloud")))
    assert found["day"].sum() == 10
    assert found["night"].sum() == 9, "a pixel that only a forecast tells of is no night"


@pytest.mark.mpi
@pytest.mark.slow
def test_two_ranks_measure_what_one_measures(work, tmp_path):
    words = ["-m", "cloudmask", "evaluate", work / "masks", work / "scenes", "--out"]
    found = []
    for ranks in (1, 2):
        out = tmp_path / f"{ranks}.json"
        ended = tiny.finish(tiny.start(*words, out, ranks=ranks))
        assert ended.code == 0, ended.err
        found.append(json.loads(out.read_text()))
    for key in ("pooled", "regions", "pairs", "comparisons", "legacy", "calibration", "scenes"):
        assert found[0][key] == found[1][key]
