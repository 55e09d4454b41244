"""Fits give back the laws that made the points, and refuse what the points cannot tell."""

import numpy as np
import pytest

from scaling.laws import laws

RANKS = [1, 2, 4, 8, 16, 32]
REPEATS = 3
DRAWS = 100
WANTED = 90


def _points(law, parameters, x, seed, noise=0.03):
    rng = np.random.default_rng(seed)
    exact = law(*[np.asarray(column, float) for column in x], *parameters)
    return exact * rng.lognormal(0, noise, len(exact))


def _recovered(fit, parameters):
    return [p.low <= true <= p.high for p, true in zip(fit.parameters, parameters, strict=True)]


@pytest.mark.parametrize("serial", [0.0, 0.01, 0.1, 0.4])
def test_amdahl_comes_back_within_its_intervals(serial):
    ranks, true = RANKS * REPEATS, (120.0, serial)
    fits = [
        laws.fit(laws.AMDAHL, ranks, _points(laws.amdahl, true, (ranks,), seed))
        for seed in range(DRAWS)
    ]
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


@pytest.mark.parametrize("serial", [0.0, 0.05, 0.3])
def test_gustafson_comes_back_within_its_intervals(serial):
    ranks, true = RANKS * REPEATS, (5.5, serial)
    fits = [
        laws.fit(laws.GUSTAFSON, ranks, _points(laws.gustafson, true, (ranks,), seed))
        for seed in range(DRAWS)
    ]
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


@pytest.mark.parametrize(("contention", "coherency"), [(0.05, 0.001), (0.02, 0.0), (0.2, 0.01)])
@pytest.mark.parametrize("repeats", [1, 6])
def test_usl_comes_back_within_its_intervals(contention, coherency, repeats):
    ranks, true = RANKS * repeats, (5.5, contention, coherency)
    fits = [
        laws.fit(laws.USL, ranks, _points(laws.usl, true, (ranks,), seed)) for seed in range(DRAWS)
    ]
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


@pytest.mark.parametrize(("latency", "bandwidth"), [(20e-6, 10e9), (5e-3, 1.2e8)])
def test_allreduce_comes_back_within_its_intervals(latency, bandwidth):
    sizes = [2**power for power in range(10, 27, 2)]
    ranks, num_bytes = zip(*[(n, m) for n in (2, 4, 8) for m in sizes], strict=True)
    true = (latency, bandwidth)
    fits = []
    for seed in range(DRAWS):
        seconds = _points(laws.allreduce, true, (ranks, num_bytes), seed)
        fits.append(laws.fit(laws.ALLREDUCE, ranks, num_bytes, seconds))
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


def test_exact_points_give_exact_parameters_and_no_residuals():
    fit = laws.fit(laws.USL, RANKS, laws.usl(np.asarray(RANKS, float), 3.0, 0.04, 0.002))
    assert [p.value for p in fit.parameters] == pytest.approx([3.0, 0.04, 0.002])
    assert fit.spread < 1e-6
    assert fit.predict([64]) == pytest.approx(laws.usl(np.array([64.0]), 3.0, 0.04, 0.002))


def test_residuals_say_what_the_law_leaves_over():
    seconds = [10.0, 5.0, 2.5, 3.0]
    fit = laws.fit(laws.AMDAHL, [1, 2, 4, 8], seconds)
    again = fit.predict([1, 2, 4, 8]) * (1 + np.asarray(fit.residuals))
    assert again == pytest.approx(seconds)
    assert max(map(abs, fit.residuals)) > 0.1


@pytest.mark.parametrize("count", [1, 3, 5])
def test_three_parameters_need_six_points(count):
    ranks = RANKS[:count]
    with pytest.raises(laws.FitError, match=f"needs 6 points, there are {count}"):
        laws.fit(laws.USL, ranks, laws.usl(np.asarray(ranks, float), 3.0, 0.04, 0.002))


def test_repeats_do_not_replace_rank_counts():
    with pytest.raises(laws.FitError, match="3 different rank counts, there are 2"):
        laws.fit(laws.USL, [1, 2] * 6, np.linspace(1, 2, 12))
    with pytest.raises(laws.FitError, match="2 different rank counts, there is 1"):
        laws.fit(laws.AMDAHL, [4] * 6, np.linspace(1, 2, 6))


def test_two_rank_counts_determine_amdahl_without_testing_it():
    fit = laws.fit(laws.AMDAHL, [1, 2] * 3, [10, 5.5, 10.1, 5.4, 9.9, 5.6])
    assert not fit.tested
    assert fit.value("serial") == pytest.approx(0.1, abs=0.01)
    assert laws.fit(laws.AMDAHL, [1, 2, 4] * 2, [10, 5.5, 3.2] * 2).tested


def test_figures_that_no_law_can_have_are_refused():
    with pytest.raises(laws.FitError, match="positive"):
        laws.fit(laws.AMDAHL, [1, 2, 4, 8], [1.0, 0.5, 0.0, 0.1])
    with pytest.raises(laws.FitError, match="one rank"):
        laws.fit(laws.ALLREDUCE, [1, 2, 2, 2], [8, 16, 32, 64], [1.0, 2, 3, 4])
    with pytest.raises(laws.FitError, match="one message size"):
        laws.fit(laws.ALLREDUCE, [2, 2, 4, 4], [8] * 4, [1.0, 2, 3, 4])


def test_band_holds_the_true_curve():
    ranks, true = RANKS * REPEATS, (120.0, 0.05)
    held = 0
    for seed in range(DRAWS):
        fit = laws.fit(laws.AMDAHL, ranks, _points(laws.amdahl, true, (ranks,), seed))
        low, high = fit.band(lambda law: law([64]), seed=seed)
        held += bool(low[0] <= laws.amdahl(np.array([64.0]), *true)[0] <= high[0])
    assert held >= WANTED
