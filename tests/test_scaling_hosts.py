"""What is known of the hosts that ranks run on: their hardware, and what others did there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cluster
import pytest
import scaling_fake
import tiny

from benchmarks import row_cost
from cloudmask import host
from cloudmask.cli.errors import UsageError
from scaling.measure import launch, machine, notes, watch
from scaling.measure.inside import rank
from scaling.measure.layout import Layout
from scaling.options import RunConfig

STAND_IN = Path(__file__).with_name("any_launcher.py")
LAUNCH = f"{sys.executable} {STAND_IN} -n {{ranks}} {{program}}"


def _note(rank, where, cores, *, busy, used, seconds=10.0):
    """Of a rank whose processors computed so long, and that used so much of it itself."""
    end = {"rank": rank, "at": 100.0 + seconds, "busy_seconds": [5.0 + b for b in busy]}
    end |= dict.fromkeys(notes.USAGE, used)
    begin = {"rank": rank, "host": where, "cores": cores, "at": 100.0}
    return begin | {"busy_seconds": [5.0] * len(cores), "end": end}


def test_load_of_others_is_that_on_the_ranks_own_cores_of_every_host():
    quiet = [_note(0, "a", [0], busy=[9.0], used=9.0), _note(1, "a", [1], busy=[8.0], used=7.0)]
    loaded = [_note(2, "b", [0], busy=[10.0], used=4.0), _note(3, "b", [1], busy=[9.0], used=9.0)]
    first, second = notes.foreign(quiet + loaded)
    assert (first.host, first.cores, first.share) == ("b", pytest.approx(0.6), pytest.approx(0.3))
    assert (second.host, second.cores) == ("a", pytest.approx(0.1))


def test_ranks_that_share_cores_are_not_others_to_each_other():
    shared = [_note(n, "a", [0], busy=[10.0], used=5.0) for n in (0, 1)]
    assert notes.foreign(shared)[0].cores == pytest.approx(0)


def test_host_with_a_rank_that_did_not_end_tells_nothing():
    killed = {k: v for k, v in _note(1, "a", [1], busy=[1.0], used=1.0).items() if k != "end"}
    assert notes.foreign([_note(0, "a", [0], busy=[1.0], used=1.0), killed]) == []


def test_others_never_take_more_than_there_is():
    """The kernel's count of a processor is a hundredth of a second off."""
    (found,) = notes.foreign([_note(0, "a", [0], busy=[10.01], used=0.0)])
    assert (found.cores, found.share) == (1, 1)


def test_busy_seconds_are_read_per_processor():
    stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 900 9 10 20 20 0 0\ncpu1 0 0 0 7 0 0 0 0 0 0\n"
    assert rank.busy_seconds(stat, [1, 0], ticks_per_second=100) == [0.0, 2.0]


SPINNING = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"


def test_another_program_on_the_ranks_core_is_seen_and_one_elsewhere_is_not(tmp_path):
    """The rank sleeps, so all that its core computes is another's: 1.5 s of it."""
    core = max(os.sched_getaffinity(0))
    program = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    words = launch.copy_words(Layout(1), program, 0, notes=tmp_path, environment={})
    with subprocess.Popen(["taskset", "-c", str(core), *words], stdin=subprocess.PIPE) as process:
        tiny.wait_until(lambda: (tmp_path / "rank-0000.log").exists(), seconds=30)
        subprocess.run(["taskset", "-c", str(core), sys.executable, "-c", SPINNING], check=True)
        process.stdin.close()
    (note,) = notes.gather(tmp_path)
    (found,) = notes.foreign([note])
    taken = found.cores * (note["end"]["at"] - note["at"])
    assert note["end"]["cpu_seconds"] < 1
    assert found.of == 1
    # The spinning one may get less than the core, where others than these two want it too.
    assert taken > 0.5
    assert notes.usage([note])["peak_memory_bytes"]["most"] > 2**20


def test_notes_of_all_hosts_become_one_file_and_logs_that_say_nothing_go(tmp_path):
    for number in range(40):
        begin = {"event": "begin", "rank": number, "host": f"h{number % 4}"}
        rank.append(tmp_path / f"host-h{number % 4}.jsonl", begin)
        if number not in (7, 9):
            end = {"event": "end", "rank": number, "status": 1 if number == 5 else 0}
            rank.append(tmp_path / f"host-h{number % 4}.jsonl", end)
        (tmp_path / f"rank-{number:04d}.log").write_text("said\n")
    with (tmp_path / "host-h0.jsonl").open("a") as file:
        file.write('{"event": "end", "ra')
    told = notes.gather(tmp_path)
    assert [note["rank"] for note in told] == list(range(40))
    assert notes.nodes(told) == 4
    assert notes.read(tmp_path) == told
    assert [path.name for path in tmp_path.glob("*.jsonl")] == [notes.GATHERED]
    notes.drop_logs(tmp_path, told, failed=True)
    kept = sorted(int(path.stem[-4:]) for path in tmp_path.glob("*.log"))
    assert kept == [0, 5, 7, 9, 39]
    notes.drop_logs(tmp_path, told, failed=False)
    assert len(list(tmp_path.iterdir())) == 3


