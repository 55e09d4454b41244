"""Soft targets: written, read by every way that patches take, and learned from."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tiny
from tiny import Case

from cloudmask.cli.options import EvaluateConfig, TrainConfig, VerifyConfig
from cloudmask.data import parallel
from cloudmask.data.patchset import index
from cloudmask.data.patchset.files import write_soft
from cloudmask.data.patchset.handed import open_for_all
from cloudmask.data.patchset.message import pack
from cloudmask.data.patchset.model import PatchSetError
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.data.prepare.command import verify
from cloudmask.evaluate import patches
from cloudmask.files import open_hdf5, sha256_of
from cloudmask.model.losses import cross_entropy, hard_label
from cloudmask.train.batches import Source
from cloudmask.train.device_cache import DeviceSource
from cloudmask.train.plan import make_plan
from cloudmask.train.stall import Watch

INDEX_OF_PROGRAMS_BEFORE = b"cloudmask patch set index 1\n"


def drawn(label):
    """Any values, but 255 at other pixels than the labels."""
    return np.random.default_rng(len(label)).integers(0, 256, label.shape).astype(np.uint8)


def certain(label):
    """The labels, as probabilities."""
    return np.where(label == 255, 255, 254 * (label == 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    return tiny.make_patchset(tmp_path_factory.mktemp("soft") / "set")


@pytest.fixture(scope="module")
def soft(hard):
    return tiny.soften(hard, hard.with_name("soft"), drawn)


# --- Files ----------------------------------------------------------------------------------------


def test_a_set_with_soft_targets_is_the_same_set_beside_them(hard, soft):
    before, after = (
        json.loads((hard / "manifest.json").read_text()),
        json.loads((soft / "manifest.json").read_text()),
    )
    assert (after.pop("format_version"), before.pop("format_version")) == (2, 1)
    assert after.pop("target") == "soft"
    for values in (before, after):
        for split in values["splits"].values():
            del split["bytes"]
            for entry in split["files"]:
                del entry["bytes"], entry["sha256"]
    assert after == before
    for entry in open_patchset(hard).files:
        with open_hdf5(hard / entry.path) as old, open_hdf5(soft / entry.path) as new:
            assert set(new) == {*old, "soft"}
            for name in old:
                np.testing.assert_array_equal(new[name][()], old[name][()])
                assert new[name].fillvalue == old[name].fillvalue
            assert new["soft"].dtype == np.uint8
            assert new["soft"].chunks is None
            np.testing.assert_array_equal(new["soft"][()], drawn(old["label"][()]))
            assert dict(new.attrs, format_version=1, channels=0, scale_factor=0, add_offset=0) == (
                dict(old.attrs, channels=0, scale_factor=0, add_offset=0)
            )
            for name in ("channels", "scale_factor", "add_offset"):
                np.testing.assert_array_equal(new.attrs[name], old.attrs[name])


def test_the_same_targets_give_the_same_bytes(hard, soft, tmp_path):
    again = tiny.soften(hard, tmp_path / "again", drawn)
    twice = tiny.soften(soft, tmp_path / "twice", drawn)  # what was there before is replaced
    for entry in open_patchset(soft).files:
        assert sha256_of(again / entry.path) == sha256_of(twice / entry.path) == entry.sha256


def test_programs_that_know_no_soft_targets_refuse_the_set(soft):
    """By its manifest, and by its index, which they would otherwise take for one of theirs."""
    assert json.loads((soft / "manifest.json").read_text())["format_version"] != 1
    assert not (soft / index.INDEX).read_bytes().startswith(INDEX_OF_PROGRAMS_BEFORE)


def test_the_index_says_what_the_manifest_says(soft):
    assert index.read_index(soft) == pack(open_patchset(soft))
    assert verify(VerifyConfig(soft)) == 0


def test_an_index_of_another_version_is_as_good_as_none(hard, tmp_path):
    copy = tiny.soften(hard, tmp_path / "set", drawn)
    path = copy / index.INDEX
    path.write_bytes(INDEX_OF_PROGRAMS_BEFORE + path.read_bytes()[len(INDEX_OF_PROGRAMS_BEFORE) :])
    assert index.read_index(copy) is None


@pytest.mark.parametrize(
    "opened", [open_patchset, lambda folder: open_for_all(folder, lambda work: work())]
)
def test_a_reader_hands_out_the_targets_in_the_place_of_labels(soft, opened):
    patchset = opened(soft)
    assert patchset.target == "soft"
    for name, split in patchset.splits.items():
        with PatchReader(patchset, name) as reader:
            found = reader.read(range(len(reader))).label
        labels = dataclasses.replace(patchset, target="label")
        with PatchReader(labels, name) as reader:
            label = reader.read(range(len(reader))).label
        ends = np.cumsum([entry.patches for entry in split.files])[:-1]
        expected = [drawn(part) for part in np.split(label, ends)]
        np.testing.assert_array_equal(found, np.concatenate(expected))


def test_batches_carry_the_targets_from_disk_and_from_the_device(soft):
    patchset = open_patchset(soft)
    row = np.array([3, 0, 29, 7])
    with PatchReader(patchset, "train") as reader:
        label = reader.read(row).label
        for source in (Source(reader), DeviceSource(reader, np.arange(30), watch=Watch(0))):
            np.testing.assert_array_equal(np.asarray(source.batch(row, epoch=0)[3]), label)


def test_targets_of_another_shape_are_refused_and_so_is_a_set_without_them(hard, tmp_path):
    entry = open_patchset(hard).files[0]
    with pytest.raises(ValueError, match=r"soft targets of shape \(1, 2, 3\) for"):
        write_soft(hard, tmp_path, entry, np.zeros((1, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())
    claimed = dataclasses.replace(open_patchset(hard), target="soft")
    with PatchReader(claimed, "train") as reader, pytest.raises(ValueError, match="no patch file"):
        reader.read([0])


def test_a_damaged_target_is_found_by_its_checksum(hard, tmp_path, capsys):
    copy = tiny.soften(hard, tmp_path / "set", drawn)
    path = copy / open_patchset(copy).files[1].path
    with h5py.File(path, "r+") as file:
        file["soft"][0, 0, 0] ^= 1
    assert verify(VerifyConfig(copy)) == 1
    assert capsys.readouterr().out.strip() == f"{path} has changed: its sha256 differs"


def test_soft_targets_of_three_classes_are_refused(tmp_path):
    three = tiny.make_patchset(tmp_path / "set", scenes=4, patches=1, classes=3)
    with pytest.raises(PatchSetError, match="soft targets are of two classes"):
        tiny.soften(three, tmp_path / "soft", drawn)


# --- Loss and counts ------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(), (1.0, 0.3)])
def test_the_loss_is_what_is_expected_of_the_target(weights):
    random = np.random.default_rng(0)
    logits = random.normal(0, 20, (2, 8, 8, 1)).astype(np.float32)
    target = random.integers(0, 256, (2, 8, 8)).astype(np.uint8)
    target[0, 0, :3] = 0, 254, 255
    loss, count = cross_entropy(
        tf.constant(logits), tf.constant(target), weights=weights, soft=True
    )
    t, z = target / 254, logits[..., 0].astype(np.float64)
    weight = weights[1] if weights else 1
    each = weight * t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)
    assert count == (target != 255).sum()
    assert float(loss) == pytest.approx(each[target != 255].sum(), rel=1e-5)
    np.testing.assert_array_equal(
        hard_label(tf.constant(target)), np.where(target == 255, 255, t >= 0.5)
    )


@pytest.mark.parametrize("weights", [(), (1.0, 0.3)])
def test_targets_that_are_certain_cost_what_labels_cost(weights):
    random = np.random.default_rng(0)
    logits = tf.constant(random.normal(0, 20, (2, 8, 8, 1)), tf.float32)
    label = random.choice(np.array([0, 1, 255], np.uint8), (2, 8, 8))
    expected = cross_entropy(logits, tf.constant(label), weights=weights)
    found = cross_entropy(logits, tf.constant(certain(label)), weights=weights, soft=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# --- Runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(hard, soft, tmp_path_factory):
    """Runs of two ranks: on labels, on the same as targets, and on others."""
    work = tmp_path_factory.mktemp("soft runs")
    same = tiny.soften(hard, work / "same", certain)
    short = ("--widths", 4, 8, "--epochs", 2, "--batch-size", 3, "--threads", 1, "--seed", 3)
    short += ("--no-tensorboard",)
    weighted = ("--loss", "wbce", "--pos-weight", 0.25, "--lr-decay", "none")

    def case(name, data, *words):
        return Case(name, ("--data", data, "--out", work / name, *short, *words))

    found = tiny.run_cases(
        [
            case("labels", hard),
            case("certain", same, "--cache", "device", "--stage", work / "near"),
            case("emulated", soft, "--emulate", 0.001),
            case("begun", soft, *weighted, "--max-steps", 3),
            dataclasses.replace(case("begun", soft, *weighted, "--resume"), name="resumed"),
            case("unbroken", soft, *weighted),
        ],
        work / "results",
        ranks=2,
    )
    return work, found


def summary(work, name):
    return json.loads((work / name / "summary.json").read_text())


def test_certain_targets_train_to_the_bits_of_labels_when_staged_and_from_the_device(results):
    work, found = results
    expected = found["labels"]
    assert expected.codes == [0, 0]
    assert (found["certain"].codes, found["certain"].weights) == ([0, 0], expected.weights)
    one, other = (summary(work, run) for run in ("certain", "labels"))
    assert (one["soft_targets"], other["soft_targets"]) == (True, False)
    assert one["best"].pop("loss") == pytest.approx(other["best"].pop("loss"), rel=1e-6)
    assert one["best"] == other["best"]


def test_a_run_on_soft_targets_counts_the_more_probable_class(results, soft):
    work, _ = results
    with PatchReader(open_patchset(soft), "valid") as reader:
        target = reader.read(range(len(reader))).label
    known = target != 255
    for name in ("unbroken", "emulated"):
        best = summary(work, name)["final"]["valid"]
        assert best["pixels"] == known.sum()
        second = (target[known] >= 127).mean()
        assert best["majority"] == pytest.approx(max(second, 1 - second))


def test_a_resumed_run_on_soft_targets_equals_an_unbroken_one(results):
    _, found = results
    for name in ("begun", "resumed", "unbroken"):
        assert found[name].codes == [0, 0], found[name].err
    assert found["resumed"].weights == found["unbroken"].weights != found["begun"].weights


def test_a_plan_of_soft_targets_takes_no_other_room(hard, soft):
    plans = [
        make_plan(TrainConfig(data=data, out="out", widths=(4, 8)), tiny.pretended_ranks())
        for data in (hard, soft)
    ]
    assert [plan.soft for plan in plans] == [False, True]
    assert plans[0].cache_bytes() == plans[1].cache_bytes()


def test_evaluation_is_against_the_labels(results, hard, soft, tmp_path):
    work, _ = results
    figures = [
        patches.measure(EvaluateConfig(work / "certain", (data,), batch_size=4), parallel.World())
        for data in (hard, soft)
    ]
    for name in ("pixels", "accuracy", "confusion", "cross_entropy", "weighted_cross_entropy"):
        assert figures[0][name] == figures[1][name]
