"""Every second of a run in one bucket: by events made here, and by real runs that break off."""

import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import scaling_fake
import tiny

from cloudmask import host, launcher, ledger
from cloudmask.ledger.events import COLUMNS, read
from scaling.laws import failures
from scaling.measure.point import rank_seconds
from scaling.options import ReportConfig
from scaling.record import store
from scaling.report import panels
from scaling.report.command import report
from scaling.report.ledger import LOOKS, ledger_table

T0 = 1_700_000_000.0


class Log:
    """Events of a run that never ran, second by second."""

    def __init__(self):
        self.events, self.now = [], T0

    def add(self, event, *, after, **values):
        self.now += after
        self.events.append({"event": event, "at": self.now, **values})

    def begin(self, *, ranks=2, launch=1.0, startup=5.0, **values):
        launched, self.now = self.now, self.now + launch
        found = {"launched": launched, "started": self.now, "going_on": False, "lost": []}
        self.add("begin", after=startup, ranks=ranks, **found | values)

    def steps(self, first, last, *, seconds=1.0, wait=0.1, compute=0.6, exposed=0.2):
        parts = {"data_wait_seconds": wait, "compute_seconds": compute}
        parts["exposed_communication_seconds"] = exposed
        for step in range(first, last + 1):
            self.add("step", after=seconds, step=step, seconds=seconds, **parts)

    def save(self, step):
        self.add("checkpoint", after=2.0, step=step, seconds=2.0)

    def account(self, per_step=None):
        return ledger.account(lambda: self.events, per_step)


def check_sum(found):
    """Nothing is lost, nothing counts twice."""
    assert found.total == pytest.approx(sum(p.seconds * p.ranks for p in found.parts))
    assert min(found.rank_seconds.values()) >= 0


def test_each_second_of_an_unbroken_run_is_in_its_bucket():
    log = Log()
    log.begin()
    log.add("staged", after=3.5, seconds=3.0)
    log.add("start", after=0.5, from_step=0)
    log.steps(1, 1, seconds=9.0)
    log.steps(2, 10)
    log.add("validation", after=4.0, step=10, seconds=4.0)
    log.save(10)
    log.add("epoch", after=0.25, step=10)
    log.add("end", after=0.5, seconds={})
    found = log.account()
    check_sum(found)
    per_rank = {name: seconds / 2 for name, seconds in found.rank_seconds.items() if seconds}
    assert per_rank == pytest.approx(
        {
            **{"launch": 1, "startup": 5 + 0.5 + 0.5, "staging": 3, "compile": 8},
            **{"data_wait": 10 * 0.1, "compute": 9 * 0.6 + 0.9 * 2 / 3},
            **{"exposed_communication": 9 * 0.2 + 0.9 * 2 / 9, "validation": 4},
            **{"checkpoint": 2, "rest": 9 * 0.1 + 0.9 / 9 + 0.25 + 0.5},
        }
    )
    assert (found.parts[0].ending, found.failures, found.steps_lost) == ("finished", 0, 0)


def test_the_split_of_the_last_steps_is_that_of_all_ranks_where_they_told():
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    log.steps(1, 10, wait=0.0, compute=0.3, exposed=0.7)
    means = dict(zip(COLUMNS, (1.0, 0.0, 0.6, 0.4), strict=True))
    found = log.account({name: {"mean_rank": value} for name, value in means.items()})
    check_sum(found)
    assert found.rank_seconds["compute"] == pytest.approx(2 * 10 * 0.6)


def test_what_came_after_the_checkpoint_of_a_killed_run_is_lost_and_its_repeats_are_not():
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    log.steps(1, 6)
    log.save(6)
    log.steps(7, 10)
    log.add("validation", after=3.0, step=10, seconds=3.0)
    log.now += 100  # killed, and nobody was there
    log.begin(ranks=3)
    log.add("start", after=1, from_step=6)
    log.steps(7, 12)
    log.add("fail", after=20.0, status="failed", rank=1)
    found = log.account()
    check_sum(found)
    assert (found.steps, found.steps_lost) == (16, 4)
    assert found.rank_seconds["lost"] == pytest.approx(2 * (4 * 1.0 + 3.0))
    assert found.rank_seconds["validation"] == 0
    assert found.rank_seconds["stall"] == pytest.approx(3 * 20)
    assert [part.ending for part in found.parts] == ["broken off", "failed"]
    assert found.failures == 2
    assert found.wall_seconds == pytest.approx(log.now - T0 - 100)


