"""Filter gradients in pieces against the gradient that TensorFlow takes of the same convolution."""

import numpy as np
import pytest
import tensorflow as tf

from cloudmask.model import convolution
from cloudmask.model.unet import unet


@pytest.fixture
def narrow(monkeypatch):
    """Pieces of a few columns of small images."""
    monkeypatch.setattr(convolution, "PIECE", 16)


def plain(image, kernel):
    return tf.nn.conv2d(image, kernel, 1, "SAME")


def case(*, columns=21, dtype=tf.float32):
    """(2, 10, columns, 3) image and (3, 3, 3, 4) kernel."""
    random = np.random.default_rng(0)
    shapes = (2, 10, columns, 3), (3, 3, 3, 4)
    return [tf.cast(random.normal(size=shape), dtype) for shape in shapes]


def gradients(convolve, image, kernel):
    """Result, and gradients to image and kernel of a sum that weights its pixels differently."""
    with tf.GradientTape() as tape:
        tape.watch([image, kernel])
        result = convolve(image, kernel)
        weights = tf.random.stateless_normal(tf.shape(result), seed=(1, 2))
        total = tf.reduce_sum(tf.cast(result, tf.float32) * weights)
    return result, *tape.gradient(total, [image, kernel])


def sums(image, kernel):
    """The paddings of the gradients to the kernel in the graph of `gradients`."""
    graph = tf.function(lambda *given: gradients(convolution.convolve, *given))
    found = graph.get_concrete_function(image, kernel).graph.get_operations()
    return [o.get_attr("padding") for o in found if o.type == "Conv2DBackpropFilter"]


@pytest.mark.parametrize("columns", [5, 20, 21, 22])
def test_pieces_add_up_to_the_gradient_of_the_whole(columns, narrow):
    given = case(columns=columns)
    # oneDNN has no explicit padding in TensorFlow: pieces with it would be slower than the whole
    assert sums(*given) == ([b"VALID"] * (columns // 4) if columns > 5 else [b"SAME"])
    found, expected = (gradients(form, *given) for form in (convolution.convolve, plain))
    for one, other in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-5, atol=1e-4)


def test_narrow_images_keep_their_bits():
    given = case()
    assert sums(*given) == [b"SAME"]
    found = [gradients(form, *given) for form in (convolution.convolve, plain)]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_sixteen_bits_are_taken_whole(narrow):
    assert sums(*case(dtype=tf.bfloat16)) == [b"SAME"]


@pytest.mark.parametrize(("columns", "channels"), [(256, 32), (128, 64), (64, 128), (32, 256)])
def test_full_patches_are_taken_in_pieces_on_every_level(columns, channels):
    image, kernel = tf.zeros((1, 2, columns, channels)), tf.zeros((3, 3, channels, channels))
    assert sums(image, kernel) == [b"VALID"] * 4


@pytest.mark.parametrize("asked", [False, True])
def test_a_network_has_pieces_only_if_asked_for(narrow, asked):
    """Both have the same weights and results; without pieces the gradients are TensorFlow's own."""
    model = unet(3, 1, widths=(4, 8), seed=5, narrow_gradients=asked)
    plain = unet(3, 1, widths=(4, 8), seed=5)
    image = tf.constant(np.random.default_rng(0).normal(size=(1, 16, 16, 3)), tf.float32)

    @tf.function
    def gradients(image):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(image))
        return tape.gradient(total, [v.value for v in model.trainable_variables])

    np.testing.assert_array_equal(model(image), plain(image))
    found = gradients.get_concrete_function(image).graph.get_operations()
    pieces = [o for o in found if o.type == "Conv2DBackpropFilter"]
    valid = [o for o in pieces if o.get_attr("padding") == b"VALID"]
    assert (len(valid) > 1) == asked, "one is of the logits, which have no neighbours"
