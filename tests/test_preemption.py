"""Runs that are told to stop, by real signals to real ranks, and go on to the same bits."""

import json
import os
import signal
from pathlib import Path

import pytest
import tiny

from cloudmask import command
from cloudmask.train import checkpoint
from cloudmask.train.preemption import listening

FAST = ("--epochs", 3, "--batch-size", 2, "--widths", 4, 8, "--precision", "float32")
FAST = (*FAST, "--no-tensorboard", "--threads", 1)


def test_a_signal_raises_a_flag_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with listening() as wish:
        assert float(wish) == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        assert float(wish) == 1
        assert wish.name == "SIGUSR1"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("preemption")


@pytest.fixture(scope="module")
def patchset(work):
    return tiny.make_patchset(work / "set", patches=40)


def weights(run):
    """Of the newest checkpoint, as it lies on disk."""
    newest = checkpoint.steps(run / "checkpoints")[-1]
    return newest, (run / "checkpoints" / f"step-{newest:08d}.h5").read_bytes()


def last_rank(process):
    """The process of the last rank, which hears a signal that no other rank hears."""
    pids = tiny.descendants(process.pid) or [process.pid]
    return [pid for pid in pids if b"train_hvd.py" in command_line(pid)][-1]


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize(("ranks", "number"), [(1, signal.SIGTERM), (2, signal.SIGUSR1)])
def test_one_rank_that_is_told_stops_all_and_the_run_goes_on_to_the_same_bits(
    work, patchset, ranks, number
):
    whole, broken = work / f"whole-{ranks}", work / f"broken-{ranks}"
    words = ("--data", patchset, *FAST)
    assert tiny.train(*words, "--out", whole, ranks=ranks).code == 0

    process = tiny.start(tiny.ROOT / "train_hvd.py", *words, "--out", broken, ranks=ranks)
    tiny.wait_for_step(broken, 3, process)
    os.kill(last_rank(process), number)
    ended = tiny.finish(process)
    assert ended.code == command.STOPPED, ended.err
    assert "stopped by a signal after step" in ended.err
    assert ended.err.count("train_hvd.py: error") == 1
    summary = json.loads((broken / "summary.json").read_text())
    assert summary["status"] == "stopped"
    step, _ = weights(broken)
    assert 3 <= step < weights(whole)[0]

    resumed = tiny.train(*words, "--out", broken, "--resume", ranks=ranks)
    assert resumed.code == 0, resumed.err
    assert f"step-{step:08d}" in resumed.out
    assert weights(broken) == weights(whole)
