"""Training on several hosts: as on one, and what becomes of it when one of them is gone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cluster
import pytest
import tiny

PATCHES = 30
STALL_SECONDS = 12
TINY = ("--widths", 4, 8, "--precision", "float32", "--threads", 1, "--no-tensorboard")
SAME = (*TINY, "--shuffle", "global", "--global-batch", 12, "--epochs", 3, "--lr", 0.003)
ENDLESS = (*TINY, "--batch-size", 2, "--epochs", 10_000, "--checkpoint-steps", 3)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cluster.missing() is not None, reason=f"no hosts: {cluster.missing()}"),
]


# --- The hosts themselves -------------------------------------------------------------------------


def test_hosts_know_each_other_by_name_and_nobody_else():
    with cluster.hosts(2) as bed:
        assert bed.names == ["node0", "node1"]
        assert bed.add() == "node2"
        for name in bed.names:
            assert bed.run(["hostname"], on=name).out == f"{name}\n"
            for other in bed.names:
                assert bed.run(["ssh", other, "hostname"], on=name).out == f"{other}\n"
        outside = bed.run(["ip", "route", "get", "192.0.2.1"])
        assert "unreachable" in outside.err
    machine = Path("/etc/hosts").read_text()
    assert "node0" not in machine


def test_hosts_share_out_the_cores():
    everything = sorted(os.sched_getaffinity(0))
    with cluster.hosts(len(everything)) as bed:
        code = "import os; print(*os.sched_getaffinity(0))"
        here = [bed.run([sys.executable, "-c", code], on=name).out for name in bed.names]
        ask = [bed.run(["ssh", name, "taskset -cp $$"]).out.split()[-1] for name in bed.names]
    assert [int(text) for text in here] == everything
    assert [int(text) for text in ask] == everything


TIMES = 3
SEND = """
import socket, sys, time
end = time.monotonic() + 60
for _ in range(int(sys.argv[2])):
    while True:
        try:
            link = socket.create_connection(("node1", 5000), timeout=60)
            break
        except ConnectionRefusedError:
            assert time.monotonic() < end
    with link:
        link.sendall(bytes(int(sys.argv[1])))
        link.shutdown(socket.SHUT_WR)
        link.recv(1)
"""
RECEIVE = """
import socket, sys, time
server = socket.create_server(("", 5000))
for _ in range(int(sys.argv[2])):
    link, _ = server.accept()
    with link:
        left = int(sys.argv[1])
        while left and (block := link.recv(1 << 20)):
            began = began if left < int(sys.argv[1]) else time.monotonic()
            left -= len(block)
        print(time.monotonic() - began)
"""


@pytest.mark.parametrize("delay_ms", [0, 5])
def test_a_link_has_the_rate_it_was_given(delay_ms):
    size, burst = 4_000_000, 262_144
    with cluster.hosts(2, rate="100mbit", delay_ms=delay_ms) as bed:
        receiver = bed.start([sys.executable, "-c", RECEIVE, size, TIMES], on="node1")
        assert bed.run([sys.executable, "-c", SEND, size, TIMES]).code == 0
        seconds = [float(word) for word in tiny.finish(receiver).out.split()]
    assert len(seconds) == TIMES
    # Each of the two ends of the cable lets one burst through at once. It is never faster; it is
    # slower where other programs have the cores.
    assert (size - 2 * burst) * 8 / 100e6 * 0.95 < min(seconds) < size * 8 / 100e6 * 1.5


GREET = """
import socket, time
for _ in range(5):
    began = time.monotonic()
    socket.create_connection(("node1", 22)).close()
    print(time.monotonic() - began)
