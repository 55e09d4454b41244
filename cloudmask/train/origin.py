"""What a run starts from: its newest checkpoint, the weights of a model, or the beginning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cloudmask.files import sha256_of
from cloudmask.model import keras_file
from cloudmask.record import say, warn
from cloudmask.train import checkpoint, decorrelation
from cloudmask.train.checkpoint import Checkpoint
from cloudmask.train.folder import RunFolder
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.state import State


@dataclass(frozen=True)
class Origin:
    """Where a run stands when it starts."""

    state: State
    passed_over: list[int] = field(default_factory=list)
    """steps of checkpoints that could not be read; see checkpoint.keep_apart"""


def find(
    plan: Plan,
    ranks: Ranks,
    folder: RunFolder,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> Origin:
    """Give model and optimizer what the run starts from. Rank 0's work; changes no file.

    Raises ValueError where a run cannot go on: see restore, checkpoint.newest and _initialise.
    """
    if not ranks.is_root:
        return Origin(State())
    init = plan.config.init
    passed_over: list[int] = []
    if plan.config.resume:
        found, passed_over = checkpoint.newest(folder.checkpoints)
        if found is not None:
            state = _restore(plan, ranks, found, model, optimizer)
            if init:
                say(f"--init {init} is not read: the checkpoint goes before it")
            return Origin(state, passed_over + _forget_lost_best(folder.checkpoints, state))
        if folder.finished():
            raise ValueError(
                f"{folder.path} holds a finished run, but no checkpoint to go on from; "
                "choose another --out"
            )
        say(f"no checkpoint in {folder.checkpoints}: starting at the beginning")
    if plan.config.decorrelate and not init:
        mean, std = np.array(plan.info.mean), np.array(plan.info.std)
        decorrelation.give(model, decorrelation.of_patches(plan.patchset, mean, std))
    return Origin(State(init=_initialise(init, plan, model) if init else None), passed_over)


def _restore(
    plan: Plan,
    ranks: Ranks,
    found: Checkpoint,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> State:
    """Take over a checkpoint. ValueError if it is of another model or patch set."""
    present = plan.identity(ranks.threads)
    past, names = found.state.pop("identity"), found.state.pop("variables")
    other = differences(past["model"], present["model"])
    variables = [*model.variables, *optimizer.variables]
    if not other and names != [v.path for v in variables]:
        other = ["its variables are others (another optimiser or precision)"]
    if other:
        raise ValueError(f"{found.path} is of another model or patch set: {'; '.join(other)}")
    state = State.from_dict(found.state)
    reorder = differences(past["order"], present["order"])
    if reorder:
        state.change_order(past["order"])
    for change in (*reorder, *differences(past["settings"], present["settings"])):
        warn(f"resuming with a change: {change}")
    for variable, value in zip(variables, found.variables, strict=True):
        variable.assign(value)
    say(f"resumed from {found.path}: epoch {state.epoch}, step {state.step}")
    return state


def _forget_lost_best(folder: Path, state: State) -> list[int]:
    """A best epoch whose weights could not be read at the end is none: its step, if it is so."""
    if state.best is None or state.best["step"] == state.step:
        return []
    step = state.best["step"]
    try:
        checkpoint.load(folder, step)
    except ValueError as error:
        warn(f"the best weights so far are lost ({error}): the best epoch to come counts")
        state.best = None
        return [step]
    return []


def differences(past: dict[str, Any], present: dict[str, Any]) -> list[str]:
    """What changed between two flat records, as 'name was ..., is ...'."""
    return [
        f"{key} was {past.get(key)}, is {value}"
        for key, value in present.items()
        if past.get(key) != value
    ]


def _initialise(run_or_model: Path, plan: Plan, model: keras.Model) -> dict[str, str]:
    """Take over the weights of a trained model, and its matrix, as they know no other; ValueError
    if it is of another kind."""
    path = keras_file.path_of(run_or_model)
    weights, info = keras_file.read(path)
    different = [
        f"{name} {', '.join(map(str, there))} there and {', '.join(map(str, here))} here"
        for name in ("channels", "classes", "widths")
        if (there := getattr(info, name)) != (here := getattr(plan.info, name))
    ]
    for name, option in (
        ("missing_channel", "--missing-channel"),
        ("decorrelation", "--decorrelate"),
    ):
        there, here = (bool(getattr(one, name)) for one in (info, plan.info))
        if there != here:
            different.append(f"{option} {'there and not here' if there else 'here and not there'}")
    if info.upsampling != plan.info.upsampling:
        different.append(f"--upsampling {info.upsampling} there and {plan.info.upsampling} here")
    if different:
        raise ValueError(
            f"--init {path} does not fit this run: {'; '.join(different)}; give it what the model "
            "was trained with, or another model"
        )
    if info.fold != plan.info.fold and plan.info.fold:
        seen = f"all but fold {info.fold}" if info.fold else "all scenes"
        raise ValueError(
            f"--init {path} has learned from {seen}, so this run would not leave out fold "
            f"{plan.info.fold}; start from a model with the same --fold, or from none"
        )
    keras_file.assign(model, weights)
    if info.decorrelation:
        decorrelation.give(model, info.decorrelation)
    checksum = sha256_of(path)
    say(f"starting from the weights of {path} (sha256 {checksum[:16]})")
    if info.calibration is not None:
        say(
            "its calibration is left behind: it belongs to those weights, and training changes them"
        )
    return {"path": str(path), "sha256": checksum}
