"""train_hvd.py that notes the patches of every step it begins, for runs whose ranks change.

python seen.py FOLDER [options of train_hvd.py]

Each process writes FOLDER/HOST-PID.jsonl: one line [epoch, call, patches...] for each step, where
`call` counts how often the process has begun or gone on with an epoch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import train_hvd
from cloudmask.cli import errors
from cloudmask.train import loop


def main(folder: Path, words: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{os.environ.get('HOROVOD_HOSTNAME', 'alone')}-{os.getpid()}.jsonl"
    read_ahead, calls = loop.read_ahead, 0

    def noting(source: Any, rows: Any, *, epoch: int) -> Generator[Any, None, None]:
        nonlocal calls
        calls += 1
        batches = read_ahead(source, rows, epoch=epoch)
        try:
            for row, batch in zip(rows, batches, strict=True):
                with path.open("a") as file:
                    file.write(json.dumps([epoch, calls, *row[row >= 0].tolist()]) + "\n")
                yield batch
        finally:
            batches.close()

    loop.read_ahead = noting
    return errors.run(train_hvd.main, words, program="train_hvd.py")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
