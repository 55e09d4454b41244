"""Ranks that are lost or come while a run goes on: real ones, on real hosts where they can be made.

Where network namespaces cannot be had, names of this machine stand for hosts.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import cluster
import pytest
import tiny

from cloudmask import ledger
from cloudmask.train import checkpoint, elastic

SEEN = tiny.ROOT / "tests" / "seen.py"
PATCHES, STEPS, EPOCHS, COMMIT_STEPS = 120, 10, 8, 7
STILL = 28
"""step in which the rank that is to be lost stands still: the last commit is six steps behind"""
TOLERANCE = 1e-4
"""of losses, relative: sums over one rank or two are rounded otherwise, and weights follow"""
# The same ten global batches an epoch at any number of ranks.
SAME = ("--preset", "tiny", "--threads", 1, "--precision", "float32", "--no-tensorboard")
SAME += ("--shuffle", "global", "--global-batch", 12)

RESET = {
    "after_step": 37,
    "from_step": 36,
    "steps_repeated": 1,
    "ranks_before": 2,
    "ranks": 1,
    "lost": ["node-2"],
    "joined": [],
    "global_batch_before": 8,
    "global_batch": 8,
    "seconds": 2.34,
}


def test_what_was_lost_and_repeated_is_told_in_one_line():
    assert elastic.line(RESET) == (
        "lost node-2 after step 37; going on with 1 rank from step 36: 1 step repeated, 2.3 s lost"
    )
    joined = RESET | {"lost": [], "joined": ["a", "b"], "ranks": 4, "steps_repeated": 0}
    assert elastic.line(joined | {"from_step": 37, "global_batch": 16}) == (
        "joined a, b after step 37; going on with 4 ranks from step 37: no steps repeated, "
        "2.3 s lost; the global batch was 8 and is 16 (--global-batch keeps it)"
    )


@pytest.mark.slow
def test_without_the_elastic_driver_the_error_says_how_to_start(tmp_path, patchset):
    ended = tiny.train("--data", patchset, "--out", tmp_path / "run", *SAME, "--elastic")
    assert ended.code == 1
    (line,) = [line for line in ended.err.splitlines() if line.startswith("train_hvd.py")]
    assert "--elastic needs ranks that horovodrun's elastic driver has started" in line
    assert not (tmp_path / "run").exists()


# --- Runs whose ranks change ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elastic") / "set"
    return tiny.make_patchset(folder, patches=PATCHES // 3)


@pytest.fixture(scope="module")
def undisturbed(patchset):
    """The summary of a run that nothing happens to."""
    run = patchset.with_name("undisturbed")
    ended = tiny.train("--data", patchset, "--out", run, *SAME, "--epochs", EPOCHS)
    assert ended.code == 0, ended.err
    return run


class Job:
    """A run under the elastic driver, on hosts of a bed or on names of this machine."""

    def __init__(self, folder, patchset, *, bed=None):
        self.folder, self.bed, self.patchset = folder, bed, patchset
        self.run, self.seen = folder / "run", folder / "seen"
        self.names = bed.names if bed else ["localhost", "127.0.0.1"]
        self.process = None
        self.script = folder / "hosts.sh"
        self.script.write_text(f"#!/bin/sh\ncat {folder / 'hosts'}\n")
        self.script.chmod(0o755)

    def list_hosts(self, names):
        """What the discovery script finds from now on."""
        aside = self.folder / "hosts.new"
        aside.write_text("".join(f"{name}:1\n" for name in names))
        aside.replace(self.folder / "hosts")

    def start(self, *words, ranks, still=":", patience=300):
        """`still`: who stands still in which step, see seen.py. `patience` are the seconds in which
        a new rank must have come, and that the others wait for one whose host has crashed."""
        # The last: of its own host alone, horovodrun would know no interface but lo.
        self.list_hosts(self.names[-ranks:])
        line = ["horovodrun", "--gloo", "-np", ranks, "--min-np", 1, "--max-np", 3]
        line += ["--gloo-timeout-seconds", patience, "--host-discovery-script", self.script]
        line += ["--network-interface", cluster.INTERFACE if self.bed else "lo"]
        line += [sys.executable, SEEN, self.seen, still, "--elastic"]
        line += ["--data", self.patchset, "--out", self.run, *SAME, *words]
        before = time.time()
        if self.bed:
            self.process = self.bed.start(line)
        else:
            self.process = tiny.start_program(line)
        self.began = before, time.time()

    def processes(self):
        """Its ranks: process -> environment."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it may end while we look
                words = (path / "cmdline").read_text().split("\0")
                if words[1:3] != [str(SEEN), str(self.seen)]:
                    continue
                pairs = (path / "environ").read_text().split("\0")
                found[int(path.name)] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return found

    def rank_0(self):
        """The name of its host, and its process; of those that were started first."""
        for number, given in self.processes().items():
            if given["HOROVOD_RANK"] == "0":
                return given["HOROVOD_HOSTNAME"], number
        raise AssertionError("no rank 0")

    def events(self, event):
        return tiny.events(self.run, event)

    def wait_until_still(self):
        """All steps before that one are in the log, and the other rank waits in that one too.

        Else it might have taken a step that the log does not tell of.
        """
        tiny.wait_for_step(self.run, STILL - 1, self.process)
        notes = [path.read_text for path in self.seen.iterdir()]
        tiny.wait_until(lambda: STILL in [read().count("\n") for read in notes])


