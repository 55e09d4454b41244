"""Starting from models and going on from checkpoints; killed runs are in test_train*.py."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tiny

from cloudmask.cli.options import TrainConfig
from cloudmask.files import sha256_of
from cloudmask.model import keras_file
from cloudmask.train import begin, checkpoint, origin
from cloudmask.train.folder import RunFolder
from cloudmask.train.plan import Plan, make_plan
from cloudmask.train.schedule import PAD, epoch_plan
from cloudmask.train.state import State, rest_of_epoch

RANKS = tiny.pretended_ranks(size=2, local_size=2)


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    return tiny.make_patchset(tmp_path_factory.mktemp("resume") / "set", patches=4)


class Run:
    """A run whose weights are random numbers instead of trained ones."""

    def __init__(self, patchset, out, *, ranks=RANKS, seed=0, **settings):
        if "dropout" in settings:
            keras.utils.clear_session()  # random states are numbered through the whole process
        settings = {"widths": (4, 8), "precision": "float32", "resume": True} | settings
        self.config = TrainConfig(data=patchset, out=out, **settings)
        self.ranks = ranks
        self.plan = make_plan(self.config, ranks)
        self.folder = RunFolder(out)
        self.model, self.optimizer = begin.build_network(self.plan)
        self.state = State()
        self.randomise(seed)

    def randomise(self, seed):
        random = np.random.default_rng(seed)
        for variable in self.model.trainable_variables:
            variable.assign(random.normal(size=variable.shape))
        for variable in self.optimizer.variables:
            variable.assign(random.integers(0, 9, variable.shape).astype(variable.dtype))

    def step(self, step, *, step_in_epoch=0, best=None):
        """Random weights, of this seed, and a checkpoint of them."""
        self.randomise(step)
        self.state.step, self.state.step_in_epoch = step, step_in_epoch
        self.state.best = {"loss": 0.1, "step": best} if best else None
        self.save()

    def save(self):
        place = self.folder.checkpoints, self.state, self.model, self.optimizer
        checkpoint.take(self.plan, self.ranks, *place)

    def restore(self):
        return self.find().state

    def find(self):
        return origin.find(self.plan, self.ranks, self.folder, self.model, self.optimizer)

    def bits(self):
        return [array.tobytes() for array in checkpoint.arrays(self.model, self.optimizer).values()]


def damage(run, step):
    """Flip a bit in a checkpoint's variables."""
    path = run.folder.checkpoints / f"step-{step:08d}.h5"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_state_weights_and_optimizer_come_back_bit_for_bit(patchset, tmp_path):
    run = Run(patchset, tmp_path, dropout=(0.1, 0.1))
    run.state = State(
        epoch=2,
        step_in_epoch=3,
        parts=[{"num_ranks": 3, "global_batch": 6, "shuffle": "shard", "seed": 0, "steps": 1}],
        step=9,
        loss_sum=0.1 + 0.2,
        loss_count=1e9 + 0.5,
        patches_trained=31,
        epoch_seconds=1 / 3,
        last_loss=0.7,
        history=[{"epoch": 1, "loss": 2 / 3, "valid": {"iou": {"a": None}}}],
        best={"loss": 1e-17, "step": 9, "epoch": 1},
        epochs_without_gain=1,
        target={"accuracy": 0.9, "epoch": 1, "seconds": 2.5},
        elapsed_seconds=12.25,
        resets=[{"step": 7, "lost": ["a"]}],
        init={"path": "run/model.keras", "sha256": "cafe"},
    )
    run.save()
    other = Run(patchset, tmp_path, dropout=(0.1, 0.1), seed=99)
    assert other.bits() != run.bits()
    assert other.restore() == run.state
    assert other.bits() == run.bits()


# --- Starting from the weights of a trained model -------------------------------------------------


@pytest.fixture
def trained(patchset, tmp_path):
    """A model of random weights, of the same kind as `Run`'s; and what it is."""
    run = Run(patchset, tmp_path / "trained", seed=7)
    path = tmp_path / "trained.keras"
    keras_file.save(path, [v.numpy() for v in run.model.trainable_variables], run.plan.info)
    return path, run


