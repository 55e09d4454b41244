"""Going on where a run stopped: what is saved, what must be equal, and what is passed over."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from cloudmask.record import say, warn
from cloudmask.train import checkpoint
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.runfolder import RunFolder
from cloudmask.train.state import State


def identity(plan: Plan, ranks: Ranks) -> dict[str, dict[str, Any]]:
    """What must be equal to go on at all, to keep the order, and to end with the same bits."""
    info, config = plan.info, plan.config
    return {
        "model": {
            "channels": list(info.channels),
            "classes": list(info.classes),
            "widths": list(info.widths),
            "dropout": list(info.dropout),
            "mean": list(info.mean),
            "std": list(info.std),
            "patch set": info.patchset,
            "emulated step seconds": config.emulate,
        },
        "order": plan.order,
        "settings": {
            "precision": plan.precision,
            "threads": ranks.threads,
            "lr": config.lr,
            "lr_scaling": config.lr_scaling,
            "warmup_epochs": config.warmup_epochs,
            "class weights": list(plan.class_weights),
            "clip_offset": config.clip_offset,
            "lr_decay": config.lr_decay,
            "steps in all": plan.total_steps,
            "xla": config.xla,
            "augment": [config.augment, config.augment_gain, config.augment_shared],
        },
    }


def differences(past: dict[str, Any], present: dict[str, Any]) -> list[str]:
    """What changed between two flat records, as 'name was ..., is ...'."""
    return [
        f"{key} was {past.get(key)}, is {value}"
        for key, value in present.items()
        if past.get(key) != value
    ]


def arrays(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(v.value) for v in (*model.variables, *optimizer.variables)}


def save(
    plan: Plan,
    ranks: Ranks,
    folder: RunFolder,
    state: State,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> None:
    """Write a checkpoint of everything and delete those that are neither recent nor the best.

    Raises OSError, and ValueError for weights that are not finite: they are worth no checkpoint.
    """
    if not all(np.isfinite(v.value).all() for v in model.trainable_variables):
        raise ValueError(not_finite("the weights are", state.step, folder))
    record = {"identity": identity(plan, ranks), **state.as_dict()}
    checkpoint.save(folder.checkpoints, state.step, arrays(model, optimizer), record)
    best = state.best["step"] if state.best else None
    checkpoint.prune(folder.checkpoints, newest=state.step, keep=plan.config.keep, best=best)


def not_finite(what: str, step: int, folder: RunFolder) -> str:
    """The error for numbers that have run away: where, what is left, what to try."""
    kept = [other for other in checkpoint.steps(folder.checkpoints) if other < step]
    left = f"the checkpoint of step {kept[-1]} is kept" if kept else "no checkpoint yet"
    return (
        f"{what} not finite at step {step}; {left}; "
        "try a smaller --lr, --warmup-epochs or --precision float32"
    )


def restore(
    plan: Plan,
    ranks: Ranks,
    folder: RunFolder,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> State:
    """On rank 0, the newest checkpoint that fits; elsewhere, and without one, a fresh state."""
    if not plan.config.resume or not ranks.is_root:
        return State()
    present = identity(plan, ranks)
    for step in reversed(checkpoint.steps(folder.checkpoints)):
        try:
            found = checkpoint.load(folder.checkpoints, step)
        except ValueError as error:
            warn(f"passed over {error}")
            continue
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
    say(f"no checkpoint in {folder.checkpoints}: starting at the beginning")
    return State()


def best_weights(folder: RunFolder, model: keras.Model, state: State) -> list[np.ndarray]:
    """Trainable weights of the best epoch; of the last one where nothing was validated."""
    count = len(model.trainable_variables)
    if state.best is None or state.best["step"] == state.step:
        return [np.asarray(v.value) for v in model.trainable_variables]
    found = checkpoint.load(folder.checkpoints, state.best["step"])
    trainable = {v.path for v in model.trainable_variables}
    pairs = zip(found.state["variables"], found.variables, strict=True)
    return [value for name, value in pairs if name in trainable][:count]
