"""The job scripts in a real Slurm of one node: told to stop, back in the queue, done."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import scaling_fake
import slurm
import tiny

from scaling.measure import launch
from scaling.measure.layout import Layout
from scaling.record import store

TINY = ("--widths", 4, 8, "--precision", "float32", "--threads", 1)
TRAIN = (*TINY, "--batch-size", 2, "--no-tensorboard")
SHORT = ("--epochs", 24, *TRAIN)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.mpi,
    pytest.mark.skipif(slurm.missing() is not None, reason=f"no Slurm here: {slurm.missing()}"),
]


@pytest.fixture(scope="module")
def cluster():
    with slurm.cluster() as running:
        yield running


@pytest.fixture(scope="module")
def patchset(tmp_path_factory):
    return tiny.make_patchset(tmp_path_factory.mktemp("slurm") / "set")


@pytest.fixture(scope="module")
def whole(patchset):
    """The newest weights of an unbroken run of two ranks, without Slurm."""
    folder = patchset.with_name("whole")
    ended = tiny.train("--data", patchset, *SHORT, "--out", folder, ranks=2)
    assert ended.code == 0, ended.err
    return tiny.newest_weights(folder)


@pytest.fixture
def submit(cluster, tmp_path):
    """submit(script, *words, options=...) -> (number of the job, file of its output)"""
    numbers = []

    def start(script, *words, options=("--ntasks=2",), **environment):
        log = tmp_path / "job.log"
        line = (f"--output={log}", *options, f"jobs/{script}", *words)
        numbers.append(cluster.submit(*line, **environment))
        return numbers[-1], log

    yield start
    for number in numbers:
        cluster.run("scancel", "--quiet", number)
        cluster.end(number)


def wait_for_step(cluster, run, step, number):
    """Wait until a job's run has made a step; the job must not have ended."""

    def there(job):
        assert job["JobState"] in ("PENDING", "RUNNING", "CONFIGURING"), job
        return len(tiny.events(run, "step")) >= step

    cluster.wait(number, there, seconds=120)


def status(run):
    return json.loads((run / "summary.json").read_text())["status"]


@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_job_that_is_told_to_stop_requeues_itself_and_ends_with_the_same_bits(
    cluster, submit, patchset, whole, tmp_path, launcher
):
    if launcher == "srun" and (lacking := no_pmix(cluster)):
        pytest.skip(lacking)
    run = tmp_path / "run"
    number, log = submit("train.sbatch", patchset, run, *SHORT, CLOUDMASK_LAUNCHER=launcher)
    wait_for_step(cluster, run, 3, number)
    cluster.run("scancel", "--signal=USR1", "--batch", number)
    cluster.wait(number, lambda job: job["Restarts"] == "1", seconds=60)
    assert status(run) == "stopped"
    stopped_at, _ = tiny.newest_weights(run)
    assert 3 <= stopped_at < whole[0]

    job = cluster.end(number)
    assert (job["JobState"], job["ExitCode"], job["Restarts"]) == ("COMPLETED", "0:0", "1")
    assert f"step-{stopped_at:08d}" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert status(run) == "finished"
    assert tiny.newest_weights(run) == whole


def no_pmix(cluster):
    """Why srun cannot start ranks of MPI here; None if it can."""
    done = cluster.run("srun", "--mpi=pmix", "true")
    return None if done.returncode == 0 else f"srun --mpi=pmix: {done.stderr.splitlines()[0]}"


@pytest.mark.skipif("CI_SLURM" not in os.environ, reason="takes 50 s; CI_SLURM=1 runs it")
@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_job_that_is_preempted_by_another_goes_on_after_it(
    cluster, submit, patchset, whole, tmp_path, launcher
):
    # Slurm tells every process of the job, the script tells the launcher, the launcher the ranks.
    if launcher == "srun" and (lacking := no_pmix(cluster)):
        pytest.skip(lacking)
    run = tmp_path / "run"
    number, log = submit("train.sbatch", patchset, run, *SHORT, CLOUDMASK_LAUNCHER=launcher)
    wait_for_step(cluster, run, 3, number)
    words = ("--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap=true")
    assert cluster.end(cluster.submit(*words))["JobState"] == "COMPLETED"
    assert status(run) == "stopped", log.read_text()
    job = cluster.end(number)
    assert (job["JobState"], job["ExitCode"], job["Restarts"]) == ("COMPLETED", "0:0", "1")
    assert tiny.newest_weights(run) == whole


@pytest.mark.skipif("CI_SLURM" not in os.environ, reason="takes 90 s; CI_SLURM=1 runs it")
def test_job_at_its_time_limit_requeues_itself_and_goes_on(cluster, submit, patchset, tmp_path):
    # Of a minute, the shortest. Slurm looks twice a minute: the signal comes in its second half.
    run = tmp_path / "run"
    options = ("--ntasks=2", "--time=1", "--signal=B:USR1@1")
    number, log = submit("train.sbatch", patchset, run, "--epochs", 9999, *TRAIN, options=options)
    cluster.wait(number, lambda job: job["Restarts"] == "1", seconds=120)
    assert status(run) == "stopped"
    stopped_at, _ = tiny.newest_weights(run)
    cluster.wait(number, lambda _: f"step-{stopped_at:08d}" in log.read_text(), seconds=60)


