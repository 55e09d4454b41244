"""A network made better by a few scenes whose mask is known: the command, and what tells of it."""

import functools
import io
import json
import sys
import zipfile

import keras
import numpy as np
import pytest
import tiny

import cloudmask
from cloudmask.cli import errors
from cloudmask.cli.options import TrainConfig
from cloudmask.evaluate import seen
from cloudmask.model import keras_file
from cloudmask.model.calibration import features
from cloudmask.predict.masks import attributes_of, read_mask
from cloudmask.train import origin
from cloudmask.train.folder import RunFolder
from cloudmask.train.plan import make_plan

CLASSES = ("clear", "cloud")
SIZE = 48


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


def write_scene(path, *, seed, night=False, clear=False, truth=True):
    """Cloud in blots; a label that is wrong at some of their edges, a truth that is right."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(SIZE // 8, SIZE // 8 + 2))
    cloud = np.kron(coarse, np.ones((8, 8))) > (9 if clear else 0)
    label = cloud ^ (rng.random(cloud.shape) < 0.1)
    image = np.stack([0.1 + 0.5 * cloud, 290 - 20.0 * cloud, 280 - 30.0 * cloud], axis=-1)
    image += rng.normal(size=image.shape) * (0.3, 12, 12)
    if night:
        image[..., 0] = np.nan
    image[:3] = image[20:30, 10:14] = np.nan
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"truth": cloud.astype(np.uint8)} if truth else {}
    np.savez(
        path,
        image=image.astype(np.float32),
        label=label.astype(np.uint8),
        channels=np.array(tiny.CHANNELS),
        classes=np.array(CLASSES),
        **arrays,
    )
    return path


def write_model(path, *, seed=0, classes=CLASSES):
    """Random weights: its probability says something of the scene, but on a scale of its own."""
    info = keras_file.ModelInfo(
        channels=tiny.CHANNELS,
        classes=classes,
        widths=(4, 8),
        dropout=(),
        mean=(0.35, 280.0, 265.0),
        std=(0.4, 15.0, 20.0),
        patchset="none",
    )
    weights = keras_file.build(info, seed=seed).trainable_variables
    keras_file.save(path, [3 * v.numpy() for v in weights], info)
    return path


def cli(*words):
    """Exit code of a command line, run in this process."""
    return errors.run(tiny.cli.main, [*map(str, words)], program="cloudmask")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two models, scenes to calibrate on and others, and the first model calibrated: plainly, and
    with the label as a teacher."""
    top = tmp_path_factory.mktemp("calibrate")
    for seed, name in enumerate(("run", "other")):
        write_model(top / name / "model.keras", seed=seed)
    write_model(top / "three" / "model.keras", classes=("a", "b", "c"))
    for number in range(4):
        write_scene(top / "known" / f"k{number}.npz", seed=number, night=number % 2 == 1)
        write_scene(top / "fresh" / f"f{number}.npz", seed=10 + number, night=number % 2 == 1)
    write_scene(top / "bare" / "b.npz", seed=20, truth=False)
    options = ("--label", "truth", "--precision", "float32")
    assert cli("calibrate", top / "run", top / "known", *options) == 0
    words = (*options, "--teacher", "any", "--out", top / "taught.keras")
    assert cli("calibrate", top / "run", top / "known", *words) == 0
    return top


@functools.cache
def load(*paths, tile=2048):
    """Tracing a network takes longer than all that it is asked here."""
    return cloudmask.load(*paths, precision="float32", tile=tile)


def record_of(path):
    return keras_file.read_info(path).calibration


def image_of(path):
    with np.load(path) as arrays:
        return arrays["image"], arrays["label"], arrays["truth"]


