"""How much arithmetic a network takes: multiplications and additions of its convolutions.

Forward: a multiplication and an addition for each output pixel and each number of the kernel.
Backward: as much for the gradient of every kernel, and as much again for the gradient of every
layer's input but the first, which are data. So for each image a step takes three forward passes
less one of the first layer. A layer that is not trained only goes forward.
Activations, pooling, the loss and the optimizer are left out: they are well under 1 %.
"""

from __future__ import annotations

import math

import keras

from cloudmask.model.unet import UpConv2D


def forward(model: keras.Model, size: int) -> dict[str, int]:
    """Operations of each layer that has a kernel, in order, for one image (size, size, C)."""
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
        sizes[id(layer.output)] = here
        if hasattr(layer, "kernel"):
            products = math.prod(layer.kernel.shape)
            if isinstance(layer, UpConv2D):  # it takes four of nine products of what is below
                products -= 5 * layer.from_below * layer.filters
            found[layer.name] = 2 * products * here**2
        if isinstance(layer, keras.layers.Conv2DTranspose):  # its kernel goes over what is below
            sizes[id(layer.output)] = here * layer.strides[0]
    return found


def training(model: keras.Model, size: int) -> int:
    """Operations of a forward and a backward pass of one image (size, size, C)."""
    found = forward(model, size)
    trained = [count for name, count in found.items() if model.get_layer(name).trainable]
    return sum(found.values()) + 2 * sum(trained) - trained[0]
