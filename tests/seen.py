"""train_hvd.py that notes the patches of every step it begins, for runs whose ranks change.

python seen.py FOLDER [options of train_hvd.py]

Each process writes FOLDER/HOST-PID.jsonl: one line [epoch, call, patches...] for each step, where
`call` counts how often the process has begun or gone on with an epoch.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import train_hvd
from cloudmask.cli import errors
from cloudmask.train import loop
from cloudmask.train.batches import read_ahead


def noting(path: Path) -> Callable[..., Generator[Any, None, None]]:
    """read_ahead that adds a line for each batch it hands out."""
    calls = itertools.count(1)

    def noted(source: Any, rows: Any, **options: Any) -> Generator[Any, None, None]:
        upcoming, rows = itertools.tee(rows)
        batches = read_ahead(source, rows, **options)
        before = None
        try:
            for (epoch, row), batch in zip(upcoming, batches, strict=True):
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
    name = f"{os.environ.get('HOROVOD_HOSTNAME', 'alone')}-{os.getpid()}.jsonl"
    noted = loop.Functions(read_ahead=noting(folder / name))
    main = functools.partial(train_hvd.main, functions=noted)
    sys.exit(errors.run(main, sys.argv[2:], program="train_hvd.py"))
