"""Training on one rank, and the pure parts of it; several ranks are in test_train_mpi.py."""

import dataclasses
import json
import math
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from tiny import Case

from cloudmask.cli.flags import parse
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.files import sha256_of
from cloudmask.model import keras_file
from cloudmask.train import checkpoint, journal, schedule
from cloudmask.train.folder import RunFolder
from cloudmask.train.plan import make_plan
from cloudmask.train.state import State, patches_to_read, rest_of_epoch, rows_to_come


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    return tiny.make_patchset(tmp_path_factory.mktemp("train") / "set")


# --- Where a run stands ---------------------------------------------------------------------------


def epoch(state, loss, *, valid_loss=None, steps=3):
    for _ in range(steps):
        state.add_step(loss_sum=loss * 10, loss_count=10, patches=4, seconds=0.5)
    valid = None if valid_loss is None else {"loss": valid_loss, "accuracy": 0.5}
    state.end_epoch(valid, patches=4 * steps, learning_rate=0.1)


def test_an_epochs_loss_is_divided_once():
    state = State()
    state.add_step(loss_sum=30, loss_count=10, patches=2, seconds=1)
    state.add_step(loss_sum=1, loss_count=90, patches=2, seconds=1)
    assert state.last_loss == pytest.approx(1 / 90)
    state.end_epoch(None, patches=4, learning_rate=0.1)
    (record,) = state.history
    assert record["loss"] == pytest.approx(0.31)
    assert record["patches_per_second"] == 2
    assert (state.epoch, state.step, state.step_in_epoch, state.loss_sum) == (1, 2, 0, 0)
    assert state.patches_trained == 4


def test_a_step_without_any_label_has_no_loss():
    state = State()
    state.add_step(loss_sum=0, loss_count=0, patches=1, seconds=1)
    assert state.last_loss is None


def test_the_best_epoch_is_that_of_the_lowest_validation_loss():
    state = State()
    for loss in (0.5, 0.3, 0.4, 0.3, 0.6):
        epoch(state, 1.0, valid_loss=loss)
    assert (state.best["epoch"], state.best["step"], state.best["loss"]) == (2, 6, 0.3)
    assert state.epochs_without_gain == 3
    epoch(state, 1.0, valid_loss=0.2)
    assert (state.best["epoch"], state.epochs_without_gain) == (6, 0)


def test_an_epoch_that_was_not_validated_is_no_judgement():
    state = State()
    epoch(state, 1.0, valid_loss=0.5)
    epoch(state, 1.0)
    assert (state.best["epoch"], state.epochs_without_gain) == (1, 0)


def test_patience_counts_epochs_whether_or_not_they_were_validated():
    state = State()
    for loss in (None, 0.5, None, 0.6, None, None, 0.7):
        epoch(state, 1.0, valid_loss=loss)
    assert (state.best["epoch"], state.epochs_without_gain) == (2, 5)
    assert state.end(settings(patience=5)) == "patience"
    assert state.end(settings(patience=6)) is None
    epoch(state, 1.0, valid_loss=0.4)
    assert state.epochs_without_gain == 0


def test_the_last_epoch_is_validated_whatever_ends_the_run(patchset):
    found = plan(patchset, epochs=5, validate_every=3, batch_size=2, max_steps=10)
    assert [n for n in range(1, 6) if found.validates_after(n, step=n)] == [3, 5]
    assert found.validates_after(2, step=10)
    assert not found.validates_after(2, step=9)


def test_a_validation_loss_that_is_not_a_number_is_never_the_best():
    state = State()
    epoch(state, 1.0, valid_loss=math.nan)
    assert state.best is None
    epoch(state, 1.0, valid_loss=0.5)
    assert state.best["epoch"] == 2


def settings(patchset="set", **changes):
    return TrainConfig(data=patchset, out="out", **changes)


def test_training_ends_for_the_first_reason_that_holds():
    state = State(epoch=3, step=30, epochs_without_gain=2, target={"epoch": 2})
    ends = [
        ({"epochs": 10}, None),
        ({"epochs": 3}, "epochs"),
        ({"epochs": 2}, "epochs"),
        ({"max_steps": 30}, "max_steps"),
        ({"max_steps": 31}, None),
        ({"patience": 2}, "patience"),
        ({"patience": 3}, None),
        ({"stop_at_target": True}, "target"),
    ]
    for changes, reason in ends:
        assert state.end(settings(**({"epochs": 10} | changes))) == reason


