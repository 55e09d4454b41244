"""What can be said of the job scripts without a batch system."""

import os
import shutil
import signal
import subprocess

import pytest
import tiny

JOBS = tiny.ROOT / "jobs"
SCRIPTS = sorted(path for path in JOBS.iterdir() if path.suffix in (".sh", ".sbatch", ".lsf"))


def test_scripts_are_shell_without_faults():
    checks = [["bash", "-n", script] for script in SCRIPTS]
    if shutil.which("shellcheck"):
        checks.append(["shellcheck", *SCRIPTS])  # all at once: they use what common.sh defines
    for words in checks:
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (["patches"], {}, "give a patch set and a run folder"),
        (["patches", "run"], {}, "this is a job script: bsub -n N"),
        (["/nowhere", "run"], {"LSB_DJOB_NUMPROC": "2"}, "/nowhere is no patch set"),
    ],
)
def test_wrong_lsf_submission_is_one_clear_line(words, environment, says):
    done = subprocess.run(
        ["bash", JOBS / "train.lsf", *words],
        env=tiny.environment() | environment,
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def slurm_without_one(tmp_path):
    """An environment as in a Slurm job, with a scontrol and a python that only note their words."""
    root = tmp_path / "root"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / "jobs").symlink_to(JOBS)
    (root / "train_hvd.py").touch()
    (root / "patches").mkdir()
    (root / "patches" / "manifest.json").touch()
    scontrol = f'[ "$1" != requeue ] || echo "$@" > {root}/requeued\ncat {root}/node; exit 1\n'
    python = f'printf "%s\\n" "$@" >> {root}/called\n[ ! -e {root}/wait ] || exec sleep 60\n'
    for name, text in (("scontrol", scontrol), ("python", python)):
        path = root / ".venv" / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)
    (root / "node").touch()
    path = f"{root / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return root, {"PATH": path, "CLOUDMASK_ROOT": str(root), "SLURM_JOB_ID": "7"}


@pytest.mark.parametrize(
    ("node", "cpus", "cores"),
    [
        ("NodeName=a CPUTot=64 Sockets=2 CoresPerSocket=16 ThreadsPerCore=2", "8", "4"),
        ("NodeName=a CPUTot=32 Sockets=2 CoresPerSocket=16 ThreadsPerCore=2", "8", "8"),
        ("NodeName=a CPUTot=64 Sockets=2 CoresPerSocket=16 ThreadsPerCore=2", "3", "2"),
        ("NodeName=a CPUTot=2 Sockets=1 CoresPerSocket=2 ThreadsPerCore=1", "1", "1"),
        ("NodeName=a CPUTot=1 Sockets=1 CoresPerSocket=2 ThreadsPerCore=1", "1", "1"),
        ("slurm_load_node error: Unable to contact slurm controller", "8", "8"),
        ("", None, "1"),
    ],
)
def test_a_task_has_cores_where_slurm_counts_hardware_threads(slurm_without_one, node, cpus, cores):
    root, environment = slurm_without_one
    (root / "node").write_text(f"{node}\n")
    environment |= {"SLURM_CPUS_PER_TASK": cpus} if cpus else {}
    words = ["bash", "-uc", f". {JOBS}/common.sh; cores_per_task"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == ([cores], "")


@pytest.mark.parametrize(
    ("words", "study", "training"),
    [
        (["1,2"], ["--ranks", "1,2", "--cores-per-rank", "1", "--launcher", "mpirun"], []),
        (
            ["1", "--repeats", "3", "--launch", "run {ranks} {program}", "--", "--epochs", "3"],
            [
                *("--ranks", "1", "--cores-per-rank", "1", "--repeats", "3"),
                *("--launch", "run {ranks} {program}"),
            ],
            ["--epochs", "3"],
        ),
        (
            ["", "--nodes", "1,2", "--ranks-per-node", "4"],
            [
                *("--cores-per-rank", "1", "--launcher", "mpirun"),
                *("--nodes", "1,2", "--ranks-per-node", "4"),
            ],
            [],
        ),
    ],
)
def test_study_job_hands_on_options_of_the_study_and_of_the_training(
    slurm_without_one, words, study, training
):
    root, environment = slurm_without_one
    job = ["bash", root / "jobs" / "study.sbatch", "patches", "study", *words]
    done = subprocess.run(job, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    called = (root / "called").read_text().splitlines()
    assert called[: called.index("fit") - 2] == [
        *("-m", "scaling", "run", "--out", "study", *study, "--", "python", "train_hvd.py"),
        *("--data", "patches", "--no-tensorboard", *training),
    ]


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_job_that_is_told_before_its_time_limit_goes_back_into_the_queue(
    slurm_without_one, number, requeued
):
    root, environment = slurm_without_one
    (root / "wait").touch()
    job = ["bash", root / "jobs" / "study.sbatch", "patches", "study", "1"]
    with subprocess.Popen(job, env=environment, stdout=subprocess.PIPE, text=True) as process:
        tiny.wait_until((root / "called").exists, seconds=30)
        process.send_signal(number)
        assert process.wait(30) == 75
    told = (root / "requeued").read_text() if (root / "requeued").exists() else ""
    assert told == ("requeue 7\n" if requeued else "")
