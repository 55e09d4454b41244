"""One machine or commit against another: the ratio of two samples of run times or rates."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from scaling.laws import intervals
from scaling.laws.intervals import CONFIDENCE, Estimate


def ratio(upper: Sequence[float], lower: Sequence[float]) -> Estimate:
    """By how much values of `upper` exceed those of `lower` (Hodges and Lehmann), with an interval.

    The median of all m n ratios u / l; the interval lies between the k-th smallest and the k-th
    largest of them, which holds the true factor with probability 1 - 2 P(U < k), U the statistic
    of Mann and Whitney (Lehmann, Nonparametrics, 2.5). k is the largest that keeps 95 %. That is
    exact where the two samples are of one distribution but for the factor, so scatter as widely on
    a logarithmic scale. Where one scatters more widely it is too narrow, most so where that one has
    fewer values. So it always holds too what the median of either side, by its own interval, leaves
    open over that of the other; `coverage` is the least of the three, by simulations not less than
    what is reached. Values are positive. Raises ValueError for none.
    """
    m, n = len(upper), len(lower)
    if not (m and n):
        raise ValueError("a ratio takes a value of each side at least")
    ratios = np.sort(np.divide.outer(np.asarray(upper), np.asarray(lower)).ravel())
    k = 1
    while k < m * n // 2 and _coverage(m, n, k + 1) >= CONFIDENCE:
        k += 1
    one, other = intervals.median(upper), intervals.median(lower)
    return Estimate(
        float(np.median(ratios)),
        min(float(ratios[k - 1]), one.low / other.value, one.value / other.high),
        max(float(ratios[m * n - k]), one.high / other.value, one.value / other.low),
        min(_coverage(m, n, k), one.coverage, other.coverage),
        min(m, n),
    )


def _coverage(m: int, n: int, k: int) -> float:
    """Probability that the k-th smallest and k-th largest of the m n ratios hold the factor."""
    return max(0.0, 1 - 2 * _below(m, n, k))


@functools.cache
def _below(m: int, n: int, k: int) -> float:
    """P(U < k) for samples of m and n values: asked of scipy by ranks that have U = k - 1."""
    others, rest = divmod(k - 1, n)
    places = sorted([n + 0.5] * others + [rest + 0.5] * (others < m) + [0.5] * (m - others - 1))
    sample = [place + 1e-6 * number for number, place in enumerate(places)]
    found = stats.mannwhitneyu(sample, np.arange(1.0, n + 1), alternative="less", method="exact")
    assert found.statistic == k - 1
    return float(found.pvalue)