# --- What follows from the options ----------------------------------------------------------------


def plan(patchset, *, ranks=2, **changes):
    config = settings(patchset, **({"widths": (4, 8)} | changes))
    return make_plan(config, tiny.pretended_ranks(size=ranks, local_size=ranks))


def test_batches_and_steps_follow_from_the_ranks(patchset):
    found = plan(patchset, batch_size=2)
    assert (found.global_batch, found.batch_per_rank, found.steps_per_epoch) == (4, 2, 8)
    found = plan(patchset, global_batch=7, ranks=3)
    assert (found.global_batch, found.batch_per_rank, found.steps_per_epoch) == (7, 3, 5)
    assert (found.num_patches, found.num_valid) == (30, 10)


def test_normalisation_is_that_of_the_patch_set_or_fixed(patchset):
    opened = open_patchset(patchset)
    assert plan(patchset).info.mean == pytest.approx(opened.mean.tolist())
    assert plan(patchset).info.std == pytest.approx(opened.std.tolist())
    fixed = plan(patchset, fixed_mean=(1, 2, 3), fixed_std=(4, 5, 6)).info
    assert (fixed.mean, fixed.std) == ((1, 2, 3), (4, 5, 6))


def test_patches_of_each_step_add_to_an_epoch(patchset):
    for changes in ({"shuffle": "shard"}, {"shuffle": "global", "global_batch": 7}):
        found = plan(patchset, ranks=3, **changes)
        for number in (0, 5):
            rows = np.stack([found.rows(rank, number) for rank in range(3)])
            counts = (rows != schedule.PAD).sum(axis=(0, 2)).tolist()
            assert found.patches_per_step() == counts
        assert sum(found.patches_per_step()) == 30


def test_learning_rate_spans_the_whole_run(patchset):
    found = plan(patchset, batch_size=2, epochs=5, warmup_epochs=1.5, lr=0.1, lr_scaling="linear")
    assert found.total_steps == 40
    assert found.full_learning_rate == pytest.approx(0.2)
    rates = [found.learning_rate(step) for step in range(40)]
    assert rates.index(max(rates)) in (11, 12)
    assert max(rates) == pytest.approx(0.2)
    assert rates[0] == pytest.approx(0.2 / 12)
    assert rates[-1] < 0.002
    assert plan(patchset, batch_size=2, epochs=5, max_steps=7).total_steps == 7


@pytest.mark.parametrize("shuffle", ["shard", "global"])
@pytest.mark.parametrize("max_steps", [None, 11])
def test_what_is_left_of_an_unbroken_epoch_is_the_end_of_its_plan(patchset, shuffle, max_steps):
    found = plan(patchset, ranks=3, batch_size=2, epochs=4, shuffle=shuffle, max_steps=max_steps)
    assert (found.steps_per_epoch, found.total_steps) == (5, max_steps or 20)
    state = State()
    whole = [(epoch, row.tolist()) for epoch in range(4) for row in found.rows(1, epoch)]
    for step in range(found.total_steps):
        rest = rest_of_epoch(found, 1, state)
        end = min(5, found.total_steps - step + state.step_in_epoch)
        assert rest.rows.tolist() == found.rows(1, state.epoch)[state.step_in_epoch : end].tolist()
        assert rest.patches == found.patches_per_step()[state.step_in_epoch : end]
        ahead = range(step, step + len(rest.rows))
        assert rest.learning_rates == [found.learning_rate(other) for other in ahead]
        assert (rest.last, rest.begun_at) == (5, state.step_in_epoch)
        to_come = [(epoch, row.tolist()) for epoch, row in rows_to_come(found, 1, state)]
        assert to_come == whole[step : found.total_steps], "to be read through all epochs"
        assert rest.learning_rate(state.step_in_epoch) == found.learning_rate(max(0, step - 1))
        assert rest.learning_rate(state.step_in_epoch + 1) == found.learning_rate(step)
        assert rest.patches_up_to(5) == (30 if end == 5 else sum(found.patches_per_step()[:end]))
        state.add_step(1, 1, rest.patches[0], 1)
        if state.step_in_epoch == 5:
            state.end_epoch(None, patches=rest.patches_up_to(5), learning_rate=0.1)
    assert len(rest_of_epoch(found, 1, state).rows) == 0 or max_steps is None


