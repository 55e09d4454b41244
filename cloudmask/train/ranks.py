"""The ranks of a run: the only place that imports Horovod.

`start()` must run before TensorFlow makes its thread pools. It sets what launchers forget (see
SETTINGS), starts Horovod, and gives each rank its own cores. One rank without a launcher works, and
so does one without Horovod, which tells what Horovod itself costs.
"""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from cloudmask import host
from cloudmask.cli.errors import AgreedError, describe, launched_rank
from cloudmask.data import parallel
from cloudmask.record import commit, say
from cloudmask.text import plural
from cloudmask.train import gpus

SETTINGS = {
    # What is summed in one message is fixed, see GROUPS: no group joins another that comes by then.
    "HOROVOD_DISABLE_GROUP_FUSION": "1",
}
SETTINGS_CPU = {
    # An idle MPI thread spins on the core that computes: without these two, ranks of one core
    # lose a third of their speed. On GPUs Horovod's cycle of 1 ms stays.
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "HOROVOD_CYCLE_TIME": "10",
}
GROUPS = 4
"""messages that a step's gradients are summed in, each on its way when all of it is computed.

Horovod by itself fuses what happens to be there, and how three numbers or more are added up depends
on where they stand in a message. So the last digits would differ from run to run. With a message
for each tensor they do not either, but under Gloo each costs some milliseconds.
"""

MESSAGE_BYTES = 4 * 2**20
"""of variables that are handed on together: a message takes memory on every rank of a host"""


def _horovod() -> Any:
    """Imported when it is used: a process without it must not even load it."""
    import horovod.tensorflow

    return horovod.tensorflow


