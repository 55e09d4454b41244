"""What one core of this machine can do in 3x3 convolutions: the limit of training and predicting.

Run as a program with a precision it prints GFLOP/s of a layer with 64 channels in and out,
the shape that most of the U-Net's time goes into; with the word `memory` the GB/s that one core
copies, what is read and what is written counted, as STREAM does (McCalpin 1995).
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import numpy as np

from benchmarks import bench

SIZE, CHANNELS, BATCH, REPEATS = 128, 64, 4, 12
COPIED_BYTES = 2**29
"""far more than any cache holds"""


def compare(reached: float, note: str = "", *, precision: str = "bfloat16") -> dict[str, float]:
    """Print GFLOP/s reached per core beside the limit in this precision; both, for the record.

    The limit is measured now, on one core, in a process of its own.
    """
    first = min(os.sched_getaffinity(0))
    words = [sys.executable, "-m", "benchmarks.ceiling", precision]
    (text,) = bench.wait([bench.start(words, cores=[first])])
    limit = float(text.split()[-1])
    print(
        f"limit: convolutions; {reached:.0f} of the {limit:.0f} GFLOP/s that a core reaches in one "
        f"large 3x3 layer in {precision} ({reached / limit:.0%}){note}"
    )
    return {"gflops_per_core": reached, "ceiling_gflops_per_core": limit}


def measure(precision: str) -> float:
    import tensorflow as tf

    image = tf.cast(tf.random.normal((BATCH, SIZE, SIZE, CHANNELS)), precision)
    kernel = tf.cast(tf.random.normal((3, 3, CHANNELS, CHANNELS)), precision)

    @tf.function
    def convolve() -> tf.Tensor:
        return tf.reduce_sum(tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME"))[:, 0, 0])

    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        convolve().numpy()
        best = min(best, time.perf_counter() - began)
    return 2 * 9 * BATCH * SIZE**2 * CHANNELS**2 / best / 1e9


def copy_gb_per_second() -> float:
    """GB/s that one core reads and writes together, the best of REPEATS."""
    source, target = np.ones(COPIED_BYTES // 8), np.zeros(COPIED_BYTES // 8)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - began)
    return 2 * COPIED_BYTES / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.ceiling", description=__doc__)
    parser.add_argument("what", choices=("float32", "bfloat16", "memory"))
    what = parser.parse_args().what
    if what == "memory":
        print(copy_gb_per_second())
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(measure(what))


if __name__ == "__main__":
    main()
