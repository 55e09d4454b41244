"""How often the 95 % interval of a difference between two masks holds the true one, by simulation.

A study is some scenes, each with its pixels and the difference of the two accuracies in it. In some
studies every scene stands for itself; in others 1 to 5 scenes share an orbit, and half of the
variance is the orbit's. Six populations of differences: `even` (normal), `heavy` tails (Student's
t, 4 degrees of freedom), `lopsided` (exponential, skewness 2), `skewed` (lognormal, skewness 3.3),
and two of a network that gains a little in most scenes and fails badly in few: in one of ten
(`rare`) or of twenty (`rarer`), which makes nine tenths of the variance. `before` is the percentile
bootstrap over scenes. Nothing is timed here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks import bench

STUDIES = 8000
DRAWS = 500
"""of the bootstrap, in an eighth of the studies"""
SCENES = (6, 8, 12, 20, 50, 100)
SMOOTH = ("even", "heavy", "lopsided", "skewed")
RARE = {"rare": 0.1, "rarer": 0.05}
POPULATIONS = (*SMOOTH, *RARE)
DIFFERENCE, SPREAD = 0.01, 0.03
"""mean of the differences, and their standard deviation over scenes"""
MOST_OF_AN_ORBIT = 5
SIGMA = 0.75
"""of the lognormal population"""


def main() -> None:
    rows = [
        row(population, scenes, by_orbit, studies=STUDIES)
        for by_orbit in (False, True)
        for population in POPULATIONS
        for scenes in SCENES
    ]
    heads = ("scenes", "units", "covered", "given in", "covered then", "before")
    print(f"{'population':<18}" + "".join(f"{head:>14}" for head in heads))
    for one in rows:
        kind = f"{one['population']}{', orbits' if one['by_orbit'] else ''}"
        shares = (one[key] for key in ("covered", "given", "covered_where_given", "before"))
        cells = ("-" if value is None else f"{100 * value:.1f} %" for value in shares)
        words = (str(one["scenes"]), f"{one['units']:.1f}", *cells)
        print(f"{kind:<18}" + "".join(f"{word:>14}" for word in words))
    bench.keep("intervals", studies=STUDIES, draws=DRAWS, rows=rows)


def row(population: str, scenes: int, by_orbit: bool, *, studies: int) -> dict[str, Any]:
    """Shares of studies: covered (of those with three units, whether or not it is given), given."""
    from cloudmask.evaluate import intervals

    rng = np.random.default_rng([POPULATIONS.index(population), scenes, by_orbit])
    covered, given, told, units = [], [], [], []
    before = []
    for number in range(studies):
        orbit, gained, pixels = study(rng, population, scenes, by_orbit=by_orbit)
        if number % 8 == 0:
            before.append(holds(percentile_bootstrap(rng, gained, pixels)))
        of_units = np.bincount(orbit, gained), np.bincount(orbit, pixels)
        units.append(len(of_units[0]))
        if units[-1] >= 3:
            covered.append(holds(intervals.of_pooled(*of_units, least=3)))
        given.append(units[-1] >= intervals.LEAST_UNITS)
        if given[-1]:
            told.append(covered[-1])
    return {
        "population": population,
        "scenes": scenes,
        "by_orbit": by_orbit,
        "units": float(np.mean(units)),
        "covered": share(covered),
        "given": share(given),
        "covered_where_given": share(told),
        "before": share(before),
    }


def study(
    rng: np.random.Generator, population: str, scenes: int, *, by_orbit: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) orbit of each scene, pixels gained and pixels; the latter two as shares of a scene."""
    orbit = np.arange(scenes)
    if by_orbit:
        orbit = np.repeat(orbit, rng.integers(1, MOST_OF_AN_ORBIT + 1, scenes))[:scenes]
    z = draw(rng, population, scenes)
    if by_orbit:
        z = math.sqrt(0.5) * (z + draw(rng, population, scenes)[orbit])
    pixels = rng.uniform(0.3, 1, scenes)
    return orbit, (DIFFERENCE + SPREAD * z) * pixels, pixels


def draw(rng: np.random.Generator, population: str, size: int) -> np.ndarray:
    """(N,) of mean 0 and variance 1, the long tail towards worse."""
    if population == "even":
        return rng.normal(size=size)
    if population == "heavy":
        return rng.standard_t(4, size) / math.sqrt(2)
    if population == "lopsided":
        return 1 - rng.exponential(size=size)
    if population in RARE:
        rate = RARE[population]
        fails = (rate - (rng.random(size) < rate)) / math.sqrt(rate * (1 - rate))
        return math.sqrt(0.9) * fails + math.sqrt(0.1) * rng.normal(size=size)
    mean = math.exp(SIGMA**2 / 2)
    spread = mean * math.sqrt(math.exp(SIGMA**2) - 1)
    return (mean - rng.lognormal(0, SIGMA, size)) / spread


def percentile_bootstrap(
    rng: np.random.Generator, gained: np.ndarray, pixels: np.ndarray
) -> tuple[float, float]:
    """As it was: scenes drawn anew, the middle 95 % of the pooled differences."""
    draws = rng.integers(len(gained), size=(DRAWS, len(gained)))
    low, high = np.quantile(gained[draws].sum(axis=1) / pixels[draws].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def holds(interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[0] <= DIFFERENCE <= interval[1]


def share(found: list[bool]) -> float | None:
    return float(np.mean(found)) if found else None
