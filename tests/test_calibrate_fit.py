"""The weights of a calibration, and the features that they weigh."""

from pathlib import Path

import numpy as np
import pytest
import scipy.optimize

from cloudmask.cli.options import CalibrateConfig
from cloudmask.data import parallel
from cloudmask.labels import calibrate, logistic
from cloudmask.labels.logistic import Pixels
from cloudmask.model import calibration
from cloudmask.model.calibration import features, identity


def odds_of(p):
    return np.log(p) - np.log1p(-p)


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


def drawn(weights, *, pixels=4000, seed=0, start=None):
    """Features, and labels drawn by these weights."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0, 2, (len(weights) - 1, pixels))
    label = rng.random(pixels) < sigmoid(weights[:-1] @ rows + weights[-1])
    return Pixels(rows.astype(np.float32), label)


def objective(weights, pixels, start):
    """As the head of logistic.py has it, written down another way."""
    p = sigmoid(weights[:-1] @ pixels.features.astype(np.float64) + weights[-1])
    loss = -np.mean(np.log(np.where(pixels.label, p, 1 - p)))
    return loss + 0.03 * np.sum((weights - start) ** 2) / 2


@pytest.mark.parametrize("wanted", [(1.0, 0.0, 0.0), (0.3, 0.9, -1.5), (-2.0, 0.0, 0.5)])
def test_the_weights_are_those_of_a_general_optimiser(wanted):
    pixels, start = drawn(np.array(wanted)), identity(2)
    found = logistic.newton(lambda at: logistic.sums(pixels, at), len(pixels.label), start)
    expected = scipy.optimize.minimize(
        objective, start, args=(pixels, start), method="BFGS", options={"gtol": 1e-8}
    )
    np.testing.assert_allclose(found, expected.x, atol=1e-5)
    right = np.mean((wanted[:-1] @ pixels.features + wanted[-1] >= 0) == pixels.label)
    assert logistic.right(pixels, np.array(wanted)) == round(right * len(pixels.label))


def test_a_network_that_is_sure_and_wrong_is_turned_around():
    """Where it is sure the Hessian is all but zero, and a full step from there far too long."""
    odds = np.repeat([-8.0, 8.0], 500)
    pixels = Pixels(odds[None].astype(np.float32), odds < 0)
    pixels.label[::10] ^= True
    found = logistic.newton(lambda at: logistic.sums(pixels, at), 1000, identity(1))
    best = scipy.optimize.minimize(objective, [0.0, 0.0], args=(pixels, identity(1)))
    assert objective(found, pixels, identity(1)) == pytest.approx(best.fun, abs=1e-6)
    assert found[0] < -0.2


def test_where_nothing_can_be_gained_nothing_changes():
    """Of pixels with odds of 3 to 1 just three quarters are cloudy, whatever is around them."""
    odds = np.log(3.0) * np.repeat([1, 1, -1, -1], 4)
    around = np.repeat([2.0, -1.0, 0.5, -3.0], 4)
    label = np.array([1, 1, 1, 0] * 2 + [1, 0, 0, 0] * 2, bool)
    pixels = Pixels(np.stack([odds, around]), label)
    found = logistic.newton(lambda at: logistic.sums(pixels, at), 16, identity(2))
    np.testing.assert_allclose(found, identity(2), atol=1e-12)


def test_the_ridge_weighs_the_same_for_any_number_of_pixels():
    few = drawn(np.array([0.5, 1.0, 0.2]), pixels=300)
    many = Pixels(np.tile(few.features, 50), np.tile(few.label, 50))
    one, other = (
        logistic.newton(lambda at, p=p: logistic.sums(p, at), len(p.label), identity(2))
        for p in (few, many)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize(("second", "fitted"), [(1000, True), (999, False), (0, False)])
def test_a_few_pixels_of_a_class_do_not_govern_all_of_their_kind(second, fitted):
    rows = np.full((3, 4000), -2, np.float32)  # wrong wherever the label is the second class
    pixels = Pixels(rows, np.arange(4000) < second)
    config = CalibrateConfig(run=Path("run"), scenes=(), label="truth")
    found = calibrate._fit({0: pixels}, 1, config, parallel.World())
    assert found["fitted"] == fitted
    assert (found["weights"] == identity(3).tolist()) == (not fitted)
    both = {name: dict.fromkeys(calibration.KINDS, found[name]) for name in found}
    told = calibrate._told({"scenes": ["a"], "label": "truth", **both})[1]
    assert ("4,000, fewer than 1,000 of a class: their probability stays" in told) == (not fitted)


def test_sums_do_not_depend_on_how_pixels_are_shared():
    pixels = drawn(np.array([1.0, 0.5, 0.0]), pixels=logistic._CHUNK + 777)
    parts = [Pixels(pixels.features[:, s], pixels.label[s]) for s in (slice(99), slice(99, None))]
    at = np.array([0.7, 0.1, -0.2])
    whole = logistic.sums(pixels, at)
    np.testing.assert_allclose(whole, sum(logistic.sums(part, at) for part in parts), rtol=1e-11)


def blurred_by_hand(field, measured, sigma):
    """Each pixel's mean over what is measured within 4 sigma, by the definition."""
    reach, found = int(4 * sigma + 0.5), np.full(field.shape, np.nan)
    places = np.argwhere(measured)
    for row, col in places:
        away = places - (row, col)
        near = (np.abs(away) <= reach).all(axis=1)
        weight = np.exp(-(away[near] ** 2).sum(axis=1) / (2 * sigma**2))
        found[row, col] = weight @ field[tuple(places[near].T)] / weight.sum()
    return found


def test_a_blur_is_the_mean_of_the_measured_pixels_alone():
    rng = np.random.default_rng(3)
    p = rng.random((20, 24)).astype(np.float32)
    p[3:9, :7] = p[:, 12] = p[0, 0] = np.nan
    measured = ~np.isnan(p)
    teacher = rng.choice([0, 1, 255], p.shape).astype(np.uint8)
    rows = features(p, teacher)
    odds = odds_of(p.astype(np.float64))
    vote = np.select([teacher == 1, teacher == 0], [1.0, -1.0])
    expected = [
        odds,
        *(blurred_by_hand(odds, measured, sigma) for sigma in (1.5, 6)),
        vote,
        blurred_by_hand(vote, measured, 1.5),
    ]
    assert len(rows) == 5
    for row, field in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, field[measured], rtol=1e-6, atol=1e-9)


def test_a_scene_without_contrast_keeps_it_at_every_edge():
    p = np.full((30, 30), 0.8, np.float32)
    p[5:20, 5:9] = np.nan
    for row in features(p):
        np.testing.assert_allclose(row, odds_of(np.float64(np.float32(0.8))), rtol=1e-9)


def test_no_pixel_is_surer_than_twelve():
    rows = features(np.array([[0, 1, 0.5]], np.float32))
    np.testing.assert_allclose(rows[0], [-12, 12, 0], atol=1e-9)


def test_the_weights_that_change_nothing_leave_every_bit():
    record = {"teacher": None, "blurs": [1.5], "teacher_blur": 1.5, "scenes": []}
    same = calibration.of_record(record | {"weights": {"all": [1, 0, 0], "some": [1, 0, 0]}})
    p = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    p[2] = np.nan
    np.testing.assert_array_equal(same(p, ~np.isnan(p), None), p)
