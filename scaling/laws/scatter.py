"""How far points lie from a fitted law: their rank counts as wholes, and the runs of each.

A rank count may be off as a whole, since the law does not hold there or the machine was disturbed
while its runs were on. Its repeats share that, so they cannot tell of it: what a law says of other
rank counts is as doubtful as the rank counts scatter about it, and as its runs do, whichever is
more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Array = np.ndarray[Any, np.dtype[np.float64]]
REJECTED = 0.05
"""probability of such a lack of fit, or a larger one, below which a law is rejected"""
ROUNDING = 1e-6
"""of logarithms: smaller deviations are those of floating-point numbers"""
MEDIAN = math.pi / 2
"""a median of k normal values has at most this variance over k, and of one value (or two) less"""


@dataclass(frozen=True)
class LackOfFit:
    """The F test of a law's misses at its rank counts against the scatter of repeats there.

    Draper & Smith, Applied Regression Analysis, 1.5.
    """

    statistic: float
    freedom: tuple[int, int]
    p: float

    @property
    def rejected(self) -> bool:
        return self.p < REJECTED

    def __str__(self) -> str:
        p = "< 0.0001" if self.p < 1e-4 else f"= {self.p:.2g}"
        return f"F({self.freedom[0]}, {self.freedom[1]}) = {self.statistic:.3g}, p {p}"


@dataclass(frozen=True)
class Scatter:
    """Squared residuals of logarithms, split: of rank counts as wholes, and of runs within them."""

    between: float
    """sum of squares of the mean residual of each rank count, each times its runs"""
    between_freedom: int
    within: float
    """sum of squares about these means"""
    within_freedom: int
    runs: float
    """of a rank count, on average"""

    def reach(self, confidence: float) -> float:
        """How much more than its least the sum of squares may be for a law to stay possible.

        For one figure that follows from the law: Student's t squared, by the misses of the rank
        counts or by the scatter of their runs, whichever is more.
        """
        return max(self._between(confidence), self._within(confidence))

    def further(self, confidence: float, *, runs: float) -> float:
        """Squared reach of how far the median of further runs may lie from the law, if this was
        known; of logarithms. `runs` may be infinite: then how far a rank count may."""
        share = min(1.0, MEDIAN / runs)
        alone = self._within(confidence) * share
        if not self.between_freedom:
            return alone
        more = self._within(confidence) * max(0.0, share - 1 / self.runs)
        return max(alone, self._between(confidence) / self.runs + more)

    def lack_of_fit(self) -> LackOfFit | None:
        """None where there are no repeats, or no rank counts to spare."""
        freedom = self.between_freedom, self.within_freedom
        if not all(freedom):
            return None
        misses, scatter = self.between / freedom[0], self.within / freedom[1]
        if misses < ROUNDING**2:
            return LackOfFit(0.0, freedom, 1.0)
        statistic = misses / max(scatter, ROUNDING**2)
        return LackOfFit(statistic, freedom, float(stats.f.sf(statistic, *freedom)))

    def _between(self, confidence: float) -> float:
        return _squared(self.between, self.between_freedom, confidence)

    def _within(self, confidence: float) -> float:
        return _squared(self.within, self.within_freedom, confidence)


def _squared(total: float, freedom: int, confidence: float) -> float:
    if not freedom:
        return 0.0
    return float(stats.t.ppf((1 + confidence) / 2, freedom)) ** 2 * total / freedom


def scatter(residuals: Array, ranks: Array, *, taken: int, taken_by_ranks: int) -> Scatter:
    """(n,) residuals of logarithms at (n,) rank counts.

    `taken`: parameters that were free; `taken_by_ranks`: those that differences between rank counts
    alone determine.
    """
    sizes, place, runs = np.unique(ranks, return_inverse=True, return_counts=True)
    means = np.bincount(place, residuals) / runs
    return Scatter(
        float(np.sum(runs * means**2)),
        max(0, len(sizes) - taken_by_ranks),
        float(np.sum((residuals - means[place]) ** 2)),
        max(0, len(residuals) - len(sizes) - (taken - taken_by_ranks)),
        len(residuals) / len(sizes),
    )
