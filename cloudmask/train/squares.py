"""Inside the graph of a step: the squared lengths that the noise scale follows from (noise.py).

`h` is the gradient of a sum over labelled pixels; tapes give it over a `unit`, which keeps float16
in range. Everything is of gradients before any change to them, added up in float32 within a tensor
and in float64 over tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

Tensors = Sequence[tf.Tensor]


class Squares(Protocol):
    """How L and T of a step are found."""

    def own(self, gradients: Tensors, labelled: tf.Tensor) -> tf.Tensor:
        """(2,) float64 of one rank, to be summed over ranks: |h|^2 / m, and 1 if m > 0."""

    def of_all(
        self, own: tf.Tensor, gradients: Tensors, labelled: tf.Tensor, unit: tf.Tensor
    ) -> tf.Tensor:
        """(3,) float64: L, T, and how many shared; from what is summed over ranks."""


class OverRanks:
    """Each rank has a gradient of its own."""

    def own(self, gradients: Tensors, labelled: tf.Tensor) -> tf.Tensor:
        labelled = tf.cast(labelled, tf.float64)
        mine = tf.math.divide_no_nan(length(gradients), labelled)
        return tf.stack([mine, tf.cast(labelled > 0, tf.float64)])

    def of_all(
        self, own: tf.Tensor, gradients: Tensors, labelled: tf.Tensor, unit: tf.Tensor
    ) -> tf.Tensor:
        unit = tf.cast(unit, tf.float64)
        local = tf.math.divide_no_nan(own[0] * unit**2, labelled)
        mean = tf.math.divide_no_nan(length(gradients) * unit**2, labelled**2)
        return tf.stack([local, mean, own[1]])


class OverSteps(OverRanks):
    """The step before stands for a second rank; its gradients take memory."""

    def __init__(self, variables: Sequence[tf.Variable]) -> None:
        self._before = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in variables]
        self._numbers = tf.Variable(tf.zeros(3, tf.float64), trainable=False)
        """of the step before: |h|^2 / m, 1 if m > 0, m"""

    def of_all(
        self, own: tf.Tensor, gradients: Tensors, labelled: tf.Tensor, unit: tf.Tensor
    ) -> tf.Tensor:
        now = [tf.cast(gradient, tf.float32) * unit for gradient in gradients]
        both = [one + before for one, before in zip(now, self._before, strict=True)]
        mine = tf.stack([own[0] * tf.cast(unit, tf.float64) ** 2, own[1], labelled])
        squares, sharing, pixels = tf.unstack(mine + self._numbers)
        local = tf.math.divide_no_nan(squares, pixels)
        mean = tf.math.divide_no_nan(length(both), pixels**2)
        found = tf.stack([local, mean, sharing])
        for before, one in zip(self._before, now, strict=True):
            before.assign(one)
        self._numbers.assign(mine)
        return found


def length(gradients: Tensors) -> tf.Tensor:
    """|g|^2 over all tensors, float64."""
    each = [2 * tf.nn.l2_loss(tf.cast(gradient, tf.float32)) for gradient in gradients]
    return tf.add_n([tf.cast(one, tf.float64) for one in each])
