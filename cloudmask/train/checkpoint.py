"""Checkpoints: the whole state of a run, each complete or absent, each provably what was written.

A checkpoint is two files: `step-00000042.h5` (the variables) and `step-00000042.json` (everything
else, and the checksums of both). The second is written last: without it there is none. Which run
may go on from it, and with what warning, follows from the plan that is in it (Plan.identity).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from cloudmask.files import finite, remove_leftovers, sha256_of, write_json, write_whole
from cloudmask.record import say, warn
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.state import State

VERSION = 2


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk, verified when it was loaded."""

    step: int
    path: Path
    state: dict[str, Any]
    variables: list[np.ndarray]


def save(folder: Path, step: int, variables: dict[str, np.ndarray], state: dict[str, Any]) -> Path:
    """Write one checkpoint: variables in their order, then the state with their checksum.

    Raises OSError (disk full, not writable) and leaves earlier checkpoints untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for index, (name, value) in enumerate(variables.items()):
            data = file.create_dataset(f"{index:04d}", data=value, track_times=False)
            data.attrs["name"] = name
    path = folder / f"step-{step:08d}.h5"
    path.with_suffix(".json").unlink(missing_ok=True)
    write_whole(path, memory.getvalue())
    record = {
        "version": VERSION,
        "step": step,
        "bytes": memory.getbuffer().nbytes,
        "sha256": sha256_of(path),
        "state_sha256": _sha256_of_state(state),
        "state": state,
    }
    write_json(path.with_suffix(".json"), record)
    return path


def _sha256_of_state(state: dict[str, Any]) -> str:
    text = json.dumps(finite(state), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, the newest last; complete or not."""
    names = (re.fullmatch(r"step-(\d{8,})\.(h5|json)", path.name) for path in folder.glob("step-*"))
    return sorted({int(name.group(1)) for name in names if name})


def load(folder: Path, step: int) -> Checkpoint:
    """Read one checkpoint. Raises ValueError that says what is wrong with it."""
    path = folder / f"step-{step:08d}.h5"
    try:
        record = json.loads(path.with_suffix(".json").read_text())
    except FileNotFoundError:
        raise ValueError(f"{path.name}: never finished (no {path.stem}.json)") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.stem}.json: not readable ({error})") from None
    version = record.get("version") if isinstance(record, dict) else None
    if version != VERSION:
        raise ValueError(
            f"{path.name}: format version {version}, not {VERSION}; "
            "train with the release that wrote it"
        )
    try:
        size, checksum, state = record["bytes"], record["sha256"], record["state"]
        if record["step"] != step or record["state_sha256"] != _sha256_of_state(state):
            raise ValueError
    except (KeyError, ValueError):
        raise ValueError(f"{path.stem}.json: checksum differs, the file is damaged") from None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from None
    if len(content) != size:
        raise ValueError(f"{path.name}: {len(content)} bytes, should be {size}")
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ValueError(f"{path.name}: checksum differs, the file is damaged")
    with h5py.File(io.BytesIO(content), "r") as file:
        variables = [file[name][()] for name in sorted(file)]
        names = [file[name].attrs["name"] for name in sorted(file)]
    state["variables"] = names
    return Checkpoint(step=step, path=path, state=state, variables=variables)


def prune(folder: Path, *, newest: int, keep: int, best: int | None) -> None:
    """Delete all but the last `keep` checkpoints up to `newest` and the best one.

    Later ones are what a run passed over when it resumed from an earlier one. State goes before
    variables, so that what is left of an interrupted deletion is no checkpoint.
    """
    paths = {step: folder / f"step-{step:08d}.h5" for step in steps(folder)}
    whole = [step for step, path in paths.items() if path.with_suffix(".json").exists()]
    finished = [step for step in whole if step <= newest]
    for step, path in paths.items():
        if step not in (*finished[-keep:], best):
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    remove_leftovers(folder)


def arrays(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(v.value) for v in (*model.variables, *optimizer.variables)}


def take(
    plan: Plan,
    ranks: Ranks,
    folder: Path,
    state: State,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> None:
    """Save everything and delete the checkpoints that are neither recent nor the best.

    Raises OSError, and ValueError for weights that are not finite: they are worth no checkpoint.
    """
    if not all(np.isfinite(v.value).all() for v in model.trainable_variables):
        raise ValueError(not_finite("the weights are", state.step, folder))
    record = {"identity": plan.identity(ranks.threads), **state.as_dict()}
    save(folder, state.step, arrays(model, optimizer), record)
    best = state.best["step"] if state.best else None
    prune(folder, newest=state.step, keep=plan.config.keep, best=best)


def not_finite(what: str, step: int, folder: Path) -> str:
    """The error for numbers that have run away: where, what is left, what to try."""
    earlier = [other for other in steps(folder) if other < step]
    left = f"the checkpoint of step {earlier[-1]} is kept" if earlier else "no checkpoint yet"
    return (
        f"{what} not finite at step {step}; {left}; "
        "try a smaller --lr, --warmup-epochs or --precision float32"
    )


def differences(past: dict[str, Any], present: dict[str, Any]) -> list[str]:
    """What changed between two flat records, as 'name was ..., is ...'."""
    return [
        f"{key} was {past.get(key)}, is {value}"
        for key, value in present.items()
        if past.get(key) != value
    ]


def restore(
    plan: Plan,
    ranks: Ranks,
    folder: Path,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
) -> State | None:
    """Take over the newest checkpoint that fits; None where there is none. Rank 0's work.

    Raises ValueError for one of another model or patch set.
    """
    present = plan.identity(ranks.threads)
    for step in reversed(steps(folder)):
        try:
            found = load(folder, step)
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
    return None


def best_weights(folder: Path, model: keras.Model, state: State) -> list[np.ndarray]:
    """Trainable weights of the best epoch; of the last one where nothing was validated."""
    variables = model.trainable_variables
    if state.best is None or state.best["step"] == state.step:
        return [np.asarray(v.value) for v in variables]
    found = load(folder, state.best["step"])
    by_name = dict(zip(found.state["variables"], found.variables, strict=True))
    return [by_name[v.path] for v in variables]
