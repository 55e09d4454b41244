"""Convolutions whose filter gradient is taken in narrow pieces, on CPUs in float32, if asked for.

The sum over all pixels is the most expensive part of a backward pass there: oneDNN's kernel walks
whole rows, and a row of 256 pixels and 32 channels does not stay in a core's first cache. Summed
over pieces of some 64 columns it takes half the time with AVX2. The order of the additions is
another one, and so are the last bits; images as narrow as a piece keep theirs.
"""

from __future__ import annotations

import itertools

import keras
import tensorflow as tf

PIECE = 2048
"""columns times channels of a piece: 8 KiB a row"""


class Conv2D(keras.layers.Conv2D):
    """Keras's layer, with stride 1 and zeros around the image."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return convolve(inputs, tf.convert_to_tensor(kernel))


@tf.custom_gradient
def convolve(image, kernel):
    """(B, H, W, C), (k, k, C, F) -> (B, H, W, F); k is odd."""

    def gradient(above):
        below = tf.nn.conv2d_transpose(above, kernel, tf.shape(image), strides=1, padding="SAME")
        return below, filter_gradient(image, above, kernel.shape)

    return tf.nn.conv2d(image, kernel, strides=1, padding="SAME"), gradient


def filter_gradient(image: tf.Tensor, above: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """(B, H, W, C), (B, H, W, F), (k, k, C, F) -> (k, k, C, F): of the kernel of `convolve`."""
    size, _, channels, filters = shape.as_list()
    columns, pieces = image.shape[2], 1
    if image.dtype == tf.float32 and columns and not tf.config.list_logical_devices("GPU"):
        pieces = max(1, columns * max(channels, filters) // PIECE)
    if pieces == 1:
        return _sum(image, above, shape, padding="SAME")
    around = [size // 2] * 2  # TensorFlow has oneDNN's kernel for no explicit padding
    padded = tf.pad(image, [[0, 0], around, around, [0, 0]])
    ends = [columns * number // pieces for number in range(pieces + 1)]
    return tf.add_n(
        [
            _sum(padded[:, :, first : end + size - 1], above[:, :, first:end], shape)
            for first, end in itertools.pairwise(ends)
        ]
    )


def _sum(
    image: tf.Tensor, above: tf.Tensor, shape: tf.TensorShape, *, padding: str = "VALID"
) -> tf.Tensor:
    return tf.raw_ops.Conv2DBackpropFilter(
        input=image,
        filter_sizes=shape.as_list(),
        out_backprop=above,
        strides=(1, 1, 1, 1),
        padding=padding,
    )