@pytest.fixture
def job(tmp_path, patchset):
    """job(bed=None): made once; all its processes are gone at the end."""
    made = []

    def make(**where):
        made.append(Job(tmp_path, patchset, **where))
        return made[-1]

    yield make
    for one in made:
        if one.process and one.process.poll() is None:
            tiny.kill_everything(one.process)
            one.process.communicate()


@pytest.fixture
def bed():
    if reason := cluster.missing():
        pytest.skip(reason)
    with cluster.hosts(2) as made:
        # horovodrun knows of a host that crashed when ssh does.
        with (made.folder / "ssh" / "ssh_config").open("a") as file:
            file.write("ServerAliveInterval 2\nServerAliveCountMax 3\n")
        yield made


def patches_seen(job, reset):
    """Epoch -> how often each patch was trained on and not undone, by what every rank read."""
    broken, kept_steps = divmod(reset["from_step"], STEPS)
    if not kept_steps and not reset["steps_repeated"]:
        broken = -1  # between two epochs, of which none was broken off
    found = {}
    for path in job.seen.iterdir():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        was_there = any(epoch < broken for epoch, *_ in rows)
        for epoch in {epoch for epoch, *_ in rows}:
            calls = itertools.groupby((r for r in rows if r[0] == epoch), lambda row: row[1])
            for number, (_, steps) in enumerate(calls):
                undone = was_there and epoch == broken and number == 0
                for _, _, *patches in itertools.islice(steps, kept_steps if undone else None):
                    found.setdefault(epoch, Counter()).update(patches)
    return found


def check_every_patch_once(job, reset, *, epochs):
    seen = patches_seen(job, reset)
    for epoch in range(epochs):
        assert seen[epoch] == Counter(range(PATCHES)), epoch


def check_ledger(job, reset):
    """Rank-seconds of the ranks that there were, by this test's clocks and by the log's.

    A rank that ssh began has no launcher among its forebears: its time counts from its start.
    """
    account = ledger.of_run(job.run)
    assert (len(account.parts), account.losses) == (1, 1)
    assert account.steps_lost == reset["steps_repeated"]
    first, again = job.events("begin")
    assert (first["ranks"], again["ranks"], again["going_on"]) == (2, 1, True)
    ended = (job.run / "events.jsonl").stat().st_mtime
    if job.bed is None:
        assert first["launched"] is not None
    began = (first["started"],) * 2 if first["launched"] is None else job.began
    most, least = (2 * (again["started"] - at) + ended - again["started"] for at in began)
    assert 0.99 * least <= account.total <= 1.01 * most
    assert account.rank_seconds["stall"] > 0
    found = json.loads((job.run / "summary.json").read_text())
    assert found["ledger"] == pytest.approx(account.rank_seconds)


