"""The validation split, measured by all ranks together: sums are added, and divided once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from cloudmask import metrics
from cloudmask.data.patchset import PatchReader
from cloudmask.train import schedule
from cloudmask.train.input_pipeline import Source, read_ahead
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.stall import Watch
from cloudmask.train.step import make_validation_step


def make_validation(
    plan: Plan, ranks: Ranks, model: keras.Model, watch: Watch
) -> Callable[[], dict[str, Any]]:
    """A function that measures the whole validation split: sums over ranks, divided once."""
    classes = plan.info.classes
    step = make_validation_step(
        model,
        class_weights=plan.class_weights,
        clip_offset=plan.config.clip_offset,
        num_classes=len(classes),
    )
    batch = plan.batch_per_rank
    rows = schedule.validation_plan(plan.num_valid, ranks.size, ranks.rank, batch=batch)

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
