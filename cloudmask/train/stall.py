"""The end of a run that no longer gets on, which its ranks must find for themselves.

A rank that is stopped, a host that has crashed and a cable that is cut leave the other ranks
waiting inside MPI for ever: no call returns, no error is raised, Horovod's own check waits with
them, and launchers take minutes or do not notice at all. So a thread in every rank watches what
the rank is at, and ends the process when that has not changed for too long.

Quiet time is counted in ticks that this process has lived through, not read from a clock: a job
that a batch system stopped and continued as a whole has not stalled.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cloudmask import host
from cloudmask.cli import errors

FIRST_TIMES = 6
"""how many times as long a thing may take when first done: it is compiled, or caches are cold"""
CODE = 1
"""exit code of a process that ended itself"""
LAST_WORD_SECONDS = 10.0
"""how long telling why may take: a terminal or a disk may be what has stopped"""


@dataclass(frozen=True)
class Phase:
    """What a rank is at, and how long that may take."""

    name: str
    seconds: float


class Watch:
    """What one rank is at. A limit of 0 allows everything."""

    def __init__(self, limit_seconds: float) -> None:
        self.limit_seconds = limit_seconds
        self.on_stall: Callable[[str], object] = lambda message: None
        """what is done with the message beside printing it"""
        self._kinds: set[str] = set()
        self.at("start-up")

    def at(self, kind: str, which: object = "") -> None:
        """Something has been done, and this is next: `at("step", 7)`, `at("validation")`."""
        times = 1 if kind in self._kinds else FIRST_TIMES
        self._kinds.add(kind)
        # One new object, whose making cannot be seen half done by the thread that watches.
        self._phase = Phase(f"{kind} {which}".strip(), times * self.limit_seconds)

    def wait_for_stall(
        self, over: threading.Event, *, patience: Callable[[], float]
    ) -> Phase | None:
        """Return the phase that takes `patience` seconds too long; None when it is all over."""
        tick = min(1.0, self.limit_seconds / 10)
        seen, quiet = self._phase, 0.0
        while not over.wait(tick):
            quiet += tick
            if self._phase is not seen:
                seen, quiet = self._phase, 0.0
            elif quiet >= seen.seconds + patience():
                return seen
        return None


@contextlib.contextmanager
def watching(limit_seconds: float) -> Iterator[Watch]:
    """Watch this process, unless the limit is 0, until the end of the block. AgreedError."""
    if not limit_seconds >= 0:
        raise errors.AgreedError(f"--stall-seconds {limit_seconds:g} must be 0 or more")
    watch = Watch(limit_seconds)
    over = threading.Event()

    def patience() -> float:
        """Rank 0, whoever that is by now, speaks first: its launcher then ends the others."""
        return 0.0 if errors.launched_rank() == 0 else errors.QUIET_SECONDS

    def guard() -> None:
        stalled = watch.wait_for_stall(over, patience=patience)
        if stalled:
            _leave(watch, stalled)

    thread = threading.Thread(target=guard, name="stall", daemon=True)
    if limit_seconds:
        thread.start()
    try:
        yield watch
    finally:
        over.set()


def _leave(watch: Watch, phase: Phase) -> None:
    message = complaint(phase, errors.launched_rank(), host.name())

    def last_word() -> None:
        print(f"train_hvd.py: error: {message}", file=sys.stderr, flush=True)
        watch.on_stall(message)

    thread = threading.Thread(target=last_word, daemon=True)
    thread.start()
    thread.join(LAST_WORD_SECONDS)
    os._exit(CODE)  # the main thread waits in C: nothing can be raised there


def complaint(phase: Phase, rank: int, name: str) -> str:
    """Why a rank ends itself, and what to do."""
    return (
        f"rank {rank} on {name} has not got on for {phase.seconds:g} s, at {phase.name}: a rank, a "
        "host or the network has stopped; the same command with --resume goes on from the newest "
        "checkpoint (if work was only slow, with a larger --stall-seconds)"
    )
