"""How much arithmetic a network takes: multiplications and additions of its convolutions.

Forward: a multiplication and an addition for each output pixel and each number of the kernel.
Backward: as much for the gradient of every kernel, and as much again for the gradient of every
layer's input but the first, which are data. So for each image a step takes three forward passes
less one of the first layer. A layer that is not trained only goes forward.
Activations, pooling, the loss and the optimizer are left out: they are well under 1 %.

And how many bytes must move for it, if nothing stays in a cache from one convolution to the next
and nothing else touches the images: each of those passes reads two of input, output and kernel and
writes the third, the kernel once a batch. Operations over bytes are the intensity of the roofline
model (Williams, Waterman and Patterson, doi 10.1145/1498765.1498785). Activations, pooling and
casts that are steps of their own move more, so a real intensity is lower.
"""

from __future__ import annotations

import dataclasses
import math

import keras
import tensorflow as tf

from cloudmask.model.unet import UpConv2D


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of one image."""

    operations: int
    values: int
    """of its input and its output"""
    kernel: int
    """numbers in it"""
    bytes_each: int
    """of a number, in the arithmetic that it computes in"""
    trained: bool


def layers(model: keras.Model, size: int) -> dict[str, Layer]:
    """Each layer that has a kernel, by name, in order, for one image (size, size, C)."""
    sizes = {id(tensor): size for tensor in model.inputs}
    found = {}
    for layer in model.operations:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = layer.input if isinstance(layer.input, list | tuple) else [layer.input]
        here = max(sizes[id(tensor)] for tensor in inputs)  # of a join: the skip's
        if isinstance(layer, keras.layers.MaxPooling2D):
            here //= layer.pool_size[0]
        if isinstance(layer, keras.layers.UpSampling2D):
            here *= layer.size[0]
        after = here
        if isinstance(layer, keras.layers.Conv2DTranspose):  # its kernel goes over what is below
            after = here * layer.strides[0]
        sizes[id(layer.output)] = after
        if hasattr(layer, "kernel"):
            products = math.prod(layer.kernel.shape)
            if isinstance(layer, UpConv2D):  # it takes four of nine products of what is below
                products -= 5 * layer.from_below * layer.filters
            read = sum(sizes[id(tensor)] ** 2 * tensor.shape[-1] for tensor in inputs)
            found[layer.name] = Layer(
                operations=2 * products * here**2,
                values=read + after**2 * layer.output.shape[-1],
                kernel=math.prod(layer.kernel.shape),
                bytes_each=tf.as_dtype(layer.compute_dtype).size,
                trained=bool(layer.trainable),
            )
    return found


def forward(model: keras.Model, size: int) -> dict[str, int]:
    """Operations of each layer that has a kernel, in order, for one image (size, size, C)."""
    return {name: layer.operations for name, layer in layers(model, size).items()}


def training(model: keras.Model, size: int) -> int:
    """Operations of a forward and a backward pass of one image (size, size, C)."""
    found = layers(model, size).values()
    trained = [layer.operations for layer in found if layer.trained]
    return sum(layer.operations for layer in found) + 2 * sum(trained) - trained[0]


def training_bytes(model: keras.Model, size: int, batch: int) -> float:
    """Bytes that the convolutions of `training` must move, for an image in a batch of so many."""
    found = list(layers(model, size).values())
    moved = [(one.values + one.kernel / batch) * one.bytes_each for one in found]
    trained = [each for each, one in zip(moved, found, strict=True) if one.trained]
    return sum(moved) + 2 * sum(trained) - trained[0]
