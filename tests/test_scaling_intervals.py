"""Intervals of medians hold as often as they say, whatever the distribution."""

import numpy as np
import pytest

from scaling.laws import intervals, ratios


@pytest.mark.parametrize(
    ("repeats", "low", "high", "coverage"),
    [(6, 0, 5, 0.96875), (9, 1, 7, 0.9609375), (10, 1, 8, 0.978515625), (20, 5, 14, 0.95861)],
)
def test_interval_lies_between_the_right_order_statistics(repeats, low, high, coverage):
    """Ranks and coverages as tabulated in textbooks (counted here from zero)."""
    values = np.random.default_rng(0).permutation(repeats).astype(float).tolist()
    found = intervals.median(values)
    assert (found.low, found.high) == (low, high)
    assert found.coverage == pytest.approx(coverage, abs=1e-5)
    assert found.is_interval


@pytest.mark.parametrize(
    ("repeats", "coverage"), [(1, 0), (2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375)]
)
def test_too_few_repeats_give_the_range_and_say_so(repeats, coverage):
    found = intervals.median([float(value) for value in range(repeats)])
    assert (found.low, found.high) == (0, repeats - 1)
    assert found.coverage == coverage
    assert not found.is_interval
    assert found.kind.startswith("a single run" if repeats == 1 else "range")


@pytest.mark.parametrize("repeats", [6, 10, 20])
@pytest.mark.parametrize("shape", ["lognormal", "exponential", "outliers"])
def test_interval_holds_the_median_of_skewed_studies(repeats, shape):
    rng = np.random.default_rng([repeats, len(shape)])
    if shape == "lognormal":
        draws, true = rng.lognormal(0, 1, (1000, repeats)), 1.0
    elif shape == "exponential":
        draws, true = rng.exponential(1, (1000, repeats)), np.log(2)
    else:  # one run in ten takes three times as long
        slow = rng.random((1000, repeats)) < 0.1
        draws = np.where(slow, 3, 1) * rng.lognormal(0, 0.02, (1000, repeats))
        # 0.9 F(m) = 0.5 for the fast part alone
        true = float(np.exp(0.02 * 0.13971029888186212))
    held = 0
    for number, study in enumerate(draws):
        rows = [{"patches_per_second": value} for value in study.tolist()]
        (point,) = ratios.curve({1 + number % 7: rows}, "patches_per_second")
        held += point.estimate.low <= true <= point.estimate.high
    assert held >= 940


@pytest.mark.parametrize("repeats", [6, 10, 20])
def test_interval_of_a_ratio_holds_it_too(repeats):
    rng = np.random.default_rng(repeats)
    upper, lower = rng.exponential(3, (1000, repeats)), rng.lognormal(0, 0.5, (1000, repeats))
    true = 3 * np.log(2)
    found = [
        intervals.ratio(intervals.median(a.tolist()), intervals.median(b.tolist()))
        for a, b in zip(upper, lower, strict=True)
    ]
    assert sum(one.low <= true <= one.high for one in found) >= 950


def test_ratio_states_no_more_than_both_intervals_warrant():
    both = intervals.median([1.0, 2, 3, 4, 5, 6])
    found = intervals.ratio(both, both)
    assert found.value == 1
    assert (found.low, found.high) == (1 / 6, 6)
    assert found.coverage == pytest.approx(0.96875**2)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no median"):
        intervals.median([])
