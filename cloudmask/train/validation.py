"""The validation split, measured by all ranks together: sums are added, and divided once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from cloudmask import metrics
from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.model.decode import decode
from cloudmask.model.losses import confusion_counts, cross_entropy, hard_label, predicted_class
from cloudmask.train.batches import Batches, num_workers, read_ahead
from cloudmask.train.device_cache import validation_source
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.stall import Watch

Validate = Callable[[], dict[str, Any]]
"""measures the whole validation split; collective"""


def make_validation(plan: Plan, ranks: Ranks, model: keras.Model, watch: Watch) -> Validate:
    """The measurement of a network. The loss leaves out the clipped frame, the counts do not.

    Soft targets count as the class that they make the more probable.
    """
    weights, clip = plan.class_weights, plan.config.clip_offset

    @tf.function(reduce_retracing=True, autograph=False)
    def step(image, scale, offset, label):
        logits = model(decode(image, scale, offset, fill=FILL), training=False)
        loss, count = cross_entropy(
            logits,
            label,
            weights=weights,
            clip_offset=clip,
            soft=plan.soft,
            loss=plan.config.loss,
        )
        known = hard_label(label) if plan.soft else label
        counts = confusion_counts(known, predicted_class(logits), len(plan.info.classes))
        return tf.stack([tf.cast(loss, tf.float64), tf.cast(count, tf.float64)]), counts

    return validation_by(step, plan, ranks, watch)


def validation_by(
    step: Callable[..., tuple[tf.Tensor, tf.Tensor]], plan: Plan, ranks: Ranks, watch: Watch
) -> Validate:
    """The measurement by a function (image, scale, offset, label) of an Input.

    It returns (2,) float64, the loss summed over pixels and their number, and (K, K) counts.
    """
    classes = plan.info.classes
    rows = plan.validation_rows(ranks.rank)
    workers = num_workers(ranks.device, len(ranks.cores))
    kept: Batches | None = None

    def validate() -> dict[str, Any]:
        nonlocal kept
        total = tf.zeros(2, tf.float64)
        confusion = tf.zeros((len(classes), len(classes)), tf.int64)
        with PatchReader(plan.patchset, "valid") as reader:  # which opens files when it must
            source = kept or ranks.on_all(
                lambda: validation_source(plan, ranks, reader, watch), name="validation_source"
            )
            kept = source if plan.config.cache != "none" else None
            for inputs in read_ahead(source, ((0, row) for row in rows), workers=workers):
                watch.at("validation")
                sums, counts = step(inputs.image, inputs.scale, inputs.offset, inputs.label)
                total, confusion = total + sums, confusion + counts  # which no host waits for
        loss = ranks.sum(total, name="validation_loss").numpy()
        counts = ranks.sum(confusion, name="validation_counts").numpy()
        figures = metrics.derive(counts, classes).as_dict()
        return {"loss": float(loss[0] / loss[1]) if loss[1] else math.nan, **figures}

    return validate
