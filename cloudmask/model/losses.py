"""Losses as sums over labelled pixels, to be added over ranks and divided once.

Both are computed from logits. Sources: tf.nn.weighted_cross_entropy_with_logits (two classes),
softmax cross-entropy with one weight per class (more).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cloudmask.metrics import UNKNOWN


def cross_entropy(
    logits: tf.Tensor, label: tf.Tensor, *, weights: Sequence[float] = (), clip_offset: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """(B, H, W, L) float32 logits, (B, H, W) uint8 -> sum over labelled pixels, their number.

    L = 1: a sigmoid for two classes. `weights`: one per class (default: all one); for two classes
    (1, pos_weight). Pixels labelled 255 and a frame of `clip_offset` pixels do not count.
    """
    if clip_offset:
        inside = slice(clip_offset, -clip_offset)
        logits, label = logits[:, inside, inside], label[:, inside, inside]
    known = tf.not_equal(label, UNKNOWN)
    loss = pixel_losses(logits, label, weights=weights)
    return tf.reduce_sum(loss), tf.reduce_sum(tf.cast(known, tf.float32))


def pixel_losses(
    logits: tf.Tensor, label: tf.Tensor, *, weights: Sequence[float] = ()
) -> tf.Tensor:
    """(B, H, W, L) logits, (B, H, W) uint8 -> (B, H, W) losses, zero where the label is 255."""
    known = tf.not_equal(label, UNKNOWN)
    target = tf.where(known, label, tf.zeros_like(label))
    num_logits = logits.shape[-1]
    if num_logits == 1:
        truth = tf.cast(target, tf.float32)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(truth, logits[..., 0])
    else:
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(target, tf.int32), logits)
    if weights:
        loss *= tf.gather(tf.constant(weights, tf.float32), tf.cast(target, tf.int32))
    return tf.where(known, loss, tf.zeros_like(loss))


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
