"""How a run, or with other ranks the rest of it, begins: from its options to the first step.

Each beginning is collective, and an error on any rank ends it on all of them.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras

from cloudmask import host
from cloudmask.cli.errors import AgreedError, StoppedError
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.handed import open_for_all
from cloudmask.data.patchset.model import PatchSet
from cloudmask.data.patchset.open import verify_files
from cloudmask.launcher import launched_at
from cloudmask.model import keras_file, precision
from cloudmask.train import (
    checkpoint,
    decorrelation,
    device_cache,
    dropout,
    emulate,
    origin,
    staging,
)
from cloudmask.train.elastic import Elastic, HostsChangedError
from cloudmask.train.folder import RunFolder
from cloudmask.train.origin import Origin
from cloudmask.train.plan import Plan, make_plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.staging import Staged
from cloudmask.train.stall import Watch
from cloudmask.train.state import Rest, State, rest_of_epoch
from cloudmask.train.step import StepResult
from cloudmask.train.stop import StopRequest
from cloudmask.train.summary import opening_lines
from cloudmask.train.validation import Validate

Network = tuple[keras.Model, keras.optimizers.Optimizer]
_BEGINNINGS = itertools.count()
"""of this process"""


@dataclass(frozen=True)
class Run:
    """A run as one set of ranks trains it; the same on each, but for who it is."""

    config: TrainConfig
    ranks: Ranks
    folder: RunFolder
    stop: StopRequest
    watch: Watch
    elastic: Elastic
    plan: Plan
    state: State
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    staged: Staged | None
    going_on: bool
    """after other ranks, in the same processes"""
    finished: bool
    """there is nothing left to do, and it has all been written"""

    def epochs_left(self) -> Iterator[Rest]:
        """What is left of each epoch, one after the other, until a reason to end.

        A run that was killed after its last checkpoint, in mid-epoch, has this one still to close.
        """
        while self.state.end(self.config) is None or self.state.step_in_epoch:
            yield rest_of_epoch(self.plan, self.ranks.rank, self.state)

    @property
    def lag(self) -> int:
        """How many steps late a result is read: a CPU has taken a step when it is launched."""
        return 0 if self.ranks.device == "CPU" else 1

    def pauses_after(self, step: int) -> bool:
        """Whether something is done before the next step that needs the weights of this one."""
        return self.plan.saves_after(step) or self.elastic.commits_after(step)

    def elapsed_seconds(self) -> float:
        """Since the run's first part was started."""
        return self.elastic.seconds["before_resume"] + time.time() - self.elastic.started

    def check_finite(self, result: StepResult) -> None:
        if not math.isfinite(result.loss_sum):
            where = self.state.step, self.folder.checkpoints
            raise AgreedError(checkpoint.not_finite("the loss is", *where))

    def obey(self, result: StepResult, rest: Rest) -> bool:
        """Save, stop and commit where that is called for after a step; returns if it was.

        Decided from sums over all ranks, so all do the same after the same step.
        """
        step, inside = self.state.step, self.state.step_in_epoch < rest.last
        stop, changed = result.stop_requests > 0, result.hosts_changed > 0
        save = stop or changed or (inside and self.plan.saves_after(step))
        commit = changed or self.elastic.commits_after(step)
        if save:
            self.save()
        if stop:
            raise StoppedError(
                f"stopped by a signal after step {step}, with a checkpoint in "
                f"{self.folder.checkpoints}; the same command with --resume goes on"
            )
        if commit:
            self.commit()
        if changed:
            raise HostsChangedError
        return save or commit

    def end_epoch(self, rest: Rest, validate: Validate) -> None:
        """Validate and close the epoch, with a checkpoint if none of its steps is missing."""
        done, valid = self.state.step_in_epoch, None
        if self.plan.validates_after(rest.epoch + 1, step=self.state.step):
            began = time.perf_counter()
            valid = validate()
            seconds = time.perf_counter() - began
            self.elastic.seconds["validation"] += seconds
            self._tell("validation", seconds)
        patches, learning_rate = rest.patches_up_to(done), rest.learning_rate(done)
        self.state.end_epoch(valid, patches=patches, learning_rate=learning_rate)
        self.state.note_target(self.config, self.elapsed_seconds())
        if done == rest.last:
            self.save()

    def save(self) -> None:
        """A checkpoint by rank 0; collective."""
        self.ranks.on_all(self._save, name="save")

    def _save(self) -> None:
        self.watch.at("checkpoint of step", self.state.step)
        began = time.perf_counter()
        if self.ranks.is_root:
            self.state.elapsed_seconds = self.elapsed_seconds()
            place = self.folder.checkpoints, self.state, self.model, self.optimizer
            checkpoint.take(self.plan, self.ranks, *place)
        seconds = time.perf_counter() - began
        self.elastic.seconds["checkpoints"] += seconds
        self._tell("checkpoint", seconds)

    def commit(self) -> None:
        """Keep the state in memory, with --elastic."""
        if self.config.elastic:
            began = time.perf_counter()
            self.elastic.commit(self.state)
            self._tell("commit", time.perf_counter() - began)

    def _tell(self, event: str, seconds: float) -> None:
        """In the event log: something other than a step, after the present one."""
        if self.ranks.is_root:
            self.folder.event(event, step=self.state.step, seconds=round(seconds, 6))


