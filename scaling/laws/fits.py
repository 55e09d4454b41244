"""Which law through which figures of a study, and what may be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloudmask.text import listed
from scaling.laws import fitting, laws, ratios
from scaling.laws.fitting import Fit
from scaling.laws.laws import FitError
from scaling.record.store import OK, Study

ALLREDUCE = "allreduce"


@dataclass(frozen=True)
class Fitted:
    """A law through some figures of a study, or why there is none."""

    key: str
    subject: str
    law: laws.Law
    fit: Fit | None
    refusal: str | None = None

    @property
    def notes(self) -> list[str]:
        """What limits this fit, in sentences."""
        if self.fit is None:
            return [self.refusal or ""]
        found = []
        if self.fit.rejected:
            found.append(
                "REJECTED: rank counts miss it by more than the scatter of their runs explains "
                f"({self.fit.lack}); something was off there, or the law does not hold"
            )
        if not self.fit.tested:
            found.append(
                "as many parameters as sizes: the law goes through the medians whatever they are, "
                "so it is assumed, not tested"
            )
        for parameter, limit in zip(self.fit.parameters, self.law.limits, strict=True):
            name = parameter.name.replace("_", " ")
            if parameter.bounded and limit:
                low, high = limit
                bound = low if parameter.value <= low else high
                found.append(f"{name} is on its bound, {bound:g}: beyond it is nothing physical")
            elif limit and parameter.low <= limit[0]:
                found.append(f"{name} cannot be told from zero")
        return found


@dataclass(frozen=True)
class Question:
    """A law, and the figures of a study it is fitted to."""

    key: str
    subject: str
    law: laws.Law
    columns: Callable[[Study], tuple[list[Any], ...]]
    """what `laws.fit` takes of a study: ranks (and bytes), and the figure, one entry per run"""


def _strong_steps(study: Study) -> tuple[list[int], list[float]]:
    """Seconds per step at the fixed global batch."""
    ranks, rates = _columns(study, "strong", "patches_per_second")
    _, batches = _columns(study, "strong", "global_batch")
    return ranks, [batch / rate for batch, rate in zip(batches, rates, strict=True)]


def _rates(mode: str) -> Callable[[Study], tuple[list[int], list[float]]]:
    return lambda study: _columns(study, mode, "patches_per_second")


QUESTIONS = (
    Question("strong_step", "strong scaling, seconds per step", laws.AMDAHL, _strong_steps),
    Question(
        "strong_total",
        "strong scaling, seconds of the whole run",
        laws.AMDAHL,
        lambda study: _columns(study, "strong", "wall_seconds"),
    ),
    Question("strong_usl", "strong scaling, patches/s", laws.USL, _rates("strong")),
    Question("weak_usl", "weak scaling, patches/s", laws.USL, _rates("weak")),
    Question("weak_gustafson", "weak scaling, patches/s", laws.GUSTAFSON, _rates("weak")),
    Question(
        ALLREDUCE,
        "one allreduce by Horovod, seconds",
        laws.ALLREDUCE,
        lambda study: tuple(map(list, zip(*allreduce_times(study), strict=True))),
    ),
)


def fit_study(study: Study) -> list[Fitted]:
    """Every law that these figures call for, fitted or refused."""
    found = []
    for one in QUESTIONS:
        columns = one.columns(study)
        if columns and columns[0]:
            found.append(_try(one, columns))
    return found


def _columns(study: Study, mode: str, name: str) -> tuple[list[int], list[float]]:
    """Rank counts and figures of single runs."""
    found = ratios.curve(study.points(mode), name)
    ranks = [point.ranks for point in found for _ in point.values]
    return ranks, [value for point in found for value in point.values]


def allreduce_times(study: Study) -> list[tuple[int, int, float]]:
    """(ranks, bytes, seconds) of the message sizes that were measured."""
    return [
        (row["ranks"], one["bytes"], one["seconds"])
        for row in study.rows
        if row["kind"] == "allreduce" and row["status"] == OK
        for one in row["allreduce"]
    ]


def _try(one: Question, columns: tuple[list[Any], ...]) -> Fitted:
    try:
        return Fitted(one.key, one.subject, one.law, fitting.fit(one.law, *columns))
    except FitError as error:
        return Fitted(one.key, one.subject, one.law, None, str(error))


def lines_of(fitted: Fitted) -> list[str]:
    """A fit for people."""
    if fitted.fit is None:
        return [f"{fitted.law.name}, {fitted.subject}: not fitted", f"  {fitted.refusal}"]
    fit = fitted.fit
    values = [f"{parameter.name} {parameter}" for parameter in fit.parameters]
    return [
        f"{fitted.law.name}, {fitted.subject}: {fitted.law.formula}",
        f"  {'; '.join(values)}",
        f"  {fit.points} points on {listed(fit.ranks)} ranks, residuals {fit.left}",
        *(f"  note: {note}" for note in fitted.notes),
    ]
