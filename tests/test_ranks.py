"""Cores of ranks as a pure function, and one rank without Horovod; more in test_train_mpi.py."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import tiny

from cloudmask import host
from cloudmask.host import own_cores
from cloudmask.train.start import num_threads, unreachable


def shared_out(*affinities):
    """The cores of every rank on a host, given what each is allowed."""
    allowed = dict(enumerate(affinities))
    return [own_cores(allowed, rank) for rank in allowed]


def test_ranks_bound_to_cores_of_their_own_keep_them():
    assert shared_out((0,), (1,)) == [(0,), (1,)]
    assert shared_out((0, 1, 2), (4, 5, 6)) == [(0, 1, 2), (4, 5, 6)]


def test_a_rank_alone_keeps_all_it_is_allowed():
    assert shared_out((2, 3, 7)) == [(2, 3, 7)]


@pytest.mark.parametrize(("cores", "ranks"), [(2, 2), (8, 2), (8, 3), (64, 8), (5, 5)])
def test_unbound_ranks_share_the_host_without_overlap(cores, ranks):
    found = shared_out(*[tuple(range(cores))] * ranks)
    assert len({len(mine) for mine in found}) == 1, "all ranks have equally many cores"
    assert len(found[0]) == cores // ranks
    taken = [core for mine in found for core in mine]
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(range(cores))


def test_more_ranks_than_cores_take_turns():
    assert shared_out(*[(4, 9)] * 5) == [(4,), (9,), (4,), (9,), (4,)]
    assert shared_out((0,), (1,), (0,), (1,)) == [(0,), (1,), (0,), (1,)]


def test_ranks_bound_to_numa_nodes_share_each_node():
    left, right = (0, 1, 2, 3), (4, 5, 6, 7)
    assert shared_out(left, left, right, right) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert shared_out(left, right, left, right) == [(0, 1), (4, 5), (2, 3), (6, 7)]
    assert shared_out(left, left, left, right) == [(0,), (1,), (2,), right]


def test_ranks_are_told_apart_by_their_place_among_those_of_the_host():
    """Rank numbers of a host need not begin at zero."""
    assert own_cores({12: (0, 1), 13: (0, 1)}, 13) == (1,)


def topology(sockets, cores, *, threads=2):
    """The numbers of a host's processors, core by core: the kernel counts the cores first."""
    count = sockets * cores
    return [[core + thread * count for thread in range(threads)] for core in range(count)]