def check_ended_as_undisturbed(job, undisturbed, *, lost):
    ended = tiny.finish(job.process, seconds=150)
    assert ended.code == 0, ended.out + ended.err
    found, expected = (
        json.loads((run / "summary.json").read_text()) for run in (job.run, undisturbed)
    )
    assert (found["status"], found["ranks"], found["controller"]) == ("finished", 1, "gloo")
    (reset,) = found["elastic"]["resets"]
    assert (reset["lost"], reset["joined"]) == ([lost], [])
    assert (reset["ranks_before"], reset["ranks"]) == (2, 1)
    assert reset["after_step"] == STILL - 1
    assert reset["steps_repeated"] == reset["after_step"] - reset["from_step"]
    assert 0 <= reset["steps_repeated"] < COMMIT_STEPS
    assert reset["from_step"] % COMMIT_STEPS == 0 or reset["from_step"] % STEPS == 0
    assert elastic.line(reset) in ended.out
    assert job.events("reset")[0]["from_step"] == reset["from_step"]
    check_ledger(job, reset)
    assert ended.out.count("| 1 rank\n") + ended.out.count("| 2 ranks\n") == EPOCHS
    commits = {*range(COMMIT_STEPS, STEPS * EPOCHS + 1, COMMIT_STEPS)}
    assert len(commits) <= found["elastic"]["commits"] <= len(commits) + EPOCHS + 1

    assert found["patches_trained"] == PATCHES * EPOCHS
    assert found["steps_run"] == STEPS * EPOCHS
    check_every_patch_once(job, reset, epochs=EPOCHS)
    for mine, theirs in zip(found["history"], expected["history"], strict=True):
        assert mine["learning_rate"] == theirs["learning_rate"]
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=TOLERANCE)
        assert mine["valid"]["loss"] == pytest.approx(theirs["valid"]["loss"], rel=TOLERANCE)
        assert mine["valid"]["accuracy"] == pytest.approx(theirs["valid"]["accuracy"], abs=1e-4)
    losses = {record["step"]: record["loss"] for record in job.events("step")}
    alone = {record["step"]: record["loss"] for record in tiny.events(undisturbed, "step")}
    assert losses == pytest.approx(alone, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.mpi
def test_when_rank_0_is_lost_another_takes_over_and_the_run_ends_as_undisturbed(job, undisturbed):
    made = job()
    words = ("--epochs", EPOCHS, "--commit-steps", COMMIT_STEPS)
    made.start(*words, ranks=2, still=f"0:{STILL}")
    made.wait_until_still()
    host, pid = made.rank_0()
    os.kill(pid, signal.SIGKILL)
    check_ended_as_undisturbed(made, undisturbed, lost=host)


@pytest.mark.slow
@pytest.mark.mpi
def test_when_a_host_crashes_without_a_word_the_run_ends_as_undisturbed(job, bed, undisturbed):
    made = job(bed=bed)
    words = ("--epochs", EPOCHS, "--commit-steps", COMMIT_STEPS)
    made.start(*words, ranks=2, still=f"node1:{STILL}", patience=30)
    made.wait_until_still()
    bed.lose("node1")
    check_ended_as_undisturbed(made, undisturbed, lost="node1")


@pytest.mark.slow
@pytest.mark.mpi
def test_a_new_host_joins_and_a_request_to_stop_reaches_all(job, request):
    made = job(bed=None if cluster.missing() else request.getfixturevalue("bed"))
    made.start("--epochs", 10_000, ranks=1)
    tiny.wait_for_step(made.run, STEPS + 5, made.process)
    made.list_hosts(made.names)
    tiny.wait_until(lambda: made.process.poll() is not None or made.events("reset"))
    (reset,) = made.events("reset")
    assert (reset["lost"], reset["joined"]) == ([], made.names[:1])
    assert (reset["ranks_before"], reset["ranks"], reset["steps_repeated"]) == (1, 2, 0)
    epoch = reset["from_step"] // STEPS + 1
    tiny.wait_until(lambda: len(made.events("epoch")) > epoch)
    _, pid = made.rank_0()
    os.kill(pid, signal.SIGUSR1)
    ended = tiny.finish(made.process, seconds=60)
    assert ended.code == 1, "which is what horovodrun makes of any code"
    assert "stopped by a signal after step" in ended.err
    assert json.loads((made.run / "summary.json").read_text())["status"] == "stopped"
    newest = max(checkpoint.steps(made.run / "checkpoints"))
    state = checkpoint.load(made.run / "checkpoints", newest).state
    assert state["resets"][0]["joined"] == made.names[:1]
    assert state["identity"]["order"]["num_ranks"] == 2
    assert state["epoch"] > epoch
    check_every_patch_once(made, reset, epochs=state["epoch"])


@pytest.mark.slow
@pytest.mark.mpi
def test_a_request_to_stop_is_told_and_obeyed_after_rank_0_was_lost(job):
    """Who is rank 0 by then was another rank when it was started."""
    made = job()
    made.start("--epochs", 10_000, ranks=2)
    tiny.wait_for_step(made.run, 5, made.process)
    _, first = made.rank_0()
    os.kill(first, signal.SIGKILL)
    tiny.wait_until(lambda: made.process.poll() is not None or made.events("reset"))
    after = made.events("reset")[0]["from_step"]
    tiny.wait_until(lambda: made.events("step")[-1]["step"] > after + 5)
    (left,) = made.processes()
    os.kill(left, signal.SIGUSR1)
    ended = tiny.finish(made.process, seconds=60)
    assert ended.err.count("train_hvd.py: error: stopped by a signal after step") == 1
    found = json.loads((made.run / "summary.json").read_text())
    assert (found["status"], found["rank"], found["ranks"]) == ("stopped", 0, 1)
