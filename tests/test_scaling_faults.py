"""Whatever a rank does, its point ends in time, leaves no process, and the study goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import scaling_fake
import tiny

from scaling.record import store

ROOT = Path(__file__).resolve().parents[1]
FAKE = Path(scaling_fake.__file__)
SECONDS = 25
"""the longest limit of a fault below; all others are far above what a busy machine needs"""
LIMITS = {"stop": ["--stall-seconds", "12"], "never": ["--start-seconds", f"{SECONDS}"]}

pytestmark = [pytest.mark.slow, pytest.mark.mpi]


def _words(folder, *options, program=(), ranks="2", repeats="2"):
    fake = [str(FAKE), "--out", "{out}", "--batch", "{batch}", "--seed", "{seed}", *program]
    return [
        *(sys.executable, "-m", "scaling", "run", "--out", str(folder), "--ranks", ranks),
        *("--modes", "weak", "--repeats", repeats, "--stall-seconds", "90"),
        *("--start-seconds", "90", "--no-allreduce", *options, "--", "python", *fake),
    ]


@pytest.fixture
def study(tmp_path, plain_environment):
    """study(*options, program=(), ...) -> (finished process, rows)"""

    def run(*options, **words):
        folder = tmp_path / "study"
        done = subprocess.run(
            _words(folder, *options, **words),
            env=plain_environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
        )
        return done, store.read_rows(folder)

    return run


def _by_seed(rows):
    return {row["seed"]: row for row in rows}


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        ("stop", "stalled", "no step for 12 s, so it was ended; its last step was 2"),
        ("never", "stalled", f"no first step within {SECONDS} s, so it was ended"),
        ("kill", "failed", "signal 9"),
        ("raise", "failed", "rank 1: RuntimeError: the third step went wrong"),
        ("exit", "failed", "exit code 4"),
        ("no-summary", "failed", "no summary.json"),
        ("version", "failed", "summary.json is version 99"),
        ("failed", "failed", "rank 0: the disk is full"),
        ("shared-core", "invalid", "2 ranks shared core 0 of here"),
    ],
)
def test_point_that_goes_wrong_ends_in_time_and_the_study_goes_on(
    study, tmp_path, fault, status, says
):
    limits = LIMITS.get(fault, ())
    done, rows = study(*limits, program=["--fault", fault, "--fault-seed", "0"])
    assert done.returncode == 1, done.stderr
    broken, good = _by_seed(rows)[0], _by_seed(rows)[1]
    assert broken["status"] == status
    assert says in broken["error"]
    assert broken["wall_seconds"] < SECONDS + 30
    assert broken["last_lines"]["rank 0"] == "rank 0 of 2 begins"
    assert "rank 1" in broken["last_lines"]
    assert good["status"] == "ok"
    assert good["patches_per_second"] > 0
    assert scaling_fake.living(tmp_path) == []
    assert f"{status}: " in done.stdout


def test_program_that_cannot_be_started_is_told_and_the_study_goes_on(tmp_path, plain_environment):
    words = _words(tmp_path / "study")
    words[words.index("--") + 1] = "no-such-program"
    done = subprocess.run(words, env=plain_environment, cwd=ROOT, capture_output=True, text=True)
    rows = store.read_rows(tmp_path / "study")
    assert done.returncode == 1
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert "cannot start no-such-program: No such file or directory" in rows[0]["error"]
    assert max(row["wall_seconds"] for row in rows) < 30
    assert scaling_fake.living(tmp_path) == []


def test_more_ranks_than_cores_share_them_and_every_picture_says_so(
    study, tmp_path, plain_environment
):
    ranks = 2 * len(os.sched_getaffinity(0))
    done, rows = study("--oversubscribe", ranks=f"1,{ranks}", repeats="1")
    assert done.returncode == 0, done.stderr
    assert "oversubscribed: ranks may share cores" in done.stdout
    crowded = {row["ranks"]: row for row in rows}
    assert crowded[1]["oversubscribed"] is False
    assert crowded[ranks]["oversubscribed"] is True
    assert [len(cores) for cores in crowded[ranks]["cores"]] == [1] * ranks
    words = ["report", str(tmp_path / "study"), "--out", str(tmp_path / "report")]
    subprocess.run(
        [sys.executable, "-m", "scaling", *words], env=plain_environment, cwd=ROOT, check=True
    )
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("OVERSUBSCRIBED") >= page.count("<figure ") > 0
    assert "shared by several (oversubscribed)" in page


def test_point_past_its_time_limit_is_ended_though_it_makes_steps(study, tmp_path):
    options = ["--timeout", "10"]
    done, rows = study(*options, program=["--pause", "0.2", "--steps", "1000"], repeats="1")
    assert done.returncode == 1
    assert [row["status"] for row in rows] == ["timeout"]
    assert rows[0]["last_step"] > 3
    assert rows[0]["wall_seconds"] < 10 + 30
    assert scaling_fake.living(tmp_path) == []


def test_failed_points_run_once_more_when_asked_and_their_rows_stay(study):
    study(program=["--fault", "exit", "--fault-seed", "0"])
    again, rows = study(program=["--fault", "exit", "--fault-seed", "0"])
    assert len(rows) == 2
    assert "0 of them to run" in again.stdout
    _, rows = study("--retry-failed", program=["--fault", "exit", "--fault-seed", "0"])
    assert sorted((row["seed"], row["attempt"]) for row in rows) == [(0, 1), (0, 2), (1, 1)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_study_ended_in_the_middle_goes_on_and_has_every_point_once(
    tmp_path, plain_environment, number
):
    folder = tmp_path / "study"
    words = _words(folder, program=["--pause", "0.2"], ranks="1,2", repeats="3")
    process = subprocess.Popen(
        words,
        env=plain_environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # A shell starts what it puts in the background with Ctrl-C ignored, and we inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # Two points are done, and the third makes steps.
    tiny.wait_until(lambda: len(list(folder.glob("points/*/run/events.jsonl"))) >= 3)
    process.send_signal(number)
    told = process.communicate()[1].decode()
    tiny.wait_until(lambda: scaling_fake.living(folder) == [], seconds=60)
    before = store.read_rows(folder)
    assert 2 <= len(before) < 6
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert told.count("\n") == 1
        assert "the same command goes on" in told

    done = subprocess.run(words, env=plain_environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = store.read_rows(folder)
    assert after[: len(before)] == before
    names = [row["point"] for row in after]
    assert len(names) == len(set(names)) == 6


def test_a_second_study_in_the_same_folder_is_refused(tmp_path, plain_environment):
    folder = tmp_path / "study"
    words = _words(folder, repeats="1")
    first = subprocess.Popen(
        words, env=plain_environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)  # so that it cannot come to its end first
    second = subprocess.run(words, env=plain_environment, cwd=ROOT, capture_output=True, text=True)
    first.send_signal(signal.SIGCONT)
    first.communicate()
    assert second.returncode == 1
    assert "another process is running the study" in second.stderr
    assert first.returncode == 0
