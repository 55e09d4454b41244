"""Time to a target accuracy as a distribution over runs, some of which never got there.

A run that ended without reaching the target says that it needs longer than it had: it is censored
on the right. Kaplan and Meier's estimate (J. Am. Stat. Assoc. 53, 1958) of the share of runs that
are still on their way takes such runs in, where a mean over those that arrived would flatter.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from cloudmask.text import listed, significant
from scaling.laws import intervals
from scaling.record.store import Row, Study


@dataclass(frozen=True)
class Outcome:
    """How one run ended: when it reached the target, or how long it went on without."""

    reached: bool
    epochs: float
    seconds: float
    """from the launch, where that is known"""


@dataclass(frozen=True)
class Times:
    """Kaplan-Meier's estimate for some runs, in epochs or seconds."""

    reached: int
    runs: int
    median: float | None
    """None where half of the runs are not known to reach the target at all"""
    low: float | None
    high: float | None
    """of the median, 95 %; None: no bound, or later than any run went on"""
    is_interval: bool
    """False: too few runs, so `low` and `high` are no more than the first and last arrival"""
    at: tuple[float, ...]
    """when runs reached the target or ended"""
    left: tuple[float, ...]
    """share that has not reached it by then"""

    def __str__(self) -> str:
        """7 [5, not reached]; round brackets for a range."""
        ends = (_text(self.low), _text(self.high))
        if self.median is None and self.low is None:
            return "not reached"
        bounds = "[{}, {}]" if self.is_interval else "({} - {})"
        return f"{_text(self.median)} {bounds.format(*ends)}"


def _text(value: float | None) -> str:
    if value is None:
        return "not reached"
    return f"{value:.0f}" if value == int(value) else significant(value)


def times(values: Sequence[float], reached: Sequence[bool]) -> Times:
    """The estimate of when runs reach a target; `values` of those that did not are how long they
    went on. Raises ValueError for no run.

    Where every run arrived, the interval is that of all medians here, between order statistics.
    Otherwise it is where the band of the estimate (exponential Greenwood, by scipy) has one half,
    from as many runs on as a median takes: of two to four runs that holds the median in no 95 %.
    With fewer it is the range, which has no end where a run never arrived.
    """
    if not values:
        raise ValueError("no runs, so no time to a target")
    ended = np.logical_not(reached)
    survival = stats.ecdf(stats.CensoredData.right_censored(np.array(values, float), ended)).sf
    at, left = survival.quantiles, survival.probabilities
    median, low, high = _first(at, left), *_band(survival)
    if all(reached):
        found = intervals.median(values)
        median, low, high = found.value, found.low, found.high
    elif len(values) < intervals.REPEATS_FOR_INTERVAL:
        arrived = [value for value, yes in zip(values, reached, strict=True) if yes]
        low, high = min(arrived, default=None), None
    return Times(
        reached=sum(map(bool, reached)),
        runs=len(values),
        median=median,
        low=low,
        high=high,
        is_interval=len(values) >= intervals.REPEATS_FOR_INTERVAL,
        at=tuple(map(float, at)),
        left=tuple(map(float, left)),
    )


def _first(at: np.ndarray, share: np.ndarray) -> float | None:
    """When a share falls to one half; None if it never does."""
    below = np.flatnonzero(share <= 0.5)
    return float(at[below[0]]) if below.size else None


def _band(survival: Any) -> tuple[float | None, float | None]:
    """Where the lower and the upper end of the band fall to one half (Brookmeyer and Crowley)."""
    with warnings.catch_warnings():
        # It is not defined where all are left, or nobody.
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        band = survival.confidence_interval(0.95, method="log-log")
    none_left = survival.probabilities == 0
    low = np.where(none_left, 0.0, np.nan_to_num(band.low.probabilities, nan=1.0))
    high = np.nan_to_num(band.high.probabilities, nan=1.0)
    return _first(survival.quantiles, low), _first(survival.quantiles, high)


def outcome_of(row: Row) -> Outcome | None:
    """Of a study's row, or of a summary's figures; None of a run that had no target.

    What the launcher took counts, where the row knows the wall time: it and the end of the program
    cannot be told apart.
    """
    if row.get("target_wanted") is None:
        return None
    total = float(row["total_seconds"])
    around = max(0.0, float(row.get("wall_seconds") or total) - total)
    if row.get("target"):
        target = row["target"]
        return Outcome(True, float(target["epoch"]), float(target["seconds"]) + around)
    before = float(row.get("before_resume_seconds") or 0.0)
    return Outcome(False, float(row["epochs_run"]), total + around + before)


@dataclass(frozen=True)
class Arrivals:
    """Some runs of one kind on their way to a target, in epochs and in seconds."""

    accuracy: float
    epochs: Times
    seconds: Times

    def __str__(self) -> str:
        """3 of 5 reached 0.9"""
        return f"{self.epochs.reached} of {self.epochs.runs} reached {self.accuracy:g}"


def arrivals(rows: Sequence[Row]) -> Arrivals | None:
    """Of rows with one target. None where no run had one; ValueError where targets differ."""
    wanted = sorted({row["target_wanted"] for row in rows if row.get("target_wanted") is not None})
    if not wanted:
        return None
    if len(wanted) > 1:
        raise ValueError(f"runs with different targets ({listed(wanted)}) make no distribution")
    found = [one for one in map(outcome_of, rows) if one]
    reached = [one.reached for one in found]
    epochs = times([one.epochs for one in found], reached)
    return Arrivals(wanted[0], epochs, times([one.seconds for one in found], reached))


def of_study(study: Study, mode: str) -> dict[int, Arrivals]:
    """Rank count -> its runs' arrivals; rank counts without a target are left out."""
    found = {ranks: arrivals(rows) for ranks, rows in study.points(mode).items()}
    return {ranks: one for ranks, one in found.items() if one}
