"""Communication that computing does not hide, beside the allreduce as it was measured by itself.

Horovod's allreduce was timed over message sizes at the same rank count (allreduce.py). A step's
gradients travel in a few messages (summary.json's `gradient_messages`), one after the other, and
each takes what a message of its size took by itself. But that holds the wait for the cycle in which
ranks agree on what they sum, and messages that are ready together may share one. How much of it
they share is not known, so what a step should wait is a range: from messages that pay for the
smallest message once, to messages that each pay. A step does wait so long where nothing can hide,
as with an emulated device; where the backward pass hands out gradients as it goes, what is missing
is what computing has hidden.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling.laws import fits, intervals
from scaling.laws.intervals import Estimate
from scaling.record.store import Row, Study

AGREED = 0.2
"""largest difference of the measured time from what is expected, in parts of that, to agree"""


@dataclass(frozen=True)
class Exposed:
    """One rank count: the seconds of a step from its last gradient to the last sum."""

    mode: str
    ranks: int
    messages: tuple[int, ...]
    """bytes of each message that a step's gradients travel in"""
    measured: Estimate
    expected: tuple[float, float]
    """seconds if nothing was hidden, a range"""
    emulated: bool
    """every gradient was there at once, so nothing could be hidden"""
    told: bool = True
    """False: the runs do not tell their messages, so all gradients are taken to be one"""

    @property
    def num_bytes(self) -> int:
        return sum(self.messages)

    @property
    def difference(self) -> float:
        """Measured over the nearer end of the expected range, minus one; 0 within the range."""
        low, high = self.expected
        return self.measured.value / min(max(self.measured.value, low), high) - 1

    @property
    def verdict(self) -> str:
        """What the difference means, in words."""
        if self.emulated:
            return "agrees" if abs(self.difference) <= AGREED else "does not agree"
        if self.difference < -AGREED:
            return f"at least {-100 * self.difference:.0f} % hidden"
        return "hardly any hidden" if self.difference <= AGREED else "more than the allreduce"


def compare(study: Study) -> list[Exposed]:
    """Every rank count whose allreduce was measured and whose runs tell what their ranks waited."""
    times: dict[int, dict[int, list[float]]] = {}
    for ranks, size, seconds in fits.allreduce_times(study):
        times.setdefault(ranks, {}).setdefault(size, []).append(seconds)
    found = []
    for mode in study.modes:
        for ranks, rows in study.points(mode).items():
            rows = [row for row in rows if _tells(row)]
            if rows and ranks in times:
                messages = _messages(rows[0])
                waits = [row["last_rank_exposed_seconds"] for row in rows]
                timed = {size: statistics.median(all_) for size, all_ in times[ranks].items()}
                found.append(
                    Exposed(
                        *(mode, ranks, messages, intervals.median(waits)),
                        expected(timed, messages),
                        emulated=rows[0].get("emulated_step_seconds") is not None,
                        told=bool(rows[0].get("gradient_messages")),
                    )
                )
    return found


def expected(timed: dict[int, float], messages: Sequence[int]) -> tuple[float, float]:
    """Seconds of these messages one after the other, from those of the sizes that were timed.

    In between, and beyond the largest, as a straight line has it. Low: the smallest message's time
    is paid once. High: it is paid by each.
    """
    sizes = sorted(timed)
    seconds = [timed[size] for size in sizes]
    each = np.interp(messages, sizes, seconds)
    if len(sizes) > 1:
        rate = max(0.0, (seconds[-1] - seconds[-2]) / (sizes[-1] - sizes[-2]))
        each += rate * np.maximum(0, np.subtract(messages, sizes[-1]))
    high = float(each.sum())
    return max(float(each.max()), high - (len(messages) - 1) * seconds[0]), high


def _messages(row: Row) -> tuple[int, ...]:
    return tuple(row.get("gradient_messages") or (row["gradient_bytes"],))


def _tells(row: Row) -> bool:
    return bool(row.get("gradient_bytes") and row.get("last_rank_exposed_seconds"))