@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_an_epoch_goes_on_with_other_ranks_where_it_stood(patchset, shuffle):
    """Two ranks of eight steps an epoch, then three of five, then one of fifteen."""
    settings = {"batch_size": 2, "epochs": 4, "shuffle": shuffle}
    two, three, one = (plan(patchset, ranks=ranks, **settings) for ranks in (2, 3, 1))
    state, seen, rates = State(), [], []

    def go_on(found, steps):
        rests = [rest_of_epoch(found, rank, state) for rank in range(found.num_ranks)]
        rates.extend(rests[0].learning_rates[:steps])
        for rank, rest in enumerate(rests):
            read = set(patches_to_read(found, rank, state))
            assert read >= {*found.training_patches(rank), *rest.rows[rest.rows != schedule.PAD]}
        for step in range(steps):
            seen.append(np.concatenate([rest.rows[step] for rest in rests]))
            state.add_step(1, 1, rests[0].patches[step], 1)
        return rests[0]

    go_on(two, 3)
    state.change_order(two.order)
    go_on(three, 1)
    state.change_order(three.order)
    state.change_order(three.order)  # at once again: no part without steps
    assert [part["steps"] for part in state.parts] == [3, 1]
    rest = go_on(one, 6)
    assert (state.step_in_epoch, rest.last, rest.begun_at) == (10, 10, 4)
    patches = np.concatenate(seen)
    assert sorted(patches[patches != schedule.PAD]) == list(range(30))
    assert rest.patches_up_to(10) == state.patches_trained == 30
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == one.learning_rate(14), "the epoch ends where it would for one rank alone"
    state.end_epoch(None, patches=30, learning_rate=rates[-1])
    assert state.parts == []
    assert rest_of_epoch(one, 0, state).learning_rates[0] == one.learning_rate(15)
    assert len(rest_of_epoch(one, 0, state).rows) == 15


def test_cache_bytes_are_what_a_rank_comes_to_hold(patchset):
    opened = open_patchset(patchset)
    with PatchReader(opened, "train") as reader:
        batch = reader.read(range(15))
        half = batch.image.nbytes + batch.label.nbytes
    valid = half * 5 // 15  # of 10 patches, half of them on each of two ranks
    assert plan(patchset, ranks=2, cache="memory").cache_bytes() == half + valid
    every = plan(patchset, ranks=2, cache="memory", shuffle="global")
    assert every.cache_bytes() == 2 * half + valid


def test_class_weights_follow_from_the_loss(patchset, tmp_path):
    assert plan(patchset, loss="bce").class_weights == ()
    assert plan(patchset, loss="wbce", pos_weight=0.25).class_weights == (1.0, 0.25)
    three = tiny.make_patchset(tmp_path / "three", classes=3, patches=4)
    weights = (1.0, 2.0, 3.0)
    assert plan(three, loss="wbce", class_weights=weights).class_weights == weights
    assert plan(three, loss="bce").class_weights == ()
    for wrong in ((), (1.0, 2.0)):
        with pytest.raises(ValueError, match="3 classes needs as many --class-weights"):
            plan(three, loss="wbce", class_weights=wrong)
    with pytest.raises(ValueError, match=r"--pos-weight 0.25 has no effect with more than two"):
        plan(three, loss="wbce", class_weights=weights, pos_weight=0.25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranks": 31}, "30 patches cannot feed 31 ranks"),
        ({"batch_size": 16}, "a batch of 16 per rank is larger than a rank's 15"),
        ({"global_batch": 1}, "a global batch of 1 cannot feed 2 ranks"),
        ({"widths": (1,) * 7}, "patches of 32 pixels do not halve 6 times"),
        ({"clip_offset": 16}, "--clip-offset 16 leaves nothing"),
        ({"clip_offset": -1}, "--clip-offset -1"),
        ({"fixed_mean": (1, 2)}, r"one value for each of the 3 channels"),
        ({"fixed_std": (1, 2, 3)}, r"one value for each of the 3 channels"),
        ({"epochs": 0}, "--epochs 0 must be 1 or more"),
        ({"batch_size": 0}, "--batch-size 0 must"),
        ({"global_batch": 0}, "--global-batch 0 must"),
        ({"max_steps": 0}, "--max-steps 0 must"),
        ({"validate_every": 0}, "--validate-every 0 must"),
        ({"keep": 0}, "--keep 0 must"),
        ({"patience": -1}, "--patience -1 must"),
        ({"checkpoint_steps": -1}, "--checkpoint-steps -1 must"),
        ({"warmup_epochs": -0.5}, "--warmup-epochs -0.5 must"),
        ({"lr": 0.0}, "--lr 0.0 must"),
        ({"lr": math.nan}, "--lr nan must"),
    ],
)
def test_options_that_cannot_be_are_refused(patchset, changes, message):
    with pytest.raises(ValueError, match=message):
        plan(patchset, **changes)


