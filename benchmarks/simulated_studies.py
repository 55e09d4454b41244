"""How often the intervals of a scaling study hold the truth, in simulated studies of known laws.

A study is some repeats at some rank counts, whose figures follow a law but for noise: of each run,
and of each rank count as a whole where a study is `disturbed` (normal logarithms; in `one off` the
second largest rank count alone, by 10 %). Its laws are fitted, tested, projected and held out as
`scaling` does it, and asked for what is known here. `before` is how it was done: least squares
without bounds, the scatter of all runs together, Student's t. Nothing is timed here.
"""

from __future__ import annotations

import functools
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import bench

STUDIES = 300
BOUNDARY_STUDIES = 20_000
FACTORS = (2, 4, 16)
"""projected to these multiples of the largest rank count"""
TRUE: dict[str, tuple[str, tuple[float, ...]]] = {
    "Amdahl": ("AMDAHL", (100.0, 0.05)),
    "Gustafson": ("GUSTAFSON", (8.0, 0.05)),
    "USL, ideal": ("USL", (8.0, 0.0, 0.0)),
    "USL, no coherency": ("USL", (8.0, 0.02, 0.0)),
    "USL": ("USL", (8.0, 0.02, 0.001)),
}
FEW, MANY = (1, 2, 4, 8), (1, 2, 4, 8, 16)
ONE_OFF = 0.1
REPEATS = (3, 5, 6, 9, 10, 20)


@dataclass(frozen=True)
class Case:
    law: str
    ranks: tuple[int, ...]
    repeats: int
    noise: float
    disturbed: float | str = 0.0
    """standard deviation of rank counts as wholes; or `one off`"""


SHAPES: tuple[tuple[tuple[int, ...], int, float, float | str], ...] = (
    (FEW, 3, 0.01, 0.0),
    (FEW, 6, 0.02, 0.0),
    (FEW, 3, 0.05, 0.0),
    (MANY, 6, 0.02, 0.0),
    (FEW, 6, 0.01, 0.02),
    (MANY, 3, 0.02, 0.02),
    (MANY, 6, 0.02, "one off"),
)
CASES = tuple(Case(law, *shape) for law in TRUE for shape in SHAPES)


def main() -> None:
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(functools.partial(row, studies=STUDIES), CASES))
    for one in rows:
        words = (f"{key} {_share(value)}" for key, value in one.items() if key not in ("case",))
        print(f"{one['case']}: {'; '.join(words)}", flush=True)
    boundary = [at_the_boundary(repeats, studies=BOUNDARY_STUDIES) for repeats in REPEATS]
    for each in boundary:
        print(each)
    bench.keep("simulated_studies", studies=STUDIES, rows=rows, boundary=boundary)


