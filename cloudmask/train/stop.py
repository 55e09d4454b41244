"""A batch system's request that the run end soon: received by any rank, obeyed by all.

SIGUSR1 and SIGTERM only raise a flag. Every step sums the flags of all ranks beside the loss, so
all leave after the same step, with a checkpoint to go on from. A request that comes while a run
starts waits for its first step, so that a run which is stopped again and again still gets on.

Further signals change nothing: batch systems signal the job's processes and its script, launchers
hand signals on, and so one request may arrive more than once. What must end now ends by SIGKILL.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from cloudmask.cli.errors import StoppedError

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class StopRequest:
    """True once this rank was asked to stop."""

    def __init__(self) -> None:
        self.signal: str | None = None
        """the first that came"""

    def receive(self, number: int, _: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number).name

    def __bool__(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Receive the signals until the end of the block, and then do with them as before.

    Once any rank was asked, all are about to end: what comes then is the same request, handed on
    late, and is ignored.
    """
    request, asked = StopRequest(), False
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    except StoppedError:
        asked = True
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if asked or request else handler)