"""


def test_a_link_has_the_delay_it_was_given():
    """A connection takes a packet there and one back; each is late once."""
    with cluster.hosts(2, delay_ms=100) as bed:
        seconds = [float(word) for word in bed.run([sys.executable, "-c", GREET]).out.split()]
    # The first one had to ask for the host's address. Any may wait for a core.
    assert len(seconds) == 5
    assert 0.2 <= min(seconds[1:]) < 0.4


def test_a_cut_link_is_silence_until_it_is_mended():
    def reach(*options):
        return bed.run(["ssh", *options, "node1", "true"])

    with cluster.hosts(2) as bed:
        assert reach().code == 0
        bed.cut("node1")
        assert "timed out" in reach("-o", "ConnectTimeout=2").err
        bed.mend("node1")
        assert reach().code == 0


def test_a_lost_host_takes_its_processes_with_it():
    with cluster.hosts(2) as bed:
        process = bed.start(["sleep", "1000"], on="node1")
        tiny.wait_until(lambda: bed.pids("node1", "sleep 1000"))
        pids = bed.pids("node1")
        bed.lose("node1")
        process.communicate(timeout=60)
        assert bed.names == ["node0"]
        tiny.wait_until_gone(pids)


KILLED = """
import cluster, os, signal
with cluster.hosts(2) as bed:
    bed.start(["ssh", "node1", "sleep", "1000"])
    cluster.tiny.wait_until(lambda: bed.pids("node1", "sleep 1000"))
    print(bed.folder, *bed.pids("node0"), *bed.pids("node1"), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_of_hosts_whose_test_was_killed():
    path = os.pathsep.join([str(tiny.ROOT / "tests"), tiny.environment()["PYTHONPATH"]])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=tiny.environment() | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL
    folder, *pids = killed.stdout.split()
    assert len(pids) > 6
    tiny.wait_until_gone(pids)
    assert Path(folder).exists()
    with cluster.hosts(1):
        assert not Path(folder).exists()


# --- The same training ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def patchset(work):
    return tiny.make_patchset(work / "set", patches=PATCHES // 3, size=64)


@pytest.fixture(scope="module")
def alone(work, patchset):
    """The losses of one rank, without any launcher."""
    ended = tiny.train("--data", patchset, "--out", work / "alone", *SAME)
    assert ended.code == 0, ended.err
    return losses(work / "alone")


@pytest.fixture(scope="module")
def bed():
    with cluster.hosts(4, rate="1gbit") as hosts:
        yield hosts


def losses(run):
    """The loss of each step."""
    return [record["loss"] for record in tiny.events(run, "step")]


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("by", "hosts"),
    [("mpirun", 2), ("mpirun", 4), ("gloo", 2), ("gloo", 4), ("mpi", 2), ("mpi", 4)],
)
def test_several_hosts_train_as_one(work, patchset, alone, bed, by, hosts):
    """Under mpirun, and under horovodrun by either controller."""
    names, name = bed.names[:hosts], f"{by}-{hosts}"
    line = bed.mpirun(1, on=names)
    if by != "mpirun":
        line = bed.horovodrun(1, on=names, controller=by)
    case = tiny.Case(name, ["--data", patchset, "--out", work / name, *SAME])
    result = tiny.run_cases(
        [case],
        work / f"{name}-cases",
        ranks=hosts,
        start=lambda *words, ranks: bed.start([*line, sys.executable, *words]),
    )[name]
    assert result.codes == [0] * hosts, result.err
    assert len(set(result.weights)) == len(set(result.optimizer)) == 1
    assert losses(work / name) == pytest.approx(alone, rel=1e-4)
    found = summary_of(work / name)
    assert (found["ranks"], found["num_hosts"], found["hosts"]) == (hosts, hosts, names)
    assert found["controller"] == ("gloo" if by == "gloo" else "mpi")
    assert [place["host"] for place in found["placement"]] == names


# --- Faults ---------------------------------------------------------------------------------------


def train_until_step(step, bed, line, run, *words):
    """Start a run that would not end, and return it when it has made a step."""
    program = [*line, sys.executable, tiny.ROOT / "train_hvd.py", "--out", run, *words]
    process = bed.start([*program, *ENDLESS, "--stall-seconds", STALL_SECONDS])
    tiny.wait_for_step(run, step, process)
    return process


def go_on(bed, line, run, *words):
    """Resume a run to the end of two more epochs; returns its summary."""
    epochs = len(tiny.events(run, "epoch")) + 2
    program = [*line, sys.executable, tiny.ROOT / "train_hvd.py", "--out", run, *words]
    ended = bed.run([*program, *ENDLESS, "--resume", "--epochs", epochs])
    assert ended.code == 0, ended.out + ended.err
    assert "resumed from" in ended.out
    found = summary_of(run)
    assert found["epochs_run"] == epochs
    seen = [record["patches_per_second"] * record["train_seconds"] for record in found["history"]]
    assert seen == pytest.approx([PATCHES] * epochs)
    assert found["patches_trained"] == PATCHES * epochs
    return found


def nothing_runs(bed, *names):
    return not any(bed.pids(name, "train_hvd.py") for name in names)


@pytest.mark.mpi
def test_a_lost_host_ends_the_run_which_goes_on_with_those_left(work, patchset):
    run = work / "lost"
    with cluster.hosts(3) as bed:
        process = train_until_step(12, bed, bed.mpirun(1), run, "--data", patchset)
        bed.lose("node2")
        ended = tiny.finish(process, seconds=60)
        assert ended.code != 0
        assert "lost communication with a remote daemon" in ended.err
        assert "on node node2" in ended.err
        tiny.wait_until(lambda: nothing_runs(bed, *bed.names), seconds=20)
        found = go_on(bed, bed.mpirun(1), run, "--data", patchset)
    assert found["hosts"] == ["node0", "node1"]


@pytest.mark.mpi
def test_a_cut_link_ends_the_ranks_at_both_ends(work, patchset):
    run = work / "cut"
    with cluster.hosts(2) as bed:
        process = train_until_step(12, bed, bed.horovodrun(1), run, "--data", patchset)
        bed.cut("node1")
        ended = tiny.finish(process, seconds=60)
        assert ended.code != 0
        tiny.assert_stalled(ended, run, host="node0", seconds=STALL_SECONDS)
        tiny.wait_until(lambda: nothing_runs(bed, *bed.names), seconds=20)
        bed.mend("node1")
        found = go_on(bed, bed.horovodrun(1), run, "--data", patchset)
    assert found["hosts"] == ["node0", "node1"]
