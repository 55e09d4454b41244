"""`predict` of a folder of 100 full scenes on two MPI ranks against one, a core each, all included.

From the first line to the last mask: start of Python, loading of the network, tracing of the graph.
"""

from __future__ import annotations

import shutil
import statistics

from benchmarks import bench
from cloudmask.text import plural

SCENES, REPEATS = 100, 1


def main() -> None:
    folder = bench.linked(bench.scenes(), SCENES)
    model = bench.save_random_model(bench.WORK / "random.keras")
    out = bench.WORK / "folder-masks"
    seconds: dict[int, list[float]] = {1: [], 2: []}
    words = [*bench.CLOUDMASK, "predict", model, folder, "--out", out]
    for ranks, spent in bench.one_and_two_ranks(words, out, repeats=REPEATS):
        seconds[ranks].append(spent)
        assert len(list(out.glob("*.nc"))) == SCENES
        print(f"  {plural(ranks, 'rank')}: {spent:.1f} s", flush=True)
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
