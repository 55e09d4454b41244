"""Launch lines are values: the same layout gives the same words, for every launcher."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from cloudmask import host
from cloudmask.cli.errors import UsageError
from scaling.measure import launch, layout, machine, notes, template
from scaling.measure.commands import Conditions
from scaling.measure.inside import hardware, rank
from scaling.measure.layout import Layout
from scaling.measure.points import Point

NOTES = Path("/study/logs")
SETTINGS = {"HOROVOD_CYCLE_TIME": "10", "OMPI_MCA_mpi_yield_when_idle": "1"}
PROGRAM = ["python", "train.py"]
BEFORE = [sys.executable, "-I", "-S", str(launch.INSIDE / "rank.py"), "--notes", str(NOTES)]
RANK = [*BEFORE, "--", *PROGRAM]
BOUND = [*BEFORE, "--cores", "1", "--", *PROGRAM]
ENV = ["env", "HOROVOD_CYCLE_TIME=10", "OMPI_MCA_mpi_yield_when_idle=1"]


def _line(launcher, layout, **rest):
    return launch.command(launcher, layout, PROGRAM, notes=NOTES, environment=SETTINGS, **rest)


def test_openmpi():
    assert _line("openmpi", Layout(2)) == [
        *("mpirun", "-n", "2", "--map-by", "slot:PE=1", "--bind-to", "core"),
        *("-x", "HOROVOD_CYCLE_TIME=10", "--mca", "mpi_yield_when_idle", "1", "-x", "PATH"),
        *RANK,
    ]


def test_openmpi_on_hosts_with_ranks_per_node_and_many_cores():
    wide = Layout(4, 8, hosts=(("a", 2), ("b", 2)), ranks_per_node=2)
    words = _line("openmpi", wide, executable="/opt/mpirun")
    assert _line("openmpi", Layout(2, root=True))[1] == "--allow-run-as-root"
    assert words[:9] == [
        *("/opt/mpirun", "-n", "4", "--host", "a:2,b:2"),
        *("--map-by", "ppr:2:node:PE=8", "--bind-to", "core"),
    ]


def test_mpich():
    two = Layout(4, 2, hosts=(("a", 2), ("b", 2)), ranks_per_node=2)
    assert _line("mpich", two) == [
        *("mpiexec", "-n", "4", "-hosts", "a:2,b:2", "-ppn", "2", "-bind-to", "core:2"),
        *("-genv", "HOROVOD_CYCLE_TIME", "10", "-genv", "OMPI_MCA_mpi_yield_when_idle", "1"),
        *RANK,
    ]


def test_horovodrun_by_gloo_binds_through_the_rank_itself():
    two = Layout(2, hosts=(("a", 1), ("b", 1)))
    assert _line("horovodrun-gloo", two) == [
        *(*ENV, "horovodrun", "-np", "2", "-H", "a:1,b:1", "--gloo"),
        *BOUND,
    ]


def test_horovodrun_by_mpi():
    assert _line("horovodrun-mpi", Layout(2, 4)) == [
        *(*ENV, "horovodrun", "-np", "2", "--mpi"),
        "--binding-args=--map-by slot:PE=4 --bind-to core",
        *RANK,
    ]


def test_srun():
    two = Layout(8, 16, 1, hosts=(("a", 4), ("b", 4)), ranks_per_node=4)
    assert _line("srun", two) == [
        *(*ENV, "srun", "--ntasks=8", "--cpus-per-task=16", "--nodelist=a,b", "--nodes=2"),
        *("--ntasks-per-node=4", "--distribution=block:block,Pack", "--gpus-per-task=1"),
        *("--threads-per-core=1", "--cpu-bind=cores"),
        *("--kill-on-bad-exit=1", "--export=ALL", *RANK),
    ]


def test_srun_fills_one_node_after_the_other_as_mpirun_does():
    def nodes(ranks, **rest):
        words = _line("srun", Layout(ranks, **rest))
        return [word for word in words if word.startswith(("--nodes=", "--nodelist="))]

    four_on_each = layout.slurm_slots({"SLURM_TASKS_PER_NODE": "4(x2),1"})
    assert four_on_each == (4, 4, 1)
    found = [nodes(ranks, slots=four_on_each) for ranks in (1, 4, 5, 8, 9, 20)]
    assert found == [[f"--nodes={count}"] for count in (1, 1, 2, 2, 3, 3)]
    hosts = (("a", 2), ("b", 2), ("c", 2))
    assert nodes(3, hosts=hosts) == ["--nodelist=a,b", "--nodes=2"]
    assert nodes(2) == []
    assert layout.slurm_slots({}) == layout.slurm_slots({"SLURM_TASKS_PER_NODE": "?"}) == ()


def test_srun_can_leave_all_gpus_of_a_node_to_its_ranks():
    words = _line("srun", Layout(8, 4, 1, ranks_per_node=4, peers=True))
    assert "--gpus-per-node=4" in words
    assert "--gpu-bind=none" in words
    assert not [word for word in words if word.startswith("--gpus-per-task")]


def test_srun_names_its_step():
    assert "--job-name=weak-1" in _line("srun", Layout(2), step="weak-1")
    assert _line("openmpi", Layout(2), step="weak-1") == _line("openmpi", Layout(2))


def test_any_other_launcher_is_a_template():
    text = "flux run -n {ranks} -N{nodes} --name='my study' -c {cores_per_rank} {program} end"
    assert _line(text, Layout(8, 2, ranks_per_node=4)) == [
        *(*ENV, "flux", "run", "-n", "8", "-N2", "--name=my study", "-c", "2"),
        *(*BEFORE, "--cores", "2", "--", *PROGRAM, "end"),
    ]
    on_each = "run {nodes}x{ranks_per_node} gpus={gpus_per_rank} {program}"
    assert _line(on_each, Layout(6, 1, 1, ranks_per_node=4))[3:6] == ["run", "2x4", "gpus=1"]
    assert _line("sh -c {ranks} {program}", Layout(2))[3:6] == ["sh", "-c", "2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run {rank} {program}", r"--launch knows no \{rank\}; there are: \{ranks\}, \{nodes\}"),
        ("run {program.x} {program}", r"knows no \{program.x\}"),
        ("run -n {ranks}", "write {program} once, as a word of its own"),
        ("run -n {ranks} x={program}", "write {program} once, as a word of its own"),
        ("{program} -n {ranks}", "write {program} once"),
        ("run {program}", "says nowhere how many ranks"),
        ("run {nodes} {program}", "says nowhere how many ranks"),
        ("run '-n {ranks} {program}", "No closing quotation"),
    ],
)
def test_template_that_cannot_start_ranks_is_one_clear_line(text, says):
    with pytest.raises(ValueError, match=says) as caught:
        template.parse(text)
    assert "\n" not in str(caught.value)


def test_template_says_what_it_must_be_told():
    with pytest.raises(ValueError, match=r"has \{nodes\}, so say --ranks-per-node"):
        _line("run -n {ranks} -N {nodes} {program}", Layout(2))
    with pytest.raises(ValueError, match="leave out --hosts"):
        _line("run -n {ranks} {program}", Layout(2, hosts=(("a", 2),)))
    with pytest.raises(UsageError, match="no-such-launcher is not installed"):
        machine.find_launcher(
            "auto", controller="gloo", ranks=2, template="no-such-launcher {ranks} {program}"
        )
    with pytest.raises(UsageError, match="--launcher or --launch, not both"):
        machine.find_launcher("srun", controller="gloo", ranks=2, template="run {ranks} {program}")


def test_launchers_that_fill_slots_are_told_how_many_ranks_go_on_a_host():
    hosts = (("a", 4), ("b", 4))
    words = _line("horovodrun-gloo", Layout(4, hosts=hosts, ranks_per_node=2))
    assert words[words.index("-H") + 1] == "a:2,b:2"
    for ranks, filled in ((1, "a:1"), (4, "a:4"), (6, "a:4,b:2")):
        words = _line("horovodrun-gloo", Layout(ranks, hosts=hosts))
        assert words[words.index("-H") + 1] == filled
    words = _line("openmpi", Layout(4, hosts=hosts, ranks_per_node=2, oversubscribe=True))
    assert words[words.index("--map-by") + 1] == "ppr:2:node:OVERSUBSCRIBE"


def test_jsrun():
    assert _line("jsrun", Layout(12, 7, 1, ranks_per_node=6)) == [
        *("jsrun", "--nrs", "12", "--tasks_per_rs", "1", "--cpu_per_rs", "7", "--gpu_per_rs", "1"),
        *("--rs_per_host", "6", "--bind", "packed:7"),
        *("--env", "HOROVOD_CYCLE_TIME=10", "--env", "OMPI_MCA_mpi_yield_when_idle=1"),
        *RANK,
    ]


def test_python_alone():
    assert _line("python", Layout(1)) == [*ENV, *BOUND]
    with pytest.raises(ValueError, match="starts 1 rank on this host, not 2"):
        _line("python", Layout(2))


@pytest.mark.parametrize(
    ("launcher", "word"),
    [("openmpi", "slot:OVERSUBSCRIBE"), ("srun", "--overcommit"), ("mpich", "none")],
)
def test_oversubscribed_ranks_share_cores_one_by_one(launcher, word):
    words = _line(launcher, Layout(4, oversubscribe=True))
    assert word in words
    assert words[-len(BOUND) :] == BOUND
    assert "oversubscribed" in Layout(4, oversubscribe=True).binding


def test_jsrun_refuses_what_it_cannot_place():
    with pytest.raises(ValueError, match="leave out --hosts"):
        _line("jsrun", Layout(2, hosts=(("a", 2),)))
    with pytest.raises(ValueError, match="leave out --oversubscribe"):
        _line("jsrun", Layout(2, oversubscribe=True))


def test_gpus_keep_horovods_own_cycle():
    assert "HOROVOD_CYCLE_TIME" in launch.default_environment(cores_per_rank=1, gpus=False)
    gpu = launch.default_environment(cores_per_rank=8, gpus=True)
    assert gpu == {"OMP_NUM_THREADS": "8", "PYTHONUNBUFFERED": "1"}


def test_every_local_rank_gets_cores_of_its_own_until_there_are_none_left():
    eight = [[cpu] for cpu in range(8)]
    assert [rank.own_cores(eight, r, 2) for r in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [rank.own_cores([[0], [1]], r, 1) for r in range(4)] == [[0], [1], [0], [1]]
    assert rank.own_cores([[0], [1]], 0, 4) == [0, 1]
    # Two hardware threads of a core are never given to two ranks.
    assert [rank.own_cores([[0, 1], [2, 3]], r, 1) for r in range(2)] == [[0, 1], [2, 3]]
    allowed = sorted(os.sched_getaffinity(0))
    assert sorted(cpu for core in host.physical_cores(allowed) for cpu in core) == allowed


def test_rank_binds_itself_logs_and_becomes_the_program(tmp_path):
    core = max(os.sched_getaffinity(0))
    program = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
    words = launch.copy_words(Layout(1), program, 0, notes=tmp_path / "logs", environment={})
    done = subprocess.run(["taskset", "-c", str(core), *words], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")
    assert (tmp_path / "logs" / "rank-0000.log").read_text() == f"{core}\n"
    (note,) = notes.read(tmp_path / "logs")
    assert note["cores"] == [core]
    assert note["core_of"] == host.core_numbers([core])
    assert note["cpu"]
    assert note["end"]["status"] == 0
    assert note["end"]["cpu_seconds"] > 0
    assert note["end"]["peak_memory_bytes"] > 2**20


def test_rank_says_what_cannot_be_started(tmp_path):
    words = launch.copy_words(Layout(1), ["no-such-program"], 3, notes=tmp_path, environment={})
    assert subprocess.run(words).returncode == rank.NOT_STARTED
    assert "cannot start no-such-program" in (tmp_path / "rank-0003.log").read_text()


# By os.write: print may not be called in a handler while it has not come back yet itself.
WAITING = r"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"told\n"), sys.exit(7)))
os.write(1, b"begun\n")
time.sleep(60)
"""


