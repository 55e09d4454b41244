"""Checkpoints: the whole state of a run, each complete or absent, each provably what was written.

A checkpoint is two files: `step-00000042.h5` (the variables) and `step-00000042.json` (everything
else, and the checksums of both). The second is written last: without it there is none. Which run
may go on from it, and with what warning, follows from the plan that is in it (Plan.identity).

Nothing that was ever complete is lost by resuming. What cannot be read, for whatever cause, is
passed over and kept apart, where no pruning and no later step of the same number reaches it; and
where nothing else is left, the run is refused.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from cloudmask.files import finite, parse_json, remove_leftovers, write_json, write_whole
from cloudmask.record import say, warn
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.state import State

VERSION = 2
APART = "passed-over"
"""folder, among the checkpoints, of those that a resumed run could not read"""


class NeverFinishedError(ValueError):
    """What is there of a checkpoint was left by a process that was killed while it wrote one."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk, verified when it was loaded."""

    step: int
    path: Path
    state: dict[str, Any]
    variables: list[np.ndarray]


def save(folder: Path, step: int, variables: dict[str, np.ndarray], state: dict[str, Any]) -> Path:
    """Write one checkpoint: variables in their order, then the state with their checksum.

    Raises OSError (disk full, not writable) and leaves earlier checkpoints untouched: also one of
    the same step, as a run that closes an epoch writes once more, with the same variables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for index, (name, value) in enumerate(variables.items()):
            data = file.create_dataset(f"{index:04d}", data=value, track_times=False)
            data.attrs["name"] = name
    path = _path(folder, step)
    content = memory.getbuffer()
    write_whole(path, content)
    record = {
        "version": VERSION,
        "step": step,
        "bytes": content.nbytes,
        "sha256": hashlib.sha256(content).hexdigest(),
        "state_sha256": _sha256_of_state(state),
        "state": state,
    }
    write_json(path.with_suffix(".json"), record)
    return path


def _sha256_of_state(state: dict[str, Any]) -> str:
    text = json.dumps(finite(state), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, the newest last; complete or not.

    Raises OSError for a folder that cannot be read: what is in it may be all there is of a run.
    """
    try:
        found = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    names = (re.fullmatch(r"step-(\d{8,})\.(h5|json)", name) for name in found)
    return sorted({int(name.group(1)) for name in names if name})


def load(folder: Path, step: int) -> Checkpoint:
    """Read one checkpoint. Raises ValueError that says what is wrong with it."""
    path = _path(folder, step)
    try:
        record = parse_json(path.with_suffix(".json").read_text())
    except FileNotFoundError:
        raise NeverFinishedError(f"{path.name}: never finished (no {path.stem}.json)") from None
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


def newest(folder: Path) -> tuple[Checkpoint | None, list[int]]:
    """The newest checkpoint that can be read, and the steps of those after it that cannot.

    Nothing is touched yet: see keep_apart. Raises ValueError if none can be read, since starting
    anew would cost the run. What a process left that was killed while it wrote is no checkpoint.
    """
    passed_over: list[int] = []
    lost: list[str] = []
    for step in reversed(steps(folder)):
        try:
            return load(folder, step), passed_over
        except ValueError as error:
            warn(f"passed over {error}")
            passed_over.append(step)
            if not isinstance(error, NeverFinishedError):
                lost.append(str(error))
    if lost:
        raise ValueError(
            f"no checkpoint in {folder} can be read, so nothing was changed there; the newest is "
            f"{lost[0]}; mend that, choose another --out, or move {folder} away to start anew"
        )
    return None, passed_over


def prune(folder: Path, *, newest: int, keep: int, best: int | None) -> None:
    """Of the checkpoints up to `newest`, delete all but the last `keep` and the best one.

    Later ones are left alone: a run has them that went back to its memory when ranks were lost.
    State goes before variables, so that what is left of an interrupted deletion is no checkpoint.
    """
    past = [step for step in steps(folder) if step <= newest]
    whole = [step for step in past if _path(folder, step).with_suffix(".json").exists()]
    for step in past:
        if step not in (*whole[-keep:], best):
            path = _path(folder, step)
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    remove_leftovers(folder)


def keep_apart(folder: Path, passed_over: Sequence[int]) -> None:
    """Move checkpoints where nothing of this program reads or deletes them. OSError."""
    for step in passed_over:
        for path in (_path(folder, step), _path(folder, step).with_suffix(".json")):
            if path.exists():
                place = folder / APART / path.name
                place.parent.mkdir(exist_ok=True)
                numbers = itertools.count(2)
                while place.exists():
                    place = place.with_name(f"{path.stem}-{next(numbers)}{path.suffix}")
                path.rename(place)
    if passed_over:
        say(f"what was passed over is kept in {folder / APART}")


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.h5"


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


def best_weights(folder: Path, model: keras.Model, state: State) -> list[np.ndarray]:
    """Trainable weights of the best epoch; of the last one where nothing was validated."""
    variables = model.trainable_variables
    if state.best is None or state.best["step"] == state.step:
        return [np.asarray(v.value) for v in variables]
    found = load(folder, state.best["step"])
    by_name = dict(zip(found.state["variables"], found.variables, strict=True))
    return [by_name[v.path] for v in variables]
