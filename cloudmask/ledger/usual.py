"""What is known only after all events of a run."""

from __future__ import annotations

import functools
import statistics

from cloudmask.ledger.events import COLUMNS, Event

FIRST_STEPS = 5
"""of each start: what they take beyond a usual step is compilation, and filling of caches"""


class Usual:
    """What is known only after all events: what a step takes, and which ones were undone."""

    def __init__(self) -> None:
        self.undone: set[int] = set()
        """numbers of the events of such steps and validations"""
        self._busy: list[list[float]] = [[]]
        """of each start, the first one being the second: seconds of each step but its wait"""
        self._shares: tuple[list[float], list[float]] = ([], [])
        """of each such step with a clock that is no first one: computing, and exposed"""
        self._done: list[tuple[str, int, int]] = []
        """event, step and number of what may still be undone, in the order of time"""

    def look(self, number: int, event: Event) -> None:
        kind = event["event"]
        if kind == "start":
            self._undo(event["from_step"])
            self._busy.append([])
        elif kind in ("step", "validation", "checkpoint", "commit"):
            self._done.append((kind, event["step"], number))
        if kind == "step":
            wait, compute, exposed = (event.get(name) for name in COLUMNS[1:])
            busy = max(0.0, event["seconds"] - (wait or 0.0))
            self._busy[-1].append(busy)
            late = len(self._busy[-1]) > FIRST_STEPS
            if late and busy > 0 and compute is not None and exposed is not None:
                for shares, seconds in zip(self._shares, (compute, exposed), strict=True):
                    shares.append(seconds / max(busy, compute + exposed))

    def _undo(self, from_step: int) -> None:
        """Going on from what was saved of a step undoes all that came after it was saved."""
        while self._done:
            kind, step, number = self._done[-1]
            saved = kind in ("checkpoint", "commit")
            if step < from_step or (step == from_step and (saved or kind == "step")):
                return
            self._done.pop()
            if not saved:
                self.undone.add(number)

    def step_seconds(self, start: int) -> float | None:
        """The median of a start's steps, or of all steps where it has too few, without the wait for
        data; None where nothing is known."""
        own, others = self._busy[start][FIRST_STEPS:], (each[FIRST_STEPS:] for each in self._busy)
        steady = own or [value for each in others for value in each] or self._busy[start][1:]
        return statistics.median(steady) if steady else None

    @property
    def starts(self) -> int:
        return len(self._busy)

    @functools.cached_property
    def shares(self) -> tuple[float, float]:
        """Computing and exposed communication of a usual step, as medians of those with a clock;
        without any all is computing."""
        if not self._shares[0]:
            return 1.0, 0.0
        compute, exposed = map(statistics.median, self._shares)
        whole = max(1.0, compute + exposed)
        return compute / whole, exposed / whole
