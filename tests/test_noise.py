"""The noise scale of synthetic gradients whose truth is known, and what a run keeps of it."""

import dataclasses
import json
import math

import numpy as np
import pytest

from cloudmask.train import noise
from cloudmask.train.state import State
from cloudmask.train.step import StepResult

LENGTH, G2, TRACE = 40, 2.0, 30.0
"""of gradients; the squared length of the true one; the trace of its covariance over patches"""
PIXELS = 100
"""labelled ones of a whole patch"""


def lengths(rng, pixels, *, by_patch=False):
    """L and T of steps with so many labelled pixels (steps, n) on each rank, as a step finds them.

    The noise of a rank's mean gradient is Gaussian, with variance over its labelled pixels, or over
    its patches, which are as many on each rank.
    """
    truth = np.full(LENGTH, math.sqrt(G2 / LENGTH))
    over = np.full_like(pixels, pixels.mean()) if by_patch else pixels
    spread = np.sqrt(TRACE * PIXELS / LENGTH / over)[..., None]
    own = truth + spread * rng.normal(size=(*pixels.shape, LENGTH))
    share = pixels / pixels.sum(axis=1, keepdims=True)
    local = np.sum(share * np.sum(own**2, axis=-1), axis=1)
    mean = np.sum(np.sum(share[..., None] * own, axis=1) ** 2, axis=-1)
    equal = pixels.shape[1] * np.sum(share**2 * np.sum(own**2, axis=-1), axis=1)
    return local, mean, equal


def estimates(local, mean, pixels):
    ranks, patches = pixels.shape[1], pixels.sum(axis=1) / PIXELS
    steps = [
        noise.of_step(*each)
        for each in zip(local, mean, [ranks] * len(local), patches, strict=True)
    ]
    return np.array(steps)


@pytest.mark.parametrize("ranks", [2, 5])
@pytest.mark.parametrize("spread", [0.0, 0.9], ids=["equal", "unequal"])
def test_unequal_shares_of_labelled_pixels_bias_nothing(ranks, spread):
    """The mean over 20,000 steps within four standard errors; S alike where a batch is small."""
    rng = np.random.default_rng(ranks)
    pixels = 4 * PIXELS * (1 + spread * rng.uniform(-1, 1, (20_000, ranks)))
    local, mean, equal = lengths(rng, pixels)
    found = estimates(local, mean, pixels)
    error = found.std(axis=0) / math.sqrt(len(found))
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - (TRACE, G2)), 4 * error)
    plain = estimates(equal, mean, pixels)
    if spread:  # what weighting each rank alike would have said
        assert (plain[:, 1].mean() - G2) / G2 < -0.05
    else:
        np.testing.assert_allclose(plain, found)


@pytest.mark.parametrize("ranks", [2, 5])
def test_patches_that_are_alike_however_few_labels_they_have_bias_g2_by_a_known_little(ranks):
    rng = np.random.default_rng(ranks)
    pixels = 4 * PIXELS * (1 + 0.3 * rng.uniform(-1, 1, (20_000, ranks)))
    found = estimates(*lengths(rng, pixels, by_patch=True)[:2], pixels)[:, 1]
    spread2 = (ranks * ((pixels / pixels.sum(axis=1, keepdims=True)) ** 2).sum(axis=1) - 1).mean()
    expected = spread2 / (ranks - 1) * TRACE / 4
    assert expected < 0.15
    assert found.mean() - G2 == pytest.approx(expected, abs=4 * found.std() / math.sqrt(20_000))


def test_a_ratio_of_sums_is_near_where_a_mean_of_ratios_is_nowhere():
    rng = np.random.default_rng(0)
    pixels = np.full((2000, 2), 4.0 * PIXELS)
    found = estimates(*lengths(rng, pixels)[:2], pixels)
    sums = []
    for s, g2 in found:
        sums = noise.add(sums, s, g2, biased=False)
    assert noise.estimate(sums)["b_noise"] == pytest.approx(TRACE / G2, rel=0.15)
    assert abs((found[:, 0] / found[:, 1]).mean() / (TRACE / G2) - 1) > 0.3


def covered(steps, batch, studies=400):
    """Shares of studies whose interval holds the truth, and that have an end at both sides."""
    rng = np.random.default_rng(steps)
    held = closed = 0
    for _ in range(studies):
        pixels = np.full((steps, 2), batch / 2 * PIXELS)
        found = estimates(*lengths(rng, pixels)[:2], pixels)
        s, g2 = found.T
        sums = [steps, 0, s.sum(), g2.sum(), (s * s).sum(), (s * g2).sum(), (g2 * g2).sum()]
        low, high = noise.interval(sums)
        held += (low or 0) <= TRACE / G2 <= (math.inf if high is None else high)
        closed += high is not None
    return held / studies, closed / studies


