"""published.py CHECKOUT SCENES BATCH: the published program, from a checkout of it.

Its loader, model, MirroredStrategy and `fit` run as they are, for two epochs; the steps of the
second but its first, which fills what is read ahead, are timed. What no longer runs is given from
outside: numpy's `float`, an optimizer made within the strategy's scope, as Keras 3 asks for, and
scikit-learn's split where scikit-learn is not installed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sys
import tempfile
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPOCHS = 2


def program_in(checkout: Path) -> Path:
    """The folder of slstr_cloud.py; FileNotFoundError if the checkout has none."""
    for place in (checkout, checkout / "benchmarks" / "cloudmask"):
        if (place / "slstr_cloud.py").is_file():
            return place
    raise FileNotFoundError(
        f"{checkout} has no benchmarks/cloudmask/slstr_cloud.py; "
        "give a checkout of github.com/mlcommons/science"
    )


def split(paths: Sequence[Path], *, train_size: float, random_state: int) -> tuple[list, list]:
    """What scikit-learn's train_test_split is used for here."""
    shuffled = random.Random(random_state).sample(list(paths), len(paths))
    cut = int(train_size * len(paths))
    return shuffled[:cut], shuffled[cut:]


def main(checkout: Path, scenes: Path, batch: int) -> float:
    """Patches per second of the last epoch."""
    program = program_in(checkout)
    sys.path.insert(0, str(program))
    import keras
    import numpy as np
    import tensorflow as tf
    import yaml

    vars(np)["float"] = float
    with contextlib.suppress(ImportError):
        importlib.import_module("sklearn.model_selection")
    if "sklearn" not in sys.modules:
        stand_in: Any = types.ModuleType("sklearn.model_selection")
        stand_in.train_test_split = split
        sys.modules |= {"sklearn": types.ModuleType("sklearn"), stand_in.__name__: stand_in}
    strategy = tf.distribute.MirroredStrategy()
    tf.distribute.MirroredStrategy = lambda: strategy
    with strategy.scope():
        adam = keras.optimizers.Adam(1e-3)
    tf.keras.optimizers.Adam = lambda rate: adam
    slstr_cloud = importlib.import_module("slstr_cloud")

    times: list[float] = []
    plain_fit = keras.Model.fit

    def timed_fit(model: keras.Model, *data: Any, **options: Any) -> Any:
        def now(*_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

        def begin(*_: Any, **__: Any) -> None:
            times.clear()
            now()

        clock = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_train_batch_end=now)
        return plain_fit(model, *data, **options, callbacks=[clock])

    keras.Model.fit = timed_fit
    config = yaml.safe_load((program / "cloudMaskConfig.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        config |= {"train_dir": str(scenes), "epochs": EPOCHS, "batch_size": batch}
        config["model_file"] = str(Path(folder, "cloudModel.h5"))
        try:
            slstr_cloud.cloud_training(config)
        except AttributeError:  # it closes a pool at its end that TensorFlow no longer has
            if not times:
                raise
    first, *rest = times[1:]  # the first step of an epoch waits for the loader
    return batch * len(rest) / (rest[-1] - first)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