def test_job_that_is_cancelled_stays_cancelled(cluster, submit, patchset, tmp_path):
    run = tmp_path / "run"
    number, log = submit("train.sbatch", patchset, run, "--epochs", 9999, *TRAIN)
    wait_for_step(cluster, run, 3, number)
    cluster.run("scancel", number)
    tiny.wait_until(cluster.is_idle)
    job = cluster.job(number)
    assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0"), log.read_text()
    assert status(run) == "stopped"


def test_seeds_of_an_array_are_runs_of_their_own(cluster, submit, patchset, tmp_path):
    runs = tmp_path / "runs"
    options = ("--array=0-1", "--ntasks=1")
    number, _ = submit(
        "seeds.sbatch", patchset, runs, "--epochs", 1, "--max-steps", 2, *TRAIN, options=options
    )
    for task in (0, 1):
        assert cluster.end(f"{number}_{task}")["JobState"] == "COMPLETED"
        summary = json.loads((runs / f"seed-{task}" / "summary.json").read_text())
        assert (summary["status"], summary["seed"], summary["ranks"]) == ("finished", task, 1)
    assert tiny.newest_weights(runs / "seed-0") != tiny.newest_weights(runs / "seed-1")


@pytest.mark.parametrize(
    ("script", "words", "options", "environment", "says"),
    [
        ("train.sbatch", ["{set}", "{run}"], [], {}, "say how many ranks: sbatch --ntasks=N"),
        ("train.sbatch", ["{set}"], ["--ntasks=1"], {}, "give a patch set and a run folder"),
        ("train.sbatch", ["/nowhere", "{run}"], ["--ntasks=1"], {}, "/nowhere is no patch set"),
        (
            *("train.sbatch", ["{set}", "{run}"], ["--ntasks=1"], {"CLOUDMASK_LAUNCHER": "yarn"}),
            "CLOUDMASK_LAUNCHER is 'yarn'; use mpirun or srun",
        ),
        (
            "seeds.sbatch",
            ["{set}", "{run}"],
            ["--ntasks=1"],
            {},
            "say which seeds: sbatch --array=",
        ),
        ("study.sbatch", ["{set}", "{run}"], ["--ntasks=1"], {}, "a study folder and rank counts"),
    ],
)
def test_wrong_submission_is_a_failed_job_with_one_clear_line(
    cluster, submit, patchset, tmp_path, script, words, options, environment, says
):
    filled = [word.format(set=patchset, run=tmp_path / "run") for word in words]
    number, log = submit(script, *filled, options=options, **environment)
    job = cluster.end(number)
    assert (job["JobState"], job["ExitCode"]) == ("FAILED", "2:0")
    assert says in log.read_text()
    assert log.read_text().count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_study_under_srun_starts_and_binds_every_rank(cluster, tmp_path):
    folder = tmp_path / "study"
    words = study_words(folder, "--ranks", "1,2", "--repeats", 2)
    done = cluster.run("salloc", "--quiet", "--ntasks=2", sys.executable, *words)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 4
    assert {row["launcher"] for row in rows} == {"srun"}
    for row in rows:
        assert len({*map(tuple, row["cores"])}) == row["ranks"]  # a core each, and no two the same
        assert [len(cores) for cores in row["cores"]] == [1] * row["ranks"]
        assert row["nodes"] == 1


def test_load_of_others_is_told_apart_from_what_ranks_compute_under_srun(cluster, tmp_path):
    """Ranks of srun are slurmd's descendants: all they compute would count as another's."""
    folder = tmp_path / "study"
    words = study_words(folder, "--ranks", "2", "--repeats", 1)
    words += ["--steps", 15, "--spin", 0.1]
    done = cluster.run("salloc", "--quiet", "--ntasks=2", sys.executable, *words)
    assert done.returncode == 0, done.stderr + done.stdout
    (row,) = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    computed = row["usage"]["cpu_seconds"]["median"] * row["ranks"]
    elsewhere = row["other_cores"] * row["wall_seconds"]
    # Whoever else computes here counts as other; what the ranks did themselves never does. At most
    # the cores' whole time is left for others.
    assert computed > 2
    assert elsewhere < row["ranks"] * row["wall_seconds"] - computed + 0.5


def test_step_of_a_stalled_point_is_gone_before_the_next_one(cluster, tmp_path):
    """Its ranks are stopped, and Slurm itself would give them KillWait, 30 s."""
    folder = tmp_path / "study"
    words = study_words(folder, "--ranks", "2", "--repeats", 2, "--stall-seconds", 8)
    words += ["--fault", "stop", "--fault-seed", 0]
    done = cluster.run("salloc", "--quiet", "--ntasks=2", sys.executable, *words)
    assert done.returncode == 1, done.stderr + done.stdout
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert sorted(row["status"] for row in rows) == ["ok", "stalled"]
    stalled = next(row for row in rows if row["status"] == "stalled")
    assert "could not all be ended" not in stalled["error"]
    assert stalled["wall_seconds"] < 8 + 28
    tiny.wait_until(lambda: scaling_fake.living(folder) == [], seconds=20)
    told = json.loads((folder / "points" / stalled["folder"] / "reaper.json").read_text())
    assert told["gone"] is True


