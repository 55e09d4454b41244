"""train_hvd.py whose last rank is asked to stop at a moment that no outsider could hit; twice, and
as all ranks once more when all is done and the process ends.

python stopped.py startup|validation|step:N|held:N:FILE [options of train_hvd.py]

Where it is held, the last rank writes the number of its process to FILE in the N-th step that it
takes, and waits there until it is asked or killed: an outsider has all the time that it needs.

A request that comes while step N computes is obeyed after step N + 1.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import train_hvd
from cloudmask.cli import errors
from cloudmask.data import parallel
from cloudmask.files import write_whole
from cloudmask.train import loop, start
from cloudmask.train.stop import StopRequest


def is_last() -> bool:
    by_horovodrun = int(os.environ.get("HOROVOD_SIZE", "1"))
    return errors.launched_rank() == max(parallel.launched_size(os.environ)[0], by_horovodrun) - 1


def ask() -> None:
    if is_last():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
    # A launcher hands it on to all, and may do so late.
    atexit.register(os.kill, os.getpid(), signal.SIGUSR1)


def hold(file: Path, request: StopRequest) -> None:
    if is_last():
        write_whole(file, str(os.getpid()).encode())
        while not request:
            time.sleep(0.002)


def asking(
    function: Callable[..., Any], *, call: int = 1, what: Callable[[], None] = ask
) -> Callable[..., Any]:
    """The same function, in whose n-th call the rank is asked, or does something else first."""
    calls = 0

    def wrapped(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            what()
        return function(*words, **named)

    return wrapped


def functions(when: str) -> loop.Functions:
    moment, _, rest = when.partition(":")
    number, _, file = rest.partition(":")
    if moment == "startup":
        return loop.Functions(start=asking(start.start))

    def programs(run: Any) -> tuple[Any, Any]:
        step, validate = loop.make_programs(run)
        if moment == "validation":
            return step, asking(validate)
        if moment == "held":
            wait = functools.partial(hold, Path(file), run.stop)
            return asking(step, call=int(number), what=wait), validate
        return asking(step, call=int(number)), validate

    return loop.Functions(programs=programs)


if __name__ == "__main__":
    main = functools.partial(train_hvd.main, functions=functions(sys.argv[1]))
    sys.exit(errors.run(main, sys.argv[2:], program="train_hvd.py"))
