"""A rank that no longer gets on ends itself and says so; one that is only slow is left alone."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import tiny

from cloudmask import ledger
from cloudmask.train import stall

# Gets on so many times, one line each, then waits for ever; `word` is what is left behind.
PROGRAM = """
import sys, threading
from pathlib import Path
from cloudmask import ledger
from cloudmask.train import stall
limit, times, word = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
with stall.watching(limit) as watch:
    watch.on_stall = word.write_text
    for number in range(times):
        watch.at("step", number)
        print(number, flush=True)
        sys.stdin.readline()
    if len(sys.argv) > 4:
        threading.Event().wait()
"""


@pytest.fixture
def word(tmp_path):
    return tmp_path / "word.txt"


@pytest.fixture
def start(word):
    started = []

    def launch(limit, times, *forever, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(limit), str(times), str(word), *forever],
            env=tiny.environment() | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def advance(process):
    process.stdin.write("\n")
    process.stdin.flush()


def quiet_phase(watch, **patience):
    """What the thread finds when nothing gets on any more."""
    return watch.wait_for_stall(threading.Event(), **(patience or {"patience": lambda: 0.0}))


def test_what_is_done_for_the_first_time_may_take_longer():
    watch = stall.Watch(0.05)
    watch.at("step", 1)
    assert quiet_phase(watch) == stall.Phase("step 1", 0.05 * stall.FIRST_TIMES)
    watch.at("step", 2)
    assert quiet_phase(watch) == stall.Phase("step 2", 0.05)
    watch.at("validation")
    assert quiet_phase(watch) == stall.Phase("validation", 0.05 * stall.FIRST_TIMES)


def test_the_watch_ends_with_the_work():
    over = threading.Event()
    over.set()
    assert stall.Watch(1e9).wait_for_stall(over, patience=lambda: 0.0) is None


def test_a_rank_that_waits_for_ever_says_why_and_ends(start, word):
    process = start(0.3, 2, "forever", HOROVOD_RANK="0")
    advance(process)
    advance(process)
    _, err = process.communicate(timeout=60)
    assert process.returncode == stall.CODE != 0
    (line,) = err.splitlines()
    host = os.uname().nodename
    assert line.startswith(f"train_hvd.py: error: rank 0 on {host} has not got on for 0.3 s, ")
    assert "at step 1: " in line
    assert "--resume" in line
    assert word.read_text() in line


class Ticks:
    """Stands for the event that ends a watch: each wait is a tick, and over at once."""

    def __init__(self, count, happens):
        self.left, self.happens = iter(range(1, count + 1)), happens

    def wait(self, _):
        number = next(self.left, None)
        if number is not None:
            self.happens(number)
        return number is None


def test_a_rank_that_gets_on_is_left_alone():
    """However slowly, within the limit: ten ticks."""
    watch = stall.Watch(1.0)
    watch.at("step", 0)

    def gets_on(number, *, every):
        if number % every == 0:
            watch.at("step", number)

    def ends(every):
        ticks = Ticks(1000, functools.partial(gets_on, every=every))
        return watch.wait_for_stall(ticks, patience=lambda: 0.0)

    assert ends(every=9) is None
    assert ends(every=12).name.startswith("step ")


def test_a_rank_that_comes_to_its_end_leaves_no_word(start, word):
    process = start(60, 6, HOROVOD_RANK="0")
    for number in range(6):
        assert process.stdout.readline() == f"{number}\n"
        advance(process)
    assert process.wait(60) == 0
    assert not word.exists()


def test_no_limit_is_no_watch(start, word):
    process = start(0, 1)
    assert process.stdout.readline() == "0\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    advance(process)
    assert process.wait(60) == 0


@pytest.mark.parametrize("limit", [-1, float("nan")])
def test_a_limit_that_cannot_be_is_refused(start, limit):
    process = start(limit, 0)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"--stall-seconds {limit:g} must be 0 or more" in err.splitlines()[-1]


def test_a_rank_that_has_become_rank_0_speaks_as_rank_0(word):
    """Where the first one was lost: see start.restart. It need not wait for another to speak."""
    becomes = 'import os\n    os.environ["HOROVOD_RANK"] = "0"\n    threading.Event().wait()\n'
    program = f"{PROGRAM.partition('    for number')[0]}    {becomes}"
    process = subprocess.run(
        [sys.executable, "-c", program, "0.1", "0", str(word)],
        env=tiny.environment() | {"HOROVOD_RANK": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == stall.CODE
    assert process.stderr.startswith("train_hvd.py: error: rank 0 on ")


def test_a_job_that_was_stopped_and_continued_as_a_whole_has_not_stalled(start, word):
    process = start(5, 2)
    advance(process)
    for number in range(2):
        assert process.stdout.readline() == f"{number}\n"
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(6)
    process.send_signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)  # two ticks; what is left of the five seconds is for a busy machine
    advance(process)
    assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.mpi
def test_a_stopped_rank_is_found_by_the_others(tmp_path):
    """MPI itself would wait for it for ever."""
    patchset = tiny.make_patchset(tmp_path / "set")
    run, limit = tmp_path / "run", 12
    words = ("--data", patchset, "--out", run, "--widths", 4, 8, "--threads", 1, "--epochs", 10_000)
    words = (*words, "--precision", "float32", "--no-tensorboard", "--stall-seconds", limit)
    process = tiny.start(tiny.ROOT / "train_hvd.py", *words, ranks=2)
    began = time.monotonic()
    tiny.wait_for_step(run, 12, process)
    *others, last = tiny.descendants(process.pid)
    os.kill(last, signal.SIGSTOP)
    ended = tiny.finish(process, seconds=60)
    tiny.assert_stalled(ended, run, host=os.uname().nodename, seconds=limit)
    tiny.wait_until_gone((*others, last))
    found = ledger.of_run(run)
    assert found.parts[0].ending == "failed"
    waited = found.rank_seconds["stall"] / 2
    assert limit <= waited <= time.monotonic() - began, "the other rank waited too"
