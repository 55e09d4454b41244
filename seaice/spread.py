"""How far figures of class maps may be off: intervals over days, orbits or scenes.

Pixels of a scene go together, and so do scenes of a day. So an interval is one over independent
units, each a table of counts. What a unit does to a figure is told by the figure without it (the
jackknife for units of unequal size: Busing, Meijer and van der Leeden, Statistics and Computing 9,
1999). For accuracy, which is a ratio of sums, that is exact. From there on it is the interval of
`cloudmask evaluate`: see cloudmask/evaluate/intervals.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from cloudmask.evaluate import intervals
from cloudmask.evaluate.agreement import groups_of

LEAST_UNITS = intervals.LEAST_UNITS


def units_of(names: Sequence[str], dates: Sequence[str | None]) -> tuple[list[str], str]:
    """Names and dates (ISO 8601) of scenes -> the unit of each, and what the units are.

    A day where the date is known, else what `cloudmask evaluate` takes.
    """
    groups, kind = groups_of(names)
    found = [date[:10] if date else group for date, group in zip(dates, groups, strict=True)]
    return found, "day" if any(dates) else kind


def summed(tables: Sequence[np.ndarray], units: Sequence[Hashable]) -> list[np.ndarray]:
    """Counts of scenes -> of units, without those of no pixel."""
    found: dict[Hashable, np.ndarray] = {}
    for table, unit in zip(tables, units, strict=True):
        found[unit] = found[unit] + table if unit in found else table
    return [table for table in found.values() if table.any()]


def interval(
    tables: Sequence[np.ndarray],
    figure: Callable[[np.ndarray], float | None],
    *,
    least: float,
    greatest: float,
    units: int = LEAST_UNITS,
) -> tuple[float, float] | None:
    """95 % interval of `figure` of the sum of tables of counts, one for each independent unit.

    Within `least` and `greatest`, which the figure cannot leave. None of fewer than `units` tables,
    where the figure cannot be told without one of them, and where units do not differ at all.
    """
    if len(tables) < max(3, units):
        return None
    total = np.sum(tables, axis=0)
    whole = figure(total)
    without = [figure(total - table) for table in tables]
    if whole is None or None in without:
        return None
    pixels = np.array([table.sum() for table in tables], float)
    weight = pixels / pixels.sum()
    pull = (whole - np.array(without, float)) * (1 - weight)
    pull -= weight * pull.sum()
    found = intervals.of_pooled((weight * whole + pull) * pixels.sum(), pixels, least=units)
    return None if found is None else (max(found[0], least), min(found[1], greatest))
