"""Which cores count: what Open MPI may use, unless somebody asked it to bind. By its own mpirun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from cloudmask import host, launcher
from cloudmask.data import parallel

RANK = {"OMPI_COMM_WORLD_SIZE": "2"}
BOUND_BY_4 = {**RANK, "OMPI_MCA_orte_bound_at_launch": "1"}
ASKED = {**BOUND_BY_4, "OMPI_MCA_hwloc_base_binding_policy": "core"}


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ({}, False),
        ({"mpi_oversubscribe": "0", "orte_bound_at_launch": "1"}, False),
        ({"hwloc_base_binding_policy": "core"}, True),
        ({"hwloc_base_bind_to_core": "1"}, True),
        ({"hwloc_base_cpu_set": "0-7"}, True),
        ({"orte_rankfile": "file"}, True),
        ({"rmaps_base_cpus_per_rank": "4"}, True),
        ({"rmaps_base_mapping_policy": "slot:PE=4"}, True),
        ({"rmaps_base_mapping_policy": "ppr:2:node:pe=4"}, True),
        ({"rmaps_base_mapping_policy": "NUMA:SPAN"}, True),
        ({"rmaps_base_mapping_policy": "core"}, True),
        ({"rmaps_base_mapping_policy": "slot"}, False),
        ({"rmaps_base_mapping_policy": "node"}, False),
        ({"rmaps_base_mapping_policy": "ppr:1:node"}, False),
        ({"rmaps_base_bycore": "1"}, True),
        ({"rmaps_base_bynode": "1"}, False),
        ({"rmaps_ppr_n_pernode": "1"}, False),
        ({"rmaps_base_oversubscribe": "1"}, False),
        ({"btl_tcp_if_include": "eth0"}, False),
    ],
)
def test_options_that_ask_for_a_binding(parameters, asked):
    environment = {f"OMPI_MCA_{name}": value for name, value in parameters.items()}
    assert launcher.asks(environment) is asked
    assert launcher.asks({}, files=[f" {n} = {v} # so" for n, v in parameters.items()]) is asked
    words = [word for name, value in parameters.items() for word in ("--prtemca", name, value)]
    assert launcher.asks({}, ["prterun", "-n", "2", *words, "python"]) is asked


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", False),
        ("--bind-to core", True),
        ("-bind-to none", True),
        ("--map-by slot:PE=8", True),
        ("--map-by ppr:1:node", False),
        ("--map-by", False),
        ("--mca", False),
        ("--cpu-set 0-3", True),
        ("--host node0:2,node1:2", False),
    ],
)
def test_words_of_mpirun_that_ask_for_a_binding(words, asked):
    assert launcher.asks({}, ["prterun", "-n", "2", *words.split()]) is asked


def test_sets_of_processors_are_read_as_the_kernel_writes_them():
    assert launcher.processors("0-3,8,10-11") == (0, 1, 2, 3, 8, 10, 11)
    assert launcher.processors("") == ()


@pytest.fixture
def process(tmp_path, monkeypatch):
    """process(own cores, the launcher's words and cores) -> a /proc of a rank, a shell, a launcher.

    The machine has 2 sockets of 32 cores.
    """
    monkeypatch.setattr(host, "TOPOLOGY", tmp_path / "sys")
    monkeypatch.setenv("HOME", str(tmp_path))
    for cpu in range(64):
        place = tmp_path / f"sys/cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / "package_cpus_list").write_text("0-31" if cpu < 32 else "32-63")

    def build(own, words, cores):
        monkeypatch.setattr(host, "allowed_cores", lambda: launcher.processors(own))
        name = Path(words.split()[0]).name
        forebears = {"self": (7, "python rank"), "7": (5, "bash -c 'python rank'"), "5": (1, words)}
        for number, (parent, line) in forebears.items():
            place = tmp_path / "proc" / number
            place.mkdir(parents=True)
            (place / "stat").write_text(f"{number} (a) name) S {parent} 1 1")
            (place / "cmdline").write_text(line.replace(" ", "\0"))
            (place / "comm").write_text(name if number == "5" else "other")
            (place / "status").write_text(f"Cpus_allowed:\tff\nCpus_allowed_list:\t{cores}\n")
        return tmp_path / "proc"

    return build


@pytest.mark.parametrize(
    ("environment", "own", "line", "cores", "found", "bound"),
    [
        ({}, "3", "bash", "0-63", "3", True),  # no launcher, or Gloo's: taskset, say
        ({}, "0-63", "bash", "0-63", "0-63", False),
        (BOUND_BY_4, "0", "/opt/bin/mpirun -n 2", "0-63", "0-63", False),
        (BOUND_BY_4, "0-31", "orted -mca ess env", "0-63", "0-63", False),  # three ranks or more
        (BOUND_BY_4, "0-31", "mpirun -n 4", "16-63", "16-63", False),  # taskset on mpirun
        (BOUND_BY_4, "0-7", "mpirun -n 2 numactl -C 0-7", "0-63", "0-7", True),
        (RANK, "0-63", "mpirun -n 2 --bind-to none", "0-63", "0-63", False),
        (RANK, "0-7", "mpirun -n 2 --bind-to none taskset -c 0-7", "0-63", "0-7", True),
        (ASKED, "0", "mpirun -n 2 --bind-to core", "0-63", "0", True),
        (RANK, "0", "prterun -n 2", "0-63", "0-63", False),
        (RANK, "0", "prterun -n 2 --bind-to core", "0-63", "0", True),
        (RANK, "0", "prted --some options", "0-63", "0", True),  # version 5 on another host
        (BOUND_BY_4, "0", "init", "0-63", "0", True),  # outside of this container
    ],
)  # fmt: skip
def test_a_binding_that_nobody_asked_for_is_set_aside(
    process, environment, own, line, cores, found, bound
):
    allowed = launcher.allowed_cores(environment, process(own, line, cores))
    assert allowed == launcher.Allowed(launcher.processors(found), bound)


@pytest.mark.parametrize(("bound", "cores"), [(True, (4, 5)), (False, (5,))])
def test_ranks_of_gloo_share_out_what_nobody_has_bound(monkeypatch, bound, cores):
    monkeypatch.setattr(launcher, "allowed_cores", lambda: launcher.Allowed((4, 5), bound))
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setenv("HOROVOD_LOCAL_SIZE", "2")
    monkeypatch.setenv("HOROVOD_LOCAL_RANK", "1")
    assert parallel.take_cores(parallel.World()) == parallel.Share(cores, 2, bound)


TAKE = """
import json, os
from cloudmask.data import parallel
world = parallel.world()
share = parallel.take_cores(world)
threads = {tuple(sorted(os.sched_getaffinity(int(t)))) for t in os.listdir("/proc/self/task")}
found = world.gather((share.cores, share.bound, sorted(threads)))
if world.is_root:
    print(json.dumps(found))
"""


def taken(*words, first=()):
    """(cores, bound, cores of its threads) of each rank that mpirun starts with these words."""
    line = [*map(str, (*first, "mpirun", *words)), sys.executable, "-c", TAKE]
    done = subprocess.run(line, env=tiny.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.mpi
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="wants two cores")
def test_ranks_of_a_plain_mpirun_take_all_that_the_host_allows():
    allowed = sorted(os.sched_getaffinity(0))
    assert taken("-n", 1) == [[allowed, False, [allowed]]]
    half = len(allowed) // 2
    both = taken("-n", 2)
    assert [len(cores) for cores, _, _ in both] == [half, half]
    assert not set(both[0][0]) & set(both[1][0])
    assert all(threads == [cores] for cores, _, threads in both)
    last = allowed[-1]
    assert taken("-n", 1, first=("taskset", "-c", last)) == [[[last], False, [[last]]]]


@pytest.mark.mpi
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="wants two cores")
def test_a_binding_that_was_asked_for_is_kept():
    (found,) = taken("-n", 1, "--map-by", "slot:PE=1", "--bind-to", "core")
    assert (len(found[0]), found[1]) == (1, True)
