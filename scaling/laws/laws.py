"""The laws of scaling, and fits of them that say how far they can be trusted.

Every law is a function of the number of ranks (and of bytes, for the allreduce). They are fitted to
single runs, not to medians, on a logarithmic scale: run times scatter by some per cent at every
size, so a second at 1 rank must not weigh as much as a second at 64.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from cloudmask.text import percent, with_unit

CONFIDENCE = 0.95
POINTS_PER_PARAMETER = 2

Array = np.ndarray[Any, np.dtype[np.float64]]


class FitError(ValueError):
    """Too few points for a law, or points that do not determine it; the message says which."""


@dataclass(frozen=True)
class Law:
    """A formula, its parameters and where it comes from."""

    name: str
    formula: str
    source: str
    function: Callable[..., Array]
    guess: Callable[..., tuple[float, ...]]
    """parameters to begin a fit with, from its columns; FitError for those that tell nothing"""
    parameters: tuple[str, ...]
    units: tuple[str, ...]
    logarithmic: bool = False
    """fit the logarithms of the parameters, which are positive and may span decades"""


@dataclass(frozen=True)
class Parameter:
    """A fitted value; `low` and `high` hold for all parameters of a fit at once in 95 %."""

    name: str
    value: float
    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        """0.0713 [0.0412, 0.101]"""
        value, low, high = (with_unit(one, self.unit) for one in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Fit:
    """A law fitted to points."""

    law: Law
    parameters: tuple[Parameter, ...]
    points: int
    ranks: tuple[int, ...]
    """the rank counts measured; beyond the last of them everything is projected"""
    residuals: tuple[float, ...]
    """measured over fitted, minus one, point by point"""
    spread: float
    """standard deviation of the residuals, with the fit's degrees of freedom"""
    tested: bool
    """False: as many parameters as sizes, so any such law passes through the medians"""
    free: Array
    """(parameters,) as fitted: logarithms where the law is logarithmic"""
    covariance: Array
    """(parameters, parameters) of `free`"""

    @property
    def left(self) -> str:
        """The residuals in words."""
        worst = max(self.residuals, key=abs)
        return f"{percent(self.spread)} (largest {percent(worst, sign=True)})"

    def value(self, name: str) -> float:
        return next(p.value for p in self.parameters if p.name == name)

    def predict(self, *x: Any) -> Array:
        """The law at ranks (and bytes), by the fitted values."""
        return self.law.function(*map(_floats, x), *self._natural(self.free))

    def interval(self, ranks: float) -> tuple[float, float]:
        """Where a single further run at `ranks` lies in 95 %: the law's doubt and the runs' own.

        Linear in the parameters around the fit (delta method), on the logarithmic scale. For laws
        of the ranks alone.
        """

        def logarithm(free: Array) -> float:
            return float(np.log(np.maximum(self.at(free, [ranks]), 1e-300))[0])

        slope = optimize.approx_fprime(self.free, logarithm)
        variance = float(slope @ self.covariance @ slope) + self.spread**2
        freedom = self.points - len(self.free)
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(variance)
        middle = logarithm(self.free)
        return float(np.exp(middle - reach)), float(np.exp(middle + reach))

    def band(
        self, value: Callable[[Callable[..., Array]], Array], *, draws: int = 400, seed: int = 0
    ) -> tuple[Array, Array]:
        """Lower and upper bound of what `value` makes of the law, 95 % point by point."""
        drawn = [value(functools.partial(self.at, free)) for free in self.draw(draws, seed=seed)]
        low, high = np.quantile(
            np.stack(drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0
        )
        return low, high

    def draw(self, count: int, *, seed: int) -> Array:
        """(count, parameters) values that the points leave possible: a multivariate t."""
        freedom = self.points - len(self.free)
        drawn = stats.multivariate_t(
            loc=self.free, shape=self.covariance, df=freedom, allow_singular=True, seed=seed
        ).rvs(count)
        return np.reshape(drawn, (count, len(self.free)))

    def at(self, free: Array, *x: Any) -> Array:
        """The law at x for one row of `draw`."""
        return self.law.function(*map(_floats, x), *self._natural(free))

    def _natural(self, free: Array) -> Array:
        return np.exp(free) if self.law.logarithmic else free


def _floats(values: Any) -> Array:
    return np.asarray(values, dtype=np.float64)


def amdahl(ranks: Array, one_rank_seconds: float, serial: float) -> Array:
    """Seconds for a fixed piece of work on `ranks` ranks."""
    return one_rank_seconds * (serial + (1 - serial) / ranks)


def gustafson(ranks: Array, one_rank_rate: float, serial: float) -> Array:
    """Work per second when the work grows with the ranks."""
    return one_rank_rate * (serial + (1 - serial) * ranks)


def usl(ranks: Array, one_rank_rate: float, contention: float, coherency: float) -> Array:
    """Work per second with a queue (contention) and pairwise agreement (coherency)."""
    return one_rank_rate * ranks / (1 + contention * (ranks - 1) + coherency * ranks * (ranks - 1))


def allreduce(ranks: Array, num_bytes: Array, latency: float, bandwidth: float) -> Array:
    """Seconds to sum `num_bytes` over `ranks` ranks in a ring."""
    return 2 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * num_bytes / bandwidth


def _guess_allreduce(ranks: Array, num_bytes: Array, seconds: Array) -> tuple[float, ...]:
    if any(ranks < 2):
        raise FitError("one rank has nothing to reduce; measure the allreduce from 2 ranks on")
    if len(set(num_bytes)) < 2:
        raise FitError("allreduce: one message size cannot tell latency from bandwidth; use two")
    latency = np.min(seconds / (2 * (ranks - 1)))
    bandwidth = np.max(2 * (ranks - 1) / ranks * num_bytes / seconds)
    return tuple(np.log((latency, bandwidth)))


AMDAHL = Law(
    "Amdahl",
    "T(N) = T1 (s + (1 - s) / N)",
    "G. M. Amdahl, AFIPS 1967",
    amdahl,
    lambda ranks, seconds: (float(np.max(seconds, initial=0)), 0.1),
    ("one_rank_seconds", "serial"),
    ("s", ""),
)
GUSTAFSON = Law(
    "Gustafson",
    "X(N) = X1 (s + (1 - s) N)",
    "J. L. Gustafson, CACM 31 (1988) 532",
    gustafson,
    lambda ranks, rates: (float(np.min(rates, initial=np.inf)), 0.1),
    ("one_rank_rate", "serial"),
    ("1/s", ""),
)
USL = Law(
    "USL",
    "X(N) = g N / (1 + a (N - 1) + b N (N - 1))",
    "N. J. Gunther, Guerrilla Capacity Planning, 2007",
    usl,
    lambda ranks, rates: (float(np.max(rates / ranks, initial=0)), 0.05, 0.001),
    ("one_rank_rate", "contention", "coherency"),
    ("1/s", "", ""),
)
ALLREDUCE = Law(
    "allreduce",
    "T(N, m) = 2 (N - 1) l + 2 (N - 1) / N m / B",
    "ring allreduce: R. Rabenseifner, ICCS 2004; P. Patarasuk & X. Yuan, JPDC 69 (2009) 117",
    allreduce,
    _guess_allreduce,
    ("latency", "bandwidth"),
    ("s", "B/s"),
    logarithmic=True,
)


def fit(law: Law, *columns: Sequence[float]) -> Fit:
    """A law through single runs: their ranks (and bytes), and their figures. Raises FitError.

    Least squares of logarithms with intervals from Student's t (scipy's curve_fit). The intervals
    hold together in 95 %: each of the p parameters is given 1 - 0.05 / p.
    """
    *x, y = map(_floats, columns)
    guess = law.guess(*x, y)
    _check(law, x, y)
    sizes = sorted({int(n) for n in x[0]})
    count, wanted = len(law.parameters), len(y)

    def logarithm(points: Sequence[Array], *free: float) -> Array:
        values = np.exp(free) if law.logarithmic else free
        return np.log(np.maximum(law.function(*points, *values), 1e-300))

    measured = np.log(y)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            free, covariance = optimize.curve_fit(logarithm, x, measured, p0=guess)
    except (RuntimeError, optimize.OptimizeWarning, RuntimeWarning) as error:
        raise FitError(f"{law.name} cannot be fitted to these points: {error}") from None
    freedom = wanted - count
    reach = stats.t.ppf(1 - (1 - CONFIDENCE) / (2 * count), freedom)
    errors = np.sqrt(np.diag(covariance))
    bounds = np.stack([free - reach * errors, free, free + reach * errors])
    low, value, high = np.exp(bounds) if law.logarithmic else bounds
    residuals = measured - logarithm(x, *free)
    return Fit(
        law,
        tuple(map(Parameter, law.parameters, *_lists(value, low, high), law.units)),
        wanted,
        tuple(sizes),
        tuple(np.expm1(residuals).tolist()),
        float(np.sqrt(np.sum(residuals**2) / freedom)),
        len(set(zip(*x, strict=True))) > count,
        free,
        covariance,
    )


def _lists(*arrays: Array) -> list[list[float]]:
    return [array.tolist() for array in arrays]


def _check(law: Law, x: Sequence[Array], y: Array) -> None:
    count = len(law.parameters)
    needed = POINTS_PER_PARAMETER * count
    if len(y) < needed:
        raise FitError(
            f"{law.name} has {count} parameters and needs {needed} points, there are {len(y)}; "
            "measure more rank counts or repeats"
        )
    sizes = len(set(zip(*x, strict=True)))
    if sizes < count:
        names = "rank counts" if len(x) == 1 else "pairs of rank count and size"
        raise FitError(
            f"{law.name} has {count} parameters and needs {count} different {names}, "
            f"there {'is' if sizes == 1 else 'are'} {sizes}; measure more"
        )
    if any(not np.isfinite(value) or value <= 0 for value in y):
        raise FitError(f"{law.name} needs positive figures; one is {min(y)}")
