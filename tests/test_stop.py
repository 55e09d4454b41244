"""Runs that are asked to stop, by real signals to real ranks, and go on to the same bits."""

import json
import os
import signal

import pytest
import tiny

from cloudmask.cli import errors
from cloudmask.train.stop import SIGNALS, listening

FAST = ("--epochs", 3, "--batch-size", 2, "--widths", 4, 8, "--precision", "float32")
FAST = (*FAST, "--no-tensorboard", "--threads", 1)
STEPS = 15
"""in an epoch of 30 patches on one rank"""


@pytest.fixture
def handlers():
    """Those of this process, which come back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_raises_a_flag_and_a_late_one_ends_nothing(handlers):
    with listening() as request:
        assert not request
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request
        assert request.signal == "SIGUSR1"
    for number in SIGNALS:
        os.kill(os.getpid(), number)


def test_without_a_signal_the_handlers_come_back(handlers):
    with listening():
        assert signal.getsignal(signal.SIGTERM) != handlers[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers


def test_a_rank_that_others_stop_ends_as_they_do(handlers):
    """A launcher may hand the request on to it when it is about to end."""
    with pytest.raises(errors.StoppedError), listening():
        raise errors.StoppedError("stopped by a signal")
    for number in SIGNALS:
        os.kill(os.getpid(), number)


def test_a_second_signal_changes_nothing(handlers):
    with listening() as request:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert request
        assert request.signal == "SIGTERM"


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    return tiny.make_patchset(tmp_path_factory.mktemp("stop") / "set")


@pytest.fixture(scope="module")
def whole(patchset):
    """whole(ranks): what an unbroken run leaves"""
    made = {}

    def run(ranks):
        if ranks not in made:
            folder = patchset.with_name(f"whole-{ranks}")
            ended = tiny.train("--data", patchset, *FAST, "--out", folder, ranks=ranks)
            assert ended.code == 0, ended.err
            made[ranks] = tiny.newest_weights(folder)
        return made[ranks]

    return run


def check_stopped_and_resumed(folder, patchset, whole, *, err, ranks, step=None):
    assert "stopped by a signal after step" in err
    assert err.count("train_hvd.py: error") == 1
    assert err.count("Traceback") == err.count("bin/horovodrun")  # which prints one of its own
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "stopped"
    stopped_at, _ = tiny.newest_weights(folder)
    assert step in (stopped_at, None)
    assert stopped_at < whole(ranks)[0]

    resumed = tiny.train("--data", patchset, *FAST, "--out", folder, "--resume", ranks=ranks)
    assert resumed.code == 0, resumed.err
    assert f"step-{stopped_at:08d}" in resumed.out
    assert tiny.newest_weights(folder) == whole(ranks)
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"


# horovodrun ends with 1 whatever code its ranks end with: who starts it must ask summary.json.
@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "by", "number", "code"),
    [
        (1, "python", signal.SIGTERM, errors.STOPPED),
        (2, "mpirun", signal.SIGUSR1, errors.STOPPED),
        (2, "horovodrun --gloo", signal.SIGUSR1, 1),
    ],
)
def test_one_rank_that_is_asked_stops_all_and_the_run_goes_on_to_the_same_bits(
    tmp_path, patchset, whole, ranks, by, number, code
):
    """The last rank waits in its fourth step for the signal, which no other rank gets."""
    words = ("--data", patchset, *FAST, "--out", tmp_path / "run")
    process, last = tiny.start_held(4, tmp_path / "held", *words, ranks=ranks, by=by)
    os.kill(last, number)
    ended = tiny.finish(process)
    assert ended.code == code, ended.err
    check_stopped_and_resumed(tmp_path / "run", patchset, whole, err=ended.err, ranks=ranks, step=5)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("when", "step", "ranks"),
    [
        ("startup", 1, 2),
        ("validation", STEPS + 1, 1),
        (f"step:{STEPS - 1}", STEPS, 1),  # the epoch is left to close
    ],
)
def test_run_that_is_stopped_at_an_awkward_moment_goes_on_to_the_same_bits(
    tmp_path, patchset, whole, when, step, ranks
):
    words = ("--data", patchset, *FAST, "--out", tmp_path)
    ended = tiny.finish(tiny.start(tiny.ROOT / "tests" / "stopped.py", when, *words, ranks=ranks))
    assert ended.code == errors.STOPPED, ended.err
    check_stopped_and_resumed(tmp_path, patchset, whole, err=ended.err, ranks=ranks, step=step)


@pytest.mark.slow
@pytest.mark.mpi
def test_a_device_that_works_by_itself_stops_one_step_later_and_loses_none(tmp_path, patchset):
    """Its next step is under way when a request is seen; all ranks take that one too."""
    words = ("--data", patchset, *FAST, "--emulate", 0.01, "--out", tmp_path)
    script = tiny.ROOT / "tests" / "stopped.py"
    ended = tiny.finish(tiny.start(script, "step:3", *words, ranks=2))
    assert ended.code == errors.STOPPED, ended.err
    assert "stopped by a signal after step 5" in ended.err
    assert tiny.newest_weights(tmp_path)[0] == 5
    assert [event["step"] for event in tiny.events(tmp_path, "step")] == [1, 2, 3, 4, 5]
    ended = tiny.train(*words, "--resume", ranks=2)
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "summary.json").read_text())
    assert (found["steps_run"], found["patches_trained"]) == (24, 90)
    assert found["steps"] == 24 - 5 - found["warmup_steps"]
