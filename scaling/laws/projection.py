"""How long a reference's work would take: measured parts put together by fitted laws.

The formula is that of run_time.py, with X(N) the law of the rates.

Which laws project, and how far, says reach.py. The interval holds the median of many runs: the
laws' doubt, how rank counts scatter about a law, and the constants of any of the runs on the most
ranks measured. No law says how constants grow with the ranks. So it is one of 95 % only if they
stay as they are there; and not at all if they already differ between rank counts, or if there are
fewer than six runs: then `doubt` says why.
Where its upper end is more than WIDEST times its lower, it says nothing, so nothing is projected.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudmask.text import listed
from scaling.laws import reach, run_time
from scaling.laws.reach import WIDEST
from scaling.laws.run_time import Parts
from scaling.record.store import Row, Study

MOST_DEVICES = 4096
SMALL = 0.1
"""share of an interval's width that constants may differ by without a word"""
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Projection:
    """Seconds at each number of devices; point by point, where a law was found."""

    law: str
    measured_ranks: tuple[int, ...]
    ranks: Array
    """(K,) those that something can be said of"""
    seconds: Array
    """(3, K): lower bound, median, upper bound"""
    runs: int
    parts: Parts
    """medians over the runs on the most ranks measured"""
    parts_ranks: int
    refusal: str = ""
    """why nothing is said of more devices"""
    doubt: str = ""
    """why the bounds are not those of a 95 % interval, even if constants stay; empty if they are"""

    @property
    def kind(self) -> str:
        """What the bounds are, in words."""
        if self.law == "no law":
            return f"range of {self.runs} runs"
        return (
            "not 95 %" if self.doubt else f"95 % if constants stay as on {self.parts_ranks} ranks"
        )

    def at(self, ranks: int) -> tuple[float, float, float] | None:
        """(low, median, high) seconds; None where nothing is projected."""
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


def project(study: Study, work: Mapping[str, int], *, mode: str | None = None) -> Projection | None:
    """Seconds on 1 to 4096 such devices; without a law, only where it was measured.

    `work`: training_patches, validation_patches, epochs, and validations if they are others. By the
    runs of `mode`, else of weak scaling where it was measured: the batch of each device stays, and
    there must be patches for it. None if no run tells its parts.
    """
    mode = mode or ("weak" if study.points("weak") else "strong")
    points = study.points(mode)
    known = {n: [p for row in rows if (p := run_time.parts(row))] for n, rows in points.items()}
    known = {n: found for n, found in known.items() if found}
    if not known:
        return None
    laws, why = reach.laws_of(study, mode)
    row = points[max(known)][0]
    if not laws:
        return _without_law(known, work, points, f"no law: {why}")
    largest = known[max(known)]
    ranks, batches, limit = _devices(row, mode, work)
    first = next(iter(laws.values()))
    most = reach.most_devices(first)
    if most < ranks[-1]:
        ranks, batches = ranks[:most], batches[:most]
        limit = (
            f"beyond {most} devices {listed(first.ranks)} ranks do not carry: each rank count more "
            f"than {first.law.name} has parameters lets it be projected to twice as many"
        )
    whole = run_time.whole_steps(work, ranks, batches)
    slow, fast = reach.possible(list(laws.values()), ranks)
    each = run_time.middle(largest)
    seconds = np.stack(
        [
            np.min([one.total(whole, fast) for one in largest], axis=0),
            each.total(whole, first.predict(ranks)),
            np.max([one.total(whole, slow) for one in largest], axis=0),
        ]
    )
    wide = np.flatnonzero(seconds[2] > WIDEST * seconds[0])
    if len(wide):
        most = int(wide[0])
        limit = (
            f"beyond {most} devices the interval's upper end is more than {WIDEST:g} "
            "times its lower, which says nothing"
            if most
            else f"intervals are so wide, more than {WIDEST:g} times, that they say nothing"
        )
        ranks, seconds = ranks[:most], seconds[:, :most]
    if not len(ranks):
        return _without_law(known, work, points, limit)
    name = f"{' and '.join(laws)} of {mode} scaling"
    if first.rejected:
        name += f", REJECTED by its own rank counts (lack of fit {first.lack})"
    constants = {n: [one.constants(work) for one in found] for n, found in known.items()}
    # Constants that grow with the ranks grow by as much more as the ranks do.
    width = float(np.min((seconds[2] - seconds[0]) * max(known) / np.maximum(ranks, max(known))))
    doubt = run_time.doubt_of(constants, least=SMALL * width)
    return Projection(
        *(name, first.ranks, ranks, seconds, len(largest), each, max(known), limit, doubt)
    )


def _devices(row: Row, mode: str, work: Mapping[str, int]) -> tuple[Array, Array, str]:
    """Numbers of devices that the work can feed, the global batch of each, and what ends them."""
    patches = work["training_patches"]
    if mode == "weak":
        each = row.get("batch_per_rank") or 1
        most = patches // each
        limit = f"more than {most} devices with a batch of {each} each have too few patches"
    else:
        most = batch = row.get("global_batch") or patches
        limit = f"a global batch of {batch} cannot feed more devices"
    ranks = np.arange(1, min(MOST_DEVICES, max(1, most)) + 1, dtype=np.float64)
    batches = ranks * each if mode == "weak" else np.full(len(ranks), float(batch))
    return ranks, batches, limit if most < MOST_DEVICES else ""


def _without_law(
    known: dict[int, list[Parts]], work: Mapping[str, int], points: dict[int, list[Row]], why: str
) -> Projection:
    """Each measured rank count for itself: the median, and the range of its runs."""
    columns = []
    for ranks, found in known.items():
        whole = run_time.whole_steps(
            work, np.array(ranks), np.array(points[ranks][0].get("global_batch") or 1)
        )
        totals = [float(one.total(whole, np.array(one.rate))) for one in found]
        columns.append([min(totals), statistics.median(totals), max(totals)])
    ranks_known = np.array(list(known), dtype=np.float64)
    runs = min(map(len, known.values()))
    return Projection(
        *("no law", tuple(known), ranks_known, np.array(columns).T, runs),
        *(run_time.middle(known[max(known)]), max(known), why),
    )