def test_ranks_whose_srun_was_killed_are_ended_before_the_next_point(cluster, tmp_path):
    """They are slurmd's: nothing that is sent to srun, or to what it started here, reaches them."""
    folder = tmp_path / "study"
    words = [*study_words(folder, "--ranks", "2", "--repeats", 1), "--pause", 1, "--steps", 500]
    study = subprocess.Popen(
        ["salloc", "--quiet", "--ntasks=2", sys.executable, *map(str, words)],
        env=cluster.environment,
        cwd=tiny.ROOT,
        stdout=subprocess.DEVNULL,
    )
    tiny.wait_until(lambda: list(folder.glob("points/*/run/events.jsonl")), seconds=60)
    killed = [pid for pid in srun_of(folder) if os.kill(pid, signal.SIGKILL) is None]
    assert killed
    assert study.wait(120) == 1
    tiny.wait_until(lambda: scaling_fake.living(folder) == [], seconds=20)
    (row,) = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    assert (row["status"], row["exit_code"]) == ("failed", 128 + signal.SIGKILL)


def srun_of(folder):
    """Process ids of the srun that works for a study."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if words.split(b"\0")[0].endswith(b"srun") and str(folder).encode() in words:
                found.append(int(entry.name))
    return found


def test_srun_is_told_cores_where_slurm_counts_hardware_threads(tmp_path):
    """A node of one core with two threads: two ranks of one core each do not fit on it."""
    program = ["python", "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]

    def run(ranks, *, drop="", seconds=60):
        words = launch.start("srun", Layout(ranks), program, {})
        words = [word for word in words if word != drop]
        script = f". jobs/common.sh; cores_per_task; timeout {seconds} {shlex.join(words)}"
        done = smt.run("salloc", "--quiet", "--cpus-per-task=2", "bash", "-c", script)
        return done.returncode, done.stdout.splitlines()

    with slurm.cluster(cpus=2, threads_per_core=2) as smt:
        assert run(1) == (0, ["1", "[0, 1]"])
        code, told = run(2, seconds=5)  # a step for which there is no room waits for it
        assert (code != 0, told) == (True, ["1"])
        # As it was before: both ranks on the one core.
        assert run(2, drop="--threads-per-core=1") == (0, ["1", "[0, 1]", "[0, 1]"])


def study_words(folder, *options):
    """A study of the fake program under srun; words of that program may follow."""
    words = ["-m", "scaling", "run", "--out", folder, "--launcher", "srun", "--modes", "weak"]
    words += [*options, "--no-allreduce", "--", "python", scaling_fake.__file__]
    return [*words, "--out", "{out}", "--batch", "{batch}", "--seed", "{seed}"]


def test_study_under_srun_trains_ranks_of_one_mpi_world(cluster, patchset, tmp_path):
    if lacking := no_pmix(cluster):
        pytest.skip(lacking)
    folder = tmp_path / "study"
    words = ["-m", "scaling", "run", "--out", folder, "--launcher", "srun", "--ranks", "1,2"]
    words += ["--modes", "strong", "--repeats", 1, "--env", "SLURM_MPI_TYPE=pmix", "--"]
    words += ["python", "train_hvd.py", "--data", patchset, "--max-steps", 6, *TINY]
    done = cluster.run("salloc", "--quiet", "--ntasks=2", sys.executable, *words)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"ok"}
    assert sorted((row["kind"], row["ranks"]) for row in rows) == [
        *(("allreduce", 2), ("alone", 1), ("ranks", 1), ("ranks", 2))
    ]
    (row,) = (row for row in rows if (row["kind"], row["ranks"]) == ("ranks", 2))
    assert (row["launcher"], row["controller"]) == ("srun", "mpi")
    assert len({core for cores in row["cores"] for core in cores}) == 2


def test_study_that_is_told_to_stop_requeues_itself_and_goes_on(
    cluster, submit, patchset, tmp_path
):
    results = tmp_path / "study" / "results.jsonl"

    def rows():
        return store.read_rows(results.parent)

    words = (patchset, results.parent, "1", "--repeats", 3, "--", "--max-steps", 4, *TINY)
    number, log = submit("study.sbatch", *words, options=("--ntasks=1",))
    cluster.wait(number, lambda job: rows() or job["JobState"] == "FAILED", seconds=120)
    cluster.run("scancel", "--signal=USR1", "--batch", number)
    cluster.wait(number, lambda job: job["Restarts"] == "1", seconds=60)
    before = rows()
    assert before, log.read_text()
    cluster.wait(number, lambda _: len(rows()) > len(before), seconds=120)
    assert rows()[: len(before)] == before
    assert {row["status"] for row in rows()} == {"ok"}