def test_a_damaged_checkpoint_loses_what_came_after_the_one_before():
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    for first in (1, 4):
        log.steps(first, first + 2)
        log.save(first + 2)
    log.begin()
    log.add("start", after=1, from_step=3)
    log.steps(4, 6)
    found = log.account()
    check_sum(found)
    assert found.steps_lost == 3


def test_a_step_counts_as_lost_once_however_often_it_was_taken_again():
    log = Log()
    for _ in range(3):
        log.begin()
        log.add("start", after=1, from_step=0)
        log.steps(1, 7)
    found = log.account()
    check_sum(found)
    assert (found.steps, found.steps_lost) == (21, 14)


def test_ranks_that_change_count_as_long_as_they_were_there():
    log = Log()
    log.begin(ranks=4)
    log.add("start", after=1, from_step=0)
    log.steps(1, 8)
    log.add("commit", after=0.5, step=8, seconds=0.5)
    log.steps(9, 10)
    met = log.now + 7
    again = {"launched": None, "started": met, "going_on": True}
    log.add("begin", after=8, ranks=3, lost=["node-2"], **again)
    log.add("reset", after=1, from_step=8, after_step=10, seconds=11.0)
    log.add("start", after=0, from_step=8)
    log.steps(9, 12)
    found = log.account()
    assert found.steps_lost == 2
    assert (found.losses, found.failures) == (1, 1)
    assert found.rank_seconds["lost"] == pytest.approx(4 * 2)
    assert found.rank_seconds["stall"] == pytest.approx(4 * 7)
    assert found.total == pytest.approx(4 * (met - T0) + 3 * (log.now - met))


def test_waiting_for_a_stalled_rank_is_no_communication():
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    log.steps(1, 20)
    log.steps(21, 21, seconds=60.0, exposed=59.2)
    log.steps(22, 30)
    found = log.account()
    check_sum(found)
    assert found.rank_seconds["stall"] == pytest.approx(2 * 59)
    assert found.rank_seconds["exposed_communication"] == pytest.approx(2 * 30 * 0.2, rel=0.01)


def test_a_step_without_a_clock_is_split_as_those_with_one():
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    for step in range(1, 21):
        clocked = {"compute": 0.6, "exposed": 0.3} if step % 10 == 0 else {}
        log.steps(step, step, **{"wait": 0.0, "compute": None, "exposed": None} | clocked)
    found = log.account()
    check_sum(found)
    assert found.rank_seconds["compute"] == pytest.approx(2 * 20 * 0.6)


def test_clocks_that_are_put_back_leave_no_negative_seconds():
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    log.steps(1, 8)
    log.now -= 30
    log.steps(9, 12)
    check_sum(log.account())


def test_what_an_outsider_saw_before_and_after_is_launch_and_rest():
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    log.steps(1, 3)
    found = log.account()
    found.enclose(T0 - 2, log.now + 5)
    assert found.total == pytest.approx(2 * (log.now - T0 + 7))
    assert found.rank_seconds["launch"] == pytest.approx(2 * (2 + 1))
    assert (found.rank_seconds["stall"], found.rank_seconds["rest"] > 2 * 5) == (0, True)


def test_the_time_until_a_hung_point_was_ended_is_stall(tmp_path):
    log = Log()
    log.begin()
    log.add("start", after=1, from_step=0)
    log.steps(1, 3)
    run = written(tmp_path / "run", log.events)
    left = rank_seconds([run], T0, log.now + 5)
    hung = rank_seconds([run], T0, log.now + 5, hung=True)
    assert (left["stall"], hung["stall"]) == (0, 2 * 5)
    assert hung["rest"] == pytest.approx(left["rest"] - 2 * 5)


def test_ranks_lost_before_anything_was_committed_count_no_second_twice():
    """Those that are left begin anew, in processes that started with the first beginning."""
    log = Log()
    log.begin(launch=1.0, startup=9.0)
    started = log.events[0]["started"]
    log.add("begin", after=40.0, ranks=2, launched=None, started=started, going_on=False, lost=[])
    log.add("start", after=10.0, from_step=0)
    log.steps(1, 2)
    found = log.account()
    check_sum(found)
    assert found.wall_seconds == pytest.approx(log.now - T0)
    assert [part.ending for part in found.parts] == ["broken off", "open"]


