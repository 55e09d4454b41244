"""train_hvd.py that notes the patches of every step it begins, for runs whose ranks change.

python seen.py FOLDER WHO:N [options of train_hvd.py]

Each process writes FOLDER/HOST-PID.jsonl: one line [epoch, call, patches...] for each step, where
`call` counts how often the process has begun or gone on with an epoch.

WHO is the rank that a process was started as, or its host: in its N-th step it stands still until
it is killed, so that the run is not at its end before. Of nobody: `:`.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import train_hvd
from cloudmask.cli import errors
from cloudmask.train import loop
from cloudmask.train.batches import read_ahead


def noting(path: Path, *, last: int | None) -> Callable[..., Generator[Any, None, None]]:
    """read_ahead that adds a line for each batch it hands out, of which there may be a last."""
    calls, numbers = itertools.count(1), itertools.count(1)

    def noted(source: Any, rows: Any, **options: Any) -> Generator[Any, None, None]:
        upcoming, rows = itertools.tee(rows)
        batches = read_ahead(source, rows, **options)
        before = None
        try:
            for (epoch, row), batch in zip(upcoming, batches, strict=True):
                if next(numbers) == last:
                    threading.Event().wait()
                if epoch != before:
                    before, call = epoch, next(calls)
                with path.open("a") as file:
                    file.write(json.dumps([epoch, call, *row[row >= 0].tolist()]) + "\n")
                yield batch
        finally:
            batches.close()

    return noted


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    host, rank = os.environ["HOROVOD_HOSTNAME"], os.environ["HOROVOD_RANK"]
    who, _, step = sys.argv[2].partition(":")
    last = int(step) if who in (host, rank) else None
    noted = loop.Functions(read_ahead=noting(folder / f"{host}-{os.getpid()}.jsonl", last=last))
    main = functools.partial(train_hvd.main, functions=noted)
    sys.exit(errors.run(main, sys.argv[3:], program="train_hvd.py"))
