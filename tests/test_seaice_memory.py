"""Workers by memory, and workers that are ended from outside."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_seaice_label import ROOT, run, scene, write

from cloudmask import host
from cloudmask.data.parallel import World
from seaice import memory
from seaice.engines import Engine
from seaice.io import sources
from seaice.io.picture import Reading

GIB = 2**30


def test_no_more_workers_are_started_than_memory_holds():
    assert memory.fitting(8, 2 * GIB, free=9 * GIB) == 4
    assert memory.fitting(8, 2 * GIB, free=99 * GIB) == 8
    assert memory.fitting(8, 2 * GIB, free=GIB) == 1
    told = "8 x 2.0 GiB for the largest scene, and 9.0 GiB of memory is free"
    assert memory.told(8, 2 * GIB, free=9 * GIB) == told


def test_a_worker_is_reckoned_with_the_scene_of_the_most_pixels(tmp_path):
    write(tmp_path / "small.png", scene(0, 40))
    write(tmp_path / "large.png", scene(1, 300))
    (tmp_path / "broken.png").write_bytes(b"no picture, but the largest file of all" * 9999)
    np.savez(tmp_path / "arrays.npz", image=scene(2, 100))
    found = sources.find([str(tmp_path)], apart_from=tmp_path / "out")
    largest = memory.bytes_of_worker(found, Reading()) - memory.BYTES_OF_PROGRAM
    assert largest == memory.BYTES_PER_PIXEL * np.prod(scene(1, 300).shape[:2])
    assert memory.bytes_of_worker([], Reading()) == memory.BYTES_OF_PROGRAM


@pytest.mark.skipif(host.num_cores() < 2, reason="with one core there is one worker anyway")
def test_too_little_memory_means_fewer_workers_and_a_line(capsys):
    found = Engine("processes").map_items(abs, [-1, -2], world=World(), bytes_each=2**60)
    assert [outcome.value for outcome in found] == [1, 2]
    assert capsys.readouterr().err.startswith("warning: 1 worker instead of 2: 2 x ")
    asked = Engine("processes", workers=2)
    asked.map_items(abs, [-1, -2], world=World(), bytes_each=2**60)
    assert "warning: memory may not hold --workers 2" in capsys.readouterr().err


@pytest.mark.mpi
def test_too_little_memory_for_the_ranks_of_a_host_is_said_once(start):
    code = (
        "from seaice.engines import Engine\n"
        "engine = Engine('mpi')\n"
        "world = engine.world()\n"
        "found = engine.map_items(abs, [-1, -2], world=world, bytes_each=2**60)\n"
        "assert [outcome.value for outcome in found] == [1, 2]\n"
    )
    process = start(code, ranks=2)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert len(re.findall("memory may not hold the ranks of a host: 2 x", err)) == 1


def ends_with_its_process(item):
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_what_a_lost_worker_leaves_undone_is_not_reached_and_the_rest_is_kept(capsys):
    engine = Engine("processes", workers=1)
    found = engine.map_items(ends_with_its_process, range(5), world=World())
    assert [outcome and outcome.value for outcome in found] == [0, 1, None, None, None]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("a worker process was ended from outside")
    assert "3 scenes not reached; run the same command again" in line


HELD = """
import signal, sys
from seaice import __main__ as cli
from seaice import engines

def held(function, item, attempt=engines.attempt):
    if item.name == "scene_08":
        signal.pause()  # until it is killed
    outcome = attempt(function, item)
    if item.name == "scene_07":
        signal.pause()  # done, and nobody is told
    return outcome

if __name__ == "__main__":
    engines.attempt = held
    sys.exit(cli.main(sys.argv[1:]))
"""


def workers_of(process):
    """Processes that the pool of a program has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    words = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, line in words.items() if b"spawn_main" in line]


def test_label_keeps_what_is_done_when_a_worker_is_killed(tmp_path):
    """Also what a worker has done and not told of, which is no label of a scene that failed."""
    write(tmp_path / "scene.png", scene(0))
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(16):
        os.link(tmp_path / "scene.png", folder / f"scene_{number:02d}.png")
    words = ["label", folder, "--out", tmp_path / "out", "--engine", "processes", "--workers", "2"]
    (tmp_path / "held.py").write_text(HELD)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "held.py", *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    tiny.wait_until(lambda: len(list((tmp_path / "out/records").glob("*.json"))) == 8)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, out + err
    (line,) = err.splitlines()
    lost = int(re.search(r"(\d+) scenes? not reached", line)[1])
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["labelled_now"] == summary["scenes"] == 8
    assert list(summary["failed"].values()) == ["not reached"] * 8
    assert lost in (9, 10), "scene_06 may not have been told of either"
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert "8 were there | 0 failed" in out