def test_page_cache_is_dropped_where_every_host_says_so():
    dropped = {"host": "a", "cache_kept": None}
    assert notes.cache_dropped([dropped, {"host": "a"}]) == (1, 1)
    assert notes.cache_dropped([dropped, {"host": "b", "cache_kept": "not permitted"}]) == (1, 2)


@pytest.mark.parametrize("answers", [True, False])
def test_step_that_slurm_still_lists_is_waited_for(tmp_path, answers):
    """Slurm takes KillWait to end a step, and its launcher may be gone before that."""
    listed = tmp_path / "listed"
    listed.write_text("12.3 other\n12.4 mine\n")
    scripts = {
        "squeue": f'case "$*" in *--steps*) cat {listed};; esac',
        # Gone the second time it is asked for, as a busy controller has it.
        "scancel": f'echo "$@" >> {tmp_path}/said; [ $(wc -l < {tmp_path}/said) -lt 2 ] || '
        f"echo 12.3 other > {listed}",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    farewell = [sys.executable, "-I", "-S", str(launch.INSIDE / "steps.py"), "mine"]
    if not answers:  # a controller that cannot be asked is not waited for for ever
        farewell = [sys.executable, "-c", "import sys; sys.exit(1)"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    outcome = watch.watch(
        [["sleep", "600"]],
        tmp_path,
        environment={"PATH": path},
        limits=watch.Limits(0.1, 0.1, 60),
        ending=watch.Ending(1, farewell),
        heartbeats=[],
    )
    assert (outcome.ending, outcome.gone) == ("stalled", answers)
    if answers:
        assert (tmp_path / "said").read_text() == 2 * "--quiet --signal=KILL 12.4\n"


@pytest.mark.parametrize(
    ("told", "limits", "ending"),
    [
        ({"event": "begin"}, (60, 0.1, 60), "exited"),
        ({"event": "begin"}, (0.1, 60, 60), "stalled"),
        ({"event": "step", "step": 1}, (60, 0.1, 60), "stalled"),
    ],
)
def test_stall_begins_to_count_with_the_first_step(tmp_path, told, limits, ending):
    """What a training tells before it, that it began or has staged, is no step."""
    events = tmp_path / "events.jsonl"
    events.write_text(json.dumps(told) + "\n")
    outcome = watch.watch(
        [["sleep", "2" if ending == "exited" else "60"]],
        tmp_path,
        environment=os.environ,
        limits=watch.Limits(*limits),
        ending=watch.Ending(1),
        heartbeats=[events],
    )
    assert (outcome.ending, outcome.step) == (ending, told.get("step"))


def test_files_of_a_point_do_not_grow_with_its_ranks(tmp_path, plain_environment, monkeypatch):
    """Of a stand-in for many ranks, which leaves a log of each and a file per host."""
    monkeypatch.setattr(os, "environ", dict(plain_environment))
    few, many = (row_cost.cost(ranks, tmp_path / str(ranks)) for ranks in (3, 150))
    assert few["files"] == many["files"] < 15


@pytest.mark.parametrize(
    ("launcher", "layout", "environment", "elsewhere"),
    [
        ("openmpi", Layout(2), {}, False),
        ("openmpi", Layout(2, hosts=(("a", 2),)), {}, True),
        ("openmpi", Layout(2), {"SLURM_JOB_ID": "7"}, True),
        ("python", Layout(1), {"SLURM_JOB_ID": "7"}, False),
        ("jsrun", Layout(2), {}, True),
        ("run {ranks} {program}", Layout(2), {}, True),
    ],
)
def test_hosts_are_asked_where_ranks_may_run_elsewhere(launcher, layout, environment, elsewhere):
    assert machine.are_elsewhere(launcher, layout, environment) is elsewhere


def test_hosts_tell_what_they_are_through_the_launcher():
    environment = tiny.environment()
    found = machine.ask_hosts(LAUNCH, None, Layout(2), environment=environment)
    assert found == machine.hardware()
    failing = f"{sys.executable} -c 'import sys; sys.exit(\"no such queue\")' {{ranks}} {{program}}"
    with pytest.raises(UsageError, match=r"cannot ask the hosts what they are: .* no such queue"):
        machine.ask_hosts(failing, None, Layout(2), environment=environment)


def test_different_hosts_are_named_and_the_smallest_counts():
    one = {"cpu": "A", "cores": 8, "threads_per_core": 2, "gpus": ["g", "g"]}
    found = machine._of([one, one | {"cpu": "B", "cores": 4, "gpus": ["g"]}])
    assert found == machine.Hardware("A / B", 4, 2, ("g",))


def test_nodes_are_counts_of_ranks_per_node(tmp_path):
    from scaling.measure.plan_points import prepare

    cores = len(host.physical_cores(host.allowed_cores()))
    program = [sys.executable, scaling_fake.__file__, "--out", "{out}", "--batch", "{batch}"]
    given = {"launch": LAUNCH, "modes": "weak", "repeats": 1, "allreduce": False}
    config = RunConfig(tmp_path / "s", nodes="4,1", ranks_per_node=cores, **given)
    order, conditions = prepare(config, program)
    assert sorted(point.ranks for point in order) == [cores, 4 * cores]
    assert [conditions.layout_of(point).nodes for point in order if point.ranks > cores] == [4]
    for wrong, says in (
        ({"nodes": "1,2"}, "--nodes 1,2 needs --ranks-per-node"),
        ({"nodes": "1", "ranks": "1", "ranks_per_node": 1}, "give --ranks or --nodes, not both"),
        ({"nodes": "0", "ranks_per_node": 1}, "--nodes 0: give whole numbers above 0"),
        ({"ranks": "1", "gpu_bind": "none"}, "--gpu-bind none is for --launcher srun"),
    ):
        with pytest.raises(UsageError, match=says):
            prepare(RunConfig(tmp_path / "s", **given, **wrong), program)


@pytest.mark.slow
@pytest.mark.mpi
def test_any_launcher_is_studied_by_a_template_and_a_point_is_measured_again(tmp_path):
    folder = tmp_path / "study"
    words = ["-m", "scaling", "run", "--out", folder, "--launch", LAUNCH, "--ranks", "1,2"]
    words += ["--modes", "weak", "--repeats", 1]
    program = ["--", "python", scaling_fake.__file__, "--out", "{out}", "--batch", "{batch}"]

    def run(*more):
        done = subprocess.run(
            [sys.executable, *map(str, [*words, "--no-allreduce", *more, *program])],
            env=tiny.environment(),
            cwd=tiny.ROOT,
            capture_output=True,
            text=True,
        )
        lines = (folder / "results.jsonl").read_text().splitlines()
        return done, list(map(json.loads, lines))

    done, rows = run()
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows] == ["ok", "ok"]
    two = next(row for row in rows if row["ranks"] == 2)
    assert two["launcher"] == LAUNCH
    assert sorted(map(len, two["cores"])) == [1, 1], "bound, though the launcher binds nothing"
    assert two["cores"][0] != two["cores"][1]
    assert (two["nodes"], two["other_host"]) == (1, host.name())
    assert 0 <= two["other_share"] <= 1
    assert two["usage"]["involuntary_switches"]["rank"] in (0, 1)
    logs = folder / "points" / two["folder"] / "logs"
    assert sorted(path.name for path in logs.iterdir()) == [
        *("rank-0000.log", "rank-0001.log", notes.GATHERED)
    ]

    done, rows = run("--again", two["point"])
    assert done.returncode == 0, done.stderr
    assert "2 points, 1 of them to run" in done.stdout
    assert [(row["point"], row["attempt"]) for row in rows[2:]] == [(two["point"], 2)]
    done, _ = run("--again", "weak-ranks-n0002-r1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no such point; did you mean weak-ranks-n0002-r01?" in done.stderr


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.skipif(cluster.missing() is not None, reason=f"no hosts here: {cluster.missing()}")
def test_study_over_two_hosts_asks_both_and_tells_of_both(tmp_path):
    folder = tmp_path / "study"
    words = [sys.executable, "-m", "scaling", "run", "--out", folder, "--nodes", "1,2"]
    words += ["--ranks-per-node", 1, "--modes", "weak", "--repeats", 1, "--no-allreduce"]
    words += ["--launcher", "horovodrun", "--env", "HOROVOD_GLOO_IFACE=eth0"]
    program = ["--", "python", scaling_fake.__file__, "--out", "{out}", "--batch", "{batch}"]
    with cluster.hosts(2) as bed:
        hosts = ",".join(f"{name}:2" for name in bed.names)
        ended = bed.run([*words, "--hosts", hosts, *program])
        assert ended.code == 0, ended.err + ended.out
        # What reads energy there is told by the end of its rank; the study does not wait for it.
        tiny.wait_until(lambda: bed.pids(bed.names[1], str(folder)) == [], seconds=20)
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert {row["ranks"]: (row["status"], row["nodes"]) for row in rows} == {
        1: ("ok", 1),
        2: ("ok", 2),
    }
    two = next(row for row in rows if row["ranks"] == 2)
    told = notes.read(folder / "points" / two["folder"] / "logs")
    assert [note["host"] for note in told] == bed.names
    assert two["other_host"] in bed.names
    assert two["usage"]["cpu_seconds"]["most"] > 0
