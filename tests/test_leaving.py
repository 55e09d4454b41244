"""A rank that fails while the others go on ends them all, in every program."""

import shutil

import numpy as np
import pytest
import tiny
from test_evaluate import make_run

from cloudmask.data.patchset.open import open_patchset
from cloudmask.predict.masks import SceneMask, classify, write_mask

pytestmark = [pytest.mark.slow, pytest.mark.mpi]

PROGRAM = """
import os
import signal
import sys
from cloudmask.cli import errors
from cloudmask.data import parallel

def main(words):
    world = parallel.world()
    kind, who = words
    if who == "all":  # a rank that waited for another would now be waited for in vain
        errors.QUIET_SECONDS = errors.LEAVING_SECONDS = 3600
    if who == "all" or world.rank == int(who):
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGTERM)
        if kind == "exit":
            raise SystemExit(3)
        raise {"alone": ValueError, "agreed": errors.AgreedError, "typed": KeyboardInterrupt}[kind](
            "the disk of this host is gone"
        )
    world.broadcast(world.gather(world.rank))
    world.comm.Barrier()
    return 0

sys.exit(errors.run(main, sys.argv[1:], program="prog"))
"""


def ended(start, *words):
    process = start(PROGRAM, *words, ranks=2)
    _, err = process.communicate(timeout=240)
    return process.returncode, [line for line in err.splitlines() if line.startswith("prog: ")]


@pytest.mark.parametrize("kind", ["alone", "agreed", "typed"])
def test_a_rank_that_fails_by_itself_is_told_and_ends_all(start, kind):
    """Even where it thinks that the others fail as well, and leaves it to rank 0 to tell."""
    code, lines = ended(start, kind, 1)
    assert code != 0
    assert lines == ["prog: error on rank 1: the disk of this host is gone"]


@pytest.mark.parametrize("kind", ["exit", "killed"])
def test_every_other_way_out_ends_all_too(start, kind):
    code, _ = ended(start, kind, 1)
    assert code != 0


def test_ranks_that_fail_alike_leave_at_once_with_one_line(start):
    code, lines = ended(start, "agreed", "all")
    assert code == 1
    assert lines == ["prog: error: the disk of this host is gone"]


SLOW = """
import sys, time
from pathlib import Path
from cloudmask import __main__ as cli
from cloudmask.cli import errors
from cloudmask.evaluate import command

write = command.write

def slow(*words):
    time.sleep(2)
    write(*words)

command.write = slow
code = errors.run(cli.main, sys.argv[1:], program="cloudmask")
written = (Path(sys.argv[2]) / "evaluation.json").exists()
Path(f"{sys.argv[3]}.{errors.launched_rank()}.leaves").write_text(str(written))
sys.exit(code)
"""


def test_no_rank_leaves_before_the_verdict_is_written_where_a_scene_fails(start, tmp_path):
    for number in range(2):
        path = tiny.write_scene(tmp_path / "s" / f"{number}.npz", size=16, patches=1, seed=number)
    probability = np.full((16, 16, 1), 0.5, np.float32)
    classes = ("class 0", "class 1")
    mask = classify(probability, threshold=0.5)
    (tmp_path / "masks").mkdir()
    found = SceneMask(path.stem, classes, probability, None, mask, attributes={})
    write_mask(tmp_path / "masks" / f"{path.stem}.nc", found)
    process = start(SLOW, "evaluate", tmp_path / "masks", tmp_path / "s", ranks=2)
    out, err = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "0.npz" in err
    assert "1 scene, 1 failed" in out
    # In files: what a rank has printed last, mpirun may lose when another one has failed.
    left = [path.read_text() for path in tmp_path.glob("s.*.leaves")]
    assert left == ["True", "True"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("leaving")


@pytest.fixture(scope="module")
def patchset(work):
    return tiny.make_patchset(work / "set")


@pytest.fixture(scope="module")
def run(work, patchset):
    return make_run(work / "there" / "run", patchset)


def told(ended):
    """What the program said; mpirun tells of the end by itself."""
    assert ended.code != 0
    assert "Traceback" not in ended.err
    return [line for line in ended.err.splitlines() if line.startswith("cloudmask: ")]


def test_evaluating_patches_ends_where_one_rank_cannot_read(work, run, patchset):
    folder = shutil.copytree(patchset, work / "unreadable")
    files = open_patchset(folder).splits["train"].files
    assert len({file.patches for file in files}) == 1, "a batch is a file"
    victim = folder / files[1].path
    victim.write_bytes(bytes(victim.stat().st_size))
    words = ("-m", "cloudmask", "evaluate", run, folder, "--no-verify", "--split", "train")
    words += ("--batch-size", files[0].patches)
    lines = told(tiny.finish(tiny.start(*words, ranks=2)))
    assert len(lines) == 1
    assert lines[0].startswith("cloudmask: error on rank 1: ")


def test_predicting_ends_where_one_rank_does_not_find_the_model(work, run):
    """Each host looks at its own disk: what all are thought to read alike, one cannot."""
    (work / "elsewhere").mkdir()
    scene = work / "scene.npz"
    np.savez(scene, image=np.zeros((16, 16, 3), np.float32))
    out = work / "masks"
    program = [tiny.sys.executable, "-m", "cloudmask", "predict", "run", scene, "--out", out]
    words = ["mpirun", "--oversubscribe"]
    for place in ("there", ":", "elsewhere"):
        words += [place] if place == ":" else ["-n", "1", "-wdir", work / place, *program]
    lines = told(tiny.finish(tiny.start_program(words)))
    assert len(lines) == 1
    assert lines[0].startswith(
        "cloudmask: error on rank 1: run is not there: run is not a finished"
    )
    assert list(out.iterdir()) == []
