"""Emulated devices: what is waited for, what is still done for real, and what must not be told."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from cloudmask import __main__ as cli
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.metrics import UNKNOWN
from cloudmask.train import emulate, validation
from cloudmask.train.batches import Input
from cloudmask.train.begin import build_network
from cloudmask.train.emulate import Device
from cloudmask.train.plan import make_plan
from cloudmask.train.ranks import OneRank
from cloudmask.train.stall import Watch
from cloudmask.train.summary import size

SECONDS = 0.02


class Recording(OneRank):
    """One rank that notes what it is asked to sum."""

    def sum(self, tensor, *, name):
        SUMMED.append((name, tuple(tensor.shape), tensor.dtype.name))
        return super().sum(tensor, name=name)


class Unreduced(OneRank):
    """One of two ranks whose gradients are never added up."""


SUMMED = []


def one_rank(kind=OneRank, **changes):
    return kind(**(dataclasses.asdict(tiny.pretended_ranks()) | changes))


@pytest.fixture(autouse=True)
def plain_arithmetic():
    """Commands that are called in this process may leave theirs behind."""
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emulate")
    data = tiny.make_patchset(folder / "set")
    return TrainConfig(data=data, out=folder / "run", widths=(4, 8), emulate=SECONDS)


@pytest.fixture(scope="module")
def plan(config):
    return make_plan(config, one_rank())


@pytest.fixture(scope="module")
def model(config, plan):
    return build_network(plan)[0]


NO_PATCHES = Input(None, None, None, None, 0, 0.0)


def test_wait_depends_on_seed_rank_and_step_alone():
    device = Device(0.5, 0.02, seed=3, rank=1)
    drawn = [device.training(step) for step in range(400)]
    assert drawn == [Device(0.5, 0.02, seed=3, rank=1).training(step) for step in range(400)]
    for other in (Device(0.5, 0.02, seed=4, rank=1), Device(0.5, 0.02, seed=3, rank=2)):
        assert not set(drawn) & {other.training(step) for step in range(400)}
    assert np.median(drawn) == pytest.approx(0.5, rel=0.005)
    assert np.std(np.log(drawn)) == pytest.approx(0.02, rel=0.15)
    assert {Device(0.5, 0.0, seed=3, rank=1).training(step) for step in range(9)} == {0.5}


def test_forward_pass_takes_a_third_of_a_step():
    assert Device(0.6, 0.0, seed=0, rank=0).validation(7) == pytest.approx(0.2)


def test_step_takes_at_least_its_wait_and_tells_no_loss(model):
    ranks, device = one_rank(), Device(SECONDS, 0.5, seed=0, rank=0)
    step = emulate.make_train_step(model, ranks, device, first_step=3)
    for number in range(3, 7):
        found = step(NO_PATCHES, 1e-3, stop=True).result()
        assert found[:4] == (0, 0, 1, 0)
        assert found.compute_seconds >= device.training(number)
        assert found.exposed_seconds >= 0
    assert step(NO_PATCHES, 1e-3, hosts_changed=True).result()[:4] == (0, 0, 0, 1)


def test_every_gradient_is_summed_beside_loss_and_flags(model):
    """What the tape hands on has the shapes of the network's variables; the loss goes by itself."""
    SUMMED.clear()
    reduced = []

    class Tape(Recording):
        def tape(self, tape):
            reduced.append(tape)
            return tape

    ranks = one_rank(Tape)
    step = emulate.make_train_step(model, ranks, Device(SECONDS, 0, 0, 0), first_step=0)
    step(NO_PATCHES, 1e-3).result()
    assert SUMMED == [("loss", (4,), "float64")]
    values = [variable.value for variable in model.trainable_variables]
    gradients = reduced[0].gradient(tf.constant(1.0), values)
    assert [(g.shape, g.dtype) for g in gradients] == [(v.shape, v.dtype) for v in values]
    found = sum(4 * int(np.prod(g.shape)) for g in gradients)
    assert found == size(model, 64, batch=1)["gradient_bytes"]


def test_gradients_that_were_not_reduced_are_an_error(model):
    ranks = one_rank(Unreduced, size=2)
    step = emulate.make_train_step(model, ranks, Device(SECONDS, 0, 0, 0), first_step=0)
    with pytest.raises(tf.errors.InvalidArgumentError):
        step(NO_PATCHES, 1e-3).result()


def test_weights_stay_as_they_were_drawn(model):
    before = [np.array(variable.value) for variable in model.trainable_variables]
    step = emulate.make_train_step(model, one_rank(), Device(SECONDS, 0, 0, 0), first_step=0)
    step(NO_PATCHES, 1e-3).result()
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.value, value)


def test_validation_reads_every_label_and_tells_nothing_of_predictions(config, plan, model):
    found = emulate.programs(plan, one_rank(), model, Watch(0), first_step=0)[1]()
    real = validation.make_validation(plan, one_rank(), model, Watch(0))()
    with PatchReader(open_patchset(config.data), "valid") as reader:
        label = reader.read(list(range(len(reader)))).label
    known = label[label != UNKNOWN]
    assert found.keys() == real.keys()
    assert found["pixels"] == real["pixels"] == known.size
    assert found["majority"] == real["majority"] == max(known.mean(), 1 - known.mean())
    assert math.isnan(found["loss"])
    others = found.keys() - {"pixels", "majority", "loss"}
    assert {found[name] for name in others} == {None}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"emulate": -1.0}, "--emulate -1 must be zero or more"),
        ({"emulate": math.inf}, "--emulate inf must be zero or more, and finite"),
        ({"emulate_spread": 1.0}, "--emulate-spread 1 must be from 0 to below 1"),
        ({"patience": 2}, "--patience 2 has no effect with --emulate"),
        ({"target_accuracy": 0.9}, "with --emulate, which computes no loss and no accuracy"),
    ],
)
def test_what_makes_no_sense_is_refused(config, changes, told):
    with pytest.raises(ValueError, match=told):
        make_plan(dataclasses.replace(config, **changes), one_rank())


