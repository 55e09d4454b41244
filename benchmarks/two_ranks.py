"""Two Horovod ranks against two unconnected copies of the same training on the same cores.

The copies share memory and caches but never wait for each other: their summed patches/s are what
two ranks could reach if communication cost nothing.
"""

from __future__ import annotations

import os
import shutil
import statistics

from benchmarks import bench

STEPS, BATCH, REPEATS = 30, 4, 3


def main() -> None:
    data = bench.patch_set()
    first, second = sorted(os.sched_getaffinity(0))[:2]
    options = ["--max-steps", STEPS, "--batch-size", BATCH, "--no-tensorboard"]
    ranks, copies, exposed = [], [], []
    for repeat in range(REPEATS):
        out = bench.WORK / "two-ranks"
        shutil.rmtree(out, ignore_errors=True)
        bench.run([bench.MPIRUN, "-n", 2, *bench.TRAIN, "--data", data, "--out", out, *options])
        ranks.append(bench.rate(out))
        exposed.append(bench.exposed_share(out))
        outs = [bench.WORK / "copy-a", bench.WORK / "copy-b"]
        for folder in outs:
            shutil.rmtree(folder, ignore_errors=True)
        bench.wait(
            [
                bench.start([*bench.TRAIN, "--data", data, "--out", folder, *options], cores=[core])
                for folder, core in zip(outs, (first, second), strict=True)
            ]
        )
        copies.append(sum(bench.rate(folder) for folder in outs))
        print(f"  {repeat + 1}/{REPEATS}: ranks {ranks[-1]:.2f}, copies {copies[-1]:.2f} patches/s")
    ratio = statistics.median(ranks) / statistics.median(copies)
    share = statistics.median(exposed)
    print(f"two ranks            {bench.spread(ranks)} patches/s")
    print(f"two unconnected      {bench.spread(copies)} patches/s")
    print(f"ratio                {ratio:.3f} (target 0.95)")
    print(
        f"limit: convolutions; {share:.1%} of a step is communication that computing does not "
        "hide, waiting for the slower rank included"
    )
    bench.keep(
        "two_ranks",
        ranks_patches_per_second=ranks,
        copies_patches_per_second=copies,
        ratio=ratio,
        exposed_share=exposed,
        steps=STEPS,
        batch_per_rank=BATCH,
    )


if __name__ == "__main__":
    main()