@pytest.mark.parametrize(
    ("cores", "ranks", "each"),
    [(64, 1, 64), (64, 2, 32), (64, 3, 21), (64, 64, 1), (128, 2, 64), (128, 5, 25), (128, 8, 16)],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_ranks_get_equally_many_whole_cores_of_a_large_host(cores, ranks, each, threads):
    machine = topology(2, cores // 2, threads=threads)
    everything = tuple(sorted(cpu for core in machine for cpu in core))
    found = [
        own_cores(dict.fromkeys(range(ranks), everything), rank, together=lambda _: machine)
        for rank in range(ranks)
    ]
    assert {len(mine) for mine in found} == {each * threads}
    taken = [cpu for mine in found for cpu in mine]
    assert len(set(taken)) == len(taken)
    for mine in found:
        assert all(set(core) <= set(mine) or not set(core) & set(mine) for core in machine)
    if ranks in (2, 8):
        half = {cpu for core in machine[: cores // 2] for cpu in core}
        assert all(set(mine) <= half or not set(mine) & half for mine in found), "one socket each"


def test_people_read_how_many_cores_a_rank_has_and_why(monkeypatch):
    monkeypatch.setattr(host, "all_cores", lambda: 64)
    ranks = tiny.pretended_ranks(cores=tuple(range(8)), allowed_cores=16)
    share = "8 cores of this host's 64 for rank 0: its share of the 16 that are allowed"
    assert ranks.cores_line() == share
    bound = dataclasses.replace(ranks, bound=True)
    assert bound.cores_line() == "8 cores of this host's 64 for rank 0, as its launcher bound it"


def test_more_ranks_than_cores_take_a_processor_each():
    machine = topology(1, 2)
    found = [
        own_cores(dict.fromkeys(range(4), (0, 1, 2, 3)), rank, together=lambda _: machine)
        for rank in range(4)
    ]
    assert found == [(0,), (2,), (1,), (3,)]


@pytest.mark.parametrize(
    ("cores", "ranks", "quota", "threads"),
    [
        (8, 2, None, 8),
        (8, 2, 100.0, 8),
        (8, 2, 8.0, 4),
        (8, 3, 8.0, 2),
        (8, 1, 2.5, 2),
        (4, 4, 2.0, 1),
        (1, 1, 0.5, 1),
    ],
)
def test_the_ranks_of_a_host_share_a_cpu_quota(cores, ranks, quota, threads):
    assert num_threads(cores, ranks, limit=quota) == threads


@pytest.mark.slow
def test_one_process_trains_the_same_without_horovod(tmp_path):
    """A Horovod that cannot be imported stands in the way: it must not even be loaded."""
    patches = tiny.make_patchset(tmp_path / "set")
    poison = tmp_path / "poison" / "horovod"
    poison.mkdir(parents=True)
    (poison / "__init__.py").write_text("raise ImportError('Horovod was loaded')")
    environment = tiny.environment()
    path = os.pathsep.join([str(poison.parent), environment["PYTHONPATH"]])
    found = {}
    for name, words, python_path in (
        ("with", [], environment["PYTHONPATH"]),
        ("without", ["--no-horovod"], path),
    ):
        options = ["--preset", "tiny", "--threads", "1", "--precision", "float32"]
        options += ["--max-steps", "6", "--no-tensorboard", "--out", str(tmp_path / name)]
        done = subprocess.run(
            [
                *(sys.executable, str(tiny.ROOT / "train_hvd.py"), "--data", str(patches)),
                *(*options, *words),
            ],
            env=environment | {"PYTHONPATH": python_path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found[name] = json.loads((tmp_path / name / "summary.json").read_text())
    assert (found["with"]["horovod"], found["without"]["horovod"]) == (True, False)
    assert found["without"]["controller"] == "none"
    assert found["without"]["last_step_loss"] == found["with"]["last_step_loss"]
    assert found["without"]["best"]["loss"] == found["with"]["best"]["loss"]
    assert len(found["without"]["placement"]) == 1


def test_a_name_that_gloo_cannot_listen_by_is_told_with_the_reason():
    assert unreachable("localhost") is None
    assert unreachable("no-such-host.invalid").endswith("'no-such-host.invalid' cannot be resolved")
    found = unreachable("203.0.113.7")  # of nobody: RFC 5737
    assert found.endswith("means 203.0.113.7, which is no address of this host")


def in_a_host_of_another_name(*words, hosts="/etc/hosts"):
    """Run a program where the host's name cannot be resolved, as in some containers, or by a file
    of hosts of its own."""
    namespaces = ["unshare", "--uts", "--mount"]
    if subprocess.run([*namespaces, "true"], capture_output=True).returncode:
        pytest.skip("giving the host another name wants root and unshare")
    prepare = f"hostname no-such-host && mount --bind {hosts} /etc/hosts"
    words = [*namespaces, "sh", "-c", f'{prepare} && exec "$@"', "sh", *map(str, words)]
    return subprocess.run(words, env=tiny.environment(), capture_output=True, text=True)


@pytest.mark.slow
def test_one_rank_trains_where_the_hosts_name_means_no_address_of_its_own(tmp_path):
    """Gloo, which one rank takes elsewhere, would crash the process."""
    patches = tiny.make_patchset(tmp_path / "set")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n203.0.113.7 no-such-host\n")
    words = ("--data", patches, "--out", tmp_path / "run", "--preset", "tiny", "--max-steps", "2")
    done = in_a_host_of_another_name(
        sys.executable, tiny.ROOT / "train_hvd.py", *words, hosts=tmp_path / "hosts"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["ranks"], summary["controller"]) == (1, "mpi")


@pytest.mark.slow
@pytest.mark.mpi
def test_gloo_where_the_hosts_name_is_unknown_is_one_line_that_says_so(tmp_path):
    patches = tiny.make_patchset(tmp_path / "set")
    done = in_a_host_of_another_name(
        *(*tiny.launcher("horovodrun --gloo", 2), sys.executable, tiny.ROOT / "train_hvd.py"),
        *("--data", patches, "--out", tmp_path / "run", "--preset", "tiny"),
    )
    assert done.returncode != 0
    assert (
        "error: this host's name 'no-such-host' cannot be resolved, which Gloo needs; "
        "mend /etc/hosts, or start the ranks with mpirun"
    ) in done.stdout + done.stderr
    assert "Segmentation fault" not in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.mpi
def test_several_processes_without_horovod_are_refused(tmp_path):
    patches = tiny.make_patchset(tmp_path / "set")
    words = ("--data", patches, "--out", tmp_path / "run", "--preset", "tiny", "--no-horovod")
    ended = tiny.finish(tiny.start(tiny.ROOT / "train_hvd.py", *words, ranks=2))
    assert ended.code != 0
    assert "--no-horovod trains one process by itself, but 2 were started" in ended.err
    assert not (tmp_path / "run").exists()
