"""The U-Net of the CloudMask benchmark, free in channels, classes and widths.

Two 3x3 convolutions a level, ReLU, he_normal, max-pooling down, nearest up-sampling and
concatenation up, a 1x1 convolution to logits; with nine channels, one logit and widths
32-64-128-256 it has the reference's 1,948,609 parameters. Up-sampling may be a transposed 2x2
convolution of stride two instead. It takes physical units: the first layer normalises, and turns
missing values (NaN) into the training mean. If asked for, one more plane says where a value is
missing, which the mean alone does not tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cloudmask.model.convolution import Conv2D, convolve

UPSAMPLING = ("nearest", "transposed")

Tensor = Any
"""a symbolic tensor of Keras, which has no name for its type"""


class UpConv2D(keras.layers.Layer):
    """3x3 convolution of [nearest-up-sampled x, skip] that never makes that concatenation.

    Up-sampling by two and convolving with w is a transposed convolution of stride two, whose 4x4
    kernel is the flipped w convolved with a 2x2 box of ones: each input pixel stands four times in
    the up-sampled image, so nine products per output pixel become four. Convolution is linear in
    the input channels, so the skip has a 3x3 convolution of its own. The weights have the shape
    and meaning of the plain layer's: kernel (3, 3, Cx + Cskip, filters), bias (filters,).

    (B, H, W, Cx), (B, 2H, 2W, Cskip) -> (B, 2H, 2W, filters).
    """

    def __init__(self, filters: int, *, name: str, narrow_gradients: bool = False) -> None:
        super().__init__(name=name)
        self.filters = filters
        self._convolve = convolve if narrow_gradients else _convolve

    def build(self, input_shapes: Sequence[Sequence[int]]) -> None:
        self.from_below = int(input_shapes[0][-1])
        channels = self.from_below + int(input_shapes[1][-1])
        shape = (3, 3, channels, self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_normal", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        x, skip = inputs
        kernel = tf.convert_to_tensor(self.kernel)
        flipped = tf.reverse(kernel[:, :, : self.from_below], axis=[0, 1])
        boxed = sum(
            tf.pad(flipped, [[i, 1 - i], [j, 1 - j], [0, 0], [0, 0]])
            for i in (0, 1)
            for j in (0, 1)
        )
        size = tf.shape(skip)
        shape = tf.stack([size[0], size[1], size[2], self.filters])
        below = tf.nn.conv2d_transpose(
            x, tf.transpose(boxed, [0, 1, 3, 2]), shape, strides=2, padding="SAME"
        )
        beside = self._convolve(skip, kernel[:, :, self.from_below :])
        return tf.nn.relu(tf.nn.bias_add(below + beside, tf.convert_to_tensor(self.bias)))


def _convolve(image: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(image, kernel, strides=1, padding="SAME")


def unet(
    num_channels: int,
    num_logits: int,
    *,
    widths: Sequence[int] = (32, 64, 128, 256),
    dropout: Sequence[float] = (),
    mean: Sequence[float] | np.ndarray | None = None,
    std: Sequence[float] | np.ndarray | None = None,
    decorrelation: Sequence[Sequence[float]] | np.ndarray = (),
    missing_channel: bool = False,
    upsampling: str = "nearest",
    seed: int = 0,
    portable: bool = False,
    narrow_gradients: bool = False,
) -> keras.Model:
    """A U-Net (B, H, W, C) physical units, NaN = missing -> (B, H, W, num_logits) float32 logits.

    H and W must be multiples of 2 ** (len(widths) - 1). `mean` and `std` are (C,).
    `decorrelation` is a (C, C) matrix; normalised pixels multiplied by it are C planes more. With
    `missing_channel` the first convolution sees C + 1 planes (see _missing). `upsampling` is one of
    UPSAMPLING; a transposed convolution has no activation, and as many filters as the level it
    comes to. `portable` builds the decoder from stock Keras layers, so that the file loads without
    this project; its weights are the same, in the same order. `narrow_gradients`: see
    convolution.py. Raises ValueError for impossible widths, dropout or up-sampling.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths {tuple(widths)}: a U-Net needs two levels or more, each >= 1")
    rates = tuple(dropout) or (0.0,) * len(widths)
    if len(rates) != len(widths) or not all(0 <= rate < 1 for rate in rates):
        raise ValueError(f"dropout {rates} must be {len(widths)} rates in [0, 1), one per level")
    if upsampling not in UPSAMPLING:
        raise ValueError(f"up-sampling '{upsampling}' is not known; there are: {UPSAMPLING}")
    seeds = iter(np.random.SeedSequence(seed).generate_state(7 * len(widths)).tolist())

    def conv(x: Tensor, width: int, name: str) -> Tensor:
        start = keras.initializers.HeNormal(seed=next(seeds))
        layer = (Conv2D if narrow_gradients and not portable else keras.layers.Conv2D)(
            width, 3, padding="same", activation="relu", kernel_initializer=start, name=name
        )
        return layer(x)

    def drop(x: Tensor, level: int, name: str) -> Tensor:
        if not rates[level]:
            return x
        return keras.layers.Dropout(rates[level], seed=next(seeds), name=name)(x)

    def join(x: Tensor, skip: Tensor, width: int, name: str) -> Tensor:
        if upsampling == "transposed":
            start = keras.initializers.GlorotUniform(seed=next(seeds))
            up = keras.layers.Conv2DTranspose(
                width, 2, strides=2, kernel_initializer=start, name=f"{name}_up"
            )(x)
            x = keras.layers.Concatenate(name=f"{name}_join")([up, skip])
            return conv(x, width, name)
        if portable:
            up = keras.layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(x)
            x = keras.layers.Concatenate(name=f"{name}_join")([up, skip])
            return conv(x, width, name)
        layer = UpConv2D(width, name=name, narrow_gradients=narrow_gradients)
        result = layer([x, skip])
        layer.kernel.assign(keras.initializers.HeNormal(seed=next(seeds))(layer.kernel.shape))
        return result

    inputs = keras.Input((None, None, num_channels), dtype="float32", name="physical")
    x = _normalise(inputs, num_channels, mean, std)
    if len(decorrelation):
        apart = _decorrelate(x, np.asarray(decorrelation, np.float32))
        x = keras.layers.Concatenate(dtype="float32", name="with_apart")([x, apart])
    if missing_channel:
        x = keras.layers.Concatenate(dtype="float32", name="with_missing")([x, _missing(inputs)])
    skips = []
    for level, width in enumerate(widths):
        x = conv(x, width, f"down{level}_a")
        x = drop(x, level, f"down{level}_drop")
        x = conv(x, width, f"down{level}_b")
        if level < len(widths) - 1:
            skips.append(x)
            x = keras.layers.MaxPooling2D(2, name=f"down{level}_pool")(x)
    for level in reversed(range(len(widths) - 1)):
        x = join(x, skips[level], widths[level], f"up{level}_a")
        x = drop(x, level, f"up{level}_drop")
        x = conv(x, widths[level], f"up{level}_b")
    logits = keras.layers.Conv2D(
        num_logits,
        1,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        dtype="float32",
        name="logits",
    )(x)
    return keras.Model(inputs, logits, name="unet")


