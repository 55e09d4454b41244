"""The network and the optimizer of a run, and what its augmentation varies."""

from __future__ import annotations

import keras
import numpy as np

from cloudmask.cli.options import TrainConfig
from cloudmask.model import keras_file
from cloudmask.train.input_pipeline import Augmentation
from cloudmask.train.plan import Plan


def build(config: TrainConfig, plan: Plan) -> tuple[keras.Model, keras.optimizers.Optimizer]:
    """Untrained, the same on every rank."""
    keras.utils.set_random_seed(config.seed)
    model = keras_file.build(plan.info, seed=config.seed)
    # Checkpoints know variables by their names: Keras would number those of a second run.
    optimizer = keras.optimizers.Adam(config.lr, name="adam")
    if plan.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    optimizer.build(model.trainable_variables)
    return model, optimizer


def augmentation(config: TrainConfig, plan: Plan) -> Augmentation | None:
    if not config.augment:
        return None
    mean, std = (np.asarray(v, np.float32) for v in (plan.info.mean, plan.info.std))
    return Augmentation(
        mean=mean,
        std=std,
        gain=config.augment_gain,
        shared=config.augment_shared,
        seed=config.seed,
    )


def size(model: keras.Model) -> dict[str, int]:
    """Parameters that are trained, and the bytes of gradients that a step sums over the ranks."""
    values = [variable.value for variable in model.trainable_variables]
    return {
        "parameters": sum(int(np.prod(value.shape)) for value in values),
        "gradient_bytes": sum(int(np.prod(v.shape)) * v.dtype.size for v in values),
    }