def begin(
    config: TrainConfig,
    ranks: Ranks,
    folder: RunFolder,
    stop: StopRequest,
    watch: Watch,
    elastic: Elastic,
    *,
    build: Callable[[Plan], Network],
) -> Run:
    """Plan, claim the folder, take over where a run stood, and check the patches.

    All that may refuse to go on with a run comes before its folder is claimed.
    """
    began = time.time()
    on_root = functools.partial(ranks.on_root, name="patchset")
    patchset = open_for_all(config.data, on_root)
    plan = ranks.on_all(lambda: make_plan(config, ranks, patchset), name="plan")
    real, ranks = ranks, emulate.named(ranks, config)
    going_on = elastic.meet(ranks)
    resume = config.resume or going_on
    ranks.on_all(lambda: folder.check(resume=resume) if ranks.is_root else None, name="folder")
    times = {"started": began if going_on else elastic.started, "launched": None}
    if next(_BEGINNINGS) == 0:  # a later run of this process began when it was called
        times = {"started": host.started_at() or elastic.started, "launched": launched_at()}
    told = {"ranks": ranks.size, "going_on": going_on, "lost": elastic.lost, **times}
    claim = functools.partial(_claim, folder, config, ranks, told)
    if not config.resume:
        claim()
    ranks.say(opening_lines(plan, ranks))
    watch.at("making of the network")

    precision.use(plan.precision)
    elastic.network = ranks.on_all(lambda: elastic.network or build(plan), name="model")
    model, optimizer = elastic.network

    def take_over() -> Origin:
        if going_on:
            return Origin(elastic.restore(plan, ranks))
        return origin.find(plan, ranks, folder, model, optimizer)

    found = ranks.on_all(take_over, name="restore")
    variables = [variable.value for variable in (*model.variables, *optimizer.variables)]
    ranks.broadcast_variables(variables)
    if config.decorrelate:
        info = replace(plan.info, decorrelation=decorrelation.of_network(model))
        plan = replace(plan, info=info)
    dropout.apart(model, ranks.rank)
    state = ranks.broadcast(found.state, name="state")
    elastic.begin(plan, ranks, variables, state)
    ended = state.end(config) is not None
    finished = ranks.broadcast(ended and folder.finished(), name="finished")
    staged = None
    if not finished:
        ranks.on_all(lambda: device_cache.check_room(plan, real), name="cache")
        if config.verify and not config.stage and not going_on:
            ranks.on_all(lambda: _verify(plan.patchset, ranks, watch), name="verify")
        watch.at("start of training")
        if config.resume:
            claim()
            checkpoints = folder.checkpoints, found.passed_over
            ranks.on_all(lambda: checkpoint.keep_apart(*checkpoints), name="passed_over")
        if config.stage:
            plan, staged = staging.stage(plan, ranks, state, watch)
            ranks.say(staged.line())
    where = (config, ranks, folder, stop, watch, elastic)
    return Run(*where, plan, state, model, optimizer, staged, going_on, finished)


def build_network(plan: Plan) -> Network:
    """Untrained, the same on every rank."""
    keras.utils.set_random_seed(plan.config.seed)
    model = keras_file.build(
        plan.info, seed=plan.config.seed, narrow_gradients=plan.config.narrow_gradients
    )
    # Checkpoints know variables by their names: Keras would number those of a second run.
    optimizer = keras.optimizers.Adam(plan.config.lr, name="adam")
    if plan.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    optimizer.build(model.trainable_variables)
    return model, optimizer


def _claim(folder: RunFolder, config: TrainConfig, ranks: Ranks, told: dict[str, Any]) -> None:
    """Begin in the folder, and tell of who does, and since when."""

    def begin() -> None:
        folder.begin(config)
        folder.event("begin", **told)

    ranks.on_all(lambda: begin() if ranks.is_root else None, name="begin")
    folder.claimed = True


def _verify(patchset: PatchSet, ranks: Ranks, watch: Watch) -> None:
    files = [entry for split in patchset.splits.values() for entry in split.files]
    for file in files[ranks.rank :: ranks.size]:
        watch.at("checksum of", file.path)
        problems = verify_files(patchset, [file])
        if problems:
            raise ValueError(f"{problems[0]}; prepare the patch set again")
    watch.at("checksums of other ranks")
