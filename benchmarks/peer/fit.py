"""fit.py PATCHES BATCH STEPS: Keras `fit`, float32, one process on all cores.

A Python generator reads patches with h5py one by one; the U-Net is of stock layers with a sigmoid,
the loss binary cross-entropy on probabilities.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

WARMUP = 2


def main(folder: Path, batch: int, num_steps: int) -> float:
    """Patches per second without the first steps."""
    import h5py
    import keras
    import numpy as np
    import tensorflow as tf

    from cloudmask.data.patchset.open import open_patchset
    from cloudmask.model.unet import unet

    patches = open_patchset(folder)

    def generate():
        while True:
            for entry in patches.splits["train"].files:
                with h5py.File(patches.folder / entry.path) as file:
                    scale, offset = file.attrs["scale_factor"], file.attrs["add_offset"]
                    for i in range(entry.patches):
                        image = file["image"][i] * scale.astype("f4") + offset.astype("f4")
                        yield image, file["label"][i][..., None].astype("f4")

    size, channels = patches.patch_size, len(patches.channels)
    signature = (
        tf.TensorSpec((size, size, channels), tf.float32),
        tf.TensorSpec((size, size, 1), tf.float32),
    )
    batches = tf.data.Dataset.from_generator(generate, output_signature=signature)
    batches = batches.batch(batch).prefetch(tf.data.AUTOTUNE)
    logits = unet(channels, 1, mean=patches.mean, std=patches.std, portable=True)
    outputs = keras.layers.Activation("sigmoid")(logits.output)
    model = keras.Model(logits.input, outputs)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")

    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda number, logs: ends.append(time.perf_counter())
    )
    steps = WARMUP + num_steps
    model.fit(batches, steps_per_epoch=steps, epochs=1, callbacks=[clock], verbose=0)
    steady = np.diff(ends[WARMUP - 1 :])
    return batch * len(steady) / float(steady.sum())


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    print(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
