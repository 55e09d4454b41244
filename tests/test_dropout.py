"""What is dropped: other pixels on each rank and in each step, the same after a resumption."""

import numpy as np
import pytest

from cloudmask.model import precision
from cloudmask.model.unet import unet
from cloudmask.train import dropout

IMAGE = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def float32():
    precision.use("float32")


def network():
    return unet(3, 1, widths=(4, 8), dropout=(0.3, 0.3), seed=5)


def draw(model, steps=2):
    return [np.array(model(IMAGE, training=True)) for _ in range(steps)]


def state(model):
    return [np.array(variable.value) for variable in model.variables]


def test_ranks_with_the_same_weights_drop_other_pixels():
    found = []
    for rank in range(4):
        model = network()
        dropout.apart(model, rank)
        found += draw(model)
    assert len({one.tobytes() for one in found}) == 8, "four ranks and two steps of each"


def test_rank_0_and_a_network_without_dropout_are_left_as_they_are():
    model = network()
    before = state(model)
    dropout.apart(model, 0)
    assert all(map(np.array_equal, before, state(model)))
    plain = unet(3, 1, widths=(4, 8), seed=5)
    before = state(plain)
    dropout.apart(plain, 3)
    assert all(map(np.array_equal, before, state(plain)))


def test_a_rank_goes_on_after_a_resumption_as_it_would_have():
    """Rank 0's variables are what a checkpoint holds; those of another rank follow from them."""
    first, other = network(), network()
    dropout.apart(other, 2)
    unbroken = [(*draw(first, 1), *draw(other, 1)) for _ in range(5)]

    first, other = network(), network()
    dropout.apart(other, 2)
    draw(first, 3), draw(other, 3)
    checkpoint = state(first)
    resumed = network()
    for variable, value in zip(resumed.variables, checkpoint, strict=True):
        variable.assign(value)
    dropout.apart(resumed, 2)
    np.testing.assert_array_equal(draw(resumed, 2), [other for _, other in unbroken[3:]])
