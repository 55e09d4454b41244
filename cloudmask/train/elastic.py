"""Ranks that come and go, under horovodrun's elastic driver: what a process keeps of its run.

While one set of ranks trains, each commits weights, optimizer and state to its own memory every
--commit-steps. When a rank is lost, all collective calls of the others fail: each goes back to its
commit, meets whoever is there now, and begins from the top, as a new rank does. Rank 0, which the
driver always takes from those who were there before, hands its commit to all, just as it would hand
on a checkpoint. So going on with other ranks differs from a resumption only in where its beginning
comes from. When the driver tells of new or withdrawn hosts, all ranks commit after the same step
and do likewise: then nothing is lost. They also write a checkpoint, for Horovod aborts everybody
when a rank that the driver has started does not come.

Patches that are left of the epoch are dealt out anew (schedule.py). Steps since the last commit are
undone with the weights and taken again; how many is recorded and printed.
"""

from __future__ import annotations

import copy
import os
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras
import tensorflow as tf

from cloudmask import host
from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import TrainConfig
from cloudmask.record import say
from cloudmask.text import plural
from cloudmask.train import ranks as world
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.stall import Watch
from cloudmask.train.start import restart
from cloudmask.train.state import State

Result = TypeVar("Result")


class HostsChangedError(Exception):
    """The driver knows of hosts that came or shall go; raised on every rank after a commit."""


class Elastic:
    """What this process hands from one set of ranks to the next. Without --elastic there is one."""

    def __init__(self, config: TrainConfig, ranks: Ranks, watch: Watch, *, started: float) -> None:
        """Raises AgreedError for --elastic where no elastic driver is."""
        self.ranks = ranks
        self._watch = watch
        self.started = started
        self.seconds: dict[str, float] = {}
        self.network: tuple[keras.Model, keras.optimizers.Optimizer] | None = None
        self._on = config.elastic
        self._commit_steps = config.commit_steps
        self._me = (os.environ.get("HOROVOD_HOSTNAME") or host.name(), uuid.uuid4().hex)
        self._memory: Any = None
        """the last commit"""
        self._committed = started
        self._commits = 0
        self._state = State()
        self._step = 0
        """the last one that the ranks before have taken"""
        self._before: list[tuple[str, str]] = []
        self._now: list[tuple[str, str]] = []
        """the processes that were there, and those that are"""
        if self._on and os.environ.get("HOROVOD_ELASTIC") != "1":
            raise AgreedError(
                "--elastic needs ranks that horovodrun's elastic driver has started: "
                "horovodrun --gloo -np 2 --min-np 1 --host-discovery-script FILE python ..."
            )
        self._hosts = world.HostChanges(listen=self._on)

    @property
    def hosts_changed(self) -> bool:
        """Whether this rank knows from the driver."""
        return self._hosts.changed

    def run(self, train: Callable[[Ranks], Result]) -> Result:
        """Call `train` for one set of ranks after the other, until one comes to the end."""
        while True:
            try:
                return train(self.ranks)
            except (tf.errors.OpError, RuntimeError, HostsChangedError) as error:
                if not self._outlives(error):
                    raise
                if isinstance(error, HostsChangedError) and self.ranks.is_root:
                    say(
                        f"hosts have changed: after step {self._state.step}, which has a "
                        "checkpoint, the ranks that are there now meet"
                    )
            self._step = self._state.step
            self._watch.at("meeting of the ranks that are there now")
            self._hosts.forget()
            self.ranks = restart(self.ranks)
            self._hosts.forget_departures()

    def _outlives(self, error: Exception) -> bool:
        return self._on and (isinstance(error, HostsChangedError) or world.lost_others(error))

    def meet(self, ranks: Ranks) -> bool:
        """Take the clock of rank 0; returns whether it has a commit to go on from. Collective."""
        if not self._on:
            return False
        mine = (self._me, self._memory is not None, self.started, self.seconds, self._commits)
        roll = ranks.gather(mine, name="roll")
        self._now = [who for who, *_ in roll]
        _, going_on, *clock = roll[0]
        if going_on:
            self.started, self.seconds, self._commits = clock
        return going_on

    @property
    def lost(self) -> list[str]:
        """Hosts of the processes that were there before, and are not now."""
        return _names(set(self._before) - set(self._now))

    def restore(self, plan: Plan, ranks: Ranks) -> State:
        """On rank 0, the variables and the state of its last commit, with what has happened."""
        if not ranks.is_root:
            return State()
        self._memory.restore()
        state = State.from_dict(copy.deepcopy(self._memory.position))
        if self._memory.order != plan.order:
            state.change_order(self._memory.order)
        reset = {
            "after_step": self._step,
            "from_step": state.step,
            "steps_repeated": self._step - state.step,
            "ranks_before": len(self._before),
            "ranks": ranks.size,
            "lost": self.lost,
            "joined": _names(set(self._now) - set(self._before)),
            "global_batch_before": self._memory.order["global_batch"],
            "global_batch": plan.global_batch,
            "seconds": time.time() - self._committed,
        }
        state.resets.append(reset)
        say(line(reset))
        return state

    def begin(
        self, plan: Plan, ranks: Ranks, variables: Sequence[tf.Variable], state: State
    ) -> None:
        """Commit what every rank has taken over from rank 0."""
        self._state = state
        if not self.seconds:
            self.seconds = {"validation": 0.0, "checkpoints": 0.0}
            self.seconds["before_resume"] = state.elapsed_seconds
        if self._on:
            self._before = self._now
            self._memory = ranks.elastic_state(
                variables, position=copy.deepcopy(state.as_dict()), order=plan.order
            )
            self._committed = time.time()

    def commits_after(self, step: int) -> bool:
        return self._on and step % self._commit_steps == 0

    def commit(self, state: State) -> None:
        """Keep variables and state in memory."""
        self._memory.position = copy.deepcopy(state.as_dict())
        self._memory.save()
        self._committed = time.time()
        self._commits += 1

    def record(self, state: State) -> dict[str, Any] | None:
        """For summary.json."""
        return {"commits": self._commits, "resets": state.resets} if self._on else None


def line(reset: dict[str, Any]) -> str:
    """What was lost, and what has to be done again, for people."""
    happened = [f"{word} {', '.join(reset[word])}" for word in ("lost", "joined") if reset[word]]
    repeated = reset["steps_repeated"]
    text = (
        f"{' and '.join(happened) or 'met again'} after step {reset['after_step']}; going on with "
        f"{plural(reset['ranks'], 'rank')} from step {reset['from_step']}: "
        f"{plural(repeated, 'step') if repeated else 'no steps'} repeated, "
        f"{reset['seconds']:.1f} s lost"
    )
    if reset["global_batch"] != reset["global_batch_before"]:
        text += (
            f"; the global batch was {reset['global_batch_before']} and is "
            f"{reset['global_batch']} (--global-batch keeps it)"
        )
    return text


def _names(processes: set[tuple[str, str]]) -> list[str]:
    return sorted({name for name, _ in processes})
