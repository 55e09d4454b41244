"""A folder for what is read only once, which is gone afterwards whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class ScratchError(OSError):
    """The scratch folder cannot be written to. It is no fault of the scene that is read."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder below TMPDIR. It is deleted at the end of the block, at any error, and when
    the process is told to end by a signal that nobody handles. ScratchError if there is none."""
    with writing_scratch():
        folder = Path(tempfile.mkdtemp(prefix="cloudmask-"))
    try:
        with _deleted_at_signals(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def writing_scratch() -> Iterator[None]:
    """For the writing alone: its OSError becomes a ScratchError, and so ends the job."""
    try:
        yield
    except OSError as error:
        where = error.filename or tempfile.gettempdir()
        raise ScratchError(error.errno, error.strerror, where) from None


@contextlib.contextmanager
def _deleted_at_signals(folder: Path) -> Iterator[None]:
    """Python's own answer to these signals is to end at once, without leaving any block."""
    mine = threading.current_thread() is threading.main_thread()
    free = [s for s in _SIGNALS if mine and signal.getsignal(s) is signal.SIG_DFL]

    def delete(number: int, _: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in free:
        signal.signal(number, delete)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)
