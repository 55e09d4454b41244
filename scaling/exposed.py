"""Communication that computing cannot hide: what the measured allreduce says it should be.

Horovod's background thread reduces one message after another. When it is free it takes every
gradient that is there, up to a limit of bytes, as one message. So the exposed time follows from
when each gradient is there, how large it is, and what an allreduce of so many bytes takes, which
is measured by itself (allreduce.py) and fitted by the ring model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scaling import intervals
from scaling.intervals import Estimate
from scaling.laws import Fit
from scaling.results import Row, Study

FUSION_BYTES = 128 * 2**20
"""the default of HOROVOD_FUSION_THRESHOLD in Horovod 0.28"""
AGREED = 0.2
"""largest difference of the measured time from the model's, in parts of that, to be called one"""


@dataclass(frozen=True)
class Exposed:
    """One rank count: the exposed seconds of a step as measured, and as the model has them."""

    mode: str
    ranks: int
    num_bytes: int
    tensors: int
    measured: Estimate
    modelled: float
    nothing_hidden: float
    """one allreduce of all gradients after the last of them"""

    @property
    def difference(self) -> float:
        """Measured over modelled, minus one."""
        return self.measured.value / self.modelled - 1

    @property
    def agrees(self) -> bool:
        return abs(self.difference) <= AGREED


def exposed_seconds(
    leads: Sequence[float],
    sizes: Sequence[int],
    reduce: Callable[[int], float],
    *,
    limit: int = FUSION_BYTES,
) -> float:
    """Seconds from the last gradient being there to the end of the last reduction.

    `leads` are seconds before the last gradient at which each was there, `sizes` their bytes;
    `reduce(bytes)` the seconds of one allreduce.
    """
    waiting = sorted(zip(leads, sizes, strict=True), reverse=True)
    free = -waiting[0][0]
    while waiting:
        free = max(free, -waiting[0][0])
        message = waiting.pop(0)[1]
        while waiting and -waiting[0][0] <= free and message + waiting[0][1] <= limit:
            message += waiting.pop(0)[1]
        free += reduce(message)
    return free


def compare(study: Study, fit: Fit | None) -> list[Exposed]:
    """Every rank count whose runs tell when their gradients were there."""
    if fit is None:
        return []
    found = []
    for mode in study.modes:
        for ranks, rows in study.points(mode).items():
            told = [row for row in rows if _tells(row)]
            if told and ranks in fit.ranks:
                found.append(_compare(mode, ranks, told, fit))
    return found


def _tells(row: Row) -> bool:
    return bool(row.get("gradients") and row.get("last_rank_exposed_seconds"))


def _compare(mode: str, ranks: int, rows: Sequence[Row], fit: Fit) -> Exposed:
    def reduce(num_bytes: int) -> float:
        return float(fit.predict([ranks], [num_bytes])[0])

    sizes = [one["bytes"] for one in rows[0]["gradients"]]
    modelled = [
        exposed_seconds(
            [one["lead_seconds"] for one in row["gradients"]],
            sizes,
            reduce,
            limit=_limit(row.get("settings") or {}),
        )
        for row in rows
    ]
    return Exposed(
        mode,
        ranks,
        sum(sizes),
        len(sizes),
        intervals.median([float(row["last_rank_exposed_seconds"]) for row in rows]),
        intervals.median(modelled).value,
        reduce(sum(sizes)),
    )


def _limit(settings: dict[str, Any]) -> int:
    told = str(settings.get("HOROVOD_FUSION_THRESHOLD") or "")
    return int(told) if told.isdigit() and int(told) else FUSION_BYTES
