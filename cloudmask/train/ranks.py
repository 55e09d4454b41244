"""The ranks of a run, and what they do together: the only place that imports Horovod.

start.py makes them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from cloudmask import host
from cloudmask.cli.errors import AgreedError, describe
from cloudmask.record import say
from cloudmask.text import plural

GROUPS = 4
"""messages that a step's gradients are summed in, each on its way when all of it is computed.

Horovod by itself fuses what happens to be there, and how three numbers or more are added up depends
on where they stand in a message. So the last digits would differ from run to run. With a message
for each tensor they do not either, but under Gloo each costs some milliseconds.
"""

MESSAGE_BYTES = 4 * 2**20
"""of variables that are handed on together: a message takes memory on every rank of a host"""


def gradient_messages(sizes: Sequence[int], *, groups: int = GROUPS) -> list[int]:
    """Bytes of each message of gradients of these sizes, shared out by number as Horovod does."""
    parts = np.array_split(np.array(sizes), groups)
    return [int(part.sum()) for part in parts if len(part)]


def load_horovod() -> Any:
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
        return load_horovod().DistributedGradientTape(tape, op=load_horovod().Sum, groups=GROUPS)

    def sum(self, tensor: tf.Tensor, *, name: str) -> tf.Tensor:
        """Sum over all ranks; the same bits on each."""
        return load_horovod().allreduce(tensor, op=load_horovod().Sum, name=name)

    def sum_gradients(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Sums over all ranks, in one message, of gradients that are all there already."""
        return load_horovod().grouped_allreduce(list(gradients), op=load_horovod().Sum)

    def sum_array(self, values: np.ndarray, *, name: str) -> np.ndarray:
        return self.sum(tf.convert_to_tensor(values), name=name).numpy()

    def max_array(self, values: np.ndarray, *, name: str) -> np.ndarray:
        """Element by element, the largest of any rank."""
        hvd = load_horovod()
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
        message = load_horovod().broadcast(np.concatenate(parts), root_rank=0, name=name).numpy()
        if self.is_root:
            return
        ends = np.cumsum([part.size for part in parts])
        for variable, value, part in zip(variables, values, np.split(message, ends), strict=False):
            variable.assign(part.view(value.dtype).reshape(value.shape))

    def broadcast(self, value: Any, *, name: str) -> Any:
        """The object of rank 0, on every rank."""
        return load_horovod().broadcast_object(value, root_rank=0, name=name)

    def gather(self, value: Any, *, name: str) -> list[Any]:
        """The objects of all ranks, in their order, on every rank."""
        return load_horovod().allgather_object(value, name=name)

    def elastic_state(self, variables: Sequence[tf.Variable], **values: Any) -> Any:
        """A copy of rank 0's variables and of these values, for save() and restore().

        To be made anew after every restart: its own sync() hands no variables on.
        """
        return load_horovod().elastic.TensorFlowState(variables=list(variables), **values)

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