def test_the_file_says_what_was_fitted_on_what(work):
    found = record_of(work / "run" / "calibrated.keras")
    assert found["scenes"] == ["k0", "k1", "k2", "k3"]
    assert (found["label"], found["teacher"], found["ridge"]) == ("truth", None, 0.03)
    assert (found["blurs"], found["steps"]) == ([1.5, 6.0], 15)
    scene = image_of(work / "known" / "k0.npz")[0]
    measured = int((~np.isnan(scene).all(axis=-1)).sum())
    assert found["pixels"] == {"all": 2 * measured, "some": 2 * measured}
    assert {len(weights) for weights in found["weights"].values()} == {4}
    for kind in ("all", "some"):
        assert found["accuracy_before"][kind] < found["accuracy_after"][kind] - 0.05
    assert found["model_sha256"] == keras_file.sha256_of(work / "run" / "model.keras")
    assert {len(w) for w in record_of(work / "taught.keras")["weights"].values()} == {6}


def test_plain_keras_loads_it_and_all_else_keeps_its_bytes(work):
    old, new = (zipfile.ZipFile(work / "run" / f"{n}.keras") for n in ("model", "calibrated"))
    with old, new:
        assert old.namelist() == new.namelist()
        other = [name for name in old.namelist() if old.read(name) != new.read(name)]
        assert other == [keras_file.INFO]
        assert "calibration" not in json.loads(old.read(keras_file.INFO)), "as it ever was"
    one, two = (
        keras.saving.load_model(work / "run" / f"{n}.keras") for n in ("model", "calibrated")
    )
    for here, there in zip(one.weights, two.weights, strict=True):
        np.testing.assert_array_equal(here.numpy(), there.numpy())


@pytest.mark.parametrize("scene", ["f0", "f1"], ids=["day", "night"])
@pytest.mark.parametrize("taught", [False, True], ids=["plain", "teacher"])
def test_the_probability_is_that_of_the_formula(work, scene, taught):
    path = work / "taught.keras" if taught else work / "run" / "calibrated.keras"
    image, label, truth = image_of(work / "fresh" / f"{scene}.npz")
    plain = load(work / "run").predict(image)
    model = load(path)
    found = model.predict(image, teacher=label if taught else None)
    weights = np.array(record_of(path)["weights"]["some" if scene == "f1" else "all"])
    rows = features(plain.probability, label if taught else None)
    expected = np.full(image.shape[:2], np.nan)
    expected[~plain.nodata] = sigmoid(weights[:-1] @ np.stack(rows) + weights[-1])
    np.testing.assert_allclose(found.probability, expected, atol=1e-6)
    np.testing.assert_array_equal(found.nodata, plain.nodata)
    np.testing.assert_array_equal(found.mask[~plain.nodata], expected[~plain.nodata] >= 0.49995)
    right = [np.mean((one.mask == truth)[~plain.nodata]) for one in (plain, found)]
    assert right[1] > right[0] + 0.05, "scenes that it never saw"


def test_tiles_leave_no_trace(work):
    image = image_of(work / "fresh" / "f0.npz")[0]
    path = work / "run" / "calibrated.keras"
    whole, cut = (load(path, tile=tile).predict(image) for tile in (2048, 24))
    np.testing.assert_allclose(cut.probability, whole.probability, atol=1e-5)
    assert np.mean(cut.mask != whole.mask) < 1e-3


