"""Small real studies of train_hvd.py: what it writes is what the study reads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from scaling import results

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.mpi]


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    return tiny.make_patchset(tmp_path_factory.mktemp("patches") / "set")


def _study(out, patches, *options):
    words = ["python", "train_hvd.py", "--data", str(patches), "--preset", "tiny"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "scaling", "run", "--out", str(out), "--repeats", "1"),
            *("--batch-per-rank", "2", "--stall-seconds", "90", *options, "--"),
            *(*words, "--no-tensorboard", "--max-steps", "8"),
        ],
        env=tiny.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return results.read(out)


@pytest.fixture(scope="module")
def study(tmp_path_factory, patches):
    out = tmp_path_factory.mktemp("study") / "weak"
    return _study(out, patches, "--modes", "weak", "--copies", "--ranks", "2")


def test_ranks_copies_and_allreduce_are_measured(study):
    assert sorted(row["kind"] for row in study.rows) == ["allreduce", "copies", "ranks"]
    assert all(row["status"] == "ok" for row in study.rows)
    (row,) = study.points("weak")[2]
    assert len({core for here in row["cores"] for core in here}) == 2
    assert row["threads_per_rank"] == 1
    assert row["steps_run"] == row["last_step"] == 8
    assert row["global_batch"] == 4
    assert len(row["per_rank"]["compute_seconds"]) == 2
    assert 0 < row["compute_seconds"] < row["step_seconds"]
    assert row["first_epoch_patches"] == row["training_patches"] == 30
    assert row["settings"]["HOROVOD_CYCLE_TIME"] == "10"
    (copies,) = study.points("weak", "copies")[2]
    assert copies["patches_per_second"] > 0
    assert copies["batch_per_rank"] == 2


def test_allreduce_takes_longer_for_more_bytes(study):
    row = next(row for row in study.rows if row["kind"] == "allreduce")
    sizes = [one["bytes"] for one in row["allreduce"]]
    assert sizes == sorted(sizes)
    assert row["allreduce"][-1]["seconds"] > row["allreduce"][0]["seconds"] > 0


def test_every_point_leaves_its_command_line_environment_and_log(study):
    for row in study.rows:
        folder = study.folder / "points" / row["folder"]
        for name in ("command.txt", "environment.json", "launcher.log", "logs/rank-0000.log"):
            assert (folder / name).exists()
        recorded = json.loads((folder / "environment.json").read_text())
        assert recorded["set_by_the_study"]["OMPI_MCA_mpi_yield_when_idle"] == "1"
    largest = max(path.stat().st_size for path in study.folder.rglob("*") if path.is_file())
    assert largest <= 4 * 2**20


def test_horovodrun_by_gloo_gives_each_rank_its_core(tmp_path, patches):
    options = ["--launcher", "horovodrun", "--modes", "strong", "--ranks", "2", "--no-allreduce"]
    found = _study(tmp_path / "study", patches, *options)
    (row,) = found.points("strong")[2]
    assert row["launcher"] == "horovodrun-gloo"
    assert row["controller"] == "gloo"
    assert sorted(map(len, row["cores"])) == [1, 1]
    assert row["cores"][0] != row["cores"][1]
    assert row["batch_per_rank"] == 2
