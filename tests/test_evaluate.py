"""`cloudmask evaluate` against figures computed plainly; on two ranks in test_train_mpi.py."""

import json
import shutil

import keras
import numpy as np
import pytest
import tiny

from cloudmask import metrics
from cloudmask.cli import errors
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.model import keras_file
from cloudmask.model.keras_file import ModelInfo


def make_run(folder, patchset, *, seed=0, **changes):
    """A run folder with nothing but a model, whose weights are random."""
    opened = open_patchset(patchset)
    info = ModelInfo(
        **{
            "channels": opened.channels,
            "classes": opened.classes,
            "widths": (4, 8),
            "dropout": (),
            "mean": tuple(opened.mean.tolist()),
            "std": tuple(opened.std.tolist()),
            "patchset": opened.fingerprint,
            "reading": opened.reading,
        }
        | changes
    )
    random = np.random.default_rng(seed)
    model = keras_file.build(info, seed=seed)
    weights = [v.numpy() + random.normal(0, 0.1, v.shape) for v in model.trainable_variables]
    folder.mkdir(parents=True)
    keras_file.save(folder / "model.keras", weights, info)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def patchset(work):
    """10 patches for validation, which 3 a batch do not divide."""
    return tiny.make_patchset(work / "set")


@pytest.fixture(scope="module")
def run(work, patchset):
    return make_run(work / "run", patchset)


@pytest.fixture(autouse=True)
def float32():
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


def evaluate(*words):
    """Exit code of the command line, run in this process."""
    words = ["evaluate", *map(str, words)]
    return errors.run(tiny.cli.main, words, program="cloudmask")


@pytest.fixture(scope="module")
def record(work, run, patchset):
    out = work / "alone.json"
    assert evaluate(run, patchset, "--batch-size", 3, "--out", out) == 0
    return json.loads(out.read_text())


def logits_and_labels(run, patchset, split="valid"):
    model, _ = keras_file.load(run)
    with PatchReader(open_patchset(patchset), split) as reader:
        batch = reader.read(range(len(reader)))
    image = decode(batch.image, batch.scale, batch.offset)
    return model.predict(image, verbose=0).astype(np.float64), batch.label


def test_figures_are_those_of_the_networks_answers(record, run, patchset):
    logits, label = logits_and_labels(run, patchset)
    counts = metrics.confusion(label, (logits[..., 0] >= 0).astype(int), num_classes=2)
    assert record["confusion"] == counts.tolist()
    assert counts.min() > 100, "each kind of answer is there"
    expected = metrics.derive(counts, ("class 0", "class 1")).as_dict()
    assert {name: record[name] for name in expected} == expected
    assert (record["patches"], record["split"]) == (10, "valid")


def test_losses_are_means_over_all_labelled_pixels(record, run, patchset):
    logits, label = logits_and_labels(run, patchset)
    known = label != 255
    z, truth = logits[known][..., 0], label[known]
    positive, negative = truth * np.logaddexp(0, -z), (1 - truth) * np.logaddexp(0, z)
    assert record["cross_entropy"] == pytest.approx((positive + negative).mean(), rel=1e-5)
    weighted = (0.5 * positive + negative).mean()
    assert record["weighted_cross_entropy"] == pytest.approx(weighted, rel=1e-5)
    assert record["pos_weight"] == 0.5


def test_the_threshold_is_that_of_the_second_class(work, run, patchset):
    out = work / "threshold.json"
    assert evaluate(run, patchset, "--threshold", 0.3, "--out", out) == 0
    logits, label = logits_and_labels(run, patchset)
    answer = logits[..., 0] >= np.log(0.3 / 0.7)
    counts = metrics.confusion(label, answer.astype(int), num_classes=2)
    assert json.loads(out.read_text())["confusion"] == counts.tolist()


def test_any_split_can_be_measured(work, run, patchset):
    out = work / "train.json"
    assert evaluate(run, patchset, "--split", "train", "--out", out) == 0
    logits, label = logits_and_labels(run, patchset, "train")
    counts = metrics.confusion(label, (logits[..., 0] >= 0).astype(int), num_classes=2)
    assert json.loads(out.read_text())["confusion"] == counts.tolist()


