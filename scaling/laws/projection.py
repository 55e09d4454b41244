"""How long a reference's work would take: measured parts put together by a fitted law.

    T(N) = start-up + surplus of the first epoch + rest
         + epochs (training patches / X(N) + validation patches v X(N0) / X(N) + checkpoint)

X is the law of the rates. v is the seconds per validation patch measured on N0 ranks, which is
taken to scale as training does. The rest is what a run takes besides (closing files, saving the
model). Uncertainty: the law's parameters are drawn from their distribution, the constants from
the measured runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from scaling.laws import fits, laws
from scaling.laws.laws import Fit
from scaling.record.store import Row, Study

DRAWS = 400
MOST_DEVICES = 4096
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Parts:
    """Seconds of one run that do not shrink with the number of ranks, and per validation patch."""

    startup: float
    surplus: float
    rest: float
    checkpoint: float
    """per epoch"""
    validation_patch: float
    rate: float
    """patches/s of this run, by which validation is scaled"""

    def total(self, work: Mapping[str, int], rate: Array) -> Array:
        """Seconds for the work at rates (any shape)."""
        training = work["training_patches"] / rate
        validation = work["validation_patches"] * self.validation_patch * self.rate / rate
        each = training + validation + self.checkpoint
        return self.startup + self.surplus + self.rest + work["epochs"] * each


@dataclass(frozen=True)
class Projection:
    """Seconds at each number of devices, 95 % point by point where there are several runs."""

    law: str
    measured_ranks: tuple[int, ...]
    ranks: Array
    """(K,)"""
    seconds: Array
    """(3, K): lower bound, median, upper bound"""
    runs: int
    parts: Parts
    """medians over the runs on the most ranks measured"""

    def at(self, ranks: int) -> tuple[float, float, float] | None:
        """(low, median, high) seconds; None beyond what was projected."""
        place = np.flatnonzero(self.ranks == ranks)
        if not len(place):
            return None
        low, middle, high = self.seconds[:, place[0]].tolist()
        return low, middle, high

    def reached(self, seconds: float) -> tuple[int | None, int | None]:
        """The fewest devices that are within `seconds` by the median, and by the upper bound."""
        found = []
        for bound in (self.seconds[1], self.seconds[2]):
            within = np.flatnonzero(bound <= seconds)
            found.append(int(self.ranks[within[0]]) if len(within) else None)
        return found[0], found[1]


def parts(row: Row) -> Parts | None:
    """What one measured run tells; None if it does not tell enough."""
    rate, total, patches = (
        row.get(name) for name in ("patches_per_second", "total_seconds", "patches_trained")
    )
    if not (rate and total and patches):
        return None
    first, first_patches = row.get("first_epoch_seconds"), row.get("first_epoch_patches")
    surplus = max(0.0, first - first_patches / rate) if first and first_patches else 0.0
    startup = row.get("startup_seconds") or 0.0
    validation = row.get("validation_seconds") or 0.0
    checkpoints = row.get("checkpoints_seconds") or 0.0
    checked = validation_patches(row)
    known = startup + surplus + validation + checkpoints + patches / rate
    return Parts(
        startup,
        surplus,
        max(0.0, total - known),
        checkpoints / max(1, row.get("epochs_run") or 1),
        validation / checked if checked else 1 / rate / 3,
        rate,
    )


def middle(found: Sequence[Parts]) -> Parts:
    """The median of each part by itself."""
    columns = ([getattr(one, field.name) for one in found] for field in fields(Parts))
    return Parts(*map(statistics.median, columns))


def validation_patches(row: Row) -> int:
    """Patches that a run has validated in all its validations together."""
    return (row.get("validations") or 0) * (row.get("validation_patches") or 0)


def law_of(study: Study) -> tuple[str, Fit] | None:
    """The law of the rates: that of weak scaling, where the batch per rank is a sound one."""
    fitted = {one.key: one for one in fits.fit_study(study)}
    for key in ("weak_usl", "weak_gustafson", "strong_usl"):
        one = fitted.get(key)
        if one and one.fit:
            name = f"{one.law.name} of {key.partition('_')[0]} scaling"
            few = "" if one.fit.tested else ", which so few rank counts cannot test"
            return f"{name}{few}", one.fit
    return None


def project(study: Study, work: Mapping[str, int], *, seed: int = 0) -> Projection | None:
    """Seconds on 1 to 4096 such devices; without a law, only where it was measured.

    `work`: training_patches, validation_patches and epochs.
    """
    mode = "weak" if study.points("weak") else "strong"
    points = study.points(mode)
    known = {n: [p for row in rows if (p := parts(row))] for n, rows in points.items()}
    known = {n: found for n, found in known.items() if found}
    if not known:
        return None
    law = law_of(study)
    if law is None:
        return _without_law(known, work)
    name, fit = law
    largest = known[max(known)]
    ranks = np.arange(1, MOST_DEVICES + 1, dtype=np.float64)
    rng = np.random.default_rng(seed)
    totals = []
    for free in fit.draw(DRAWS, seed=seed):
        chosen = largest[int(rng.integers(len(largest)))]
        rates = np.maximum(fit.at(free, ranks), 1e-9)
        totals.append(chosen.total(work, rates))
    seconds = _bounds(np.stack(totals))
    return Projection(name, fit.ranks, ranks, seconds, len(largest), middle(largest))


def _without_law(known: dict[int, list[Parts]], work: Mapping[str, int]) -> Projection:
    """Each measured rank count for itself: the median, and the range of its runs."""
    columns = []
    for found in known.values():
        totals = [float(one.total(work, np.array(one.rate))) for one in found]
        columns.append([min(totals), statistics.median(totals), max(totals)])
    ranks = np.array(list(known), dtype=np.float64)
    runs = min(map(len, known.values()))
    parts_there = middle(known[max(known)])
    return Projection("no law", tuple(known), ranks, np.array(columns).T, runs, parts_there)


def _bounds(totals: Array) -> Array:
    """(draws, K) -> (3, K)"""
    level = (1 - laws.CONFIDENCE) / 2
    return np.quantile(totals, [level, 0.5, 1 - level], axis=0)
