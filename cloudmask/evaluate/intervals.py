"""An interval for a pooled difference, from independent units of unequal size.

The strategy: the difference is sum(gained) / sum(pixels), a mean of the units weighted by their
pixels. Its variance comes from the units' residuals, each blown up by 1 / (1 - weight), which takes
out the bias of few units (CR2), and its degrees of freedom from the weights (Bell and McCaffrey,
Survey Methodology 28, 2002): one orbit that holds most of the pixels leaves few. That holds where
differences lie evenly around their mean. A network that fails badly in some units and gains a
little in all others is skewed, and there Hall's correction for skewness holds better (JRSS B 54,
1992). Nobody knows which of the two a study is, so each end is the farther of the two. Nothing is
drawn: the same counts give the same interval, at a few bytes a unit.

No method knows of a failure that is rarer than the units are many: where one orbit in twenty fails
badly, fifty orbits are too few.

How often it holds, by number of scenes and kind of population, is measured by
`python -m benchmarks intervals`.
"""

from __future__ import annotations

import math

import numpy as np

CONFIDENCE = 0.95
LEAST_UNITS = 20
"""with fewer, a network that fails badly in one unit of ten is too often judged without such a one,
so none is given; see the population `rare` of the benchmark"""


def of_pooled(
    gained: np.ndarray, pixels: np.ndarray, *, least: int = LEAST_UNITS
) -> tuple[float, float] | None:
    """95 % interval of sum(gained) / sum(pixels) over independent units, all of some pixels.

    Both (M,). None for fewer than `least` units, which must be 3 or more, and where they do not
    differ at all, which says nothing of how far they may.
    """
    if len(pixels) < least:
        return None
    total = pixels.sum()
    weight = pixels / total
    difference = gained.sum() / total
    pull = gained / total - weight * difference
    """of each unit on the difference"""
    error = math.sqrt((pull**2 / (1 - weight)).sum())
    if error <= 1e-9:  # rounding alone
        return None
    reach = quantile(_degrees_of_freedom(weight))
    skewness = _skewness(pull)
    low = max(reach, _hall(reach, skewness))
    high = max(reach, -_hall(-reach, skewness))
    return float(difference - error * low), float(difference + error * high)


def quantile(degrees: float) -> float:
    """t with P(|T| < t) = CONFIDENCE of Student's distribution, of `degrees` >= 1 of freedom.

    With T = sqrt(degrees) tan(angle) the density of the angle is cos(angle) ** (degrees - 1).
    """
    angle = np.linspace(0, min(math.pi / 2, 12 / math.sqrt(degrees)), 4001)
    density = np.cos(angle) ** (degrees - 1)
    mass = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * math.tan(np.interp(CONFIDENCE, mass / mass[-1], angle))


def _degrees_of_freedom(weight: np.ndarray) -> float:
    """Satterthwaite's, of the variance of a mean of units of one spread, with these (M,) weights.

    The residuals have the covariance 1 - w_i - w_j + sum(w^2) on the diagonal and the same without
    the 1 beside it; written out, so that no M x M table is made.
    """
    squares = (weight**2).sum()
    factor = weight**2 / (1 - weight)
    diagonal, beside = 1 - 2 * weight + squares, squares - 2 * weight
    mean = (factor * diagonal).sum()
    half = squares / 2 - weight
    pairs = 2 * factor.sum() * (factor * half**2).sum() + 2 * (factor * half).sum() ** 2
    return float(mean**2 / ((factor**2 * (diagonal**2 - beside**2)).sum() + pairs))


def _skewness(pull: np.ndarray) -> float:
    """Of the mean, from its (M,) units: their third moment, without the bias of few units."""
    units = len(pull)
    third = (pull**3).sum() / (pull**2).sum() ** 1.5
    return float(third * math.sqrt(units * (units - 1)) / (units - 2))


def _hall(value: float, skewness: float) -> float:
    """The standardised mean at which Hall's transformed one, free of skewness, is `value`."""
    if abs(skewness) < 1e-9:
        return value
    return float(3 / skewness * (np.cbrt(1 + skewness * (value - skewness / 6)) - 1))
