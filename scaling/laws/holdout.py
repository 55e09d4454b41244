"""Laws tested on rank counts they were not fitted to: what they predict, and what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.cli.errors import UsageError
from cloudmask.text import listed, percent, with_unit
from scaling.laws import intervals
from scaling.laws.fits import QUESTIONS, Fitted
from scaling.options import rank_counts
from scaling.record.store import Study

UNITS = {"strong_step": "s", "strong_total": "s"}
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
    """of the 95 % interval for a single run there"""
    high: float
    measured: float
    """median of the runs there"""
    runs: int
    difference: float
    """measured over predicted, minus one"""
    runs_inside: int
    """how many of the runs lie in the interval"""

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
    """Of each law of the ranks alone that was fitted to the others, at each rank count held out."""
    found = []
    questions = {one.key: one for one in QUESTIONS}
    for one in fitted:
        ranks, *others, values = questions[one.key].columns(study)
        if one.fit is None or others:
            continue
        for count in held:
            runs = [value for n, value in zip(ranks, values, strict=True) if n == count]
            if not runs:
                continue
            predicted = float(one.fit.predict([count])[0])
            low, high = one.fit.interval(count)
            middle = intervals.median(runs).value
            found.append(
                Prediction(
                    key=one.key,
                    subject=one.subject,
                    law=one.law.name,
                    fitted_to=one.fit.ranks,
                    ranks=count,
                    predicted=predicted,
                    low=low,
                    high=high,
                    measured=middle,
                    runs=len(runs),
                    difference=middle / predicted - 1,
                    runs_inside=sum(low <= value <= high for value in runs),
                )
            )
    return tuple(found)


def lines(found: Sequence[Prediction], held: Sequence[int]) -> list[str]:
    """For people; nothing where nothing was held out."""
    if held and not found:
        return [f"held out: {listed(held)} ranks, but no law was fitted to the rest"]
    return [sentence(one) for one in found]


def sentence(one: Prediction) -> str:
    return (
        f"held out, {one.subject}, {one.ranks} ranks: {one.law} of {listed(one.fitted_to)} ranks "
        f"predicts {one.expectation}; measured {with_unit(one.measured, one.unit)} (median of "
        f"{one.runs}, {percent(one.difference, sign=True)}), "
        f"{'inside' if one.inside else 'outside'} the 95 % interval of a single run"
    )