def written(folder, events):
    lines = []
    for event in events:
        stamp = datetime.datetime.fromtimestamp(event["at"], datetime.UTC).isoformat()
        lines.append(json.dumps({**event, "time": stamp}) + "\n")
    folder.mkdir(exist_ok=True)
    (folder / "events.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def log():
    made = Log()
    made.begin()
    made.add("start", after=1, from_step=0)
    made.steps(1, 8)
    made.save(8)
    made.steps(9, 12)
    made.save(12)
    return made


def test_events_are_read_up_to_a_line_that_was_cut(tmp_path, log):
    run = written(tmp_path / "run", log.events)
    with (run / "events.jsonl").open("a") as file:
        file.write('{"event": "step", "ti')
    assert ledger.of_run(run).total == pytest.approx(log.account().total)


def told(*words):
    done = subprocess.run(
        [sys.executable, "-m", "scaling", "ledger", *map(str, words)],
        **{"cwd": tiny.ROOT, "capture_output": True, "text": True, "timeout": 60},
    )
    assert "Traceback" not in done.stderr
    return done


def test_bad_input_is_one_line(tmp_path, log):
    old = written(tmp_path / "old", log.events[2:])
    broken = written(tmp_path / "broken", [{**e, "step": None, "seconds": "x"} for e in log.events])
    text = tmp_path / "text"
    text.mkdir()
    (text / "events.jsonl").write_text("hello\n")
    good = written(tmp_path / "good", log.events)
    for words, line in (
        ([tmp_path / "none"], "holds no events.jsonl of a run"),
        ([old], "does not tell when the run began"),
        ([broken], "holds something else than a training's events"),
        ([text], "line 1 is no event of a training"),
        ([good, "--mtbf-hours", "0"], "--mtbf-hours 0 must be above 0"),
    ):
        done = told(*words)
        assert done.returncode == 1
        assert line in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_command_tells_the_buckets_and_the_best_interval(tmp_path, log):
    run = written(tmp_path / "run", log.events)
    out = told(run, "--mtbf-hours", 2).stdout
    assert "1 launch (1 open), 2 ranks, 23.0 s from launch to last event" in out
    assert "12 steps taken, 0 of them lost" in out
    assert "mean time between failures: 2.00 h, as stated" in out
    assert "a checkpoint takes 2.00 s; they came every 6.00 s, 4 steps (medians)" in out
    assert "Young: one every 169.7 s, 113 steps" in out


# --- Failures and the interval between checkpoints ------------------------------------------------


def test_young_and_daly_by_hand():
    assert failures.young(2.0, 7200.0) == pytest.approx((2 * 2 * 7200) ** 0.5)
    whole = (2 * 300 * 3600) ** 0.5 * (1 + (300 / 7200) ** 0.5 / 3 + 300 / 7200 / 9) - 300
    assert failures.daly(300.0, 3600.0) == pytest.approx(whole)
    assert failures.daly(10.0, 4.0) == 4.0


def test_dalys_interval_loses_least_where_it_is_simulated_exactly():
    """By Daly's own model of the total time, of which his formula is an approximation."""
    from scipy import optimize

    cost, mtbf = 60.0, 3600.0

    def overhead(interval):
        import math

        return mtbf * (math.exp((interval + cost) / mtbf) - 1) / interval

    best = optimize.minimize_scalar(overhead, bounds=(1, 1e5), method="bounded").x
    assert failures.daly(cost, mtbf) == pytest.approx(best, rel=2e-3)
    assert failures.young(cost, mtbf) == pytest.approx(best, rel=0.15)


@pytest.mark.parametrize(("count", "low", "high"), [(1, 0.0253, 5.572), (10, 4.795, 18.39)])
def test_the_interval_of_observed_failures_is_that_of_the_tables(count, low, high):
    """Garwood's limits of a Poisson mean, 95 %: as published, to four digits."""
    found = failures.observed(count, 100.0)
    assert found.hours == 100 / count
    assert (100 / found.high, 100 / found.low) == pytest.approx((low, high), rel=1e-3)


def test_without_a_failure_there_is_a_lower_bound_alone():
    found = failures.observed(0, 299.6)
    assert found.hours is None
    assert found.low == pytest.approx(100, rel=1e-3)  # the rule of three
    assert found.high == float("inf")


# --- The report -----------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path):
    """Rows whose ranks computed for 60 s and rested for 40 s, and for 50 s on two ranks."""
    folder = scaling_fake.write_study(tmp_path / "study", copies=False)
    rows = store.read_rows(folder)
    for row in rows:
        if row["kind"] == "ranks":
            found = dict.fromkeys(ledger.BUCKETS, 0.0)
            ranks = row["ranks"]
            row["ledger"] = found | {"compute": ranks * (60.0 / ranks), "rest": ranks * 40.0 / 2}
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return store.read(folder)


def test_the_report_has_a_row_for_each_bucket_that_holds_anything(study, tmp_path):
    table = ledger_table(study, "strong")
    assert table.header == ("", "1 rank", "2 ranks")
    assert table.rows == (
        ("compute", "60.00 (75.0 %)", "60.00 (60.0 %)"),
        ("rest", "20.00 (25.0 %)", "40.00 (40.0 %)"),
        ("together", "80.00", "100.0"),
    )
    report(ReportConfig((study.folder,), tmp_path / "report"))
    text = (tmp_path / "report/report.md").read_text()
    assert "## Where the time went, strong scaling" in text
    assert "All rank-seconds" in (tmp_path / "report/report.html").read_text()


def test_a_study_without_ledgers_has_neither_table_nor_picture(tmp_path):
    folder = scaling_fake.write_study(tmp_path / "study", copies=False)
    found = store.read(folder)
    assert ledger_table(found, "strong").rows == ()
    assert "ledger" not in [panel.key for panel in panels.panels([found])]


def test_every_bucket_has_a_look_of_its_own():
    assert set(LOOKS) == set(ledger.BUCKETS)
    assert len(set(LOOKS.values())) == len(LOOKS)


# --- When a process began -------------------------------------------------------------------------


def test_when_a_process_was_started_is_known_to_a_hundredth_of_a_second():
    before = time.time()
    with subprocess.Popen(["sleep", "60"]) as process:
        after = time.time()
        try:
            assert before - 0.05 <= host.started_at(process.pid) <= after + 0.05
        finally:
            process.kill()
    assert host.started_at(process.pid) is None
    assert host.started_at() < before


class Proc:
    """Processes of a tree of our own, in the kernel's words."""

    def __init__(self, folder, *processes):
        """name and seconds after boot that it began at: this one, its parent, and so on"""
        self.folder, after_boot = folder, time.clock_gettime(time.CLOCK_BOOTTIME)
        self.boot = time.time() - after_boot
        for place, (name, began) in enumerate(processes):
            made = folder / ("self" if place == 0 else str(100 + place))
            made.mkdir(parents=True)
            parent = 101 + place if place + 1 < len(processes) else 0
            ticks = int(began * os.sysconf("SC_CLK_TCK"))
            words = ["S", parent, *[0] * 17, ticks, 0]
            (made / "stat").write_text(f"7 (a) b) {' '.join(map(str, words))}\n")
            (made / "cmdline").write_text(f"/usr/bin/{name}\0-n\0")
            (made / "comm").write_text(f"{name}\n")


@pytest.mark.parametrize(
    ("processes", "began"),
    [
        ([("python", 50.0), ("mpirun", 48.5), ("bash", 3.0)], 48.5),
        ([("python", 50.0), ("sh", 49.0), ("horovodrun", 40.0)], 40.0),
        ([("python", 50.0), ("slurmstepd", 49.9)], 49.9),
        ([("python", 50.0), ("bash", 3.0), ("slurmstepd", 2.9)], None),  # a batch job's script
        ([("python", 50.0), ("bash", 49.0)], None),
        ([("python", 50.0)], None),
    ],
)
def test_the_launcher_is_known_by_its_name_unless_something_else_came_between(
    tmp_path, processes, began
):
    proc = Proc(tmp_path / "proc", *processes)
    found = launcher.launched_at(proc.folder)
    assert found == (None if began is None else pytest.approx(proc.boot + began, abs=0.05))


# --- Real runs ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Watched:
    """One launch as this test saw it: it began between two looks at the clock."""

    before: float
    after: float
    ended: float
    """when the last line of the log was written, by the file system"""


FAST = ("--epochs", 3, "--batch-size", 2, "--widths", 4, 8, "--precision", "float32")
FAST = (*FAST, "--no-tensorboard", "--threads", 1, "--checkpoint-steps", 4)
KILLED_AFTER = 7


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A run on two ranks: killed, gone on with, stopped by a signal, gone on with to its end."""
    folder = tmp_path_factory.mktemp("ledger")
    run, patchset = folder / "run", tiny.make_patchset(folder / "set")

    seen, held = [], folder / "held"

    @contextlib.contextmanager
    def launch(*program, resume=("--resume",)):
        words = (*program, "--data", patchset, *FAST, "--out", run, *resume)
        before = time.time()
        process = tiny.start(*words, ranks=2)
        after = time.time()
        yield process
        seen.append(Watched(before, after, (run / "events.jsonl").stat().st_mtime))

    # A rank waits in a step: both the kill and the signal come between two checkpoints.
    with launch(tiny.STOPPED, f"held:{KILLED_AFTER + 1}:{held}", resume=()) as process:
        tiny.held(held, process)
        tiny.wait_for_step(run, KILLED_AFTER, process)  # rank 0 may tell of it a moment later
        tiny.kill_everything(process)
        process.communicate()
    with launch(tiny.STOPPED, f"held:5:{held}") as process:
        os.kill(tiny.held(held, process), signal.SIGTERM)
        assert tiny.finish(process).code == 75
    with launch(tiny.ROOT / "train_hvd.py") as process:
        ended = tiny.finish(process)
        assert ended.code == 0, ended.err
    return run, seen


@pytest.mark.slow
@pytest.mark.mpi
def test_the_ledger_of_a_killed_and_stopped_run_is_wall_times_ranks(broken):
    run, seen = broken
    found = ledger.of_run(run)
    assert [part.ending for part in found.parts] == ["broken off", "stopped", "finished"]
    assert all(part.launch_known and part.ranks == 2 for part in found.parts)
    least = [watched.ended - watched.after for watched in seen]
    most = [watched.ended - watched.before for watched in seen]
    for part, low, high in zip(found.parts, least, most, strict=True):
        assert 0.99 * low <= part.seconds <= 1.01 * high
    assert 0.99 * 2 * sum(least) <= found.total <= 1.01 * 2 * sum(most)
    assert sum(found.rank_seconds.values()) == pytest.approx(2 * found.wall_seconds)
    for bucket in ("launch", "startup", "compile", "compute", "validation", "checkpoint", "lost"):
        assert found.rank_seconds[bucket] > 0, bucket
    assert found.rank_seconds["staging"] == 0
    assert found.failures == 1


@pytest.mark.slow
@pytest.mark.mpi
def test_lost_steps_are_those_that_the_resumed_run_took_again(broken):
    run, _ = broken
    found = ledger.of_run(run)
    second, third = (event["from_step"] for event in tiny.events(run, "start")[1:])
    assert second == 4
    taken = [event["step"] for event in tiny.events(run, "step")]
    assert found.steps == len(taken)
    assert found.steps_lost == KILLED_AFTER - second == len(taken) - len(set(taken))
    stopped_after = taken[len(taken) - taken[::-1].index(third) - 1]
    assert stopped_after == third  # the checkpoint of a stopped run holds its last step
    # A step's own clock is read a moment before the event is written: it may tell of more.
    pairs = itertools.pairwise(read(run / "events.jsonl"))
    steps = [
        min(event["seconds"], event["at"] - before["at"])
        for before, event in pairs
        if event["event"] == "step"
    ]
    assert found.rank_seconds["lost"] == pytest.approx(2 * sum(steps[second:KILLED_AFTER]))


@pytest.mark.slow
@pytest.mark.mpi
def test_summary_json_holds_the_same_ledger_and_the_command_tells_it(broken):
    run, _ = broken
    summary = json.loads((run / "summary.json").read_text())
    assert summary["ledger"] == pytest.approx(ledger.of_run(run).rank_seconds)
    out = told(run).stdout
    assert "3 launches (1 broken off, 1 stopped, 1 finished), 2 ranks" in out
    assert "steps taken, 3 of them lost" in out
    assert "1 failure in " in out
