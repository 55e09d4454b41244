"""The same map over items on one process or on many MPI ranks; the only user of mpi4py here.

Work is dealt out before it starts, by weight, and every rank works: a rank that only hands out
items would idle one core of two. Results come back in the order of the items, so what is made
from them does not depend on the number of ranks.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from tqdm import tqdm

from cloudmask import host, launcher
from cloudmask.cli.errors import AgreedError, describe, leave_together, missing

Item = TypeVar("Item")
Value = TypeVar("Value")

# Who sets these knows the size of the job step. SLURM_NTASKS is not among them: it also stands in
# the environment of a batch script, where a plain `python` is one process and not one of many.
_LAUNCHERS = {
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
    "MV2_COMM_WORLD_SIZE": "mpirun",
    "SLURM_STEP_NUM_TASKS": "srun",
}
_LOOK_SECONDS = 0.01  # between looks whether all others leave
_STOP = 77  # tag of the message "stop after the item in hand"


@dataclass(frozen=True)
class World:
    """The ranks of this program; one rank without MPI."""

    rank: int = 0
    size: int = 1
    comm: Any = None

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def gather(self, value: Value) -> list[Value] | None:
        """Everybody's value in rank order on rank 0, None elsewhere."""
        return [value] if self.comm is None else self.comm.gather(value, root=0)

    def broadcast(self, value: Value) -> Value:
        """Rank 0's value."""
        return value if self.comm is None else self.comm.bcast(value, root=0)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Element by element over all ranks, the same result on every rank."""
        if self.comm is None:
            return np.array(array)
        total = np.empty_like(array)
        self.comm.Allreduce(np.ascontiguousarray(array), total)
        return total

    def on_root(self, function: Callable[[], Value]) -> Value:
        """Call on rank 0 and hand the result to all.

        What users can mend (ValueError, OSError) becomes an AgreedError on every rank. What rank 0
        has printed is out before the others go on: one that has failed may then end all ranks.
        """
        value, problem = None, None
        if self.is_root:
            try:
                value = function()
            except ValueError as error:
                problem = str(error)
            except OSError as error:
                problem = describe(error)
            with contextlib.suppress(OSError):  # who reads may have gone: told at the end
                print(end="", flush=True)  # there may be no sys.stdout
        value, problem = self.broadcast((value, problem))
        if problem is not None:
            raise AgreedError(problem)
        return value  # type: ignore[return-value]


def launched_size(environment: Mapping[str, str]) -> tuple[int, str]:
    """How many processes the launcher says it started, and the launcher; (1, "") without one."""
    for variable, program in _LAUNCHERS.items():
        if environment.get(variable, "").isdigit():
            return int(environment[variable]), program
    return 1, ""


def world() -> World:
    """The ranks this program was started with; no MPI is touched for a single process.

    ValueError if the launcher started several processes that MPI does not join: each of them
    would do the whole work, and all of them write to the same files.
    """
    size, started_by = launched_size(os.environ)
    if size == 1:
        return World()
    # An idle rank waits inside MPI and would otherwise keep a core busy doing so.
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    _bind_open_mpi_at_once()
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ValueError(
            f"{started_by} started {size} processes, but {missing('mpi4py', 'mpi')}, or start a "
            f"single process ({error})"
        ) from None
    comm = MPI.COMM_WORLD
    if comm.size != size:
        raise ValueError(
            f"{started_by} started {size} processes but mpi4py sees {comm.size}: it was built for "
            "another MPI; start with the mpirun of the same environment (srun: --mpi=pmix)"
        )

    def abort(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """The other ranks wait for this one for ever unless MPI ends them."""
        traceback.print_exception(kind, error, trace)
        sys.stderr.flush()
        comm.Abort(1)

    sys.excepthook = abort
    _leave_together()
    return World(comm.rank, comm.size, comm)


def _bind_open_mpi_at_once() -> None:
    """Have all functions of the MPI library looked up when it is loaded, not at their first call.

    Open MPI and TensorFlow both hold hwloc. The call that frees what Open MPI knows of the host is
    its last one, and then went to TensorFlow's, which knows another layout: ranks that had done
    their work ended with a segmentation fault. An mpi4py without this file loads it so anyhow.
    """
    with contextlib.suppress(ImportError):
        from mpi4py import _mpiabi

        _mpiabi.LIBMPI_MODE = os.RTLD_NOW | os.RTLD_LOCAL


@functools.cache
def _leave_together() -> None:
    """Collective, once. The ranks meet on a communicator of their own, whatever else they do."""
    from mpi4py import MPI

    apart = MPI.COMM_WORLD.Dup()

    def met(seconds: float | None) -> bool:
        request = apart.Ibarrier()
        end = math.inf if seconds is None else time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    leave_together(met, MPI.COMM_WORLD.Abort)


@dataclass(frozen=True)
class Share:
    """The cores of one rank, and of how many it is a share."""

    cores: tuple[int, ...]
    allowed: int
    """processors that the ranks of this host may use, as far as this rank knows"""
    bound: bool
    """whether the launcher bound this rank to them on purpose"""


def take_cores(world: World) -> Share:
    """Bind this process to its share of what the host allows, where no other rank computes.

    Collective. What Open MPI bound without being told to is set aside (see cloudmask.launcher).
    """
    allowed = launcher.allowed_cores()
    cores = host.own_cores(*_neighbours(world, allowed))
    # Each thread has its own set; those of MPI and of libraries are there already.
    for thread in (host.PROC / "self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)
    return Share(cores, len(allowed.cores), allowed.bound)


def _neighbours(world: World, allowed: launcher.Allowed) -> tuple[dict[int, tuple[int, ...]], int]:
    """Place -> allowed cores of the ranks on this host, and this one's place among them.

    Under Gloo there is no MPI to ask: who is not bound shares one set with all neighbours.
    """
    cores = allowed.cores
    if world.size == 1:
        if allowed.bound:
            return {0: cores}, 0
        local_size = int(os.environ.get("HOROVOD_LOCAL_SIZE", "1"))
        local_rank = int(os.environ.get("HOROVOD_LOCAL_RANK", "0"))
        return dict.fromkeys(range(local_size), cores), local_rank
    from mpi4py import MPI

    here = world.comm.Split_type(MPI.COMM_TYPE_SHARED, key=world.rank)
    everyone = dict(enumerate(here.allgather(cores)))
    place = here.rank
    here.Free()
    return everyone, place


def ranks_here(world: World) -> int:
    """How many of the ranks are on this host. Collective."""
    if world.size == 1:
        return 1
    from mpi4py import MPI

    here = world.comm.Split_type(MPI.COMM_TYPE_SHARED, key=world.rank)
    count = int(here.size)
    here.Free()
    return count


def deal(weights: Sequence[float], hands: int) -> list[list[int]]:
    """Indices of the weights in `hands` balanced groups, heaviest first to the lightest group."""
    groups: list[list[int]] = [[] for _ in range(hands)]
    loads = [0.0] * hands
    for index in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        lightest = min(range(hands), key=lambda hand: (loads[hand], len(groups[hand])))
        groups[lightest].append(index)
        loads[lightest] += weights[index]
    return [sorted(group) for group in groups]


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of one item: a value, or the message of the ValueError that it raised."""

    value: Value | None = None
    error: str | None = None


