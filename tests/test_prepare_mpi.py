"""`prepare` on several ranks: real processes, and the same bytes whatever their number."""

import pytest
import tiny

pytestmark = pytest.mark.mpi

PREPARE = """
import sys
from pathlib import Path
from cloudmask.cli import errors
from cloudmask.cli.options import PrepareConfig
from cloudmask.data.prepare.command import prepare

def main(words):
    scenes, out = map(Path, words[:2])
    return prepare(PrepareConfig((scenes,), out, patch_size=16, strict="strict" in words))

sys.exit(errors.run(main, sys.argv[1:], program="prepare"))
"""

TWO_EACH = """
import os, signal, sys
from pathlib import Path
from cloudmask.data.prepare import command as module

Path(f"{sys.argv[2]}.{os.getpid()}.pid").touch()
taken = []

def two(*args, write=module.write_patches, **options):
    taken.append(args)
    if len(taken) > 2:
        signal.pause()  # until it is killed
    return write(*args, **options)

module.write_patches = two
"""

ONE_UNTIL_TOLD = """
import time
from cloudmask.data import parallel
from cloudmask.data.prepare import command as module

def one(*args, write=module.write_patches, **options):
    while not parallel._stop_requested(parallel.world()):
        time.sleep(0.01)
    return write(*args, **options)

module.write_patches = one
"""

FULL = """
from cloudmask.data.prepare import command as module

def full(folder, path, *args, write=module.write_patches, **options):
    if "S3A_03" in path:
        raise OSError(28, "No space left on device", path)
    return write(folder, path, *args, **options)

module.write_patches = full
"""


def finish(process, seconds=240):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_one_two_and_three_ranks_write_the_same_bytes(archive, tmp_path, start, tree):
    for ranks in (1, 2, 3):
        code, out, err = finish(start(PREPARE, archive, tmp_path / f"out{ranks}", ranks=ranks))
        assert code == 0, err
        assert out.count("10 scenes | train 160 patches") == 1
    expected = tree(tmp_path / "out1")
    assert len(expected) == 12
    assert tree(tmp_path / "out2") == expected
    assert tree(tmp_path / "out3") == expected


def test_more_ranks_than_scenes_leave_some_idle(tmp_path, start, tree, write_hdf):
    for number in range(2):
        write_hdf(tmp_path / f"scenes/S3A_{number}.hdf", seed=number)
    code, _, err = finish(start(PREPARE, tmp_path / "scenes", tmp_path / "out", ranks=4))
    assert code == 0, err
    assert len(tree(tmp_path / "out")) == 4


def test_killed_ranks_can_be_followed_by_another_number_of_them(archive, tmp_path, start, tree):
    assert finish(start(PREPARE, archive, tmp_path / "whole"))[0] == 0
    out = tmp_path / "out"
    process = start(TWO_EACH + PREPARE, archive, out, ranks=2)
    tiny.wait_until(lambda: len(list(out.glob(".prepare/*.json"))) == 4)
    ranks = [int(path.suffixes[-2][1:]) for path in tmp_path.glob("out.*.pid")]
    assert len(ranks) == 2
    tiny.kill_everything(process)
    process.communicate()
    tiny.wait_until_gone(ranks)
    assert len(list(out.glob(".prepare/*.json"))) == 4
    assert not (out / "manifest.json").exists()
    code, _, err = finish(start(PREPARE, archive, out, ranks=3))
    assert code == 0, err
    assert tree(out) == tree(tmp_path / "whole")
    code, said, _ = finish(start(PREPARE, archive, out, ranks=2))
    assert (code, said.count("nothing to do")) == (0, 1)


def test_a_broken_scene_on_any_rank_costs_only_itself(archive, tmp_path, start, tree):
    for number in (3, 4):
        path = next(archive.rglob(f"S3A_{number:02d}.hdf"))
        path.write_bytes(path.read_bytes()[:1000])
    code, out, err = finish(start(PREPARE, archive, tmp_path / "out", ranks=2))
    assert code == 1
    assert "8 scenes" in out
    assert err.count("left out: ") == 2
    finish(start(PREPARE, archive, tmp_path / "alone"))
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_strict_stops_all_ranks_and_writes_no_manifest(archive, tmp_path, start):
    """The other rank ends after the scene in hand, which takes it until it is told to stop."""
    path = next(archive.rglob("S3A_00.hdf"))
    path.write_bytes(b"")
    words = (archive, tmp_path / "out", "strict")
    code, _, err = finish(start(ONE_UNTIL_TOLD + PREPARE, *words, ranks=2))
    assert code == 1
    assert err.count("stopped at a broken scene") == 1
    assert len(list((tmp_path / "out").glob(".prepare/*.json"))) <= 1
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_full_disk_on_one_rank_is_told_once_and_a_rerun_goes_on(archive, tmp_path, start, tree):
    code, _, err = finish(start(FULL + PREPARE, archive, tmp_path / "out", ranks=2))
    assert code == 1
    assert err.count("the disk is full: make room") == 1
    assert "Traceback" not in err
    code, _, err = finish(start(PREPARE, archive, tmp_path / "out", ranks=2))
    assert code == 0, err
    finish(start(PREPARE, archive, tmp_path / "alone"))
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_what_the_user_must_mend_is_told_once(tmp_path, start):
    (tmp_path / "empty").mkdir()
    code, _, err = finish(start(PREPARE, tmp_path / "empty", tmp_path / "out", ranks=3))
    assert code == 1
    assert err.count("no scenes found under") == 1
    assert "Traceback" not in err
