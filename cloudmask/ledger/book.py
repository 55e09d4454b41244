"""Enters the events of a run, one after the other, each for the stretch of time that it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cloudmask.files import parse_json
from cloudmask.ledger.events import COLUMNS, Event, read
from cloudmask.ledger.model import Ledger, Part
from cloudmask.ledger.usual import FIRST_STEPS, Usual

STALL_SECONDS, STALL_TIMES = 1.0, 10.0
"""a step of so many times a usual one, and of so many seconds more, has waited for something"""


def of_run(folder: Path, per_step: Mapping[str, Any] | None = None) -> Ledger:
    """The ledger of a run's folder. OSError without events.jsonl, ValueError for one that a
    training of this version did not write from its beginning.

    `per_step`, as summary.json has it, makes the split of the last ranks' steps one of all ranks;
    that of a finished run is found there.
    """
    path, summary = folder / "events.jsonl", folder / "summary.json"
    first = next(read(path), None)
    if first is None or first["event"] != "begin":
        raise ValueError(f"{path} does not tell when the run began: an earlier version wrote it")
    try:
        if per_step is None and summary.exists():
            per_step = parse_json(summary.read_text()).get("per_step")
        return account(lambda: read(path), per_step)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds something else than a training's events: {error}") from None


def account(
    events: Callable[[], Iterable[Event]], per_step: Mapping[str, Any] | None = None
) -> Ledger:
    """The ledger of events, which are asked for twice."""
    usual = Usual()
    for number, event in enumerate(events()):
        usual.look(number, event)
    book = _Book(usual, per_step)
    for number, event in enumerate(events()):
        book.enter(number, event)
    if book.ledger.parts[-1].ending == "broken off":
        book.ledger.parts[-1].ending = "open"
    return book.ledger


def _shares_of_all(per_step: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """The same as means over all ranks; None where they have not told."""
    found = [(per_step or {}).get(name) for name in COLUMNS]
    if not all(found):
        return None
    step, wait, compute, exposed = (float(one["mean_rank"]) for one in found if one)
    whole = max(step - wait, compute + exposed)
    return (compute / whole, exposed / whole) if whole > 0 else None


class _Book:
    """Enters one event after the other: the stretch of time that it ends."""

    def __init__(self, usual: Usual, per_step: Mapping[str, Any] | None) -> None:
        self.ledger = Ledger()
        self._usual, self._all_ranks = usual, _shares_of_all(per_step)
        self._start, self._steps = 0, 0
        """number of the start, and steps since"""
        self._typical = usual.step_seconds(0)
        self._left = 0.0
        """of the stretch, what has not been entered yet"""
        self._saved: tuple[float, int] | None = None
        """when the last checkpoint was written, and of which step"""

    def enter(self, number: int, event: Event) -> None:
        kind, at = event["event"], event["at"]
        going_on = bool(event.get("going_on"))
        if kind == "begin" and not going_on:
            began, launched = event["started"], event["launched"]
            self._open(began if launched is None else launched, event)
            self._left = max(0.0, began - self._part.began)
            self._take("launch", self._left)
            self._part.ended = max(began, self._part.began)
        elif going_on:
            self.ledger.losses += bool(event["lost"])
            self._left = max(0.0, event["started"] - self._part.ended)
            self._take("stall", self._left)
            self._part.ended = max(self._part.ended, event["started"])
            self._part.ranks = event["ranks"]
        self._left = max(0.0, at - self._part.ended)
        self._part.ended = max(at, self._part.ended)
        self._explain(kind, number, event)
        long = self._left >= STALL_SECONDS and kind != "end"  # which has saved the model
        self._take("stall" if long else "rest", self._left)

    def _open(self, began: float, event: Event) -> None:
        # Ranks lost before anything was committed begin anew, in processes that started long ago.
        began = max([began, *(part.ended for part in self.ledger.parts[-1:])])
        self._part = Part(began, began, event["ranks"], event["launched"] is not None)
        self.ledger.parts.append(self._part)
        self._saved = None

    def _take(self, bucket: str, seconds: float) -> float:
        """Enter so much of the stretch, or what is left of it; returns how much that was."""
        taken = min(max(0.0, seconds), self._left)
        self._left -= taken
        self.ledger.rank_seconds[bucket] += taken * self._part.ranks
        return taken

    def _explain(self, kind: str, number: int, event: Event) -> None:
        if kind in ("begin", "start", "reset"):
            self._take("startup", self._left)
        elif kind == "staged":
            self._take("staging", event["seconds"])
            self._take("startup", self._left)
        elif kind == "step":
            self._step(number, event)
        elif kind == "validation":
            bucket = "lost" if number in self._usual.undone else "validation"
            self._take(bucket, event["seconds"])
        elif kind in ("checkpoint", "commit"):
            self._take("checkpoint", event["seconds"])
        if kind == "start":
            self._start, self._steps = self._start + 1, 0
            self._typical = self._usual.step_seconds(self._start)
        elif kind == "checkpoint":
            self.ledger.checkpoint_seconds.append(event["seconds"])
            if self._saved:
                then, step = self._saved
                self.ledger.checkpoint_gaps.append((event["at"] - then, event["step"] - step))
            self._saved = event["at"], event["step"]
        elif kind == "fail":
            self._part.ending = event["status"]
            # A rank that fails, or is told so, has waited for another, or for its own last step.
            self._take("rest" if event["status"] == "stopped" else "stall", self._left)
        elif kind == "end":
            self._part.ending = "finished"

    def _step(self, number: int, event: Event) -> None:
        """A step's seconds: undone; or wait for data, surplus of a first step or of a stall, and of
        the rest so much computing and communication as its clock says, or that of its likes."""
        self.ledger.steps += 1
        self._steps += 1
        if number in self._usual.undone:
            self.ledger.steps_lost += 1
            self._take("lost", event["seconds"])
            return
        wait, compute, exposed = (event.get(name) for name in COLUMNS[1:])
        whole = event["seconds"]
        busy = whole - self._take("data_wait", min(wait or 0.0, whole))
        steady = busy
        if self._typical is not None:
            surplus = busy - self._typical
            stalled = surplus > STALL_SECONDS and busy > STALL_TIMES * self._typical
            if self._steps <= FIRST_STEPS and surplus > 0:
                steady -= self._take("compile", surplus)
            elif stalled:
                steady -= self._take("stall", surplus)
        share = self._usual.shares
        if self._all_ranks and self._start == self._usual.starts - 1:
            share = self._all_ranks
        elif compute is not None and exposed is not None and steady == busy:
            total = max(busy, compute + exposed)
            share = (compute / total, exposed / total) if total > 0 else share
        self._take("compute", share[0] * steady)
        self._take("exposed_communication", share[1] * steady)
        self._take("rest", (1 - share[0] - share[1]) * steady)