@dataclass(frozen=True)
class Ranks:
    """Who this process is among the others, and what they do together. Every call is collective."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    num_hosts: int
    threads: int
    cores: tuple[int, ...]
    device: str
    controller: str
    allowed_cores: int = 1
    """that the ranks of this host share out"""
    bound: bool = False
    """whether the launcher bound this rank to its cores on purpose"""

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def tape(self, tape: tf.GradientTape) -> tf.GradientTape:
        """A tape whose gradients are the sums over all ranks, reduced while others are computed.

        The same gradients give the same bits whenever they come: see GROUPS.
        """
        return _horovod().DistributedGradientTape(tape, op=_horovod().Sum, groups=GROUPS)

    def sum(self, tensor: tf.Tensor, *, name: str) -> tf.Tensor:
        """Sum over all ranks; the same bits on each."""
        return _horovod().allreduce(tensor, op=_horovod().Sum, name=name)

    def sum_gradients(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Sums over all ranks, in one message, of gradients that are all there already."""
        return _horovod().grouped_allreduce(list(gradients), op=_horovod().Sum)

    def sum_array(self, values: np.ndarray, *, name: str) -> np.ndarray:
        return self.sum(tf.convert_to_tensor(values), name=name).numpy()

    def max_array(self, values: np.ndarray, *, name: str) -> np.ndarray:
        """Element by element, the largest of any rank."""
        hvd = _horovod()
        return hvd.allreduce(tf.convert_to_tensor(values), op=hvd.Max, name=name).numpy()

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Every rank takes the values of rank 0: their bits, many in one message."""
        size, waiting = 0, []
        for number, variable in enumerate(variables, start=1):
            waiting.append(variable)
            size += variable.dtype.size * math.prod(variable.shape)
            if size >= MESSAGE_BYTES or number == len(variables):
                self._broadcast_bits(waiting, name=f"variables_up_to_{number}")
                size, waiting = 0, []

    def _broadcast_bits(self, variables: Sequence[tf.Variable], *, name: str) -> None:
        values = [np.asarray(variable) for variable in variables]
        parts = [np.ascontiguousarray(value).reshape(-1).view(np.uint8) for value in values]
        message = _horovod().broadcast(np.concatenate(parts), root_rank=0, name=name).numpy()
        if self.is_root:
            return
        ends = np.cumsum([part.size for part in parts])
        for variable, value, part in zip(variables, values, np.split(message, ends), strict=False):
            variable.assign(part.view(value.dtype).reshape(value.shape))

    def broadcast(self, value: Any, *, name: str) -> Any:
        """The object of rank 0, on every rank."""
        return _horovod().broadcast_object(value, root_rank=0, name=name)

    def gather(self, value: Any, *, name: str) -> list[Any]:
        """The objects of all ranks, in their order, on every rank."""
        return _horovod().allgather_object(value, name=name)

    def elastic_state(self, variables: Sequence[tf.Variable], **values: Any) -> Any:
        """A copy of rank 0's variables and of these values, for save() and restore().

        To be made anew after every restart: its own sync() hands no variables on.
        """
        return _horovod().elastic.TensorFlowState(variables=list(variables), **values)

    def cores_line(self) -> str:
        """How many cores this rank has, of how many, and why."""
        mine = f"{plural(len(self.cores), 'core')} of this host's {host.all_cores()} for rank 0"
        if self.bound:
            return f"{mine}, as its launcher bound it"
        return f"{mine}: its share of the {self.allowed_cores} that are allowed"

    def say(self, text: str) -> None:
        """For people: rank 0 alone speaks."""
        if self.is_root:
            say(text)

    def on_root(self, work: Callable[[], Any], *, name: str) -> Any:
        """Do work on rank 0 alone, for its result on every rank; its failure is one of all."""
        return self.broadcast(
            self.on_all(work if self.is_root else lambda: None, name=name), name=f"{name}_of_root"
        )

    def on_all(self, work: Callable[[], Any], *, name: str) -> Any:
        """Do local work on every rank; if it fails on any, all raise AgreedError of the first."""
        error, result = None, None
        try:
            result = work()
        except OSError as failure:
            error = describe(failure)
        except ValueError as failure:
            error = str(failure)
        errors = [text for text in self.gather(error, name=f"agree_{name}") if text]
        if errors:
            raise AgreedError(errors[0])
        return result


class OneRank(Ranks):
    """One process that never loads Horovod: what is done together is done by it alone."""

    def tape(self, tape: tf.GradientTape) -> tf.GradientTape:
        return tape

    def sum(self, tensor: tf.Tensor, *, name: str) -> tf.Tensor:
        return tf.identity(tensor)

    def max_array(self, values: np.ndarray, *, name: str) -> np.ndarray:
        return values

    def sum_gradients(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return list(gradients)

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        pass

    def broadcast(self, value: Any, *, name: str) -> Any:
        return value

    def gather(self, value: Any, *, name: str) -> list[Any]:
        return [value]


# One rank without a launcher: Gloo needs neither MPI nor its daemon. Where the host's own name is
# unknown, as in some containers, it is MPI all the same.
ALONE = {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo"}
ALONE |= {f"HOROVOD_{place}RANK": "0" for place in ("", "LOCAL_", "CROSS_")}
ALONE |= {f"HOROVOD_{place}SIZE": "1" for place in ("", "LOCAL_", "CROSS_")}


def start(*, threads: int | None = None, horovod: bool = True) -> Ranks:
    """Start Horovod and give this rank its device, cores and threads.

    The order matters: cores before any thread is made (so the ranks compare them through MPI, not
    through Horovod), threads before TensorFlow's first operation. Without `horovod` a single
    process is all there is; AgreedError if a launcher started more.
    """
    launched = max(parallel.launched_size(os.environ)[0], int(os.environ.get("HOROVOD_SIZE", "1")))
    if not horovod and launched > 1:
        raise AgreedError(
            f"--no-horovod trains one process by itself, but {launched} were started; "
            "leave it out, or start one"
        )
    found = tf.config.list_physical_devices("GPU")
    for name, value in (SETTINGS if found else SETTINGS | SETTINGS_CPU).items():
        os.environ.setdefault(name, value)
    if launched_rank() == 0:
        commit()  # by git, as a process of its own, which is best started before MPI
    world = parallel.world()
    share = parallel.take_cores(world)
    if not horovod:
        threads = _use_threads(threads or num_threads(len(share.cores), 1, limit=host.core_limit()))
        device = gpus.use(found[0]) if found else "CPU"
        place = (0, 1, 0, 1, 1, threads, share.cores, device, "none")
        return OneRank(*place, allowed_cores=share.allowed, bound=share.bound)
    if world.size == 1 and "HOROVOD_RANK" not in os.environ and _knows_own_name():
        os.environ.update(ALONE)
    elif os.environ.get("HOROVOD_CONTROLLER") == "gloo" and not _knows_own_name():
        raise AgreedError(
            f"this host's name {host.name()!r} cannot be resolved, which Gloo needs; "
            "add it to /etc/hosts, or start the ranks with mpirun"
        )
    hvd = _horovod()
    hvd.init()
    if world.size > 1 and (world.rank, world.size) != (hvd.rank(), hvd.size()):
        raise RuntimeError(
            f"MPI says rank {world.rank} of {world.size}, Horovod {hvd.rank()} of {hvd.size()}; "
            "start all ranks with one mpirun, srun or horovodrun"
        )
    possible = num_threads(len(share.cores), hvd.local_size(), limit=host.core_limit())
    return Ranks(
        **_place(),
        threads=_use_threads(threads or possible),
        cores=share.cores,
        device=gpus.take(found, hvd.local_rank(), hvd.local_size()) if found else "CPU",
        controller="mpi" if hvd.mpi_enabled() else "gloo",
        allowed_cores=share.allowed,
        bound=share.bound,
    )


def num_threads(cores: int, local_size: int, *, limit: float | None) -> int:
    """Threads of a rank: one per core of its own, and no more than its share of a limit.

    A limit, in processors' worth of time, is of all `local_size` ranks of the host together.
    """
    return cores if limit is None else max(1, min(cores, int(limit // local_size)))


def _use_threads(threads: int) -> int:
    # One pool for operations side by side keeps their order, and so the bits, on one thread.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 2)
    return threads


def _knows_own_name() -> bool:
    """Whether Gloo can start: it looks the host's name up, and crashes where that is unknown."""
    try:
        socket.getaddrinfo(host.name(), None)
    except OSError:
        return False
    return True


