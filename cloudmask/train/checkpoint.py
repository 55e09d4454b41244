"""Checkpoints: the whole state of a run, each complete or absent, each provably what was written.

A checkpoint is two files: `step-00000042.h5` (the variables) and `step-00000042.json` (everything
else, and the checksum of the first). The second is written last: without it there is none.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cloudmask import runlog

VERSION = 1


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
    runlog.write_aside(path, memory.getvalue())
    record = {
        "version": VERSION,
        "step": step,
        "bytes": memory.getbuffer().nbytes,
        "sha256": runlog.sha256_of(path),
        "state": state,
    }
    runlog.write_json(path.with_suffix(".json"), record)
    return path


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
    if record.get("version") != VERSION:
        raise ValueError(
            f"{path.name}: format version {record.get('version')}, not {VERSION}; "
            "train with the release that wrote it"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name}: {error.strerror}") from None
    if len(content) != record["bytes"]:
        raise ValueError(f"{path.name}: {len(content)} bytes, should be {record['bytes']}")
    if runlog.sha256_of(path) != record["sha256"]:
        raise ValueError(f"{path.name}: checksum differs, the file is damaged")
    with h5py.File(io.BytesIO(content), "r") as file:
        variables = [file[name][()] for name in sorted(file)]
        names = [file[name].attrs["name"] for name in sorted(file)]
    record["state"]["variables"] = names
    return Checkpoint(step=step, path=path, state=record["state"], variables=variables)


def prune(folder: Path, *, keep: int, best: int | None) -> None:
    """Delete all but the last `keep` checkpoints and the best one, state before variables."""
    finished = [step for step in steps(folder) if (folder / f"step-{step:08d}.json").exists()]
    for step in finished[:-keep] if keep else finished:
        if step != best:
            path = folder / f"step-{step:08d}.h5"
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
