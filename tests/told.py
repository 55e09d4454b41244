"""train_hvd.py whose last rank is told to stop, twice, at a moment that no outsider could hit.

python told.py startup|validation|step:N [options of train_hvd.py]

A wish that is raised while step N computes is obeyed after step N + 1.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import train_hvd
from cloudmask.cli import errors
from cloudmask.data import parallel
from cloudmask.train import loop, ranks


def tell() -> None:
    if errors.launched_rank() == parallel.launched_size(os.environ)[0] - 1:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)


def telling(function: Callable[..., Any], *, call: int = 1) -> Callable[..., Any]:
    """The same function, but that tells in its n-th call."""
    calls = 0

    def wrapped(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            tell()
        return function(*words, **named)

    return wrapped


def main(when: str, words: list[str]) -> int:
    moment, _, number = when.partition(":")
    if moment == "startup":
        ranks.start = telling(ranks.start)
    else:
        name = {"validation": "make_validation", "step": "make_train_step"}[moment]
        make = getattr(loop, name)
        call = int(number or 1)
        setattr(loop, name, lambda *made, **named: telling(make(*made, **named), call=call))
    return errors.run(train_hvd.main, words, program="train_hvd.py")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
