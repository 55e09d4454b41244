"""Fits give back the law that made the points, stay physical, and refuse what is not told."""

import numpy as np
import pytest
from scipy import optimize, stats

from scaling.laws import fitting, laws

RANKS = [1, 2, 4, 8, 16, 32]
REPEATS = 3
DRAWS = 100
WANTED = 90
FAR = np.array([64.0, 256, 4096])
EMULATED = {
    1: (7.844, 7.819, 7.779),
    2: (15.199, 15.318, 15.416),
    4: (30.182, 30.134, 30.143),
    8: (57.515, 57.954, 58.616),
}
"""patches/s of an emulated device, by ranks: the study of commit 570236d"""


def _points(law, parameters, x, seed, noise=0.03):
    rng = np.random.default_rng(seed)
    exact = law(*[np.asarray(column, float) for column in x], *parameters)
    return exact * rng.lognormal(0, noise, len(exact))


def _recovered(fit, parameters):
    return [p.low <= true <= p.high for p, true in zip(fit.parameters, parameters, strict=True)]


@pytest.mark.parametrize("serial", [0.0, 0.01, 0.1, 0.4, 1.0])
def test_amdahl_comes_back_within_its_intervals(serial):
    ranks, true = RANKS * REPEATS, (120.0, serial)
    fits = [
        fitting.fit(laws.AMDAHL, ranks, _points(laws.amdahl, true, (ranks,), seed))
        for seed in range(DRAWS)
    ]
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


@pytest.mark.parametrize("serial", [0.0, 0.05, 0.3])
def test_gustafson_comes_back_within_its_intervals(serial):
    ranks, true = RANKS * REPEATS, (5.5, serial)
    fits = [
        fitting.fit(laws.GUSTAFSON, ranks, _points(laws.gustafson, true, (ranks,), seed))
        for seed in range(DRAWS)
    ]
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


@pytest.mark.parametrize(("contention", "coherency"), [(0.05, 0.001), (0.02, 0.0), (0.2, 0.01)])
@pytest.mark.parametrize("repeats", [1, 6])
def test_usl_comes_back_within_its_intervals(contention, coherency, repeats):
    ranks, true = RANKS * repeats, (5.5, contention, coherency)
    fits = [
        fitting.fit(laws.USL, ranks, _points(laws.usl, true, (ranks,), seed))
        for seed in range(DRAWS)
    ]
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


@pytest.mark.parametrize(
    "true", [(0.0, 20e-6, 10e9), (10e-3, 20e-6, 10e9), (5e-3, 0.0, 1.2e8)], ids=str
)
def test_allreduce_comes_back_within_its_intervals(true):
    sizes = [2**power for power in range(10, 27, 2)]
    ranks, num_bytes = zip(*[(n, m) for n in (2, 4, 8, 16) for m in sizes], strict=True)
    fits = []
    for seed in range(DRAWS):
        seconds = _points(laws.allreduce, true, (ranks, num_bytes), seed)
        fits.append(fitting.fit(laws.ALLREDUCE, ranks, num_bytes, seconds))
    assert sum(all(_recovered(fit, true)) for fit in fits) >= WANTED


def test_constant_of_an_allreduce_is_no_latency_of_a_hop():
    """Half a cycle of Horovod's, 10 ms, on a link of 20 us: a hop more costs next to nothing."""
    true = (10.5e-3, 20e-6, 10e9)
    ranks, num_bytes = zip(*[(n, 4**m) for n in (2, 4, 8) for m in range(5, 13)], strict=True)
    fit = fitting.fit(
        laws.ALLREDUCE, ranks, num_bytes, _points(laws.allreduce, true, (ranks, num_bytes), 0, 0.01)
    )
    assert fit.value("constant") == pytest.approx(10.5e-3, rel=0.02)
    small = float(laws.allreduce(np.array(16.0), np.array(1024.0), *true))
    assert float(fit.predict([16], [1024])[0]) == pytest.approx(small, rel=0.1)
    (low,), (high,) = fit.interval([16], [1024])
    assert low <= small <= high < 5 * small, "not one constant for each of 30 hops"


@pytest.mark.parametrize("count", [1, 2])
def test_allreduce_wants_three_rank_counts_however_many_sizes(count):
    ranks, sizes = zip(*[(2**n, 4**m) for n in range(1, count + 1) for m in range(9)], strict=True)
    with pytest.raises(laws.FitError, match=f"3 different rank counts, there (is|are) {count}"):
        fitting.fit(laws.ALLREDUCE, ranks, sizes, np.linspace(1, 2, len(ranks)))


def test_exact_points_give_exact_parameters_and_no_residuals():
    fit = fitting.fit(laws.USL, RANKS, laws.usl(np.asarray(RANKS, float), 3.0, 0.04, 0.002))
    assert [p.value for p in fit.parameters] == pytest.approx([3.0, 0.04, 0.002])
    assert fit.spread < 1e-6
    assert fit.predict([64]) == pytest.approx(laws.usl(np.array([64.0]), 3.0, 0.04, 0.002))
    assert not fit.rejected