def _share(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(map(_share, value))
    return "-" if value is None else f"{100 * value:.1f} %"


def row(case: Case, *, studies: int) -> dict[str, Any]:
    """Shares of studies in which each interval held; of projections, those given that were off."""
    from scaling.laws import fitting, intervals, laws, reach

    key, parameters = TRUE[case.law]
    law = getattr(laws, key)
    strong = law == laws.AMDAHL
    projecting = [laws.USL] if strong else [laws.USL, laws.GUSTAFSON]
    rng = np.random.default_rng([CASES.index(case)] if case in CASES else [len(CASES)])
    sizes = np.array(case.ranks, float)
    ranks: Any = np.repeat(sizes, case.repeats)
    far = sizes[-1] * np.array(FACTORS, float)
    at_sizes, at_far = law.function(sizes, *parameters), law.function(far, *parameters)
    seen: dict[str, list[Any]] = {name: [] for name in ("median", "ratio", "each parameter")}
    seen |= {name: [] for name in ("all parameters", "band", "rejected", "held out", "before")}
    given, off = np.zeros(len(far)), np.zeros(len(far))
    for _ in range(studies):
        wholes, further = _disturbances(rng, case, len(far))
        centres = at_sizes * np.exp(wholes)
        figures: Any = np.repeat(centres, case.repeats)
        figures = figures * np.exp(case.noise * rng.standard_normal(len(ranks)))
        runs = figures.reshape(len(sizes), case.repeats)
        base, last = (intervals.median(runs[place].tolist()) for place in (0, -1))
        ratio = intervals.ratio(last, base)
        seen["median"].append(last.low <= centres[-1] <= last.high)
        seen["ratio"].append(ratio.low <= centres[-1] / centres[0] <= ratio.high)
        fit = fitting.fit(law, ranks, figures)
        held = [p.low <= true <= p.high for p, true in zip(fit.parameters, parameters, strict=True)]
        seen["each parameter"] += held
        seen["all parameters"].append(all(held))
        band = law.at(fit.possible, far[:1])
        seen["band"].append(bool(band.min() <= at_far[0] <= band.max()))
        seen["rejected"].append(fit.rejected)
        seen["held out"] += _held_out(fitting, law, ranks, figures, case.repeats)
        rates = 1 / figures if strong else figures
        tested = {
            one.name: fit if one == law else fitting.fit(one, ranks, rates) for one in projecting
        }
        there = at_far * np.exp(further)
        seen["before"].append(_before(law, ranks, figures, far[-1], there[-1]))
        trusted = reach.trusted(tested)
        slow, fast = reach.possible([*trusted.values()], far)
        told = reach.carried(trusted, far)
        true = 1 / there if strong else there
        given += told
        off += told & ~((slow <= true) & (true <= fast))
    return {
        "case": _name(case),
        **{name: float(np.mean(values)) if values else None for name, values in seen.items()},
        "projections refused": (1 - given / studies).tolist(),
        "projections off": [float(o / g) if g else None for o, g in zip(off, given, strict=True)],
        "projections off of all studies": (off / studies).tolist(),
    }


def _name(case: Case) -> str:
    counts = f"{case.ranks[0]} to {case.ranks[-1]}"
    off = case.disturbed if isinstance(case.disturbed, str) else f"{100 * case.disturbed:.0f} %"
    noise = f"{100 * case.noise:.0f} %"
    return f"{case.law}, {counts} ranks, {case.repeats} repeats, noise {noise}, disturbed {off}"


def _disturbances(
    rng: np.random.Generator, case: Case, further: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the rank counts as wholes, and of further ones."""
    if isinstance(case.disturbed, str):
        wholes = np.zeros(len(case.ranks))
        wholes[-2] = rng.choice([-ONE_OFF, ONE_OFF])
        return wholes, np.zeros(further)
    return (
        case.disturbed * rng.standard_normal(len(case.ranks)),
        case.disturbed * rng.standard_normal(further),
    )


def _held_out(
    fitting: Any, law: Any, ranks: np.ndarray, figures: np.ndarray, runs: int
) -> list[bool]:
    """Whether the median at the largest rank count lies where the others have it; none untested."""
    kept = ranks < ranks[-1]
    fit = fitting.fit(law, ranks[kept], figures[kept])
    (low,), (high,) = fit.interval(ranks[-1:], runs=runs)
    return [bool(low <= np.median(figures[~kept]) <= high)] if fit.tested else []


def _before(law: Any, ranks: np.ndarray, figures: np.ndarray, far: float, true: float) -> bool:
    """As it was: no bounds, all runs of equal weight, 400 draws of Student's multivariate t."""
    from scipy import optimize, stats

    def logarithm(at: np.ndarray, *free: float) -> np.ndarray:
        return np.log(np.maximum(law.function(at, *free), 1e-300))

    try:
        free, covariance = optimize.curve_fit(
            logarithm, ranks, np.log(figures), p0=law.guess(ranks, figures)
        )
    except RuntimeError:
        return False
    t = stats.multivariate_t(
        free, covariance, df=len(ranks) - len(free), allow_singular=True, seed=0
    )
    drawn = [np.maximum(law.function(far, *one), 1e-9) for one in t.rvs(400)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return bool(low <= true <= high)


def at_the_boundary(repeats: int, *, studies: int) -> dict[str, Any]:
    """How often the whole interval is on the good side of a bound that the truth is exactly at.

    Of a median of times, and of a ratio of two medians; times are lognormal, or one run in ten
    takes up to half as long again.
    """
    from scaling.laws import intervals

    found: dict[str, Any] = {"repeats": repeats}
    for name in ("even", "skewed"):
        rng = np.random.default_rng([repeats, len(name)])
        runs = np.exp(0.02 * rng.standard_normal((2, studies, repeats)))
        true = 1.0
        if name == "skewed":
            runs *= np.where(rng.random(runs.shape) < 0.1, 1 + 0.5 * rng.random(runs.shape), 1)
            true = _median_of(rng)
        ends = [[intervals.median(one) for one in side.tolist()] for side in runs]
        within = [one.high <= true for one in ends[0]]
        ratios = [intervals.ratio(a, b).low >= 1 for a, b in zip(*ends, strict=True)]
        found[f"{name}, median"] = float(np.mean(within))
        found[f"{name}, ratio"] = float(np.mean(ratios))
    return found


def _median_of(rng: np.random.Generator) -> float:
    runs = np.exp(0.02 * rng.standard_normal(2_000_000))
    runs *= np.where(rng.random(runs.shape) < 0.1, 1 + 0.5 * rng.random(runs.shape), 1)
    return float(np.median(runs))