def test_more_classes_are_measured_by_their_largest_logit(work, capsys):
    three = tiny.make_patchset(work / "three", classes=3)
    run = make_run(work / "three-run", three)
    assert evaluate(run, three, "--threshold", 0.9) == 1
    assert "for networks of two classes" in capsys.readouterr().err
    assert evaluate(run, three, "--masks", work / "masks") == 1
    assert "--masks is for scenes" in capsys.readouterr().err
    assert evaluate(run, three) == 0
    found = json.loads((run / "evaluation-valid.json").read_text())
    logits, label = logits_and_labels(run, three)
    counts = metrics.confusion(label, logits.argmax(axis=-1), num_classes=3)
    assert found["confusion"] == counts.tolist()
    known = label != 255
    z, truth = logits[known], label[known]
    expected = np.log(np.exp(z).sum(axis=1)) - np.take_along_axis(z, truth[:, None], 1)[:, 0]
    assert found["cross_entropy"] == pytest.approx(expected.mean(), rel=1e-5)
    assert found["weighted_cross_entropy"] is None
    assert found["threshold"] is None


def test_people_read_a_table(run, patchset, capsys):
    assert evaluate(run, patchset) == 0
    shown = capsys.readouterr().out
    for part in ("10 patches", "accuracy", "majority", "kappa", "mean IoU", "class 1"):
        assert part in shown
    assert str(run / "evaluation-valid.json") in shown


def test_a_model_that_does_not_fit_is_refused(work, patchset, capsys):
    others = {
        "channels": ("a", "b", "c"),
        "classes": ("clear", "cloud"),
        "widths": (1,) * 7,
    }
    for name, value in others.items():
        other = make_run(work / f"other-{name}", patchset, **{name: value})
        assert evaluate(other, patchset) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        if name == "widths":
            assert "do not halve 6 times" in line
        else:
            assert f"knows the {name} {', '.join(value)}; " in line


def test_what_cannot_be_measured_is_refused(work, run, patchset, capsys, tmp_path):
    cases = [
        ((run, patchset, "--split", "test"), "has no split 'test'; it has: train, valid"),
        ((run, tmp_path), "no scenes found under"),
        ((tmp_path, patchset), "is not a finished run"),
        ((patchset / "manifest.json", patchset), "is not a cloudmask model"),
    ]
    for words, message in cases:
        assert evaluate(*words) == 1
        shown = capsys.readouterr()
        assert message in shown.err
        assert shown.err.startswith("cloudmask: error: ")
        assert shown.err.count("\n") == 1
        assert shown.out == ""


def test_a_patch_file_that_has_changed_is_found_before_it_is_measured(
    run, patchset, capsys, tmp_path
):
    copy = shutil.copytree(patchset, tmp_path / "set")
    file = next((copy / "valid").iterdir())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert evaluate(run, copy, "--out", tmp_path / "a.json") == 1
    shown = capsys.readouterr().err
    assert f"{file} has changed: its sha256 differs" in shown
    assert shown.count("\n") == 1
    assert evaluate(run, copy, "--no-verify", "--out", tmp_path / "a.json") == 0
    assert evaluate(run, copy, "--split", "train", "--out", tmp_path / "b.json") == 0


def test_classes_of_a_patch_set_are_matched_by_name(patchset, tmp_path):
    folder = make_run(tmp_path / "inverted", patchset, classes=("class 1", "class 0"))
    assert evaluate(folder, patchset) == 0
    found = json.loads((folder / "evaluation-valid.json").read_text())
    logits, label = logits_and_labels(folder, patchset)
    inverted = np.where(label == 255, 255, 1 - label)
    counts = metrics.confusion(inverted, (logits[..., 0] >= 0).astype(int), num_classes=2)
    assert found["confusion"] == counts.tolist()
    assert found["classes"] == ["class 1", "class 0"]


def test_ranks_that_read_the_same_tell_of_it_once(run, patchset, capsys, monkeypatch):
    monkeypatch.setattr(errors, "QUIET_SECONDS", 0.0)
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    assert evaluate(run, patchset, "--split", "test") == 1
    assert evaluate(patchset, patchset) == 1
    assert capsys.readouterr().err == ""