def test_without_validation_patches_there_is_nothing_to_wait_for(tmp_path):
    raw = tmp_path / "scenes"
    for seed in range(2):
        tiny.write_scene(raw / f"{seed}.npz", size=32, patches=2, seed=seed)
    words = ["prepare", raw, "--out", tmp_path / "set", "--patch-size", 32, "--split", "train=1"]
    assert tiny.cli.main([str(word) for word in words]) == 0
    assert plan(tmp_path / "set", batch_size=1).num_valid == 0
    for changes in ({"patience": 1}, {"target_accuracy": 0.9}, {"validate_every": 2}):
        with pytest.raises(ValueError, match="has no effect without validation patches"):
            plan(tmp_path / "set", batch_size=1, **changes)
    words[-1] = "test=1"
    words[3] = tmp_path / "untrained"
    assert tiny.cli.main([str(word) for word in words]) == 0
    with pytest.raises(ValueError, match="has no training patches"):
        plan(tmp_path / "untrained", batch_size=1)


# --- The run folder -------------------------------------------------------------------------------


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_new_run_may_begin_where_nothing_is(tmp_path):
    for path in (tmp_path / "new" / "deeper", tmp_path):
        folder = RunFolder(path)
        folder.check(resume=False)
        folder.check(resume=True)
    RunFolder(tmp_path / "new" / "deeper").begin(settings())
    begun = {path.name for path in (tmp_path / "new" / "deeper").iterdir()}
    assert begun == {"config.yaml", "environment.json", "ranks"}


def test_a_folder_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; choose another --out"):
        RunFolder(tmp_path / "file").check(resume=False)
    for resume in (False, True):
        with pytest.raises(ValueError, match="exists and holds no run"):
            RunFolder(tmp_path).check(resume=resume)