def test_checkpoint_of_an_emulated_run_is_of_another_model(config, plan):
    real = make_plan(dataclasses.replace(config, emulate=None), one_rank())
    assert real.identity(1)["model"] != plan.identity(1)["model"]


# --- Real processes ---------------------------------------------------------------------------

WORDS = ("--preset", "tiny", "--batch-size", 2, "--emulate", SECONDS, "--epochs", 2, "--rank-times")


@pytest.fixture(scope="module")
def run(config):
    """Four ranks, two epochs of 30 patches: four steps each."""
    out = config.out.with_name("four")
    words = (*WORDS, "--cache", "device")  # of this host, which has none of that name
    ended = tiny.train("--data", config.data, "--out", out, *words, ranks=4)
    assert ended.code == 0, ended.out + ended.err
    return out, ended


@pytest.mark.slow
@pytest.mark.mpi
def test_four_ranks_see_every_patch_and_end_with_a_summary(run):
    out, _ = run
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert (summary["ranks"], summary["epochs_run"], summary["steps_run"]) == (4, 2, 8)
    assert summary["patches_trained"] == 2 * summary["training_patches"] == 60
    assert summary["label_source"] == "any"
    records = [
        json.loads(line)
        for rank in range(4)
        for line in (out / "ranks" / f"rank-{rank:04d}.jsonl").read_text().splitlines()
    ]
    assert sum(sum(record["patches"]) for record in records) == 60
    assert summary["gradient_bytes"] == 4 * summary["parameters"] > 0
    for rank in range(4):
        device = Device(SECONDS, 0.02, seed=0, rank=rank)
        lines = (out / "ranks" / f"rank-{rank:04d}.jsonl").read_text().splitlines()
        epochs = list(map(json.loads, lines))
        computing = [value for epoch in epochs for value in epoch["compute_seconds"]]
        for number, waited in enumerate(computing):
            assert waited >= device.training(number) - 1e-6, "files hold microseconds"
        # Not of each step: the device begins the next one while the host has yet to see this one.
        for epoch in epochs:
            assert sum(epoch["step_seconds"]) >= sum(epoch["compute_seconds"]) - 1e-5


@pytest.mark.slow
@pytest.mark.mpi
def test_counts_of_all_ranks_are_summed(run, config):
    summary = json.loads((run[0] / "summary.json").read_text())
    with PatchReader(open_patchset(config.data), "valid") as reader:
        label = reader.read(list(range(len(reader)))).label
    for record in summary["history"]:
        assert record["valid"]["pixels"] == np.count_nonzero(label != UNKNOWN)
        assert record["valid"]["accuracy"] is record["valid"]["loss"] is record["loss"] is None


@pytest.mark.slow
@pytest.mark.mpi
def test_every_record_says_that_the_device_was_emulated(run):
    out, ended = run
    name = f"emulated ({SECONDS} s a step)"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["device"] == name
    assert {place["device"] for place in summary["placement"]} == {name}
    assert (summary["emulated_step_seconds"], summary["emulated_spread"]) == (SECONDS, 0.02)
    assert summary["best"] is summary["target"] is summary["last_step_loss"] is None
    assert {event["device"] for event in tiny.events(out, "epoch")} == {name}
    for path in (out / "ranks").iterdir():
        assert {json.loads(line)["device"] for line in path.read_text().splitlines()} == {name}
    assert {event["loss"] for event in tiny.events(out, "step")} == {None}
    lines = [line for line in ended.out.splitlines() if line.startswith(("4 ranks", "epoch"))]
    assert len(lines) == 3
    assert all(name in line for line in lines)
    assert "loss" not in ended.out
    assert "nothing was learned, so there is no model" in ended.out
    assert not (out / "model.keras").exists()
    assert [path.parent.name for path in out.rglob("events.out.*")] == ["emulated"]


@pytest.mark.slow
@pytest.mark.mpi
def test_a_run_that_learned_nothing_is_used_for_nothing(run, config, tmp_path):
    out, _ = run
    commands = {
        "evaluate": (out, config.data),
        "predict": (out, config.data.with_name("set-scenes"), "--out", tmp_path / "masks"),
        "mllog": (out, "--out", tmp_path / "log", "--org", "a", "--system", "b"),
        "report": (out, "--out", tmp_path / "report.html"),
    }
    for command, words in commands.items():
        with pytest.raises(ValueError, match="ran on an emulated device: nothing was learned"):
            cli.main([command, *map(str, words)])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    for words, told in (
        ((*WORDS, "--epochs", 3, "--resume"), "epoch 3/3 | device emulated"),
        ((*WORDS[:4], "--epochs", 3, "--resume"), "emulated step seconds was 0.02, is None"),
    ):
        ended = tiny.train("--data", config.data, "--out", out, *words)
        assert told in ended.out + ended.err