@pytest.mark.parametrize(("steps", "batch"), [(30, 2), (30, 64), (300, 2), (300, 64)])
def test_the_interval_holds_the_truth_as_often_as_it_says(steps, batch):
    """Few steps of small batches cannot tell the gradient from zero: then it has no upper end."""
    held, closed = covered(steps, batch)
    assert held > 0.92
    assert (closed < 0.9) == ((steps, batch) == (30, 2))


def test_no_interval_is_told_for_few_steps_or_for_one_rank():
    few = [29, 0, 290, 29, 3000, 290, 30]
    assert noise.estimate(few)["b_noise"] == 10
    assert noise.interval(few) == (None, None)
    assert noise.interval([100, 100, 1000, 100, 10100, 1000, 101]) == (None, None)
    low, high = noise.interval([100, 0, 1000, 100, 10100, 1000, 101])
    assert low < 10 < high


def test_people_read_the_critical_batch_with_what_limits_it():
    told = {"b_noise": 31.4, "low": 20.2, "high": None, "biased": False}
    line = "critical batch by the gradient noise scale: 31"
    assert noise.line(told) == f"{line} [20, no bound] patches"
    assert noise.line(told | {"low": 0.0, "high": 90.4}) == f"{line} [0, 90] patches"
    told |= {"low": None, "biased": True}
    assert noise.line(told) == f"{line} patches, biased: of successive steps of one rank"


def test_a_gradient_that_is_lost_in_noise_has_no_scale():
    sums = noise.add([], 5.0, -0.5, biased=False)
    assert noise.estimate(sums)["b_noise"] is None
    assert noise.line(noise.estimate(sums)).endswith("lost in noise; train for more steps")
    assert noise.estimate([]) is None


@pytest.mark.parametrize(
    "step", [(math.inf, 1.0, 2, 8), (math.nan, 1.0, 2, 8), (1.0, 1.0, 1, 8), (0.0, 0.0, 0, 8)]
)
def test_steps_that_tell_nothing_are_left_out(step):
    assert noise.of_step(*step) is None


def result(local, mean, sharing=2.0):
    return StepResult(1.0, 1.0, 0.0, 0.0, 0.1, 0.0, local, mean, sharing)


def all_of(state):
    return state.history[0]["noise_scale"]["sums"][2:]


def close(state):
    state.add_step(1.0, 1.0, 8, 0.1)
    state.end_epoch(None, patches=8, learning_rate=1e-3)


def test_epochs_and_the_whole_run_add_up_through_a_checkpoint():
    """Short epochs share a point of the curve; the last ones go to the point before."""
    rng = np.random.default_rng(1)
    pixels = np.full((70, 2), 4.0 * PIXELS)
    steps = list(zip(*lengths(rng, pixels)[:2], strict=True))
    state = State()
    for number, each in enumerate(steps, start=1):
        state.add_noise(result(*each), 8, one_rank=False)
        if number == 25:
            state = State.from_dict(json.loads(json.dumps(state.as_dict())))
        if number % 20 == 0:
            close(state)
    close(state)
    told = [record["noise_scale"]["steps"] for record in state.history]
    assert told == [20, 20, 20, 10]
    assert [epoch for epoch, *_ in noise.curve(state.history)] == [2, 4]
    longer = [{"epoch": n, "noise_scale": {"sums": [20, 0, *all_of(state)]}} for n in range(1, 6)]
    assert [epoch for epoch, *_ in noise.curve(longer)] == [2, 5]
    all_sums = [sums for _, sums in noise.of_history(state.history)]
    whole = noise.together(noise.together(*all_sums[:2]), noise.together(*all_sums[2:]))
    s, g2 = estimates(*np.array(steps).T, pixels).sum(axis=0)
    assert noise.estimate(whole)["b_noise"] == pytest.approx(s / g2)
    assert json.dumps(state.history), "plain numbers"


def test_one_rank_takes_two_steps_for_ranks_and_says_so():
    state = State()
    state.add_noise(result(3.0, 2.0, sharing=1.0), 8, one_rank=True)
    assert state.noise == [], "the first has none before it"
    state.add_noise(result(3.0, 2.0), 4, one_rank=True)
    close(state)
    found = state.history[0]["noise_scale"]
    assert (found["s"], found["g2"], found["biased"]) == (12 * 1.0, 2 * 2.0 - 3.0, True)


def test_without_the_option_a_record_is_as_it_was():
    state = State()
    close(state)
    assert "noise_scale" not in state.history[0]
    assert noise.curve(state.history) == []
    assert dataclasses.asdict(State())["noise"] == []
