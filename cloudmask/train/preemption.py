"""A batch system's wish that the run end soon: heard by any rank, obeyed by all after one step.

SIGUSR1 and SIGTERM only raise a flag. Every step sums the flags of all ranks beside the loss, so
all leave after the same step, with a checkpoint to go on from. A wish that comes while a run starts
waits for its first step, so that a run which is told again and again still gets on.

Further signals change nothing: batch systems signal the job's processes and its script, launchers
hand signals on, and so one wish may arrive more than once. What must end now ends by SIGKILL.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class Wish:
    """Whether this rank has been told to stop, and by which signal first."""

    def __init__(self) -> None:
        self.name: str | None = None

    def hear(self, number: int, _: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name

    def __float__(self) -> float:
        """1 if told to stop, to be summed over the ranks."""
        return float(self.name is not None)


@contextlib.contextmanager
def listening() -> Iterator[Wish]:
    """Hear the signals until the end of the block, and then do with them as before."""
    wish = Wish()
    before = {number: signal.signal(number, wish.hear) for number in SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
