"""How far figures of class maps may be off: intervals over days, orbits or scenes.

Pixels of a scene go together, and so do scenes of a day. So an interval is one over independent
units, each a table of counts. What a unit does to a figure is told by the figure without it (the
jackknife for units of unequal size: Busing, Meijer and van der Leeden, Statistics and Computing 9,
1999). For accuracy, which is a ratio of sums, that is exact. From there on it is the interval of
`cloudmask evaluate`: see cloudmask/evaluate/intervals.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

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


def of_figures(
    tables: Sequence[np.ndarray],
    figures: Callable[[np.ndarray], Mapping[str, float | None]],
    *,
    within: Mapping[str, tuple[float, float]],
    least: int = LEAST_UNITS,
) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of `figures` of the sum of tables of counts, one for each independent unit.

    `within` are the bounds that each figure cannot leave. None of fewer than `least` tables, where
    a figure cannot be told without one of them, and where units do not differ at all.
    """
    if len(tables) < least:
        return dict.fromkeys(within)
    total = np.sum(tables, axis=0)
    whole, without = figures(total), [figures(total - table) for table in tables]
    pixels = np.array([table.sum() for table in tables], float)
    return {
        name: _interval(whole[name], [one[name] for one in without], pixels, bounds, least)
        for name, bounds in within.items()
    }


def _interval(
    whole: float | None,
    without: Sequence[float | None],
    pixels: np.ndarray,
    bounds: tuple[float, float],
    least: int,
) -> tuple[float, float] | None:
    if whole is None or None in without:
        return None
    weight = pixels / pixels.sum()
    pull = (whole - np.array(without, float)) * (1 - weight)
    pull -= weight * pull.sum()
    found = intervals.of_pooled((weight * whole + pull) * pixels.sum(), pixels, least=least)
    return found and (max(found[0], bounds[0]), min(found[1], bounds[1]))
