"""What --noise-scale adds to a training step: steps with it and without by turns, in one training.

Two ranks of the published network. Steps scatter by more than the measurement costs, so the squared
lengths are timed by themselves too, on one thread, over gradients of the network's shapes.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from typing import Any

from benchmarks import bench
from scaling.laws import intervals

RANKS, BATCH, PAIRS, WARMUP = 2, 4, 44, 4
"""pairs of steps, of which the first ones warm up"""
CALLS, REPEATS = 50, 7
TARGET = 0.01
"""of a step"""


def main() -> None:
    out = bench.WORK / "noise-cost"
    words = ["--data", bench.patch_set(), "--out", out, "--epochs", 1000, "--no-tensorboard"]
    words += ["--batch-size", BATCH, "--max-steps", 2 * PAIRS, "--no-verify", "--noise-scale"]
    bench.fresh(out).rmdir()
    bench.run([bench.MPIRUN, "-n", RANKS, sys.executable, "-m", "benchmarks.noise_cost", *words])
    events = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    seconds = [event["seconds"] for event in events if event["event"] == "step"][2 * WARMUP :]
    measured, plain = seconds[::2], seconds[1::2]
    step = statistics.median(plain)
    shares = [(one - other) / step for one, other in zip(measured, plain, strict=True)]
    share, alone = intervals.median(shares), lengths_seconds()
    print(f"a step with it {1e3 * statistics.median(measured):.0f} ms, without {1e3 * step:.0f} ms")
    low, high = 100 * share.low, 100 * share.high
    print(f"median difference {100 * share.value:+.2f} % of a step [{low:+.2f}, {high:+.2f}]")
    told = f"{1e3 * alone:.2f} ms, {100 * alone / step:.2f} % of a step"
    print(f"its arithmetic alone {told} (target: under {100 * TARGET:g} %)")
    bench.keep(
        "noise_cost",
        step_seconds={"with": measured, "without": plain},
        added_share={"median": share.value, "low": share.low, "high": share.high},
        coverage=share.coverage,
        arithmetic_seconds=alone,
        arithmetic_share=alone / step,
        ranks=RANKS,
        batch_per_rank=BATCH,
        targets={"added_share": TARGET},
    )


def lengths_seconds() -> float:
    """Seconds for the squared lengths of a rank's own gradients and of the sums."""
    import tensorflow as tf

    from cloudmask.model.unet import unet
    from cloudmask.train import squares

    tf.config.threading.set_intra_op_parallelism_threads(1)
    network = unet(9, 1, mean=[0.0] * 9, std=[1.0] * 9)
    own, sums = ([tf.ones(v.shape) for v in network.trainable_variables] for _ in range(2))

    @tf.function
    def both(own: Any, sums: Any) -> Any:
        return squares.length(own) + squares.length(sums)

    @tf.function
    def neither(own: Any, sums: Any) -> Any:
        return tf.zeros((), tf.float64)

    def calls(function: Any) -> None:
        for _ in range(CALLS):
            function(own, sums).numpy()

    both(own, sums), neither(own, sums)  # traces them
    pairs = [
        (bench.seconds(lambda: calls(both)), bench.seconds(lambda: calls(neither)))
        for _ in range(REPEATS)
    ]
    return statistics.median(one - other for one, other in pairs) / CALLS


def run(words: list[str]) -> int:
    """The training, with every second step measured."""
    import dataclasses

    import train_hvd
    from cloudmask.train import loop

    def by_turns(run: Any) -> Any:
        measured, validate = loop.make_programs(run)
        config = dataclasses.replace(run.config, noise_scale=False)
        plain, _ = loop.make_programs(dataclasses.replace(run, config=config))
        steps = itertools.cycle((measured, plain))
        return lambda *arguments: next(steps)(*arguments), validate

    return train_hvd.main(words, functions=loop.Functions(programs=by_turns))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
