"""The same map over scenes in this process, in several, on MPI ranks, and on Spark.

`Engine.map_items` has the signature and the manners of `cloudmask.data.parallel.map_items`, so
that whatever takes the one takes the other: outcomes in item order, a ValueError costs its item
alone, an OSError (a full disk) ends the work.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Literal, TypeVar

from tqdm import tqdm

from cloudmask import host
from cloudmask.data import parallel
from cloudmask.data.parallel import Outcome, World
from cloudmask.record import warn
from cloudmask.text import plural
from seaice import memory
from seaice.io.picture import Reading
from seaice.io.sources import Source

Item = TypeVar("Item")
Value = TypeVar("Value")
Kind = Literal["serial", "processes", "mpi", "spark"]
_OF_ONE_NAME = (errno.ENAMETOOLONG, errno.EISDIR)
"""what the system says of a single file's name, not of the disk"""


@dataclass(frozen=True)
class Engine:
    """Where the work is done. `seconds` fills with what the last map took."""

    kind: Kind = "serial"
    workers: int | None = None
    master: str | None = None
    seconds: dict[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.workers is not None:
            if self.workers < 1:
                raise ValueError(f"--workers {self.workers} must be 1 or more")
            if self.kind not in ("processes", "spark"):
                how = "mpirun -n says how many" if self.kind == "mpi" else "serial has one"
                raise ValueError(f"--workers is for the engines processes and spark; {how}")
        if self.master is not None and self.kind != "spark":
            raise ValueError("--master is for the engine spark; add --engine spark")
        if self.workers is not None and self.master is not None:
            raise ValueError("--workers is for Spark's local master; --master says how many itself")

    def world(self) -> World:
        """The MPI ranks. ValueError if there are some that the engine would not use."""
        if self.kind == "spark":
            from seaice import spark_session

            spark_session.check()  # before anything is listed
        started, launcher = parallel.launched_size(os.environ)
        if self.kind == "mpi":
            return parallel.world()
        if started > 1:
            raise ValueError(f"{launcher} started {started} processes; add --engine mpi")
        return World()

    @property
    def num_workers(self) -> int:
        return self.workers or host.num_cores()

    def bytes_each(self, sources: Sequence[Source], reading: Reading) -> int:
        """What a worker takes of memory, where there are several on a host; else 0."""
        several = self.kind == "mpi" or (self.kind == "processes" and self.num_workers > 1)
        return memory.bytes_of_worker(sources, reading) if several and sources else 0

    def _processes(self, items: int, bytes_each: int) -> int:
        """How many to start: as many as there are cores, or less where memory does not hold them;
        which is told."""
        wanted = min(self.num_workers, max(1, items))
        fit = memory.fitting(wanted, bytes_each) if bytes_each else wanted
        if fit < wanted and self.workers is None:
            warn(f"{plural(fit, 'worker')} instead of {wanted}: {memory.told(wanted, bytes_each)}")
            return fit
        if fit < wanted:
            warn(f"memory may not hold --workers {wanted}: {memory.told(wanted, bytes_each)}")
        return wanted

    def map_items(
        self,
        function: Callable[[Item], Value],
        items: Sequence[Item],
        *,
        world: World,
        weights: Sequence[float] | None = None,
        progress: str | None = None,
        stop_at_error: bool = False,
        bytes_each: int = 0,
    ) -> list[Outcome[Value] | None]:
        """See `parallel.map_items`; `function` must be one that can be pickled.

        `bytes_each` is the memory that a worker takes, if that is known: no more are started than
        fit, unless --workers names a number.
        """
        began = time.perf_counter()
        self.seconds.clear()
        function = functools.partial(foreseen, function)
        if self.kind == "mpi" and bytes_each:
            _warn_ranks(world, bytes_each)
        if self.kind in ("serial", "mpi"):
            outcomes = parallel.map_items(
                function,
                items,
                world=world,
                weights=weights,
                progress=progress,
                stop_at_error=stop_at_error,
            )
        elif self.kind == "processes":
            found = _on_processes(function, items, self._processes(len(items), bytes_each))
            outcomes = _watch(found, len(items), progress, stop_at_error)
        else:
            from seaice import spark

            master = self.master or spark.default_master(self.workers)
            work = functools.partial(attempt, function)
            found = spark.outcomes(work, items, master=master, seconds=self.seconds)
            outcomes = _watch(found, len(items), progress, stop_at_error)
        self.seconds["total"] = time.perf_counter() - began
        return outcomes


def foreseen(function: Callable[[Item], Value], item: Item) -> Value:
    """Call it; what nobody foresaw in one item's content becomes a ValueError of that item.

    A library may raise anything for an odd file. An OSError with a number is the system's (a full
    disk), and concerns all items, but for a file's own name; GDAL's have none.
    """
    try:
        return function(item)
    except ValueError:
        raise
    except Exception as error:
        name = getattr(item, "place", item)
        if isinstance(error, OSError) and error.errno in _OF_ONE_NAME:
            raise ValueError(
                f"{name}: {error.filename} cannot be written ({error.strerror}); rename the scene, "
                "or remove what lies there"
            ) from None
        if isinstance(error, OSError) and error.errno is not None:
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name}: {type(error).__name__} ({text}) in {Path(place.filename).name}, line "
            f"{place.lineno}, which nobody foresaw; leave the file out, or report it"
        ) from None


def attempt(function: Callable[[Item], Value], item: Item) -> Outcome[Value]:
    """Call it; a ValueError, which concerns this item alone, becomes its outcome."""
    try:
        return Outcome(value=function(item))
    except ValueError as error:
        return Outcome(error=str(error))


def _warn_ranks(world: World, bytes_each: int) -> None:
    """Say on rank 0 if the ranks of its host may not fit into memory. Collective."""
    ranks = parallel.ranks_here(world)
    if world.is_root and memory.fitting(ranks, bytes_each) < ranks:
        warn(f"memory may not hold the ranks of a host: {memory.told(ranks, bytes_each)}")


def _on_processes(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int
) -> Iterator[Outcome[Any] | None]:
    """Outcomes in item order, as they come. Started afresh: threads do not survive a fork.

    When a worker is ended from outside, all others end too: None for what they had not done.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        futures: list[Future] = [pool.submit(attempt, function, item) for item in items]
        lost = 0
        try:
            for future in futures:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    lost += 1
                    yield None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if lost:
        tqdm.write(
            f"a worker process was ended from outside, perhaps for want of memory: "
            f"{plural(lost, 'scene')} not reached; run the same command again with fewer --workers",
            file=sys.stderr,
        )


def _end_with_parent() -> None:
    """Of a worker: end when its parent has ended, be it killed, which closes a pipe between them.

    Else it would wait for ever for work that nobody sends.
    """
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _watch(
    outcomes: Iterable[Outcome[Any] | None], total: int, progress: str | None, stop_at_error: bool
) -> list[Outcome[Any] | None]:
    """Tell of each failure as it comes; None for what was not reached."""
    done: list[Outcome[Any] | None] = []
    hidden = None if progress is not None else True
    for outcome in tqdm(outcomes, total=total, desc=progress, disable=hidden, leave=False):
        done.append(outcome)
        if outcome is not None and outcome.error is not None:
            tqdm.write(f"left out: {outcome.error}", file=sys.stderr)
            if stop_at_error:
                break
    return done + [None] * (total - len(done))
