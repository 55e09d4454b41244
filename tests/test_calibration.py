"""Reliability, ROC and threshold sweep against figures computed from the pixels themselves."""

import numpy as np
import pytest

from cloudmask.evaluate import calibration
from cloudmask.predict.masks.values import classify, probability_of


@pytest.fixture(scope="module")
def pixels():
    """Probabilities in stored steps, and classes that follow them but too boldly."""
    rng = np.random.default_rng(0)
    probability = np.rint(rng.beta(0.6, 0.5, 20_000) * 10_000) / 10_000
    positive = rng.random(20_000) < 0.2 + 0.6 * probability
    return probability, positive


@pytest.fixture(scope="module")
def found(pixels):
    return calibration.figures(calibration.histogram(*pixels))


def test_sweep_gives_what_each_threshold_gives(pixels, found):
    probability, positive = pixels
    assert [row["threshold"] for row in found["sweep"]] == [n / 50 for n in range(51)]
    for row in found["sweep"]:
        said = probability >= row["threshold"] - 1e-9
        tp, fp = np.sum(said & positive), np.sum(said & ~positive)
        fn, tn = np.sum(~said & positive), np.sum(~said & ~positive)
        assert row["true_positive_rate"] == pytest.approx(tp / (tp + fn))
        assert row["false_positive_rate"] == pytest.approx(fp / (fp + tn))
        assert row["accuracy"] == pytest.approx((tp + tn) / len(said))
        assert row["iou"] == pytest.approx(tp / (tp + fp + fn))
        assert row["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        balanced = (tp / (tp + fn) + tn / (fp + tn)) / 2
        assert row["balanced_accuracy"] == pytest.approx(balanced)


def test_every_threshold_gives_the_pixels_that_its_histogram_has():
    """Stored probabilities at exactly T fell below T for 31 of 99 percent values."""
    steps = np.arange(10_001)
    probability = probability_of(steps.astype(np.int16))
    for positive in (np.zeros(10_001, bool), steps % 3 == 0):
        counts = calibration.histogram(probability, positive)
        for percent in range(101):
            said = classify(probability[:, None], threshold=percent / 100) == 1
            assert said.sum() == counts[:, 100 * percent :].sum() == 10_001 - 100 * percent
            assert (said & positive).sum() == counts[1, 100 * percent :].sum()


def test_auc_is_the_chance_that_a_positive_ranks_higher(pixels, found):
    probability, positive = pixels
    high, low = np.sort(probability[positive]), np.sort(probability[~positive])
    below, upto = np.searchsorted(low, high, "left"), np.searchsorted(low, high, "right")
    expected = (below + upto).sum() / 2 / (len(high) * len(low))
    assert found["auc"] == pytest.approx(expected)


def test_reliability_and_errors(pixels, found):
    probability, positive = pixels
    assert found["brier"] == pytest.approx(np.mean((probability - positive) ** 2))
    error = 0.0
    for row in found["reliability"]:
        inside = (probability >= row["low"]) & (
            (probability < row["high"]) | ((row["high"] == 1) & (probability == 1))
        )
        assert row["pixels"] == inside.sum()
        assert row["mean_probability"] == pytest.approx(probability[inside].mean())
        assert row["frequency"] == pytest.approx(positive[inside].mean())
        error += abs(probability[inside].mean() - positive[inside].mean()) * inside.mean()
    assert found["expected_calibration_error"] == pytest.approx(error)
    assert error > 0.05, "these probabilities are too bold, and it shows"


def test_the_best_threshold_is_one_that_can_be_given():
    """Where the class is nowhere, none at all would be best, and 1.0001 was said."""
    counts = calibration.histogram(np.full(10, 0.9, np.float32), np.zeros(10, bool))
    assert calibration.figures(counts)["best"] == {"threshold": 1.0, "accuracy": 1.0}
    counts = calibration.histogram(np.ones(10, np.float32), np.zeros(10, bool))
    assert calibration.figures(counts)["best"] == {"threshold": 1.0, "accuracy": 0.0}


def test_best_threshold_is_the_best_of_all(pixels, found):
    probability, positive = pixels
    accuracies = [np.mean((probability >= t) == positive) for t in np.unique(probability)]
    assert found["best"]["accuracy"] == pytest.approx(max(accuracies))
    said = probability >= found["best"]["threshold"] - 1e-9
    assert np.mean(said == positive) == pytest.approx(max(accuracies))


def test_counts_of_parts_add_up(pixels, found):
    probability, positive = pixels
    parts = [calibration.histogram(probability[n::3], positive[n::3]) for n in range(3)]
    assert calibration.figures(sum(parts)) == found


def test_one_class_alone_has_no_curve():
    found = calibration.figures(calibration.histogram(np.array([0.2, 0.9]), np.array([True, True])))
    assert found["auc"] is None
    assert found["sweep"][0]["false_positive_rate"] is None
    assert found["sweep"][25]["balanced_accuracy"] == 0.5
    assert found["reliability"][5]["frequency"] is None
