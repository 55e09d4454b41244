"""How many patches a second the training loop can hand to a device: `python -m benchmarks feed`.

The real loop runs with a device whose step takes no time, so what is left is the reading, the
augmentation, the transfer and the bookkeeping, checkpoints at the ends of epochs included. With
`--cache device` the device is this CPU, which then does the device's work of gathering too.
Bookkeeping is the processor time of the thread that launches the steps.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from benchmarks import bench

SCENES, EPOCHS, REPEATS = 48, 3, 3
"""960 patches an epoch; the shorter one is, the more its end counts: the reference's has 15,520"""
CELLS = [(cache, batch) for cache in ("none", "memory", "device") for batch in (4, 32)]
TARGET_PATCHES_PER_SECOND, TARGET_MILLISECONDS = 2500, 0.5


def main() -> None:
    data = bench.WORK / f"patches-{SCENES}-linked"
    scenes = bench.linked(bench.scenes(16), SCENES)
    bench.run([*bench.CLOUDMASK, "prepare", scenes, "--out", data, "--split", "train=1"])
    allowed = sorted(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []
    for cores in (allowed[:1], allowed[:2]):
        for cache, batch in CELLS:
            found = [feed(data, cache, batch, cores) for _ in range(REPEATS)]
            rates = [one["patches_per_second"] for one in found]
            milliseconds = statistics.median(one["bookkeeping_ms"] for one in found)
            print(
                f"  {len(cores)} core(s), --cache {cache:6}, batch {batch:2}: "
                f"{bench.spread(rates)} patches/s, bookkeeping {milliseconds:.2f} ms a step"
            )
            row = {"cores": len(cores), "cache": cache, "batch": batch}
            rows.append(row | {"patches_per_second": rates, "bookkeeping_ms": milliseconds})
    one_core = [r for r in rows if (r["cores"], r["cache"], r["batch"]) == (1, "memory", 32)]
    reached = statistics.median(one_core[0]["patches_per_second"])
    most = max(row["bookkeeping_ms"] for row in rows)
    print(f"one core from memory: {reached:.0f} patches/s (target {TARGET_PATCHES_PER_SECOND})")
    print(f"bookkeeping: {most:.2f} ms a step at most (target {TARGET_MILLISECONDS})")
    bench.keep("feed", rows=rows, patch="256 x 256 x 9 int16, augmented", epochs=EPOCHS)


def feed(data: Path, cache: str, batch: int, cores: list[int]) -> dict[str, float]:
    """One run in a process of its own."""
    out = bench.WORK / "feed"
    shutil.rmtree(out, ignore_errors=True)
    words = ["--data", data, "--out", out, "--emulate", 0, "--no-horovod", "--no-verify"]
    words += ["--no-tensorboard", "--epochs", EPOCHS, "--batch-size", batch, "--cache", cache]
    bench.wait([bench.start([sys.executable, "-m", "benchmarks.feed", *words], cores=cores)])
    return json.loads((out / "feed.json").read_text())


def run(words: list[str]) -> int:
    """The training with a device that takes no time; leaves feed.json in the run's folder."""
    import train_hvd
    from cloudmask.train import loop, step

    clock: list[tuple[float, float, int]] = []
    """at the launch of each step: time, processor time of this thread, patches so far"""

    def instant(run: Any) -> Any:
        _, validate = loop.make_programs(run)
        result = step.StepResult(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

        def launch(batch: Any, *_: object) -> Future[step.StepResult]:
            before = clock[-1][2] if clock else 0
            clock.append((time.perf_counter(), time.thread_time(), before + batch.num_patches))
            return step.done(lambda: result)

        return launch, validate

    code = train_hvd.main(words, functions=loop.Functions(programs=instant))
    out = Path(words[words.index("--out") + 1])
    first = len(clock) // EPOCHS  # the first epoch fills the cache in memory
    began, ended = clock[first], clock[-1]
    each = [after[1] - before[1] for before, after in itertools.pairwise(clock[first:])]
    record = {
        "patches_per_second": (ended[2] - began[2]) / (ended[0] - began[0]),
        "bookkeeping_ms": 1000 * statistics.median(each),
    }
    (out / "feed.json").write_text(json.dumps(record))
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
