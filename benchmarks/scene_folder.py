"""`predict` of a folder of 100 full scenes on two MPI ranks against one, a core each, all included.

From the first line to the last mask: start of Python, loading of the network, tracing of the graph.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time

from benchmarks import bench

SCENES, REPEATS = 100, 1


def main() -> None:
    folder = bench.linked_scenes(SCENES)
    model = bench.save_random_model(bench.WORK / "random.keras")
    out = bench.WORK / "folder-masks"
    first = min(os.sched_getaffinity(0))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(REPEATS):
        for ranks in (1, 2):
            shutil.rmtree(out, ignore_errors=True)
            words = [*bench.CLOUDMASK, "predict", model, folder, "--out", out]
            began = time.perf_counter()
            if ranks == 1:
                bench.wait([bench.start(words, cores=[first])])
            else:
                bench.run([bench.MPIRUN, "-n", ranks, *words])
            seconds[ranks].append(time.perf_counter() - began)
            assert len(list(out.glob("*.nc"))) == SCENES
            print(
                f"  {ranks} rank{'s' if ranks > 1 else ''}: {seconds[ranks][-1]:.1f} s", flush=True
            )
    shutil.rmtree(out)
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[2])
    print(f"one rank   {bench.spread(seconds[1])} s for {SCENES} scenes")
    print(f"two ranks  {bench.spread(seconds[2])} s")
    print(f"ratio      {ratio:.2f} (target 1.8)")
    bench.keep(
        "scene_folder",
        scenes=SCENES,
        one_rank_seconds=seconds[1],
        two_ranks_seconds=seconds[2],
        ratio=ratio,
    )


if __name__ == "__main__":
    main()
