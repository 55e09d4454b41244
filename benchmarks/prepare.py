"""`prepare` on two MPI ranks against one, start-up included, on scenes of full size.

The scenes are links to a few synthetic ones, so they come from the page cache: what is measured is
cutting, encoding, checksums and writing, which is what prepare does. Written to this disk, which is
flushed after every file, and to memory, which shows what the disk's share is.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import bench

SCENES, REPEATS = 96, 3


def main() -> None:
    folder = bench.linked(bench.scenes(), SCENES)
    disk = measure(folder, bench.WORK / "prepared", "this disk")
    figures = {"disk": disk}
    if Path("/dev/shm").is_dir():
        with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
            figures["memory"] = measure(folder, Path(memory) / "prepared", "memory (/dev/shm)")
    bench.keep("prepare", scenes=SCENES, **figures)


def measure(scenes: Path, out: Path, place: str) -> dict[str, Any]:
    """Seconds on one and two ranks, taken in turns."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    words = [*bench.CLOUDMASK, "prepare", scenes, "--out", out]
    for ranks, spent in bench.one_and_two_ranks(words, out, repeats=REPEATS):
        seconds[ranks].append(spent)
    size = sum(file.stat().st_size for file in out.rglob("*.h5"))
    shutil.rmtree(out)
    one, two = (statistics.median(values) for values in seconds.values())
    print(f"{SCENES} scenes to {place}")
    print(f"  one rank     {bench.spread(seconds[1])} s")
    print(f"  two ranks    {bench.spread(seconds[2])} s, {size / two / 1e6:.0f} MB/s written")
    print(f"  ratio        {one / two:.2f} (target 1.8)")
    return {
        "one_rank_seconds": seconds[1],
        "two_ranks_seconds": seconds[2],
        "ratio": one / two,
        "bytes_written": size,
    }
