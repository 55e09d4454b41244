"""train_hvd.py whose last rank is asked to stop, twice, at a moment that no outsider could hit.

python stopped.py startup|validation|step:N [options of train_hvd.py]

A request that comes while step N computes is obeyed after step N + 1.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import train_hvd
from cloudmask.cli import errors
from cloudmask.data import parallel
from cloudmask.train import loop, start


def ask() -> None:
    if errors.launched_rank() == parallel.launched_size(os.environ)[0] - 1:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)


def asking(function: Callable[..., Any], *, call: int = 1) -> Callable[..., Any]:
    """The same function, in whose n-th call the rank is asked."""
    calls = 0

    def wrapped(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            ask()
        return function(*words, **named)

    return wrapped


def functions(when: str) -> loop.Functions:
    moment, _, number = when.partition(":")
    if moment == "startup":
        return loop.Functions(start=asking(start.start))

    def programs(run: Any) -> tuple[Any, Any]:
        step, validate = loop.make_programs(run)
        if moment == "validation":
            return step, asking(validate)
        return asking(step, call=int(number)), validate

    return loop.Functions(programs=programs)


if __name__ == "__main__":
    main = functools.partial(train_hvd.main, functions=functions(sys.argv[1]))
    sys.exit(errors.run(main, sys.argv[2:], program="train_hvd.py"))
