"""Medians with intervals that hold for any distribution, however skewed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
REPEATS_FOR_INTERVAL = 6


@dataclass(frozen=True)
class Estimate:
    """A median, the interval around it, and how often such an interval holds the true median."""

    value: float
    low: float
    high: float
    coverage: float
    """probability in 0..1; for a ratio of two medians a lower bound of it"""
    repeats: int

    @property
    def is_interval(self) -> bool:
        """False: too few repeats for 95 %, so `low` and `high` are no more than the range."""
        return self.repeats >= REPEATS_FOR_INTERVAL

    @property
    def kind(self) -> str:
        """What `low` and `high` are, for a caption."""
        if self.repeats == 1:
            return "a single run, of which no range is known"
        share = f"{100 * self.coverage:.1f} %"
        return f"interval, {share}" if self.is_interval else f"range, holds the median in {share}"


def median(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """The median of independent repeats, between two of their order statistics.

    The number of repeats below the true median is binomial (n, 1/2) whatever the distribution, so
    [x(k), x(n+1-k)] holds it with probability 1 - 2 P(Bin(n, 1/2) < k) (David & Nagaraja, Order
    Statistics, 7.1). k is the largest that keeps `confidence`. Fewer than six repeats have no such
    k for 95 %: then the whole range is given, with its true coverage. Raises ValueError for none.
    """
    if not values:
        raise ValueError("no values, so no median; repeat the point at least once")
    ordered = sorted(values)
    n = len(ordered)
    k = 1
    while k < n // 2 and _coverage(n, k + 1) >= confidence:
        k += 1
    return Estimate(statistics.median(ordered), ordered[k - 1], ordered[n - k], _coverage(n, k), n)


def _coverage(n: int, k: int) -> float:
    """Probability that [x(k), x(n+1-k)] of n values holds the median."""
    below = sum(math.comb(n, i) for i in range(k))
    return max(0.0, 1 - 2 * below / 2**n)


def ratio(upper: Estimate, lower: Estimate) -> Estimate:
    """upper / lower, both positive and from independent runs: a ratio of medians, never of repeats.

    It lies between the extreme ratios of the two intervals whenever both of these hold, so at
    least with the product of their coverages.
    """
    return Estimate(
        upper.value / lower.value,
        upper.low / lower.high,
        upper.high / lower.low,
        upper.coverage * lower.coverage,
        min(upper.repeats, lower.repeats),
    )


def product(one: Estimate, other: Estimate) -> Estimate:
    """one x other, both positive: it lies between the extreme products whenever both intervals
    hold, which they do at least as often as their misses leave (Bonferroni: runs may be the same).
    """
    return Estimate(
        one.value * other.value,
        one.low * other.low,
        one.high * other.high,
        max(0.0, one.coverage + other.coverage - 1),
        min(one.repeats, other.repeats),
    )


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The same estimate in another unit, or of a multiple; `factor` is positive and exact."""
    return Estimate(
        estimate.value * factor,
        estimate.low * factor,
        estimate.high * factor,
        estimate.coverage,
        estimate.repeats,
    )