def test_a_run_starts_from_the_weights_of_a_model_and_with_its_own_optimizer(
    patchset, tmp_path, trained, capsys
):
    path, other = trained
    run = Run(patchset, tmp_path / "run", resume=False, init=path, seed=8)
    before = [v.numpy().tobytes() for v in run.optimizer.variables]
    state = run.restore()
    assert state == State(init={"path": str(path), "sha256": sha256_of(path)})
    for mine, theirs in zip(run.model.variables, other.model.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [v.numpy().tobytes() for v in run.optimizer.variables] == before
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"starting from the weights of {path} (sha256 {sha256_of(path)[:16]})"


def test_the_input_is_normalised_as_the_new_patch_set_asks(patchset, tmp_path, trained):
    path, _ = trained
    run = Run(patchset, tmp_path / "run", init=path, fixed_mean=(1, 2, 3), fixed_std=(4, 5, 6))
    layer = run.model.get_layer("normalise")
    scale = layer.scale
    run.restore()
    assert run.model.get_layer("normalise").scale == scale == pytest.approx([1 / 4, 1 / 5, 1 / 6])


def test_a_checkpoint_goes_before_a_model_to_start_from(patchset, tmp_path, trained, capsys):
    path, _ = trained
    run = Run(patchset, tmp_path / "run", init=path)
    run.state = run.restore()
    run.step(3)
    expected = run.bits()
    again = Run(patchset, tmp_path / "run", init=path, seed=9)
    capsys.readouterr()
    assert again.restore() == run.state
    assert again.bits() == expected
    assert f"--init {path} is not read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (4, 16)}, "widths 4, 8 there and 4, 16 here"),
        ({"upsampling": "transposed"}, "--upsampling nearest there and transposed here"),
        (
            {"other": "channels"},
            "channels reflectance, warm, hot there and reflectance, ",
        ),
        ({"other": "classes"}, "classes class 0, ice there and class 0, class 1 here"),
    ],
)
def test_a_model_of_another_kind_is_no_start(patchset, tmp_path, trained, settings, message):
    path, run = trained
    settings = dict(settings)
    if other := settings.pop("other", None):
        last = {"channels": "hot", "classes": "ice"}[other]
        names = (*getattr(run.plan.info, other)[:-1], last)
        info = dataclasses.replace(run.plan.info, **{other: names})
        keras_file.save(path, [v.numpy() for v in run.model.trainable_variables], info)
    with pytest.raises(ValueError, match=f"does not fit this run: {message}"):
        Run(patchset, tmp_path / "run", init=path, **settings).restore()


def test_a_model_that_is_not_there_is_no_start(patchset, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="is not a finished run"):
        Run(patchset, tmp_path / "run", init=tmp_path / "nothing").restore()


# --- What is saved and what comes back ------------------------------------------------------------


def test_every_variable_of_model_and_optimizer_is_saved(patchset, tmp_path):
    run = Run(patchset, tmp_path, dropout=(0.1, 0.1))
    names = list(checkpoint.arrays(run.model, run.optimizer))
    assert len(names) == len(run.model.variables) + len(run.optimizer.variables)
    assert sum("seed_generator" in name for name in names) == 3, "the random state of each dropout"
    assert {"adam/iteration", "adam/learning_rate"} <= set(names)


def test_the_newest_checkpoint_that_verifies_is_taken(patchset, tmp_path, capsys):
    run = Run(patchset, tmp_path)
    for step in (2, 4, 6):
        run.step(step)
    (run.folder.checkpoints / "step-00000008.h5").touch()
    damage(run, 6)
    assert run.restore().step == 4
    told = capsys.readouterr()
    warnings = told.err.splitlines()
    assert "step-00000008.h5: never finished" in warnings[0]
    assert "step-00000006.h5: checksum differs" in warnings[1]
    assert len(warnings) == 2
    assert "step-00000004.h5" in told.out


def test_a_run_goes_on_after_it_has_passed_over_a_damaged_checkpoint(patchset, tmp_path):
    run = Run(patchset, tmp_path, keep=1)
    for step in (2, 4, 6, 8):
        run.step(step, best=2)
    damage(run, 8)
    damaged = (run.folder.checkpoints / "step-00000008.h5").read_bytes()
    found = run.find()
    assert (found.state.step, found.passed_over) == (2, [8])
    assert checkpoint.steps(run.folder.checkpoints) == [2, 8], "nothing is touched yet"
    checkpoint.keep_apart(run.folder.checkpoints, found.passed_over)
    for step in (3, 8):
        run.step(step, best=2)
    assert checkpoint.steps(run.folder.checkpoints) == [2, 8]
    assert run.restore().step == 8
    kept = run.folder.checkpoints / checkpoint.APART
    assert (kept / "step-00000008.h5").read_bytes() == damaged
    assert {path.name for path in kept.iterdir()} == {f"step-00000008.{kind}" for kind in KINDS}