def test_each_network_of_an_ensemble_is_calibrated_by_itself(work):
    image, label, _ = image_of(work / "fresh" / "f1.npz")
    paths = [work / "taught.keras", work / "other", work / "run" / "calibrated.keras"]
    alone = [load(path) for path in paths]
    parts = [m.predict(image, teacher=label if m.teacher else None).probability for m in alone]
    together = load(*paths)
    found = together.predict(image, teacher=label)
    np.testing.assert_allclose(found.probability, np.mean(parts, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.spread, np.std(parts, axis=0), atol=1e-6)
    assert together.calibrated_on == ("k0", "k1", "k2", "k3")
    assert "calibrated_on=('k0', 'k1', 'k2', 'k3'), teacher='any')" in repr(together)
    assert "calibrated" not in repr(alone[1])


def test_a_batch_and_xarray_are_calibrated_image_by_image(work):
    xarray = pytest.importorskip("xarray")
    scenes = [image_of(work / "fresh" / f"f{number}.npz") for number in range(2)]
    images, labels = (np.stack([scene[at] for scene in scenes]) for at in (0, 1))
    model = load(work / "taught.keras")
    alone = [model.predict(image, teacher=label) for image, label, _ in scenes]
    batch = model.predict(images, teacher=labels)
    np.testing.assert_array_equal(batch.mask, np.stack([one.mask for one in alone]))
    field = xarray.DataArray(images[0], dims=("y", "x", "channel")).transpose("channel", "y", "x")
    mask = xarray.DataArray(labels[0], dims=("y", "x")).transpose("x", "y")
    found = model.predict(field, teacher=mask)
    np.testing.assert_array_equal(found["mask"].values, alone[0].mask)
    with pytest.raises(ValueError, match=r"must be a DataArray of y, x"):
        model.predict(field, teacher=mask.rename(y="time"))


def test_a_teacher_is_asked_for_in_one_line(work):
    image, label, _ = image_of(work / "fresh" / "f0.npz")
    taught = load(work / "taught.keras")
    plain = load(work / "run" / "calibrated.keras")
    assert (taught.teacher, plain.teacher) == ("any", None)
    with pytest.raises(ValueError, match=r"give that of the image with teacher= \(label 'any'"):
        taught.predict(image)
    with pytest.raises(ValueError, match="takes no teacher's mask"):
        plain.predict(image, teacher=label)
    with pytest.raises(ValueError, match=r"it must be \(48, 64\), of 0, 1 and 255"):
        taught.predict(image, teacher=label[1:])
    with pytest.raises(ValueError, match="of 0, 1 and 255"):
        taught.predict(image, teacher=label + 1)


def test_masks_evaluations_and_pages_tell_of_it(work, tmp_path, capsys):
    masks, model = tmp_path / "masks", work / "taught.keras"
    assert cli("predict", work / "run", work / "fresh", "--out", masks) == 0
    assert cli("predict", model, work / "fresh", "--out", masks) == 1
    assert "was made by another model" in capsys.readouterr().err
    words = ("--out", masks, "--overwrite", "--precision", "float32")
    assert cli("predict", model, work / "fresh", *words) == 0
    assert cli("predict", model, work / "fresh", *words[:2], *words[3:]) == 0
    assert "0 masks written" in capsys.readouterr().out, "the masks know their model"
    made = attributes_of(masks / "f0.nc")
    told = "calibrated on the label 'truth' of 4 scenes, and takes the label 'any' of each scene"
    assert made["calibration"].startswith(told)
    assert json.loads(made["options"])["calibrations"] == [record_of(model)]
    scene, label, _ = image_of(work / "fresh" / "f0.npz")
    expected = load(model).predict(scene, teacher=label)
    np.testing.assert_array_equal(read_mask(masks / "f0.nc", classes=CLASSES).mask, expected.mask)

    assert cli("evaluate", masks, work / "fresh", "--label", "truth") == 0
    assert "calibrated" not in capsys.readouterr().err
    words = ("--masks", masks, "--overwrite", "--label", "truth")
    assert cli("evaluate", model, work / "fresh", work / "known" / "k2.npz", *words) == 0
    assert "was calibrated on 1 of the 5 scenes (k2), so the figures are" in capsys.readouterr().err
    found = json.loads((masks / "evaluation.json").read_text())
    assert found["calibrated_on"] == ["k2"]
    assert found["options"]["calibrations"] == [record_of(model)]
    assert cli("report", masks, "--out", tmp_path / "page.html", "--show", 0) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("It was calibrated on the label &#39;truth&#39; of 4 scenes, and takes") == 2
    assert "tried on 1 of these too (k2), so the figures are too good." in page

    assert cli("describe", model) == 0
    item = json.loads(model.with_suffix(".json").read_text())["properties"]
    assert "calibrated on the label 'truth' of 4 scenes" in item["description"]
    assert item["mlm:hyperparameters"]["calibration"] == record_of(model)
    assert "before the calibration" in item["mlm:output"][0]["description"]


def test_scenes_of_one_kind_leave_the_other_as_it_is(work, tmp_path, capsys):
    out = tmp_path / "new.keras"
    scenes = [work / "known" / f"k{number}.npz" for number in (0, 2)]
    assert cli("calibrate", work / "run", *scenes, "--out", out, "--precision", "float32") == 0
    told = capsys.readouterr().out
    assert "pixels with channels missing: 0: their probability stays as it is" in told
    assert record_of(out)["weights"]["some"] == [1, 0, 0, 0]
    image = image_of(work / "fresh" / "f1.npz")[0]
    plain, found = (
        load(m).predict(image)
        for m in (
            work / "run",
            out,
        )
    )
    np.testing.assert_array_equal(found.probability, plain.probability)

    write_scene(tmp_path / "clear.npz", seed=1, clear=True)
    assert (
        cli("calibrate", work / "run", tmp_path / "clear.npz", "--out", tmp_path / "o.keras") == 1
    )
    assert "no kind of pixels has 1,000 of each class in" in capsys.readouterr().err
    assert not (tmp_path / "o.keras").exists()


REFUSED = {
    "again": ("{run}/calibrated.keras {known}", "calibrated already, on k0, k1, k2, k3; give the"),
    "three classes": ("{top}/three {known}", "tells 3 classes apart (a, b, c); only models of two"),
    "there": ("{run} {known}", "calibrated.keras is there already; give another --out, or"),
    "itself": (
        "{run} {known} --out {run}/model.keras --overwrite",
        "is the model itself, which",
    ),
    "no model": ("{known} {known}", "is not a finished run"),
    "name": ("{run} {known} --out {top}/x.json", "must be the name of a model file"),
    "teacher": ("{run} {known} --teacher truth", "choose two masks, or leave --teacher out"),
    "no scenes": ("{run} {top}/nothing --overwrite", "nothing does not exist"),
    "no truth": (
        "{run} {known} {top}/bare --overwrite",
        "1 of 5 scenes cannot be used",
    ),
    "no teacher": ("{run} {known} --teacher summary --overwrite", "4 of 4 scenes cannot be used"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_a_line_and_changes_nothing(work, case, capsys):
    words, told = REFUSED[case]
    places = {"run": work / "run", "known": work / "known", "top": work}
    before = (work / "run" / "calibrated.keras").read_bytes()
    assert cli("calibrate", *words.format(**places).split()) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("cloudmask: error: ")
    assert told in last
    assert (work / "run" / "calibrated.keras").read_bytes() == before


def test_scenes_without_the_teacher_are_left_out_by_name(work, tmp_path, capsys):
    with np.load(work / "bare" / "b.npz") as found:
        arrays = {name: found[name] for name in found.files if name != "label"}
    np.savez(tmp_path / "mute.npz", **arrays)
    words = ("--out", tmp_path / "masks", "--precision", "float32")
    scenes = (tmp_path / "mute.npz", work / "fresh" / "f0.npz")
    assert cli("predict", work / "taught.keras", *scenes, *words) == 1
    told = capsys.readouterr()
    assert "mute.npz: holds no label 'any', which the model was calibrated with" in told.err
    assert "1 mask written" in told.out


def test_patches_are_no_scenes(work, tmp_path, capsys):
    words = ("--out", tmp_path / "set", "--patch-size", 16, "--split", "train=0.5,valid=0.5")
    assert cli("prepare", work / "known", *words) == 0
    assert cli("evaluate", work / "run" / "calibrated.keras", tmp_path / "set") == 1
    assert "is calibrated, which takes whole scenes" in capsys.readouterr().err


def test_training_goes_on_from_the_weights_and_not_from_the_calibration(work, tmp_path, capsys):
    words = ("--out", tmp_path / "set", "--patch-size", 16, "--split", "train=0.5,valid=0.5")
    assert cli("prepare", work / "known", *words) == 0
    path, ranks = work / "run" / "calibrated.keras", tiny.pretended_ranks()
    config = TrainConfig(data=tmp_path / "set", out=tmp_path / "run", widths=(4, 8), init=path)
    plan = make_plan(config, ranks)
    network = keras_file.build(plan.info)
    origin.find(plan, ranks, RunFolder(config.out), network, keras.optimizers.SGD())
    assert "its calibration is left behind" in capsys.readouterr().out
    assert plan.info.calibration is None
    for here, there in zip(network.trainable_variables, keras_file.read(path)[0], strict=True):
        np.testing.assert_array_equal(here.numpy(), there.numpy())


def test_without_scipy_a_line_says_what_to_install(work, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "scipy", None)
    for words in (
        ("calibrate", work / "run", work / "known", "--out", tmp_path / "x.keras"),
        ("predict", work / "run" / "calibrated.keras", work / "fresh", "--out", tmp_path / "m"),
    ):
        assert cli(*words) == 1
        assert "scipy is not installed: pip install '.[fits]'" in capsys.readouterr().err
    assert cli("predict", work / "run", work / "fresh", "--out", tmp_path / "m") == 0


def changed(record, **changes):
    return {name: value for name, value in (record | changes).items() if value is not ...}


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": ...},
        {"weights": {"all": [1, 0, 0, 0]}},
        {"weights": {"all": [1, 0, 0, 0], "some": [1, 0, 0]}},
        {"weights": {"all": [1, 0, 0, 0], "some": [1, 0, 0, float("nan")]}},
        {"weights": {"all": [1, 0, 0, 0], "some": [1, 0, 0, "x"]}},
        {"blurs": [1.5, -1]},
        {"blurs": 3},
        {"teacher_blur": float("inf")},
        {"teacher": 1},
        {"scenes": None},
        {"teacher": "any"},
    ],
    ids=str,
)
def test_a_record_that_makes_no_sense_is_no_model(work, tmp_path, changes):
    good = work / "run" / "calibrated.keras"
    bad = tmp_path / "bad.keras"
    content = io.BytesIO()
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name == keras_file.INFO:
                info = json.loads(text)
                info["calibration"] = changed(info["calibration"], **changes)
                text = json.dumps(info)
            new.writestr(name, text)
    bad.write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=r"bad\.keras is not a cloudmask model \(its calibration"):
        cloudmask.load(bad)


