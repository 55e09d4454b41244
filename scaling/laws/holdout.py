"""Laws tested on rank counts they were not fitted to: what they predict, and what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.cli.errors import UsageError
from cloudmask.text import listed, percent, with_unit
from scaling.laws import intervals
from scaling.laws.fits import ALLREDUCE, QUESTIONS, Fitted
from scaling.laws.fitting import Fit
from scaling.options import rank_counts
from scaling.record.store import Study

UNITS = {"strong_step": "s", "strong_total": "s", ALLREDUCE: "s"}
ROUNDING = 1e-9


@dataclass(frozen=True)
class Prediction:
    """A law of other rank counts at one that it has not seen."""

    key: str
    subject: str
    law: str
    fitted_to: tuple[int, ...]
    """rank counts"""
    ranks: int
    predicted: float
    low: float
    """of the 95 % interval for the median of so many runs there"""
    high: float
    measured: float
    """median of the runs there"""
    runs: int
    difference: float
    """measured over predicted, minus one"""
    runs_inside: int
    """how many of the runs lie in the 95 % interval for a single one"""
    rejected: bool = False
    """the law missed the rank counts that it was fitted to"""

    @property
    def inside(self) -> bool:
        """Whether the median does; a law without residuals may be missed by rounding alone."""
        return self.low * (1 - ROUNDING) <= self.measured <= self.high * (1 + ROUNDING)

    @property
    def unit(self) -> str:
        return UNITS.get(self.key, "")

    @property
    def expectation(self) -> str:
        """What was predicted, with its interval."""
        low, high = (with_unit(bound, self.unit) for bound in (self.low, self.high))
        return f"{with_unit(self.predicted, self.unit)} [{low}, {high}]"


def parse(text: str, study: Study) -> tuple[int, ...]:
    """Rank counts to hold out; UsageError for one that was not measured, and for all of them."""
    if not text:
        return ()
    held = rank_counts(text, option="--hold-out")
    measured = sorted({row["ranks"] for row in study.measured})
    missing = [count for count in held if count not in measured]
    there = listed(measured)
    if missing:
        raise UsageError(f"--hold-out {missing[0]} was not measured in {study.folder}: {there}")
    if set(held) == set(measured):
        raise UsageError(f"--hold-out {text} leaves nothing to fit; {study.folder} has {there}")
    return held


def without(study: Study, held: Sequence[int]) -> Study:
    """The study as if these rank counts had not been measured."""
    return dataclasses.replace(study, rows=[row for row in study.rows if row["ranks"] not in held])


def predictions(
    study: Study, fitted: Sequence[Fitted], held: Sequence[int]
) -> tuple[Prediction, ...]:
    """Of each law that was fitted to the others, at each rank count held out.

    Not of one that goes through all the others whatever they are: its interval would know nothing
    of how rank counts miss it.
    The allreduce is held against its smallest and its largest message there.
    """
    found = []
    questions = {one.key: one for one in QUESTIONS}
    for one in fitted:
        if one.fit is None or not one.fit.tested:
            continue
        *x, values = questions[one.key].columns(study)
        runs_at: dict[tuple[float, ...], list[float]] = {}
        for place, value in zip(zip(*x, strict=True), values, strict=True):
            runs_at.setdefault(place, []).append(value)
        for count in held:
            there = sorted(place for place in runs_at if place[0] == count)
            for place in dict.fromkeys(there[:1] + there[-1:]):
                found.append(_predict(one, one.fit, place, runs_at[place]))
    return tuple(found)


def _predict(one: Fitted, fit: Fit, place: tuple[float, ...], runs: list[float]) -> Prediction:
    at = [[value] for value in place]
    predicted, middle = float(fit.predict(*at)[0]), intervals.median(runs).value
    of_runs, of_one = (
        [float(bound[0]) for bound in fit.interval(*at, runs=count)] for count in (len(runs), 1)
    )
    of = "".join(f", {with_unit(size, 'B')}" for size in place[1:])
    return Prediction(
        key=one.key,
        subject=f"{one.subject}{of}",
        law=one.law.name,
        fitted_to=fit.ranks,
        ranks=int(place[0]),
        predicted=predicted,
        low=of_runs[0],
        high=of_runs[1],
        measured=middle,
        runs=len(runs),
        difference=middle / predicted - 1,
        runs_inside=sum(of_one[0] <= value <= of_one[1] for value in runs),
        rejected=fit.rejected,
    )


def lines(found: Sequence[Prediction], held: Sequence[int]) -> list[str]:
    """For people; nothing where nothing was held out."""
    if held and not found:
        return [
            f"held out: {listed(held)} ranks, but no law was fitted to the rest and tested by it"
        ]
    return [sentence(one) for one in found]


def sentence(one: Prediction) -> str:
    rejected = ", which they reject," if one.rejected else ""
    of = f"the median of {one.runs} runs" if one.runs > 1 else "a single run"
    return (
        f"held out, {one.subject}, {one.ranks} ranks: {one.law} of {listed(one.fitted_to)} ranks"
        f"{rejected} predicts {one.expectation}; measured {with_unit(one.measured, one.unit)} "
        f"(median of {one.runs}, {percent(one.difference, sign=True)}), "
        f"{'inside' if one.inside else 'outside'} the 95 % interval of {of}"
    )
