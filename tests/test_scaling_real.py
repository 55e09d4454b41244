"""Small real studies of train_hvd.py: what it writes is what the study reads."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import scaling_fake
import tiny

from scaling.measure import notes
from scaling.record import store

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.mpi]


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    return tiny.make_patchset(tmp_path_factory.mktemp("patches") / "set")


def _words(out, patches, *options, steps=8):
    return [
        *(sys.executable, "-m", "scaling", "run", "--out", str(out), "--repeats", "1"),
        *("--batch-per-rank", "2", "--stall-seconds", "90", *options, "--"),
        *("python", "train_hvd.py", "--data", str(patches), "--preset", "tiny"),
        *("--no-tensorboard", "--max-steps", str(steps), "--epochs", "100000"),
    ]


def _study(out, patches, *options):
    words = _words(out, patches, *options)
    done = subprocess.run(words, env=tiny.environment(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return store.read(out)


@pytest.fixture(scope="module")
def study(tmp_path_factory, patches):
    out = tmp_path_factory.mktemp("study") / "weak"
    return _study(out, patches, "--modes", "weak", "--copies", "--ranks", "2")


def test_ranks_copies_and_allreduce_are_measured(study):
    kinds = sorted(row["kind"] for row in study.rows)
    assert kinds == ["allreduce", "alone", "copies", "ranks"]
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
    assert row["gradient_bytes"] == 4 * row["parameters"] > 0
    assert 1 < row["flops_per_patch"] / row["bytes_per_patch"] < 1000
    assert row["last_rank_exposed_seconds"] > 0
    for any_row in study.rows:  # from the launch, where the program's own clock starts later
        assert any_row["rank_hours"] == pytest.approx(
            any_row["ranks"] * any_row["wall_seconds"] / 3600, abs=1e-5
        )
    assert row["wall_seconds"] > row["total_seconds"]
    assert sum(row["ledger"].values()) == pytest.approx(2 * row["wall_seconds"], rel=0.01)
    assert all(row["ledger"][name] > 0 for name in ("launch", "startup", "compute", "rest"))
    (copies,) = study.points("weak", "copies")[2]
    assert copies["patches_per_second"] > 0
    assert 0 <= copies["common_share"] <= 1, "each copy has told of its steps"
    assert copies["batch_per_rank"] == 2
    assert sum(copies["ledger"].values()) == pytest.approx(2 * copies["wall_seconds"], rel=0.01)
    (alone,) = study.points("weak", "alone")[1]
    assert alone["patches_per_second"] > 0
    assert [one["horovod"] for one in (row, copies, alone)] == [True, False, False]
    assert (alone["controller"], alone["ranks"], len(alone["cores"])) == ("none", 1, 1)


def test_the_allreduce_is_timed_over_message_sizes(study):
    row = next(row for row in study.rows if row["kind"] == "allreduce")
    sizes = [one["bytes"] for one in row["allreduce"]]
    assert sizes == sorted(set(sizes))
    assert row["last_step"] == len(sizes), "its heartbeat is a step per size"
    record = study.folder / "points" / row["folder"] / "run" / "allreduce.json"
    for told, timed in zip(row["allreduce"], json.loads(record.read_text())["rows"], strict=True):
        assert len(timed["seconds"]) == 21
        assert min(timed["seconds"]) > 0
        assert told["seconds"] == statistics.median(timed["seconds"])


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


def test_rank_of_a_training_that_is_stopped_does_not_hang_the_study(tmp_path, patches):
    """Inside MPI the other rank waits for ever, and Horovod's own stall check waits with it."""
    out, stall_seconds = tmp_path / "study", 45
    options = ["--modes", "weak", "--ranks", "2", "--no-allreduce", "--alone", ""]
    options += ["--stall-seconds", str(stall_seconds)]
    words = _words(out, patches, *options, steps=100_000)
    process = subprocess.Popen(
        words, env=tiny.environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    point = out / "points" / "weak-ranks-n0002-r01"
    tiny.wait_for_step(point / "run", 5, process)
    pid = notes.read(point / "logs")[1]["pid"]
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    told, _ = process.communicate(timeout=stall_seconds + 40)
    assert time.monotonic() - stopped < stall_seconds + 30
    assert process.returncode == 1
    (row,) = store.read_rows(out)
    assert row["status"] == "stalled"
    assert f"no step for {stall_seconds} s, so it was ended; its last step was" in row["error"]
    assert row["last_step"] >= 5
    assert set(row["last_lines"]) >= {"rank 0", "rank 1"}
    assert "stalled: " in told
    assert scaling_fake.living(out) == []