@pytest.fixture
def waiting(tmp_path):
    """(rank.py, the process of its program) of a program that waits for SIGTERM."""
    program = [sys.executable, "-c", WAITING]
    words = launch.copy_words(Layout(1), program, 0, notes=tmp_path, environment={})
    with subprocess.Popen(words) as process:
        log = tmp_path / "rank-0000.log"
        tiny.wait_until(lambda: log.exists() and "begun" in log.read_text(), seconds=30)
        yield process, notes.read(tmp_path)[0]["pid"]
        process.kill()


def test_signals_reach_the_program_and_its_end_is_told(waiting, tmp_path):
    process, pid = waiting
    process.terminate()
    assert process.wait(30) == 7
    assert (tmp_path / "rank-0000.log").read_text() == "begun\ntold\n"
    assert notes.read(tmp_path)[0]["end"]["status"] == 7
    assert not Path(f"/proc/{pid}").exists()


def test_signal_after_the_program_has_ended_ends_nothing(tmp_path):
    """Launchers signal what they have started without knowing of its last moment."""
    script = """
import os, signal
from scaling.measure.inside import rank
child = os.fork()
if child == 0:
    os._exit(0)
rank.hand_on(child)
os.waitpid(child, 0)
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tiny.ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("victim", ["launcher's process", "program"])
def test_rank_that_is_killed_leaves_nothing_and_says_by_which_signal(waiting, victim):
    process, pid = waiting
    os.kill(pid if victim == "program" else process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    tiny.wait_until_gone([pid])


def test_more_ranks_than_cores_or_gpus_are_refused():
    found = machine.Hardware("a cpu", 4, 2, ("a gpu",) * 2)
    machine.check_room(Layout(2, 2, 1), found, {})
    with pytest.raises(
        UsageError, match="4 ranks of 2 cores on 4 cores; use fewer ranks, or --over"
    ):
        machine.check_room(Layout(4, 2), found, {})
    with pytest.raises(UsageError, match="4 ranks of 1 GPU on 2 GPUs"):
        machine.check_room(Layout(4, 1, 1), found, {})
    with pytest.raises(UsageError, match="3 ranks on hosts with 2 slots"):
        machine.check_room(Layout(3, hosts=(("a", 2),)), found, {})
    machine.check_room(Layout(8, 1), found, {"SLURM_JOB_NUM_NODES": "2"})
    machine.check_room(Layout(64, 1, 1, oversubscribe=True), found, {})
    with pytest.raises(UsageError, match="--ranks-per-node 8 of 1 core on hosts of 4 cores"):
        machine.check_room(Layout(8, ranks_per_node=8), found, {"SLURM_JOB_NUM_NODES": "2"})
    with pytest.raises(UsageError, match="8 ranks, 2 per node, take 4 nodes, but there are 2"):
        machine.check_room(Layout(8, ranks_per_node=2, hosts=(("a", 4), ("b", 4))), found, {})
    with pytest.raises(UsageError, match="16 ranks of 1 core on 4 cores"):
        machine.check_room(Layout(16, ranks_per_node=4), found, {}, launcher="openmpi")


def test_srun_outside_an_allocation_gets_the_nodes_that_it_asks_for():
    found = machine.Hardware("a cpu", 4, 1, ())
    machine.check_room(Layout(16, ranks_per_node=4), found, {}, launcher="srun")
    with pytest.raises(UsageError, match="hosts of 4 cores"):
        machine.check_room(Layout(16, ranks_per_node=8), found, {}, launcher="srun")
    with pytest.raises(UsageError, match=r"16 ranks .* on 4 cores; .* or inside an allocation"):
        machine.check_room(Layout(16), found, {}, launcher="srun")
    inside = {"SLURM_JOB_NUM_NODES": "2"}
    with pytest.raises(UsageError, match="16 ranks of 1 core on 8 cores"):
        machine.check_room(Layout(16, ranks_per_node=4), found, inside, launcher="srun")


@pytest.mark.parametrize(
    ("where", "kind", "ranks", "crowded"),
    [
        ({"slots": (8, 8)}, "ranks", 16, False),
        ({"slots": (8, 8)}, "ranks", 17, True),
        ({"slots": (12, 4)}, "ranks", 16, True),
        ({"hosts": (("a", 8), ("b", 8))}, "ranks", 16, False),
        ({"hosts": (("a", 4), ("b", 4))}, "ranks", 9, True),
        ({"ranks_per_node": 8}, "ranks", 32, False),
        ({"ranks_per_node": 16}, "ranks", 32, True),
        ({"slots": (8, 8)}, "copies", 16, True),
        ({}, "ranks", 8, False),
        ({}, "ranks", 9, True),
    ],
)
def test_only_nodes_with_more_ranks_than_cores_share_them(where, kind, ranks, crowded):
    layout = Layout(1, oversubscribe=True, **where)
    found = machine.Hardware("a cpu", 8, 1, ())
    conditions = Conditions((), "srun", None, layout, {}, found, True, (), None)
    point = Point("weak", kind, ranks, 1, ranks, 1, 0)
    assert conditions.layout_of(point).oversubscribe is crowded
    of_gpus = replace(conditions, layout=replace(layout, cores_per_rank=0, gpus_per_rank=1))
    assert of_gpus.layout_of(point).oversubscribe, "there is none"
    here = replace(conditions, elsewhere=False)
    assert here.layout_of(point).oversubscribe is (ranks > 8)


@pytest.mark.parametrize(
    ("visible", "shown"),
    [
        (None, ["a", "b", "c"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,-1,1", ["a"]),
        ("2, 0", ["c", "a"]),
        ("0,3,1", ["a"]),
        ("GPU-bb", ["b"]),
        ("GPU-b,GPU-x,0", ["b"]),
        ("GPU-", []),
        ("1,1", ["b"]),
        ("MIG-1", ["a / b / c (MIG)"]),
        ("MIG-GPU-bb1/1/0, MIG-2,0", 2 * ["a / b / c (MIG)"]),
    ],
)
def test_gpus_are_those_that_cuda_shows(visible, shown):
    found = [("a", "GPU-aa0"), ("b", "GPU-bb1"), ("c", "GPU-cc2")]
    assert hardware.visible_gpus(found, visible) == shown


def test_launcher_that_is_not_installed_is_named_with_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for name, hint in machine.HOW_TO_GET.items():
        with pytest.raises(UsageError) as caught:
            machine.find_launcher(name, controller="gloo", ranks=2)
        assert f"{name} is not installed: {hint}" == str(caught.value)
    with pytest.raises(UsageError, match="mpirun is not installed"):
        machine.find_launcher("auto", controller="gloo", ranks=2)
    assert machine.find_launcher("auto", controller="gloo", ranks=1) == ("python", None)


@pytest.mark.parametrize(
    ("says", "launcher"),
    [
        ("mpirun (Open MPI) 4.1.8", "openmpi"),
        ("mpirun (Open MPI) 5.0.3", "openmpi"),
        ("HYDRA build details:", "mpich"),
    ],
)
def test_mpirun_is_recognised_by_what_it_says(tmp_path, says, launcher):
    program = tmp_path / "mpirun"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    assert machine.flavour(str(program)) == launcher


def test_unknown_mpirun_is_refused(tmp_path):
    program = tmp_path / "mpirun"
    program.write_text("#!/bin/sh\necho 'Another MPI 3'\n")
    program.chmod(0o755)
    with pytest.raises(UsageError, match="it says: Another MPI 3"):
        machine.flavour(str(program))


def test_copies_get_gpus_of_their_own():
    words = launch.copy_words(
        Layout(2, 8, 1), PROGRAM, 1, notes=NOTES, environment={"OMP_NUM_THREADS": "8"}
    )
    begin = ["env", "OMP_NUM_THREADS=8", *BEFORE, "--cores", "8", "--rank", "1", "--gpus", "1"]
    assert words == [*begin, "--", *PROGRAM]
    assert [rank.own_gpus(None, copy, 2) for copy in (0, 1)] == ["0,1", "2,3"]
    assert rank.own_gpus("GPU-a,GPU-b", 1, 1) == "GPU-b"