def _normalise(
    inputs: Tensor,
    num_channels: int,
    mean: Sequence[float] | np.ndarray | None,
    std: Sequence[float] | np.ndarray | None,
) -> Tensor:
    """(x - mean) / std in float32 (bfloat16 has steps of 2 K at 300 K), missing values to 0."""
    mean = np.zeros(num_channels) if mean is None else np.asarray(mean, dtype=np.float64)
    std = np.ones(num_channels) if std is None else np.asarray(std, dtype=np.float64)
    if mean.shape != (num_channels,) or std.shape != (num_channels,):
        raise ValueError(
            f"mean {mean.shape} and std {std.shape} do not fit {num_channels} channels"
        )
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"mean {mean} and std {std} must be finite, and std above zero")
    scaled = keras.layers.Rescaling(
        (1 / std).tolist(), (-mean / std).tolist(), dtype="float32", name="normalise"
    )(inputs)
    return keras.ops.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)


def _decorrelate(x: Tensor, matrix: np.ndarray) -> Tensor:
    """(B, H, W, C) @ (C, C) in float32; the matrix is not trained."""
    size = x.shape[-1]
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise ValueError(f"a matrix of {matrix.shape} finite numbers does not fit {size} channels")
    layer = keras.layers.Conv2D(
        size, 1, use_bias=False, trainable=False, dtype="float32", name="decorrelate"
    )
    result = layer(x)
    layer.kernel.assign(matrix[None, None])
    return result


def _missing(inputs: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H, W, 1): 1 where a measurement is missing in any channel, else 0."""
    there = keras.ops.all(keras.ops.isfinite(inputs), axis=-1, keepdims=True)
    return keras.ops.cast(keras.ops.logical_not(there), "float32")


def num_logits(num_classes: int) -> int:
    """One logit for two classes (a sigmoid), else one for each class (a softmax)."""
    if num_classes < 2:
        raise ValueError(f"{num_classes} class cannot be told apart from anything; it takes two")
    return 1 if num_classes == 2 else num_classes
