"""Stored patches as physical values, in the graph."""

from __future__ import annotations

import tensorflow as tf


def decode(image: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *, fill: int) -> tf.Tensor:
    """(B, H, W, C) int16, (B, C), (B, C) -> float32 physical units, NaN where `fill` is stored."""
    physical = tf.cast(image, tf.float32) * scale[:, None, None] + offset[:, None, None]
    return tf.where(tf.equal(image, fill), tf.constant(float("nan")), physical)
