"""Times Horovod's allreduce over message sizes: one rank of `python allreduce.py --out FOLDER`.

Run by the study under its launcher, once per rank count. One tensor at a time, as Horovod does it:
waiting for its cycle and agreeing on the tensor count as latency. A training's gradients come at
any moment of a cycle, so each time is taken after a pause of a random part of one. Sizes are those
of gradients, from a bias to a large layer.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from pathlib import Path

SIZES = tuple(4**power for power in range(5, 13))
"""bytes: 1 KiB, 4 KiB, ..., 16 MiB"""
WARMUP, REPEATS = 3, 21
FORMAT, VERSION = "scaling-allreduce", 1


def main(words: list[str]) -> int:
    out = Path(words[words.index("--out") + 1])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    gpus = tf.config.list_physical_devices("GPU")
    import horovod.tensorflow as hvd

    hvd.init()
    out.mkdir(parents=True, exist_ok=True)
    if gpus:
        tf.config.set_visible_devices(gpus[hvd.local_rank() % len(gpus)], "GPU")
    rows = []
    cycle_seconds = float(os.environ.get("HOROVOD_CYCLE_TIME", "1")) / 1e3
    pause = random.Random(0)  # the same on every rank, for a reduction begins with the last one
    for number, size in enumerate(SIZES, start=1):
        tensor = tf.random.uniform((size // 4,))
        times = []
        for _ in range(WARMUP + REPEATS):
            hvd.allreduce(tf.zeros(1), op=hvd.Sum, name="together").numpy()
            time.sleep(pause.uniform(0, cycle_seconds))
            began = time.perf_counter()
            hvd.allreduce(tensor, op=hvd.Sum, name=f"bytes{size}")[0].numpy()
            times.append(time.perf_counter() - began)
        # A reduction has ended when its slowest rank has it.
        everyone = hvd.allgather_object(times[WARMUP:], name=f"times{size}")
        seconds = [max(each) for each in zip(*everyone, strict=True)]
        rows.append(
            {"bytes": size, "median_seconds": statistics.median(seconds), "seconds": seconds}
        )
        if hvd.rank() == 0:  # the heartbeat, as a training writes it
            with (out / "events.jsonl").open("a") as file:
                file.write(json.dumps({"event": "step", "step": number, "bytes": size}) + "\n")
    if hvd.rank() == 0:
        record = {"format": FORMAT, "version": VERSION, "ranks": hvd.size(), "rows": rows}
        (out / "allreduce.json").write_text(json.dumps(record, indent=1) + "\n")
    hvd.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