def test_any_number_of_ranks_gives_the_same_weights(work, tmp_path):
    out = tmp_path / "two.keras"
    words = ["calibrate", work / "run", work / "known", "--label", "truth", "--out", out]
    ended = tiny.finish(tiny.start("-m", "cloudmask", *words, "--precision", "float32", ranks=2))
    assert ended.code == 0, ended.err
    assert ended.out.count(f"calibrated model: {out}") == 1
    alone, found = record_of(work / "run" / "calibrated.keras"), record_of(out)
    for kind in ("all", "some"):
        np.testing.assert_allclose(found["weights"][kind], alone["weights"][kind], atol=1e-5)
        after = [one["accuracy_after"][kind] for one in (found, alone)]
        assert after[0] == pytest.approx(after[1], abs=1e-3)
    assert found["pixels"] == alone["pixels"]


def test_a_scene_that_was_processed_again_is_the_same_scene():
    name = "S3A_SL_1_RBT____20191001T{0}_20191001T{1}_{2}T161935_0179_050_081_1440_LN2_O_NT_003"
    one, again = (name.format("002542", "002842", day) for day in ("20191002", "20200101"))
    later = name.format("002842", "003142", "20191002")
    options = {"calibrations": [None, {"scenes": [one, "k1"]}]}
    assert seen.calibrated_on(options, [again, later, "k1", "k2"]) == [again, "k1"]
    assert seen.calibrated_on({}, [one]) == []
    assert seen.calibrated_on({"calibrations": [None]}, [one]) == []