def test_residuals_say_what_the_law_leaves_over():
    seconds = [10.0, 5.0, 2.5, 3.0]
    fit = fitting.fit(laws.AMDAHL, [1, 2, 4, 8], seconds)
    again = fit.predict([1, 2, 4, 8]) * (1 + np.asarray(fit.residuals))
    assert again == pytest.approx(seconds)
    assert max(map(abs, fit.residuals)) > 0.1


def test_no_law_leaves_what_is_physical():
    """Of data without coherency and with 2 % of noise, half the free fits have a pole."""
    beyond = 0
    for seed in range(40):
        ranks = [1, 2, 4, 8] * 3
        rates = _points(laws.usl, (5.5, 0.02, 0.0), (ranks,), seed, 0.02)
        free, _ = optimize.curve_fit(laws.usl, np.asarray(ranks, float), rates, p0=(5, 0.05, 0.001))
        beyond += free[2] < 0
        fit = fitting.fit(laws.USL, ranks, rates)
        assert fit.value("contention") >= 0 <= fit.value("coherency")
        assert min(p.low for p in fit.parameters) >= 0
        low, high = fit.interval(FAR)
        assert all(low > 0)
        assert all(high < np.inf)
        every = fit.law.at(fit.possible, FAR)
        assert np.all((every > 0) & (every / FAR <= fit.predict([1]) * 2)), "no law has a pole"
    assert beyond >= 10, "the case is there"


def test_serial_shares_lie_between_none_and_all():
    for law, figures in (
        (laws.AMDAHL, [10.0, 4.0, 1.9, 0.9]),  # super-linear
        (laws.AMDAHL, [10.0, 10.5, 11.0, 11.2]),
        (laws.GUSTAFSON, [1.0, 2.1, 4.4, 9.1]),
        (laws.GUSTAFSON, [1.0, 0.98, 0.95, 0.9]),
    ):
        serial = fitting.fit(law, [1, 2, 4, 8] * 2, figures + figures).parameters[1]
        assert serial.value in (0, 1)
        assert serial.bounded
        assert 0 <= serial.low <= serial.high <= 1


def test_intervals_are_those_of_student_where_no_bound_is_near():
    """Little noise, far from any bound: as linear as curve_fit takes it."""
    ranks = RANKS * 6
    rates = _points(laws.gustafson, (5.5, 0.3), (ranks,), 0, 0.002)
    fit = fitting.fit(laws.GUSTAFSON, ranks, rates)
    free, covariance = optimize.curve_fit(
        lambda n, g, s: np.log(laws.gustafson(n, g, s)), ranks, np.log(rates), p0=(5, 0.1)
    )
    assert [p.value for p in fit.parameters] == pytest.approx(free)
    # The same sum of squares, shared out anew: rank counts or runs, whichever scatters more.
    variance = fit.spread**2
    for parameter, error in zip(fit.parameters, np.sqrt(np.diag(covariance)), strict=True):
        reaches = [
            stats.t.ppf(1 - 0.05 / 4, freedom) * np.sqrt(total / freedom / variance)
            for total, freedom in (
                (fit.scatter.between, len(RANKS) - 2),
                (fit.scatter.within, 36 - len(RANKS)),
            )
        ]
        assert parameter.high - parameter.value == pytest.approx(max(reaches) * error, rel=0.02)
        assert parameter.value - parameter.low == pytest.approx(max(reaches) * error, rel=0.02)


def test_lack_of_fit_is_told_from_the_scatter_of_runs():
    """The emulated study's Gustafson: to be rejected before anybody looks at 16 ranks."""
    ranks = [n for n, runs in EMULATED.items() for _ in runs]
    rates = [rate for runs in EMULATED.values() for rate in runs]
    fit = fitting.fit(laws.GUSTAFSON, ranks, rates)
    assert fit.lack.freedom == (2, 8)
    assert fit.lack.statistic == pytest.approx(21, rel=0.03)
    assert fit.lack.p == pytest.approx(0.0007, rel=0.1)
    assert fit.rejected
    assert "lack of fit F(2, 8) = " in fit.left
    assert not fitting.fit(laws.USL, ranks, rates).rejected
    assert fitting.fit(laws.USL, ranks, rates).value("coherency") == 0, "was below zero"


def test_law_without_repeats_or_rank_counts_to_spare_is_not_tested():
    once = fitting.fit(laws.AMDAHL, [1, 2, 4, 8], [10.0, 5.5, 3.2, 2.0])
    assert once.lack is None
    assert once.tested
    two = fitting.fit(laws.AMDAHL, [1, 2] * 3, [10, 5.5, 10.1, 5.4, 9.9, 5.6])
    assert two.lack is None


