"""Our training on two ranks against the published way of doing it, on the same two cores.

The published way, written here as a baseline: Keras `fit`, float32, one process on all cores, a
Python generator that reads patches with h5py one by one, the U-Net of stock layers with a sigmoid,
weighted binary cross-entropy on probabilities with a clipped frame.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from pathlib import Path

from benchmarks import bench, ceiling

STEPS, WARMUP, BATCH, REPEATS = 20, 3, 4, 3
GFLOP_PER_PATCH = 52.2
"""of a training step, 256 x 256 x 9: 64.4 in the plain form, 19 % less with the factored decoder"""


def main() -> None:
    data = bench.patch_set()
    ours, baseline = [], []
    out = bench.WORK / "against-fit"
    for repeat in range(REPEATS):
        shutil.rmtree(out, ignore_errors=True)
        words = [*bench.TRAIN, "--data", data, "--out", out, "--no-tensorboard"]
        words += ["--max-steps", 30, "--batch-size", BATCH]
        bench.run([bench.MPIRUN, "-n", 2, *words])
        ours.append(bench.summary(out)["patches_per_second"]["overall"])
        (text,) = bench.wait([bench.start([sys.executable, "-m", "benchmarks.keras_fit", data])])
        baseline.append(float(text.split()[-1]))
        print(f"  {repeat + 1}/{REPEATS}: ours {ours[-1]:.2f}, fit {baseline[-1]:.2f} patches/s")
    ratio = statistics.median(ours) / statistics.median(baseline)
    print(f"two ranks, as shipped       {bench.spread(ours)} patches/s")
    print(f"Keras fit, float32          {bench.spread(baseline)} patches/s")
    print(f"ratio                       {ratio:.2f} (target 2.1)")
    reached = statistics.median(ours) * GFLOP_PER_PATCH / 2
    bench.keep(
        "keras_fit",
        ours_patches_per_second=ours,
        fit_patches_per_second=baseline,
        ratio=ratio,
        **ceiling.compare(reached),
        batch_per_rank=BATCH,
    )


def fit(data: Path) -> float:
    """Patches per second of the baseline, without its first steps."""
    import h5py
    import keras
    import numpy as np
    import tensorflow as tf

    from cloudmask.data.patchset.open import open_patchset
    from cloudmask.model.unet import unet

    patches = open_patchset(data)

    def generate():
        while True:
            for entry in patches.splits["train"].files:
                with h5py.File(patches.folder / entry.path) as file:
                    scale, offset = file.attrs["scale_factor"], file.attrs["add_offset"]
                    for i in range(entry.patches):
                        image = file["image"][i] * scale.astype("f4") + offset.astype("f4")
                        yield image, file["label"][i][..., None].astype("f4")

    def weighted_loss(label, probability):
        label, probability = label[:, 15:-15, 15:-15], probability[:, 15:-15, 15:-15]
        probability = tf.clip_by_value(probability, 1e-7, 1 - 1e-7)
        terms = 0.5 * label * tf.math.log(probability)
        return -tf.reduce_mean(terms + (1 - label) * tf.math.log(1 - probability))

    size, channels = patches.patch_size, len(patches.channels)
    signature = (
        tf.TensorSpec((size, size, channels), tf.float32),
        tf.TensorSpec((size, size, 1), tf.float32),
    )
    batches = tf.data.Dataset.from_generator(generate, output_signature=signature)
    batches = batches.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    logits = unet(channels, 1, mean=patches.mean, std=patches.std, portable=True)
    outputs = keras.layers.Activation("sigmoid")(logits.output)
    model = keras.Model(logits.input, outputs)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=weighted_loss, jit_compile=False)

    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    model.fit(batches, steps_per_epoch=STEPS, epochs=1, callbacks=[clock], verbose=0)
    steps = np.diff(ends[WARMUP:])
    return BATCH * len(steps) / float(steps.sum())


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if len(sys.argv) > 1:
        print(fit(Path(sys.argv[1])))
    else:
        main()
