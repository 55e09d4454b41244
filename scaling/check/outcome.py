"""The four outcomes of a comparison: met, missed, undecided, not comparable; and what decides them.

The whole interval must lie on the good side for `met`, on a bad one for `missed`. At the boundary,
where the true median is the figure itself, `met` is said as often as an interval lies wholly on
one side of its median: (1 - coverage) / 2, at most 2.5 % for a median of six runs or more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from cloudmask.text import plural
from scaling.laws.intervals import REPEATS_FOR_INTERVAL, Estimate

MET, MISSED, NOT_COMPARABLE, UNDECIDED = 0, 1, 2, 3
"""also the exit codes"""
WORDS = {
    MET: "met",
    MISSED: "missed",
    NOT_COMPARABLE: "not comparable",
    UNDECIDED: "undecided",
}
_WORST_FIRST = (MISSED, NOT_COMPARABLE, UNDECIDED, MET)


def worst(codes: Iterable[int]) -> int:
    """Missed before not comparable before undecided before met; of at least one outcome."""
    return min(codes, key=_WORST_FIRST.index)


def decide(estimate: Estimate, low: float, high: float) -> int:
    """Whether the true value lies in [low, high], infinite bounds allowed, by its interval."""
    if not estimate.is_interval:
        return UNDECIDED
    if low <= estimate.low and estimate.high <= high:
        return MET
    return MISSED if estimate.high < low or estimate.low > high else UNDECIDED


def among_failures(code: int, failed: int, runs: int) -> int:
    """The outcome of `runs` that ended well beside others that failed: not `met` where these are as
    many or more, for then the median run of all is one that failed."""
    return UNDECIDED if code == MET and failed >= runs else code


def needed(estimate: Estimate, low: float, high: float) -> str:
    """What would decide an undecided comparison, in words.

    The interval of a median narrows with the root of the number of runs, so it clears a bound at
    distance d when half its width h on that side has shrunk to d: after (h / d)^2 times the runs.
    """
    runs = estimate.repeats
    if not estimate.is_interval:
        missing = plural(REPEATS_FOR_INTERVAL - runs, "more run")
        return f"no 95 % interval from {plural(runs, 'run')}; it takes {missing}"
    factors = []
    for bound in filter(math.isfinite, (low, high)):
        if estimate.low <= bound <= estimate.high:
            half = estimate.high - estimate.value
            if bound < estimate.value:
                half = estimate.value - estimate.low
            distance = abs(bound - estimate.value)
            factors.append((half / distance) ** 2 if distance else math.inf)
    if not factors or not math.isfinite(most := max(factors)) or most > 100:
        return (
            "the interval lies across the figure, and the median so near it that no number of "
            "runs may decide"
        )
    more = max(1, math.ceil(runs * most) - runs)
    return f"the interval lies across the figure; about {plural(more, 'more run')} may decide it"
