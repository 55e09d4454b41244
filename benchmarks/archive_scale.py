"""What 30,000 scenes and a million patches cost before any work begins: seconds, memory, calls.

The scenes are links to a few tiny ones, and patches have 4 x 4 pixels: the counts are real, so what
grows with them is. All of it lies in memory, where a call to the file system takes microseconds; on
a network file system it takes a thousand times as long, so calls are counted, with strace.
CLOUDMASK_BEFORE names another checkout that is measured on the same files, by turns.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench

SCENES, PATCHES_PER_SCENE, SIZE = 30_000, 34, 4
FEW = 1_000
MEMORY = Path("/dev/shm")

CLI = "import sys; from cloudmask.__main__ import main; sys.exit(main(sys.argv[1:]))"
NOTHING = "import h5py; import cloudmask.data.patchset.handed"
OPEN = """
import sys; from pathlib import Path
from cloudmask.data.patchset.handed import open_for_all
opened = open_for_all(Path(sys.argv[1]), lambda function: function())
assert len(opened.files) == int(sys.argv[2])
"""
FIND = """
import sys; from pathlib import Path
from cloudmask.data.archive import find_scenes
assert len(find_scenes([Path(sys.argv[1])])) == int(sys.argv[2])
"""
# One rank of eight: its part of a global order, of which it reads 20,000 patches.
EPOCH = (
    OPEN
    + """
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.train import schedule
with PatchReader(opened, "train") as reader:
    rows = schedule.epoch_plan(
        len(reader), 8, 0, global_batch=64, shuffle="global", seed=0, epoch=0
    )
    for row in rows[:2500]:
        reader.read(row)
"""
)


def main() -> None:
    before = os.environ.get("CLOUDMASK_BEFORE")
    roots = ({"before": Path(before)} if before else {}) | {"after": bench.ROOT}
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place, prefix="archive-scale-") as top:
        found = measure(roots, Path(top))
    for step, figures in found.items():
        for name, one in figures.items():
            print(
                f"{step:34} {name:6} {one['seconds']:7.2f} s  {one['megabytes']:6.0f} MB  "
                f"stat {one['stat']}, open {one['open']}"
            )
    bench.keep("archive_scale", scenes=SCENES, patches=SCENES * PATCHES_PER_SCENE, steps=found)


def measure(roots: dict[str, Path], top: Path) -> dict[str, dict[str, Any]]:
    """step -> checkout -> seconds, memory beyond what Python and libraries take, calls."""
    scenes, few, data = top / "scenes", top / "few", top / "data"
    make_scenes(scenes, SCENES)
    make_scenes(few, FEW)
    options = ["--patch-size", SIZE]
    found: dict[str, dict[str, Any]] = {}

    def step(name: str, code: str, *words: object, ranks: int = 1, calls: bool = True) -> None:
        found[name] = {}
        for checkout, root in roots.items():
            shutil.rmtree(top / "new", ignore_errors=True)
            found[name][checkout] = run(root, code, *words, ranks=ranks, calls=calls)

    step("nothing but imports", NOTHING, calls=False)
    step(f"prepare {FEW} scenes", CLI, "prepare", few, "--out", top / "new", *options, calls=False)
    whole = run(bench.ROOT, CLI, "prepare", scenes, "--out", data, *options, ranks=2, calls=False)
    found[f"prepare {SCENES} scenes, 2 ranks"] = {"after": whole}
    step("prepare again", CLI, "prepare", scenes, "--out", data, *options)
    (data / ".prepare").rename(top / "notes")
    (data / ".prepare").mkdir()
    step("prepare again, copied without notes", CLI, "prepare", scenes, "--out", data, *options)
    step("open", OPEN, data, SCENES)
    step("verify", CLI, "verify", data)
    step("verify, 2 ranks", CLI, "verify", data, ranks=2, calls=False)
    step("read 20,000 patches of an epoch", EPOCH, data, SCENES)
    step("list of scenes of predict, evaluate", FIND, scenes, SCENES)
    return found


def make_scenes(folder: Path, count: int) -> None:
    """Eight tiny scenes under many names."""
    folder.mkdir()
    wide = PATCHES_PER_SCENE // 2 * SIZE
    for number in range(8):
        rng = np.random.default_rng(number)
        image = rng.random((2 * SIZE, wide, 9), np.float32)
        label = rng.integers(0, 2, image.shape[:2], np.uint8)
        np.savez(folder / f"scene_{number:05d}.npz", image=image, label=label)
    for number in range(8, count):
        os.link(folder / f"scene_{number % 8:05d}.npz", folder / f"scene_{number:05d}.npz")


def run(
    root: Path, code: str, *words: object, ranks: int, calls: bool
) -> dict[str, float | int | None]:
    """One command in a checkout; its calls in another run, which strace slows down."""
    line = [sys.executable, "-c", code, *map(str, words)]
    launched = [bench.MPIRUN, "--oversubscribe", "-n", str(ranks), *line] if ranks > 1 else line
    allow = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment = os.environ | allow | {"PYTHONPATH": str(root)}
    began = time.perf_counter()
    process = subprocess.Popen(launched, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise subprocess.CalledProcessError(status, launched)
    counted: dict[str, int | None] = {"stat": None, "open": None}
    if calls and shutil.which("strace"):
        told = ["strace", "-f", "-c", "-U", "calls,name", "-e", "trace=%stat,%lstat,%fstat,openat"]
        done = subprocess.run(
            [*told, *line], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        lines = re.findall(r"^ *(\d+) +(\w+)$", done.stderr, flags=re.MULTILINE)
        found = {name: int(count) for count, name in lines}
        stats = sum(n for name, n in found.items() if "stat" in name and name != "fstat")
        counted = {"stat": stats, "open": found.get("openat", 0)}
    # Of all ranks the largest; mpirun itself is small.
    return {"seconds": seconds, "megabytes": used.ru_maxrss / 1024, **counted}
