"""Runs of three ranks that were killed and resumed end with the bits of unbroken ones.

From three ranks on it matters how numbers are put into messages: see GROUPS in train/ranks.py.
Runs are made in one set of ranks and gone on with in another one. One that was killed has no later
checkpoints.
"""

import shutil

import h5py
import numpy as np
import pytest
import tiny
from tiny import Case

from cloudmask.metrics import UNKNOWN
from cloudmask.train import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.mpi]

RANKS, STEPS, EPOCHS, WARM_UP = 3, 8, 3, 2.5
COMMON = ("--batch-size", 1, "--epochs", EPOCHS, "--warmup-epochs", WARM_UP, "--threads", 1)
COMMON += ("--checkpoint-steps", 3, "--keep", 100, "--patience", EPOCHS)
COMMON += ("--no-tensorboard", "--no-verify")
RUNS = {
    # 31 tensors and 7.8 MB of gradients, as in a real training.
    "wide": ("--precision", "float32", "--lr", 0.01),
    "half": ("--precision", "float16", "--lr", 0.05, "--widths", 4, 8),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("bits")


def unlearnable(folder):
    """The same patch set whose validation labels are the other way round: it only gets worse."""
    for path in (folder / "valid").iterdir():
        with h5py.File(path, "r+") as file:
            label = file["label"][()]
            file["label"][...] = np.where(label == UNKNOWN, label, 1 - label)
    return folder


@pytest.fixture(scope="module")
def states(work):
    """How the unbroken runs ended, and the states of all their checkpoints by step."""
    data = unlearnable(tiny.make_patchset(work / "set", patches=RANKS * STEPS // 3))
    cases = [
        Case(name, ["--data", data, "--out", work / name, *COMMON, *words])
        for name, words in RUNS.items()
    ]
    results = tiny.run_cases(cases, work / "unbroken", ranks=RANKS)
    assert all(result.codes == [0] * RANKS for result in results.values()), results
    found = {}
    for name in RUNS:
        folder = work / name / "checkpoints"
        found[name] = {step: checkpoint.load(folder, step) for step in checkpoint.steps(folder)}
    return results, found


@pytest.fixture(scope="module")
def cuts(states):
    """Where each run is killed: in mid-epoch, in its warm-up, where patience has begun to count."""
    found = {}
    for name, saved in states[1].items():
        inside = [
            step
            for step, one in saved.items()
            if one.state["step_in_epoch"] and one.state["epochs_without_gain"]
            if step < WARM_UP * STEPS
        ]
        found[name] = inside[-1]
    return found


@pytest.fixture(scope="module")
def resumed(work, states, cuts):
    cases = []
    for name, words in RUNS.items():
        out = shutil.copytree(work / name, work / f"{name}-killed")
        for path in (out / "summary.json", out / "model.keras"):
            path.unlink()
        for step in states[1][name]:
            if step > cuts[name]:
                for kind in ("h5", "json"):
                    (out / "checkpoints" / f"step-{step:08d}.{kind}").unlink()
        line = ["--data", work / "set", "--out", out, *COMMON, *words, "--resume"]
        cases.append(Case(name, line))
    return tiny.run_cases(cases, work / "resumed", ranks=RANKS)


@pytest.mark.parametrize("name", RUNS)
def test_three_ranks_end_with_the_bits_of_an_unbroken_run(states, cuts, resumed, name):
    unbroken, result = states[0][name], resumed[name]
    assert result.codes == [0] * RANKS, result.err
    assert f"step-{cuts[name]:08d}.h5: epoch" in result.out[0]
    assert "warning" not in result.err[0]
    assert len({*unbroken.weights, *result.weights}) == 1
    assert len({*unbroken.optimizer, *result.optimizer}) == 1


def test_the_scale_of_float16_and_its_counter_go_on_where_they_were(states, cuts):
    """That they end alike is in the test before; here, that there was something to go on with."""
    saved = states[1]["half"][cuts["half"]]
    values = dict(zip(saved.state["variables"], saved.variables, strict=True))
    assert values["loss_scale/step_counter"] > 0
    assert values["loss_scale/dynamic_scale"] > 1


def test_patience_and_history_are_those_of_the_unbroken_run(states, work, resumed):
    """Seconds apart, all that was decided in between."""
    for name in RUNS:
        last = max(states[1][name])
        mine = checkpoint.load(work / f"{name}-killed" / "checkpoints", last).state
        theirs = states[1][name][last].state
        for key in ("epoch", "step", "best", "epochs_without_gain", "patches_trained"):
            assert mine[key] == theirs[key]
        for one, other in zip(mine["history"], theirs["history"], strict=True):
            for key in ("loss", "valid", "learning_rate"):
                assert one[key] == other[key]
