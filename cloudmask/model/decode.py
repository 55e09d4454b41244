"""Stored patches as a network takes them, computed on its device."""

from __future__ import annotations

import tensorflow as tf


def decode(image: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """(B, H, W, C) int16, (B, C), (B, C) -> float32 physical units, NaN = missing.

    The smallest int16 means missing, as in data/patchset/encoding.py, which no network imports.
    """
    physical = tf.cast(image, tf.float32) * scale[:, None, None] + offset[:, None, None]
    return tf.where(tf.equal(image, image.dtype.min), tf.constant(float("nan")), physical)