def test_rank_counts_that_are_off_as_wholes_widen_intervals_more_than_repeats_narrow_them():
    """Each rank count off by 2 %, its runs by 0.2 %: however many runs, 16 ranks stay in doubt."""
    random, inside, narrow = np.random.default_rng(0), 0, 0
    for _ in range(DRAWS):
        ranks = np.repeat([1, 2, 4, 8], 12)
        off = np.repeat(0.02 * random.standard_normal(4), 12)
        rates = laws.gustafson(ranks, 8.0, 0.05) * np.exp(off + random.normal(0, 0.002, 48))
        fit = fitting.fit(laws.GUSTAFSON, ranks, rates)
        there = laws.gustafson(16.0, 8.0, 0.05) * np.exp(0.02 * random.standard_normal())
        (low,), (high,) = fit.interval([16], runs=12)
        inside += low <= there <= high
        pooled = stats.t.ppf(0.975, 46) * fit.spread
        narrow += abs(np.log(there / fit.predict([16])[0])) < pooled
    assert inside >= WANTED
    assert narrow < 80, "which the scatter of all runs together does not tell"


@pytest.mark.parametrize("count", [1, 3, 5])
def test_three_parameters_need_six_points(count):
    ranks = RANKS[:count]
    with pytest.raises(laws.FitError, match=f"needs 6 points, there are {count}"):
        fitting.fit(laws.USL, ranks, laws.usl(np.asarray(ranks, float), 3.0, 0.04, 0.002))


def test_repeats_do_not_replace_rank_counts():
    with pytest.raises(laws.FitError, match="3 different rank counts, there are 2"):
        fitting.fit(laws.USL, [1, 2] * 6, np.linspace(1, 2, 12))
    with pytest.raises(laws.FitError, match="2 different rank counts, there is 1"):
        fitting.fit(laws.AMDAHL, [4] * 6, np.linspace(1, 2, 6))


def test_two_rank_counts_determine_amdahl_without_testing_it():
    fit = fitting.fit(laws.AMDAHL, [1, 2] * 3, [10, 5.5, 10.1, 5.4, 9.9, 5.6])
    assert not fit.tested
    assert fit.value("serial") == pytest.approx(0.1, abs=0.01)
    assert fitting.fit(laws.AMDAHL, [1, 2, 4] * 2, [10, 5.5, 3.2] * 2).tested


def test_figures_that_no_law_can_have_are_refused():
    with pytest.raises(laws.FitError, match="positive"):
        fitting.fit(laws.AMDAHL, [1, 2, 4, 8], [1.0, 0.5, 0.0, 0.1])
    with pytest.raises(laws.FitError, match="one rank"):
        fitting.fit(laws.ALLREDUCE, [1, 2, 2, 2], [8, 16, 32, 64], [1.0, 2, 3, 4])
    with pytest.raises(laws.FitError, match="one message size"):
        fitting.fit(laws.ALLREDUCE, [2, 2, 4, 4], [8] * 4, [1.0, 2, 3, 4])


def test_band_holds_the_true_curve():
    ranks, true = RANKS * REPEATS, (120.0, 0.05)
    held = 0
    for seed in range(DRAWS):
        fit = fitting.fit(laws.AMDAHL, ranks, _points(laws.amdahl, true, (ranks,), seed))
        band = fit.law.at(fit.possible, [64])
        held += bool(band.min() <= laws.amdahl(np.array([64.0]), *true)[0] <= band.max())
    assert held >= WANTED


@pytest.mark.parametrize("seed", [3, 5, 12, 52, 197, 245])
@pytest.mark.parametrize("shape", ["falling with the ranks", "hops alone"])
def test_allreduce_that_tells_nothing_of_a_parameter_is_fitted_or_refused(shape, seed):
    """Its covariance has fewer dimensions than parameters; Cholesky's method fails on some."""
    rng = np.random.default_rng(seed)
    ranks, sizes = np.repeat([2.0, 4, 8], 8), np.tile(4.0 ** np.arange(5, 13), 3)
    exact = {"falling with the ranks": 5.5e-3 / ranks**0.1, "hops alone": 4e-3 * (ranks - 1)}
    noise = {"falling with the ranks": 0.03, "hops alone": 0.02}
    seconds = exact[shape] * np.exp(rng.normal(0, noise[shape], 24))
    fit = fitting.fit(laws.ALLREDUCE, ranks, sizes, seconds)
    for one in fit.parameters:
        assert one.low <= one.value <= one.high
    low, high = fit.interval(ranks, sizes)
    assert np.all((low <= fit.predict(ranks, sizes)) & (fit.predict(ranks, sizes) <= high))
    if shape == "hops alone":
        bandwidth = fit.parameters[-1]
        assert bandwidth.high > 1e9 * bandwidth.low, "what nothing tells of has no end"


def test_root_of_a_covariance_is_that_of_cholesky_and_does_without_its_conditions():
    from scaling.laws import region

    whole = np.array([[4.0, 1.0], [1.0, 9.0]])
    wanted = np.linalg.cholesky(np.linalg.inv(whole))
    np.testing.assert_allclose(region._root(whole), wanted, rtol=1e-4)
    for told in (np.ones((2, 2)), np.diag([1e12, 0.0]), np.zeros((2, 2))):
        root = region._root(told)
        assert np.isfinite(root).all()
        assert root[0, 1] == 0
