"""How a run, or with other ranks the rest of it, begins: from its options to the first step.

Each beginning is collective, and an error on any rank ends it on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras

from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.model import PatchSet
from cloudmask.data.patchset.open import verify_files
from cloudmask.model import precision
from cloudmask.train import device_cache, due, emulate, network, resume, staging
from cloudmask.train.elastic import Elastic
from cloudmask.train.plan import Plan, make_plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.runfolder import RunFolder
from cloudmask.train.staging import Staged
from cloudmask.train.stall import Watch
from cloudmask.train.state import State
from cloudmask.train.summary import opening_lines


@dataclass(frozen=True)
class Life:
    """What one set of ranks begins with; the same on each, but for who it is."""

    ranks: Ranks
    plan: Plan
    state: State
    model: keras.Model
    optimizer: keras.optimizers.Optimizer
    staged: Staged | None
    going_on: bool
    """after a life of other ranks, in the same processes"""
    finished: bool
    """there is nothing left to do, and it has all been written"""


def begin(
    config: TrainConfig, ranks: Ranks, folder: RunFolder, watch: Watch, kept: Elastic
) -> Life:
    """Plan, claim the folder, check the patches, and take over where a run stood."""
    plan = ranks.on_all(lambda: make_plan(config, ranks), name="plan")
    ranks = emulate.named(ranks, config)
    going_on = kept.meet(ranks)
    ranks.on_all(lambda: _check(folder, ranks, resume=config.resume or going_on), name="folder")
    if not config.resume:
        _claim(folder, config, ranks)
    ranks.on_all(lambda: device_cache.check_room(plan, ranks), name="cache")
    if config.verify and not config.stage and not going_on:
        ranks.on_all(lambda: _verify(plan.patchset, ranks, watch), name="verify")
    ranks.say(opening_lines(plan, ranks))
    watch.at("start of training")

    precision.use(plan.precision)
    kept.network = ranks.on_all(lambda: kept.network or network.build(config, plan), name="model")
    model, optimizer = kept.network

    def restored() -> State:
        if going_on:
            return kept.restore(plan, ranks)
        return resume.restore(plan, ranks, folder, model, optimizer)

    state = ranks.on_all(restored, name="restore")
    variables = [variable.value for variable in (*model.variables, *optimizer.variables)]
    ranks.broadcast_variables(variables)
    state = ranks.broadcast(state, name="state")
    kept.begin(plan, ranks, variables, state)
    ended = due.end(config, state) is not None
    finished = ranks.broadcast(ended and folder.finished(), name="finished")
    if config.resume and not finished:
        _claim(folder, config, ranks)
    staged = None
    if config.stage and not finished:
        plan, staged = staging.stage(plan, ranks, state, watch)
        ranks.say(staged.line())
    return Life(ranks, plan, state, model, optimizer, staged, going_on, finished)


def _check(folder: RunFolder, ranks: Ranks, *, resume: bool) -> None:
    if ranks.is_root:
        folder.check(resume=resume)


def _claim(folder: RunFolder, config: TrainConfig, ranks: Ranks) -> None:
    ranks.on_all(lambda: folder.begin(config) if ranks.is_root else None, name="begin")
    folder.claimed = True


def _verify(patchset: PatchSet, ranks: Ranks, watch: Watch) -> None:
    files = [entry for split in patchset.splits.values() for entry in split.files]
    for file in files[ranks.rank :: ranks.size]:
        watch.at("checksum of", file.path)
        problems = verify_files(patchset, [file])
        if problems:
            raise ValueError(f"{problems[0]}; prepare the patch set again")
    watch.at("checksums of other ranks")
