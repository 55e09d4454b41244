#!/usr/bin/env python3
"""Train a cloud or sea-ice mask network on every rank that the launcher starts.

mpirun -n 2 python train_hvd.py --data PATCHSET --out RUN

Also under horovodrun and srun, and alone. `--help` lists the options.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudmask.cli import errors, flags, options
from cloudmask.cli.absent import OF_KERAS, absent
from cloudmask.train.stall import watching
from cloudmask.train.stop import listening

if TYPE_CHECKING:
    from cloudmask.train.loop import Functions


def main(words: Sequence[str], functions: Functions | None = None) -> int:
    started = time.time()
    settings = flags.parse(options.TrainConfig, words, prog="train_hvd.py")

    with listening() as stop, watching(settings.stall_seconds) as watch:
        with errors.loading_tensorflow(), absent(*OF_KERAS):
            from cloudmask.train import loop

        functions = functions or loop.Functions()
        world = functions.start(threads=settings.threads, horovod=settings.horovod)
        loop.train(settings, world, stop, watch, started=started, functions=functions)
    return 0


def console() -> int:
    """Entry point of the `cloudmask-train` script."""
    return errors.run(main, sys.argv[1:], program="train_hvd.py")


if __name__ == "__main__":
    sys.exit(console())
