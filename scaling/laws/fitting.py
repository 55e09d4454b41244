"""Fits of the laws that say how far they can be trusted.

They go through single runs, not through medians, on a logarithmic scale: run times scatter by some
per cent at every size, so a second at 1 rank must not weigh as much as a second at 64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from cloudmask.text import percent, with_unit
from scaling.laws import region
from scaling.laws.laws import LEAST, Array, FitError, Law
from scaling.laws.scatter import LackOfFit, Scatter, scatter

CONFIDENCE = 0.95
POINTS_PER_PARAMETER = 2


@dataclass(frozen=True)
class Parameter:
    """A fitted value; `low` and `high` hold for all parameters of a fit at once in 95 %.

    `high` may be infinite.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    bounded: bool = False
    """it lies on its bound: without that the points would have it beyond what is physical"""

    def __str__(self) -> str:
        """0.0713 [0.0412, 0.101]"""
        value, low, high = (with_unit(one, self.unit) for one in (self.value, self.low, self.high))
        return f"{value} [{low}, {high if math.isfinite(self.high) else 'no end'}]"


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
    """False: as many parameters as rank counts, so such a law passes through them all"""
    free: Array
    """(parameters,) as fitted: logarithms where the law says so"""
    possible: Array
    """(laws, parameters) of the same kind: the surface of what the points leave possible"""
    scatter: Scatter

    @property
    def left(self) -> str:
        """The residuals in words, and whether they are more than the runs explain."""
        worst = max(self.residuals, key=abs)
        found = f"{percent(self.spread)} (largest {percent(worst, sign=True)})"
        return f"{found}, lack of fit {self.lack}" if self.lack else found

    @functools.cached_property
    def lack(self) -> LackOfFit | None:
        """For laws of the ranks alone, with repeats, and rank counts to spare."""
        alone = self.law.told_by_ranks == len(self.law.parameters)
        return self.scatter.lack_of_fit() if alone else None

    @property
    def rejected(self) -> bool:
        """The law misses its own rank counts by more than the scatter of their runs explains."""
        return self.lack is not None and self.lack.rejected

    def value(self, name: str) -> float:
        return next(p.value for p in self.parameters if p.name == name)

    def predict(self, *x: Any) -> Array:
        """The law at ranks (and bytes), by the fitted values."""
        return self.law.at(self.free, *x)

    def interval(self, *x: Any, runs: float = 1) -> tuple[Array, Array]:
        """(n,) lower and upper bounds of the median of so many further runs at each point, in 95 %.

        What is possible of the law, and how runs and rank counts scatter about it, independent of
        each other. With `runs` infinite: what many runs would show there.
        """
        middle, possible = np.log(self.predict(*x)), np.log(self.law.at(self.possible, *x))
        more = self.scatter.further(CONFIDENCE, runs=runs)
        low = middle - np.sqrt((middle - possible.min(axis=0)) ** 2 + more)
        high = middle + np.sqrt((possible.max(axis=0) - middle) ** 2 + more)
        return np.exp(low), np.exp(high)


def fit(law: Law, *columns: Sequence[float]) -> Fit:
    """A law through single runs: their ranks (and bytes), and their figures. Raises FitError.

    Least squares of logarithms within the bounds (scipy's least_squares); intervals by profile
    likelihood, see region.py and scatter.py. Those of the p parameters hold together in 95 %: each
    is given 1 - 0.05 / p.
    """
    *x, y = (np.asarray(column, np.float64) for column in columns)
    guess = law.guess(*x, y)
    _check(law, x, y)
    measured = np.log(y)

    def residuals(free: Array) -> Array:
        return measured - np.log(np.maximum(law.at(free, *x), LEAST))

    begin = np.where(law.positive, np.log(np.maximum(guess, LEAST)), guess)
    found = _least_squares(law, residuals, np.clip(begin, *law.bounds))
    bounded = found.active_mask != 0
    taken_by_ranks = law.told_by_ranks - int(bounded.sum())
    left = scatter(
        found.fun, x[0], taken=len(guess) - int(bounded.sum()), taken_by_ranks=taken_by_ranks
    )
    least = float(found.fun @ found.fun)

    def possible(confidence: float) -> Array:
        try:
            return region.surface(
                lambda free: np.sum(residuals(free) ** 2, axis=-1) - least,
                found.x,
                found.jac.T @ found.jac,
                law.bounds,
                left.reach(confidence),
            )
        except np.linalg.LinAlgError as error:
            why = f"{law.name}: no interval can be told of these points: {error}"
            raise FitError(why) from None

    each = law.natural(possible(1 - (1 - CONFIDENCE) / len(guess)))
    values = law.natural(found.x), each.min(axis=0), each.max(axis=0)
    sizes = sorted({int(n) for n in x[0]})
    freedom = len(y) - len(guess)
    return Fit(
        law,
        tuple(map(Parameter, law.parameters, *_lists(*values), law.units, bounded.tolist())),
        len(y),
        tuple(sizes),
        tuple(np.expm1(found.fun).tolist()),
        math.sqrt(least / freedom),
        len(sizes) > law.told_by_ranks,
        found.x,
        possible(CONFIDENCE),
        left,
    )


def _least_squares(law: Law, residuals: Callable[[Array], Array], begin: Array) -> Any:
    """scipy's result within the bounds. Raises FitError."""
    try:
        for method in ("dogbox", "trf"):  # the one finds bounds exactly, the other always gets on
            found = optimize.least_squares(
                residuals, begin, bounds=law.bounds, method=method, x_scale="jac", xtol=1e-12
            )
            if found.success:
                return found
    except (ValueError, np.linalg.LinAlgError) as error:
        raise FitError(f"{law.name} cannot be fitted to these points: {error}") from None
    raise FitError(f"{law.name} cannot be fitted to these points: {found.message}")


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
    sizes = len(set(x[0]))
    if sizes < count:
        raise FitError(
            f"{law.name} has {count} parameters and needs {count} different rank counts, "
            f"there {'is' if sizes == 1 else 'are'} {sizes}; measure more"
        )
    if any(not np.isfinite(value) or value <= 0 for value in y):
        raise FitError(f"{law.name} needs positive figures; one is {min(y)}")