def restart(ranks: Ranks) -> Ranks:
    """Meet the ranks that an elastic driver has now, after all that were left have called this.

    Horovod aborts a process that has no place any more, and all of them where a new one that the
    driver has started does not come within HOROVOD_GLOO_TIMEOUT_SECONDS.
    """
    hvd = _horovod()
    hvd.shutdown()
    hvd.init()
    os.environ["HOROVOD_RANK"] = str(hvd.rank())  # who speaks for all: see errors.launched_rank
    return replace(ranks, **_place())


def _place() -> dict[str, Any]:
    """Where Horovod has put this rank."""
    hvd = _horovod()
    local = {"local_rank": hvd.local_rank(), "local_size": hvd.local_size()}
    return local | {"rank": hvd.rank(), "size": hvd.size(), "num_hosts": hvd.cross_size()}


def lost_others(error: Exception) -> bool:
    """Whether a collective call has failed, since another rank is gone."""
    if isinstance(error, tf.errors.OpError):
        return isinstance(error, tf.errors.UnknownError) and "Horovod" in error.message
    loaded = sys.modules.get("horovod.common.exceptions")  # not loaded by --no-horovod
    return loaded is not None and isinstance(error, loaded.HorovodInternalError)


class HostChanges:
    """Whether an elastic driver has told this process that hosts have come or shall go."""

    def __init__(self, *, listen: bool) -> None:
        self.changed = self.came = False
        if listen:
            from horovod.common.elastic import notification_manager

            notification_manager.init()
            notification_manager.register_listener(self)

    def forget(self) -> None:
        self.changed = self.came = False

    def forget_departures(self) -> None:
        """To be called after a restart: hosts that came meanwhile may still wait for a place."""
        self.changed = self.came

    def on_hosts_updated(self, timestamp: int, update: Any) -> None:
        """Called by Horovod from a thread of its own."""
        from horovod.runner.elastic.worker import HostUpdateResult

        self.changed = True
        self.came = self.came or bool(update & HostUpdateResult.added)
