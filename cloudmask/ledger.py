"""The ledger of a run: every second of all its ranks, its resumes included, in one bucket.

It is made of the events that rank 0 writes (events.jsonl), so a run that was killed has one too.
Each event ends a stretch of time, and says how many seconds of it went into what. Stretches follow
each other without gaps, so the sum is the time from the launch to the last event; what no event
explains is a bucket too. A step ends on all ranks at once: a second of rank 0 is one of each rank.

Two passes: what a step usually takes, and which steps were undone, is known only at the end. Both
read line by line: a run of a million steps is no reason to hold a million records.
"""

from __future__ import annotations

import datetime
import functools
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloudmask.files import parse_json

BUCKETS = {
    "launch": "launch",
    "startup": "start-up",
    "staging": "staging",
    "compile": "compilation",
    "data_wait": "data wait",
    "compute": "compute",
    "exposed_communication": "exposed communication",
    "validation": "validation",
    "checkpoint": "checkpoints",
    "lost": "lost steps",
    "stall": "stall",
    "rest": "rest",
}
"""bucket -> its name for people"""
FIRST_STEPS = 5
"""of each start: what they take beyond a usual step is compilation, and filling of caches"""
STALL_SECONDS, STALL_TIMES = 1.0, 10.0
"""a step of so many times a usual one, and of so many seconds more, has waited for something"""
_COLUMNS = ("step_seconds", "data_wait_seconds", "compute_seconds", "exposed_communication_seconds")

Event = dict[str, Any]


@dataclass
class Part:
    """From one launch to its end, in seconds since 1970."""

    began: float
    ended: float
    ranks: int
    """at its end: with --elastic they change"""
    launch_known: bool
    """whether it begins with the launcher, not with the process of rank 0"""
    ending: str = "broken off"
    """finished, stopped or failed; broken off: nothing tells of an end; open: the same of the last
    part, which may still run"""

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Ledger:
    rank_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BUCKETS, 0.0))
    """by bucket"""
    parts: list[Part] = field(default_factory=list)
    steps: int = 0
    """all that were taken, those that were undone among them"""
    steps_lost: int = 0
    losses: int = 0
    """times that ranks were lost in a run that outlived it"""
    checkpoint_seconds: list[float] = field(default_factory=list)
    checkpoint_gaps: list[tuple[float, int]] = field(default_factory=list)
    """seconds and steps from one checkpoint to the next"""

    @property
    def total(self) -> float:
        """Rank-seconds."""
        return sum(self.rank_seconds.values())

    @property
    def wall_seconds(self) -> float:
        """Of all parts together, without the time between them."""
        return sum(part.seconds for part in self.parts)

    @property
    def goodput(self) -> float:
        """The share of all rank-seconds in which what counts was computed."""
        return self.rank_seconds["compute"] / self.total if self.total else 0.0

    @property
    def failures(self) -> int:
        """Parts that failed or were broken off, and losses of ranks that a run outlived."""
        return self.losses + sum(part.ending in ("failed", "broken off") for part in self.parts)

    def enclose(self, began: float, ended: float) -> None:
        """Of a run of one launch that was watched from outside: enter what came before and after
        its own record."""
        if self.parts:
            first, last = self.parts[0], self.parts[-1]
            self.rank_seconds["launch"] += max(0.0, first.began - began) * first.ranks
            self.rank_seconds["rest"] += max(0.0, ended - last.ended) * last.ranks
            first.began, first.launch_known = min(began, first.began), True
            last.ended = max(ended, last.ended)


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


def read(path: Path) -> Iterator[Event]:
    """The events of a file, each with its seconds since 1970 as `at`; a cut last line is none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                event = json.loads(line)
                event["at"] = datetime.datetime.fromisoformat(event["time"]).timestamp()
                assert isinstance(event["event"], str)
            except (ValueError, KeyError, TypeError, AssertionError):
                raise ValueError(f"{path}, line {number} is no event of a training") from None
            yield event


def account(
    events: Callable[[], Iterable[Event]], per_step: Mapping[str, Any] | None = None
) -> Ledger:
    """The ledger of events, which are asked for twice."""
    usual = _Usual()
    for number, event in enumerate(events()):
        usual.look(number, event)
    book = _Book(usual, per_step)
    for number, event in enumerate(events()):
        book.enter(number, event)
    if book.ledger.parts[-1].ending == "broken off":
        book.ledger.parts[-1].ending = "open"
    return book.ledger


class _Usual:
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
            wait, compute, exposed = (event.get(name) for name in _COLUMNS[1:])
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


def _shares_of_all(per_step: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """The same as means over all ranks; None where they have not told."""
    found = [(per_step or {}).get(name) for name in _COLUMNS]
    if not all(found):
        return None
    step, wait, compute, exposed = (float(one["mean_rank"]) for one in found if one)
    whole = max(step - wait, compute + exposed)
    return (compute / whole, exposed / whole) if whole > 0 else None


class _Book:
    """Enters one event after the other: the stretch of time that it ends."""

    def __init__(self, usual: _Usual, per_step: Mapping[str, Any] | None) -> None:
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
            self._part.ended = began
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
        wait, compute, exposed = (event.get(name) for name in _COLUMNS[1:])
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
