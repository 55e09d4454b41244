"""Checkpoints: the whole state of a run, each complete or absent, each provably what was written.

A checkpoint is two files: `step-00000042.h5` (the variables) and `step-00000042.json` (everything
else, and the checksums of both). The second is written last: without it there is none.
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
import numpy as np

from cloudmask.files import finite, sha256_of, write_json, write_whole

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
    for aside in folder.glob(".step-*.tmp"):  # of a process that was killed while it wrote
        aside.unlink(missing_ok=True)
