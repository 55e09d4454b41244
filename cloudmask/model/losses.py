"""Losses as sums over labelled pixels, to be added over ranks and divided once.

Both are computed from logits. Sources: tf.nn.weighted_cross_entropy_with_logits (two classes),
softmax cross-entropy with one weight per class (more).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cloudmask.metrics import SOFT_STEPS, UNKNOWN


def cross_entropy(
    logits: tf.Tensor,
    label: tf.Tensor,
    *,
    weights: Sequence[float] = (),
    clip_offset: int = 0,
    soft: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """(B, H, W, L) float32 logits, (B, H, W) uint8 -> sum over labelled pixels, their number.

    L = 1: a sigmoid for two classes. `weights`: one per class (default: all one); for two classes
    (1, pos_weight). `soft`: see pixel_losses. Pixels labelled 255 and a frame of `clip_offset`
    pixels do not count.
    """
    if clip_offset:
        inside = slice(clip_offset, -clip_offset)
        logits, label = logits[:, inside, inside], label[:, inside, inside]
    known = tf.not_equal(label, UNKNOWN)
    loss = pixel_losses(logits, label, weights=weights, soft=soft)
    return tf.reduce_sum(loss), tf.reduce_sum(tf.cast(known, tf.float32))


def pixel_losses(
    logits: tf.Tensor, label: tf.Tensor, *, weights: Sequence[float] = (), soft: bool = False
) -> tf.Tensor:
    """(B, H, W, L) logits, (B, H, W) uint8 -> (B, H, W) losses, zero where the label is 255.

    With `soft` (L = 1) a label v is the probability t = v / 254 of the second class, and the loss
    is what is to be expected of it: -t w log p - (1 - t) log(1 - p), of weights (1, w).
    """
    known = tf.not_equal(label, UNKNOWN)
    target = tf.where(known, label, tf.zeros_like(label))
    num_logits = logits.shape[-1]
    if soft:
        assert num_logits == 1, "soft targets are of two classes"
        assert not weights or weights[0] == 1, "of two classes the second one has a weight"
        truth, logit = tf.cast(target, tf.float32) / SOFT_STEPS, logits[..., 0]
        if weights:
            loss = tf.nn.weighted_cross_entropy_with_logits(truth, logit, weights[1])
        else:
            loss = tf.nn.sigmoid_cross_entropy_with_logits(truth, logit)
        return tf.where(known, loss, tf.zeros_like(loss))
    if num_logits == 1:
        truth = tf.cast(target, tf.float32)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(truth, logits[..., 0])
    else:
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(target, tf.int32), logits)
    if weights:
        loss *= tf.gather(tf.constant(weights, tf.float32), tf.cast(target, tf.int32))
    return tf.where(known, loss, tf.zeros_like(loss))


def hard_label(soft: tf.Tensor) -> tf.Tensor:
    """(...) uint8 soft targets -> labels: the second class from one half on, 255 stays unknown."""
    second = tf.cast(soft >= SOFT_STEPS // 2, tf.uint8)
    return tf.where(tf.equal(soft, UNKNOWN), soft, second)


def predicted_class(logits: tf.Tensor, *, threshold: float = 0.5) -> tf.Tensor:
    """(B, H, W, L) logits -> (B, H, W) int32 classes; `threshold` on the sigmoid when L = 1."""
    if logits.shape[-1] == 1:
        probability = tf.sigmoid(logits[..., 0])
        return tf.cast(probability >= threshold, tf.int32)
    return tf.argmax(logits, axis=-1, output_type=tf.int32)


def confusion_counts(label: tf.Tensor, predicted: tf.Tensor, num_classes: int) -> tf.Tensor:
    """(B, H, W) uint8 labels and int32 classes -> (K, K) int64 counts [label, predicted]."""
    known = tf.not_equal(label, UNKNOWN)
    pairs = tf.cast(label, tf.int32) * num_classes + predicted
    # Pixels without a label are counted apart: to leave them out first, a device would have to
    # tell the host how many are left, and the host would wait for it.
    number = num_classes**2
    pairs = tf.where(known, pairs, number)
    counts = tf.math.bincount(pairs, minlength=number + 1, maxlength=number + 1)[:number]
    return tf.cast(tf.reshape(counts, (num_classes, num_classes)), tf.int64)
