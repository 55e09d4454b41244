"""What can be said of the job scripts without a batch system."""

import shutil
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