KINDS = ("h5", "json")


def of_another_version(folder, step):
    record = folder / f"step-{step:08d}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"version": 1}))


def without_variables(folder, step):
    (folder / f"step-{step:08d}.h5").unlink()


def unreadable(folder, step):
    record = folder / f"step-{step:08d}.json"
    record.unlink()
    record.mkdir()


@pytest.mark.parametrize("harm", [of_another_version, without_variables, unreadable])
def test_a_run_whose_checkpoints_cannot_be_read_is_refused_and_keeps_them(
    patchset, tmp_path, capsys, harm
):
    run = Run(patchset, tmp_path)
    for step in (100, 200, 300):
        run.step(step)
        harm(run.folder.checkpoints, step)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read") as caught:
        run.find()
    assert "step-00000300." in str(caught.value)
    assert "or move" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
    (run.folder.checkpoints / "step-00000400.h5").touch()  # what a killed process leaves
    with pytest.raises(ValueError, match=r"the newest is step-00000300\."):
        run.find()


def test_a_run_that_was_killed_in_its_first_checkpoint_starts_anew_and_keeps_what_is_there(
    patchset, tmp_path
):
    run = Run(patchset, tmp_path)
    run.folder.checkpoints.mkdir()
    (run.folder.checkpoints / "step-00000002.h5").write_bytes(b"begun")
    found = run.find()
    assert (found.state, found.passed_over) == (State(), [2])


def test_a_finished_run_without_its_checkpoints_is_not_begun_again(patchset, tmp_path):
    run = Run(patchset, tmp_path)
    run.folder.summary.write_text(json.dumps({"status": "finished"}))
    with pytest.raises(ValueError, match="a finished run, but no checkpoint to go on from"):
        run.find()


def test_best_weights_that_are_lost_are_told_at_once_and_not_at_the_end(patchset, tmp_path, capsys):
    run = Run(patchset, tmp_path, keep=1)
    run.step(2, best=2)
    run.step(4, best=2)
    damage(run, 2)
    found = run.find()
    assert (found.state.step, found.state.best, found.passed_over) == (4, None, [2])
    assert "the best weights so far are lost (step-00000002.h5: " in capsys.readouterr().err


def test_without_any_checkpoint_a_run_starts_at_its_beginning(patchset, tmp_path, capsys):
    run = Run(patchset, tmp_path)
    before = run.bits()
    assert run.restore() == State()
    assert run.bits() == before
    assert "starting at the beginning" in capsys.readouterr().out
    run.step(2)
    fresh = Run(patchset, tmp_path, resume=False)
    assert fresh.restore() == State()


def test_only_rank_0_reads(patchset, tmp_path):
    Run(patchset, tmp_path).step(2)
    other = Run(patchset, tmp_path, ranks=dataclasses.replace(RANKS, rank=1))
    assert other.restore() == State()


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"widths": (4, 16)}, r"widths was \[4, 8\], is \[4, 16\]"),
        ({"dropout": (0.1, 0.2)}, r"dropout was \[\], is \[0.1, 0.2\]"),
        ({"fixed_mean": (0, 0, 0), "fixed_std": (1, 1, 1)}, "mean was .*; std was"),
        ({"precision": "float16"}, "another optimiser or precision"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(patchset, tmp_path, settings, difference):
    Run(patchset, tmp_path).step(2)
    with pytest.raises(ValueError, match=difference) as caught:
        Run(patchset, tmp_path, **settings).restore()
    assert "step-00000002.h5" in str(caught.value)


def test_a_checkpoint_of_another_patch_set_is_refused(patchset, tmp_path):
    Run(patchset, tmp_path / "run").step(2)
    other = tiny.make_patchset(tmp_path / "set", patches=5)
    with pytest.raises(ValueError, match=r"patch set was [0-9a-f]{64}, is"):
        Run(other, tmp_path / "run").restore()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ranks": dataclasses.replace(RANKS, size=3)}, "num_ranks was 2, is 3"),
        ({"batch_size": 2}, "global_batch was 8, is 4"),
        ({"shuffle": "global"}, "shuffle was shard, is global"),
        ({"seed_of_run": 5}, "seed was 0, is 5"),
    ],
)
def test_another_order_goes_on_in_mid_epoch_with_the_patches_left(
    patchset, tmp_path, capsys, change, told
):
    run = Run(patchset, tmp_path)
    first = [rest_of_epoch(run.plan, rank, run.state).rows[0] for rank in range(2)]
    run.step(3, step_in_epoch=1)
    settings = {{"seed_of_run": "seed"}.get(key, key): value for key, value in change.items()}
    seed = settings.pop("seed", None)
    other = Run(patchset, tmp_path, **settings)
    if seed is not None:
        other.config = dataclasses.replace(other.config, seed=seed)
        other.plan = make_plan(other.config, other.ranks)
    capsys.readouterr()
    state = other.restore()
    warnings = capsys.readouterr().err.splitlines()
    assert f"warning: resuming with a change: {told}" in warnings
    assert (state.step, state.step_in_epoch) == (3, 1)
    rests = [rest_of_epoch(other.plan, rank, state) for rank in range(other.ranks.size)]
    seen = np.concatenate([*first, *(rest.rows.ravel() for rest in rests)])
    assert sorted(seen[seen != PAD]) == list(range(12))
    other.state = state
    other.save()
    assert other.restore() == state, "the same order again is no change"


