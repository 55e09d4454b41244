"""Which laws of a study project, and how far its plan carries them.

A law projects if there are rank counts to test it. What any of them has possible is possible; but
Gustafson's gives way where it is rejected and USL, the more general one, is not. Where USL is, rank
counts were off as wholes while the study ran, or it does not hold: its intervals are as wide as the
rank counts miss it, and it is called rejected. (To refuse it would leave, of disturbed studies,
those that seem better than they are.) For the same reason a projection ends by the plan of the
study first: each rank count more than USL has parameters lets it go to twice as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cloudmask.text import listed
from scaling.laws import fits
from scaling.laws.fitting import Fit
from scaling.record.store import Study

LAWS = {"weak": ("weak_usl", "weak_gustafson"), "strong": ("strong_usl",)}
"""Amdahl's law is USL without coherency"""
Array = np.ndarray[Any, np.dtype[np.float64]]


def laws_of(study: Study, mode: str) -> tuple[dict[str, Fit], str]:
    """The laws of the rates that project, by name, the first for the median; why no other does."""
    fitted = {one.key: one for one in fits.fit_study(study)}
    found, refused = {}, []
    for one in (fitted[key] for key in LAWS[mode] if key in fitted):
        if one.fit is None:
            refused.append(one.refusal or "")
        elif not one.fit.tested:
            counts = listed(one.fit.ranks)
            refused.append(f"{one.law.name} of {counts} ranks alone: so few cannot test it")
        else:
            found[one.law.name] = one.fit
    return trusted(found), "; ".join(refused)


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
