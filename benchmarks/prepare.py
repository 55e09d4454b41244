"""`prepare` on two MPI ranks against one, start-up included, on scenes of full size.

The scenes are links to a few synthetic ones, so they come from the page cache: what is measured is
cutting, encoding, checksums and writing, which is what prepare does.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time

from benchmarks import bench

SCENES, REPEATS = 96, 3


def main() -> None:
    bench.patch_set()
    originals = sorted((bench.WORK / "scenes-4").glob("*.hdf"))
    folder = bench.WORK / "linked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(SCENES):
        source = originals[number % len(originals)]
        (folder / f"{source.stem}_{number:03d}.hdf").symlink_to(source)
    for source in originals:
        source.read_bytes()
    first = min(os.sched_getaffinity(0))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(REPEATS):
        for ranks in (1, 2):
            out = bench.WORK / "prepared"
            shutil.rmtree(out, ignore_errors=True)
            os.sync()
            words = [sys.executable, "-m", "cloudmask", "prepare", folder, "--out", out]
            began = time.perf_counter()
            if ranks == 1:
                bench.wait([bench.start(words, cores=[first])])
            else:
                bench.run([bench.MPIRUN, "-n", ranks, *words])
            seconds[ranks].append(time.perf_counter() - began)
        print(
            f"  {repeat + 1}/{REPEATS}: {seconds[1][-1]:.2f} s, {seconds[2][-1]:.2f} s", flush=True
        )
    size = sum(file.stat().st_size for file in out.rglob("*.h5"))
    one, two = (statistics.median(values) for values in seconds.values())
    print(f"one rank     {bench.spread(seconds[1])} s for {SCENES} scenes")
    print(f"two ranks    {bench.spread(seconds[2])} s")
    print(f"ratio        {one / two:.2f} (target 1.8)")
    print(f"limit: two ranks write {size / two / 1e6:.0f} MB/s of patches to this disk")
    shutil.rmtree(out)
    bench.keep(
        "prepare",
        one_rank_seconds=seconds[1],
        two_ranks_seconds=seconds[2],
        ratio=one / two,
        scenes=SCENES,
        bytes_written=size,
    )


if __name__ == "__main__":
    main()