def test_an_uneven_batch_begun_with_equal_shards_is_not_mixed_up(
    patchset, tmp_path, capsys, monkeypatch
):
    """Ranks that take 2 and 3 of a batch had 6 patches each once, and have 4 and 8 now."""
    run = Run(patchset, tmp_path, global_batch=5)
    order = {name: value for name, value in run.plan.order.items() if name != "equal_shards"}
    first = [epoch_plan(12, rank=rank, epoch=0, equal_shards=True, **order)[0] for rank in (0, 1)]
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "order", property(lambda _: order))
        run.step(3, step_in_epoch=1)
    other = Run(patchset, tmp_path, global_batch=5)
    capsys.readouterr()
    state = other.restore()
    assert "resuming with a change: equal_shards was None, is False" in capsys.readouterr().err
    rests = [rest_of_epoch(other.plan, rank, state).rows for rank in (0, 1)]
    seen = np.concatenate([*first, *(rows.ravel() for rows in rests)])
    assert sorted(seen[seen != PAD]) == list(range(12))


def test_a_change_of_settings_is_told(patchset, tmp_path, capsys):
    Run(patchset, tmp_path).step(3, step_in_epoch=1)
    assert Run(patchset, tmp_path, lr=0.5).restore().step == 3
    assert "resuming with a change: lr was 0.001, is 0.5" in capsys.readouterr().err


def test_the_same_command_resumes_without_a_warning(patchset, tmp_path, capsys):
    settings = {"lr": 0.1, "augment": False, "loss": "wbce", "clip_offset": 2}
    Run(patchset, tmp_path, **settings).step(3, step_in_epoch=1)
    capsys.readouterr()
    Run(patchset, tmp_path, **settings).restore()
    assert capsys.readouterr().err == ""


def test_weights_that_are_not_finite_are_not_saved(patchset, tmp_path):
    run = Run(patchset, tmp_path, keep=1)
    run.step(2)
    run.state.step = 3
    bias = run.model.trainable_variables[-1]
    bias.assign(np.full(bias.shape, np.nan))
    with pytest.raises(ValueError, match="not finite at step 3; the checkpoint of step 2 is kept"):
        run.save()
    assert checkpoint.steps(run.folder.checkpoints) == [2]


def test_best_weights_are_those_of_the_best_checkpoint(patchset, tmp_path):
    run = Run(patchset, tmp_path, keep=1)
    run.step(2, best=2)
    best = [v.numpy() for v in run.model.trainable_variables]
    run.step(4, best=2)
    run.step(6, best=2)
    found = checkpoint.best_weights(run.folder.checkpoints, run.model, run.state)
    assert [w.tobytes() for w in found] == [w.tobytes() for w in best]


def test_best_weights_without_validation_are_the_last_ones(patchset, tmp_path):
    run = Run(patchset, tmp_path)
    last = [v.numpy().tobytes() for v in run.model.trainable_variables]
    found = checkpoint.best_weights(run.folder.checkpoints, run.model, run.state)
    assert [w.tobytes() for w in found] == last
