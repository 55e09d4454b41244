"""Mean time between failures, and how often a run should save its state because of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Failures:
    """Mean time between failures in hours, with the bounds between which it is in 95 %."""

    count: int | None
    """that were seen; None: it was stated"""
    hours: float | None
    """None where no failure was seen"""
    low: float
    high: float


def stated(hours: float) -> Failures:
    """ValueError unless above 0."""
    if not 0 < hours < math.inf:
        raise ValueError(f"--mtbf-hours {hours:g} must be above 0")
    return Failures(None, hours, hours, hours)


def observed(count: int, hours: float) -> Failures:
    """From failures that came at random in so many hours of running.

    The exact interval of a Poisson count (Garwood, "Fiducial limits for the Poisson distribution",
    Biometrika 28, 1936), by quantiles of chi-square. After no failure there is a lower bound alone,
    one-sided.
    """
    if not count:
        return Failures(0, None, 2 * hours / stats.chi2.ppf(CONFIDENCE, 2), math.inf)
    tail = (1 - CONFIDENCE) / 2
    low = 2 * hours / stats.chi2.ppf(1 - tail, 2 * count + 2)
    return Failures(count, hours / count, low, 2 * hours / stats.chi2.ppf(tail, 2 * count))


def young(checkpoint_seconds: float, mtbf_seconds: float) -> float:
    """Seconds of work between two checkpoints: sqrt(2 C M) (Young, "A first order approximation to
    the optimum checkpoint interval", CACM 17, 1974)."""
    return math.sqrt(2 * checkpoint_seconds * mtbf_seconds)


def daly(checkpoint_seconds: float, mtbf_seconds: float) -> float:
    """The same to higher order, where a checkpoint is no small part of the time between failures
    (Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22,
    2006, equation 37)."""
    if checkpoint_seconds >= 2 * mtbf_seconds:
        return mtbf_seconds
    part = checkpoint_seconds / (2 * mtbf_seconds)
    first = young(checkpoint_seconds, mtbf_seconds)
    return first * (1 + math.sqrt(part) / 3 + part / 9) - checkpoint_seconds