def map_items(
    function: Callable[[Item], Value],
    items: Sequence[Item],
    *,
    world: World,
    weights: Sequence[float] | None = None,
    progress: str | None = None,
    stop_at_error: bool = False,
    tell: bool = True,
) -> list[Outcome[Value] | None]:
    """Outcomes in item order, the same list on every rank; None for items that were not reached.

    A ValueError concerns its item alone: it is printed at once if we `tell`, and the work goes on,
    unless `stop_at_error`. An OSError (a full disk) stops all ranks after the item in hand and
    becomes an AgreedError on each. Anything else is a defect, and ends the job. `progress` names
    the bar on a terminal.
    """
    mine = deal(weights or [1.0] * len(items), world.size)[world.rank]
    done: dict[int, Outcome[Value]] = {}
    fatal: str | None = None
    stop = False
    sent: list[Any] = []
    hidden = None if progress is not None and world.is_root else True  # None: unless a terminal
    for index in tqdm(mine, desc=progress, disable=hidden, leave=False):
        if stop or _stop_requested(world):
            break
        try:
            done[index] = Outcome(value=function(items[index]))
        except ValueError as error:
            if tell:
                tqdm.write(f"left out: {error}", file=sys.stderr)
            done[index] = Outcome(error=str(error))
            stop = stop_at_error
        except OSError as error:
            fatal, stop = describe(error), True
        if stop:
            others = [rank for rank in range(world.size) if rank != world.rank]
            sent = [world.comm.isend(None, dest=rank, tag=_STOP) for rank in others]
    everything = world.broadcast(world.gather((done, fatal, stop))) or []
    for rank, (_, _, stopped) in enumerate(everything):
        if stopped and rank != world.rank:
            world.comm.recv(source=rank, tag=_STOP)  # MPI wants every message received
    for request in sent:
        request.wait()
    for _, problem, _ in everything:
        if problem is not None:
            raise AgreedError(problem)
    outcomes = {index: outcome for part, _, _ in everything for index, outcome in part.items()}
    return [outcomes.get(index) for index in range(len(items))]


def _stop_requested(world: World) -> bool:
    return world.comm is not None and world.comm.iprobe(tag=_STOP)
