"""Which laws of a study project, and how far its plan carries them.

A law projects if there are rank counts to test it, and none does where they do not test USL: the
others are USL with a parameter less, and cannot bend where the truth may. What any of them has
possible is possible; but Gustafson's gives way where it is rejected and USL is not. Where USL is,
rank counts were off as wholes while the study ran, or it does not hold: its intervals are as wide
as the rank counts miss it, and it is called rejected. (To refuse it would leave, of disturbed
studies, those that seem better than they are.) For the same reason a projection ends by the plan of
the study first: each rank count more than USL has parameters lets it go to twice as many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cloudmask.text import listed
from scaling.laws import fits
from scaling.laws.fits import Fitted
from scaling.laws.fitting import Fit
from scaling.record.store import Study

LAWS = {"weak": ("weak_usl", "weak_gustafson"), "strong": ("strong_usl",)}
"""the most general first; Amdahl's law is USL without coherency"""
WIDEST = 10.0
"""upper over lower end of an interval that still says something"""
Array = np.ndarray[Any, np.dtype[np.float64]]


def laws_of(study: Study, mode: str) -> tuple[dict[str, Fit], str]:
    """The laws of the rates that project, by name, the first for the median; why none does."""
    return of_fitted({one.key: one for one in fits.fit_study(study)}, mode)


def of_fitted(fitted: Mapping[str, Fitted], mode: str) -> tuple[dict[str, Fit], str]:
    """The same of laws that are fitted, by key."""
    found: dict[str, Fit] = {}
    for one in (fitted[key] for key in LAWS[mode] if key in fitted):
        if one.fit is not None and one.fit.tested:
            found[one.law.name] = one.fit
        elif not found:
            return {}, one.refusal or (
                f"{one.law.name} has {len(one.law.parameters)} parameters, and so few rank counts "
                f"as {listed(one.fit.ranks) if one.fit else 'these'} do not test it"
            )
    return trusted(found), "" if found else f"no rates of {mode} scaling"


def trusted(tested: dict[str, Fit]) -> dict[str, Fit]:
    """By name, the most general first: without those that are rejected where that one is not."""
    general = next(iter(tested), "")
    return {
        name: fit
        for name, fit in tested.items()
        if name == general or not fit.rejected or tested[general].rejected
    }


def most_devices(fit: Fit) -> int:
    """The most devices that a study's plan lets a law be projected to."""
    spare = len(fit.ranks) - len(fit.law.parameters)
    return int(max(fit.ranks) * 2**spare)


def possible(laws: Sequence[Fit], ranks: Array) -> tuple[Array, Array]:
    """(K,) lower and upper bounds of what many runs would show at ranks, by whichever law holds."""
    between = [fit.interval(ranks, runs=math.inf) for fit in laws]
    return np.min([low for low, _ in between], axis=0), np.max([up for _, up in between], axis=0)


def carried(laws: Mapping[str, Fit], ranks: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(K,) of bool: the plan carries the laws to these ranks, and the interval says something."""
    if not laws:
        return np.zeros(len(ranks), dtype=bool)
    slow, fast = possible([*laws.values()], ranks)
    within = ranks <= most_devices(next(iter(laws.values())))
    return np.asarray(within & (fast <= WIDEST * slow))
