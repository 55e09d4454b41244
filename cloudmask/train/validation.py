"""The validation split, measured by all ranks together: sums are added, and divided once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cloudmask import metrics
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.train.input_pipeline import Source, read_ahead
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.stall import Watch
from cloudmask.train.step import make_validation_step


def make_validation(
    plan: Plan, ranks: Ranks, model: keras.Model, watch: Watch
) -> Callable[[], dict[str, Any]]:
    """A function that measures the whole validation split: sums over ranks, divided once."""
    step = make_validation_step(
        model,
        class_weights=plan.class_weights,
        clip_offset=plan.config.clip_offset,
        num_classes=len(plan.info.classes),
    )
    return validation_by(step, plan, ranks, watch)


def validation_by(
    step: Callable[..., tuple[tf.Tensor, tf.Tensor]], plan: Plan, ranks: Ranks, watch: Watch
) -> Callable[[], dict[str, Any]]:
    """The same with any step that takes and gives what `step.make_validation_step`'s does."""
    classes = plan.info.classes
    rows = plan.validation_rows(ranks.rank)

    def validate() -> dict[str, Any]:
        loss = np.zeros(2)
        counts = np.zeros((len(classes), len(classes)), np.int64)
        with PatchReader(plan.patchset, "valid") as reader:
            for inputs in read_ahead(Source(reader), rows, epoch=0):
                watch.at("validation")
                sums, confusion = step(inputs.image, inputs.scale, inputs.offset, inputs.label)
                loss += sums.numpy()
                counts += confusion.numpy()
        loss = ranks.sum_array(loss, name="validation_loss")
        counts = ranks.sum_array(counts, name="validation_counts")
        figures = metrics.derive(counts, classes).as_dict()
        return {"loss": float(loss[0] / loss[1]) if loss[1] else math.nan, **figures}

    return validate