def test_an_unfinished_run_is_gone_on_with_or_left_alone(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin(settings())
    folder.check(resume=False)  # it has not come to a checkpoint: nothing can be lost
    folder.checkpoints.mkdir()
    (folder.checkpoints / "step-00000001.h5").touch()
    with pytest.raises(ValueError, match="holds an unfinished run; add --resume"):
        folder.check(resume=False)
    folder.check(resume=True)


def test_a_finished_run_is_not_written_over(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin(settings())
    folder.summary.write_text(json.dumps({"status": "finished"}))
    with pytest.raises(ValueError, match="holds a finished run; choose another --out"):
        folder.check(resume=False)
    folder.check(resume=True)


def test_the_first_failure_is_the_one_that_is_told(tmp_path):
    folder = RunFolder(tmp_path)
    folder.fail("before anything of this run was there", rank=0, num_ranks=2, status="failed")
    assert content(tmp_path) == {}
    folder.begin(settings())
    folder.claimed = True
    folder.fail("the disk is full", rank=0, num_ranks=2, status="failed")
    folder.fail("another rank has failed", rank=1, num_ranks=2, status="failed")
    found = folder.read_summary()
    assert (found["status"], found["error"]) == ("failed", "the disk is full")
    assert not folder.finished()
    folder.begin(settings())
    assert not folder.summary.exists()
    folder.close()


def test_a_run_can_be_repeated_from_its_configuration(tmp_path):
    folder = RunFolder(tmp_path / "run")
    config = dataclasses.replace(
        settings(tmp_path), out=tmp_path / "x", widths=(3, 5), cache="memory", lr=1e-5
    )
    folder.begin(config)
    words = ["--config", str(folder.config)]
    assert parse(TrainConfig, words, prog="train_hvd.py") == config


# --- What people read -----------------------------------------------------------------------------


def test_people_read_one_line_per_epoch():
    state = State()
    epoch(state, 0.25)
    (record,) = state.history
    line = journal.epoch_line(record, epochs=3, num_ranks=1)
    assert line == "epoch 1/3 | loss 0.2500 | 8.00 patches/s | 1 rank"
    record["valid"] = {"loss": 0.5, "accuracy": 0.75, "majority": 0.6}
    line = journal.epoch_line(record, epochs=3, num_ranks=8)
    assert "validation loss 0.5000 | accuracy 0.7500 (majority 0.6000)" in line
    assert line.endswith("8 ranks")


# --- Real processes of one rank -------------------------------------------------------------------

TINY = ("--preset", "tiny", "--threads", 1, "--no-tensorboard")
KILLED = (*TINY, "--batch-size", 1, "--dropout", 0.1, 0.1, "--checkpoint-steps", 2)


HALF_STEPS = 24
HALF = (*TINY, "--max-steps", HALF_STEPS, "--lr", 0.01, "--no-augment")

# All patches in a single batch, so that their order is no matter.
ONE_STEP = (*TINY, "--precision", "float32", "--no-augment", "--global-batch", 30, "--max-steps", 1)
ONE_STEP += ("--loss", "wbce", "--pos-weight", 0.25, "--clip-offset", 3, "--lr", 0.01, "--seed", 5)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("one-rank")


@pytest.fixture(scope="module")
def killed(work):
    """A run of 36 steps an epoch that was killed in the middle of its second one."""
    folder = tiny.make_patchset(work / "set", patches=12)
    run = work / "killed"
    words = ("--data", folder, "--out", run, *KILLED)
    process, _ = tiny.start_held(44, work / "held", *words)
    tiny.kill_everything(process)
    process.communicate()
    assert not (run / "summary.json").exists()
    (run / "checkpoints" / ".step-00000044.h5.0123456789ab.part").touch()  # what it had begun
    return run


def rotten(folder):
    """A copy of a patch set, one file of which has another checksum than it should."""
    copy = shutil.copytree(folder, folder.with_name("rotten"))
    victim = copy / open_patchset(copy).splits["train"].files[0].path
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    return copy


@pytest.fixture(scope="module")
def results(work, killed, patchset):
    """All cases of one rank, in one process."""

    def case(name, *words, data=work / "set", **changes):
        out = work / name
        return Case(name, ["--data", data, "--out", out, *words], folder=out, **changes)

    short = (*TINY, "--precision", "float32", "--max-steps", 10)
    cases = [
        case("unbroken", *KILLED),
        case("resumed", *KILLED, "--resume", copy_of=killed),
        case("again", *KILLED, "--resume", data=rotten(work / "set"), copy_of=work / "resumed"),
        case("trained-on", *KILLED, "--resume", "--epochs", 3, copy_of=work / "resumed"),
        case("short", *short, data=patchset),
        case(
            "closed",
            *(*short, "--resume"),
            data=patchset,
            copy_of=work / "short",
            without=["summary.json", "model.keras"],
        ),
        case("three-classes", *TINY, data=tiny.make_patchset(work / "three", classes=3)),
        case("cached", *short, "--cache", "memory", data=patchset),
        case("one-step", *ONE_STEP, data=patchset),
        case("tuned", *ONE_STEP, "--init", work / "short", data=patchset),
        case("unfit", *TINY, "--init", work / "short", "--widths", 4, 4, data=patchset),
        case("half", *HALF, "--precision", "float16", data=patchset),
        case("whole", *HALF, "--precision", "float32", data=patchset),
        *(
            case(error, *short, "--checkpoint-steps", 1, data=patchset, fails_with=error)
            for error in ("UnknownError", "ResourceExhaustedError")
        ),
        case("best", *TINY, "--lr", 0.1, "--lr-decay", "none", "--epochs", 40, "--patience", 2),
        case("target", *TINY, "--target-accuracy", 0.5, "--stop-at-target", "--epochs", 9),
    ]
    return tiny.run_cases(cases, work / "cases", ranks=1)


def summary_of(work, name):
    return json.loads((work / name / "summary.json").read_text())


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_an_unbroken_one(results, work):
    unbroken, resumed = results["unbroken"], results["resumed"]
    assert (unbroken.codes, resumed.codes) == ([0], [0])
    step = int(re.search(r"epoch 1, step (\d+)", resumed.out[0]).group(1))
    assert 36 < step < 72, "it went on in the middle of the second epoch"
    assert resumed.weights == unbroken.weights
    assert resumed.optimizer == unbroken.optimizer
    one, other = summary_of(work, "unbroken"), summary_of(work, "resumed")
    for key in ("steps_run", "patches_trained", "last_step_loss", "final", "best"):
        for record in (one, other):
            for name in ("train_seconds", "patches_per_second"):
                (record[key] if isinstance(record[key], dict) else {}).pop(name, None)
        assert one[key] == other[key], key
    assert other["seconds"]["before_resume"] > 1
    assert one["seconds"]["before_resume"] == 0


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is_before_any_patch_is_read(results):
    assert results["again"].codes == [0]
    assert results["again"].tree == results["resumed"].tree
    assert "is finished (epochs); nothing to do" in results["again"].out[0]


@pytest.mark.slow
def test_a_finished_run_can_be_trained_on(results, work):
    found = summary_of(work, "trained-on")
    assert (found["epochs_run"], found["steps_run"], found["status"]) == (3, 108, "finished")
    assert "resuming with a change: steps in all was 72, is 108" in results["trained-on"].err[0]


@pytest.mark.slow
def test_a_run_killed_after_its_last_checkpoint_is_closed_as_if_it_were_not(results, work):
    one, other = (summary_of(work, name) for name in ("short", "closed"))
    assert results["closed"].codes == [0]
    assert other["steps_run"] == 10
    assert other["final"]["valid"] == one["final"]["valid"]
    assert other["final"]["learning_rate"] == one["final"]["learning_rate"]
    assert other["best"] == one["best"]
    assert (work / "closed" / "model.keras").exists()


@pytest.mark.slow
def test_cached_patches_train_the_same_weights(results):
    assert results["cached"].weights == results["short"].weights


@pytest.mark.slow
def test_more_than_two_classes_can_be_trained(results, work):
    found = summary_of(work, "three-classes")
    assert results["three-classes"].codes == [0]
    assert list(found["best"]["iou"]) == ["class 0", "class 1", "class 2"]
    assert found["history"][-1]["loss"] < found["history"][0]["loss"]


@pytest.mark.slow
def test_float16_trains_as_float32_does(results, work):
    """Step for step within its rounding, and no step was skipped for an overflow."""
    assert (results["half"].codes, results["whole"].codes) == ([0], [0])
    half, whole = (
        [record["loss"] for record in tiny.events(work / name, "step")]
        for name in ("half", "whole")
    )
    assert half != whole
    assert half == pytest.approx(whole, rel=0.01)
    assert whole[-1] < 0.9 * whole[0]
    assert summary_of(work, "half")["precision"] == "float16"
    last = checkpoint.load(work / "half" / "checkpoints", HALF_STEPS)
    values = dict(zip(last.state["variables"], last.variables, strict=True))
    assert values["loss_scale/step_counter"] == HALF_STEPS


@pytest.mark.slow
@pytest.mark.parametrize("error", ["UnknownError", "ResourceExhaustedError"])
def test_a_device_that_fails_leaves_a_summary(results, work, error):
    found = summary_of(work, error)
    assert (found["status"], found["rank"]) == ("failed", 0)
    assert f"{error}: no workspace" in found["error"]
    assert "convolution" not in found["error"], "one line"
    assert checkpoint.steps(work / error / "checkpoints") == [1, 2]
    if error == "ResourceExhaustedError":
        (line,) = results[error].error_lines
        assert line.endswith("use a smaller batch")
        assert results[error].codes == [1]
    else:
        assert results[error].codes == ["raised"], "a fault of ours or of TensorFlow: a traceback"


@pytest.mark.slow
def test_patience_stops_and_gives_the_best_weights(results, work):
    found = summary_of(work, "best")
    assert found["stopped_by"] == "patience"
    assert found["best"]["step"] < found["steps_run"]
    losses = [record["valid"]["loss"] for record in found["history"]]
    assert losses.index(min(losses)) == found["best"]["epoch"] - 1 == len(losses) - 3
    best = checkpoint.load(work / "best" / "checkpoints", found["best"]["step"])
    by_name = dict(zip(best.state["variables"], best.variables, strict=True))
    model, _ = keras_file.load(work / "best")
    for variable in model.trainable_variables:
        np.testing.assert_array_equal(variable, by_name[variable.path])


@pytest.mark.slow
def test_a_run_can_stop_at_its_target(results, work):
    found = summary_of(work, "target")
    assert found["stopped_by"] == "target"
    reached = [record["valid"]["accuracy"] >= 0.5 for record in found["history"]]
    assert reached == [False] * (len(reached) - 1) + [True]
    assert found["target"]["epoch"] == len(reached)
    assert 0 < found["target"]["seconds"] <= found["seconds"]["total"]


def one_step_loss(model, patchset):
    """Weighted mean over the known pixels inside the frame, as ONE_STEP asks for it."""
    with PatchReader(open_patchset(patchset), "train") as reader:
        batch = reader.read(range(30))
    inside = np.s_[:, 3:-3, 3:-3]
    label = batch.label[inside]
    known = label != 255
    truth = label[known].astype(np.float32)
    logits = model(decode(batch.image, batch.scale, batch.offset))[inside][..., 0][known]
    return tf.reduce_mean(tf.nn.weighted_cross_entropy_with_logits(truth, logits, 0.25))


@pytest.mark.slow
def test_a_run_starts_at_the_loss_of_the_model_it_is_given(results, work, patchset):
    model, _ = keras_file.load(work / "short")
    assert results["tuned"].codes == [0]
    fresh, tuned = (tiny.events(work / name, "step")[0]["loss"] for name in ("one-step", "tuned"))
    assert tuned == pytest.approx(float(one_step_loss(model, patchset)), rel=1e-5)
    assert abs(tuned - fresh) > 0.01 * fresh
    path = work / "short" / "model.keras"
    assert summary_of(work, "tuned")["init"] == {"path": str(path), "sha256": sha256_of(path)}
    assert summary_of(work, "one-step")["init"] is None
    assert f"starting from the weights of {path}" in results["tuned"].out[0]
    (line,) = results["unfit"].error_lines
    assert "model.keras does not fit this run: widths 4, 8 there and 4, 4 here" in line


@pytest.mark.slow
def test_a_model_is_described_beside_it(results, work):
    told = {}
    for name in ("three-classes", "tuned"):
        assert results[name].codes == [0]
        told[name] = json.loads((work / name / "model.json").read_text())["properties"]
    (given,) = told["three-classes"]["mlm:output"]
    names = [found["description"] for found in given["classification:classes"]]
    assert names == ["class 0", "class 1", "class 2"]
    assert told["three-classes"]["mlm:hyperparameters"]["batch_size"] > 0
    sources = [found["mlm:pretrained_source"] for found in told.values()]
    assert sources == [None, "short"]


@pytest.mark.slow
def test_a_step_is_that_of_plain_keras(results, work, patchset):
    """The loss of one batch, its gradient, one step of Adam."""
    trained, info = keras_file.load(work / "one-step")
    plain = keras_file.build(info, seed=5)
    with tf.GradientTape() as tape:
        loss = one_step_loss(plain, patchset)
    variables = plain.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert results["one-step"].codes == [0]
    assert tiny.events(work / "one-step", "step")[0]["loss"] == pytest.approx(float(loss), rel=1e-5)
    keras.optimizers.Adam(0.01).apply_gradients(zip(gradients, variables, strict=True))
    for variable, expected in zip(trained.trainable_variables, variables, strict=True):
        np.testing.assert_allclose(variable, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_learning_rate_that_was_used_is_recorded(results, work):
    found = summary_of(work, "unbroken")
    assert found["learning_rate"] == 1e-3
    rates = [record["learning_rate"] for record in found["history"]]
    assert rates == pytest.approx([0.5e-3 * (1 + math.cos(math.pi * s / 72)) for s in (35, 71)])
    last = checkpoint.load(work / "unbroken" / "checkpoints", 72)
    used = last.variables[last.state["variables"].index("adam/learning_rate")]
    assert used == pytest.approx(rates[-1], rel=1e-6)


@pytest.mark.slow
def test_what_a_killed_process_had_begun_to_write_is_cleared_away(results, work):
    for name in ("unbroken", "resumed"):
        assert [path.name for path in (work / name).rglob(".*")] == []
