"""Runs the processes of one point and watches them from outside.

A rank that is stopped hangs all others inside MPI, and nothing within them can tell. Here only a
file is looked at: one that grows with every step.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REAPER = Path(__file__).resolve().parent / "reaper.py"
POLL_SECONDS = 0.5
REAPER_SECONDS = 100.0
"""what the reaper may take to end everything beyond the launcher's grace; see reaper.py"""
TAIL_BYTES = 4096
MOST_LINES = 16
"""most ranks whose last line is told"""


@dataclass(frozen=True)
class Limits:
    start_seconds: float
    """until the first step: imports, staging, compiling"""
    stall_seconds: float
    """from then on without a step"""
    timeout_seconds: float
    """in all"""


@dataclass(frozen=True)
class Ending:
    """How what a launcher has started is ended."""

    grace_seconds: float
    """what it may take to do so itself when it is asked to"""
    farewell: Sequence[str] | None = None
    """a command that ends ranks which are no descendants of it"""


@dataclass(frozen=True)
class Outcome:
    """How a point ended."""

    ending: str
    """exited, stalled, or timeout"""
    exit_code: int
    seconds: float
    """from the start of the first process to the end of the last"""
    killed: int
    """processes that did not leave by themselves"""
    step: int | None
    """the last step that the heartbeat told of"""
    last_lines: dict[str, str]
    """what ranks, and the launcher, had written last"""
    gone: bool
    """whether nothing of it is left, as far as can be known"""


def watch(
    commands: Sequence[Sequence[str]],
    folder: Path,
    *,
    environment: Mapping[str, str],
    limits: Limits,
    ending: Ending,
    heartbeats: Sequence[Path],
    progress: Callable[[int | None], None] = lambda step: None,
) -> Outcome:
    """Run the commands side by side until all have ended, one has failed, or a limit is reached.

    `folder` takes their launcher's output (launcher.log); ranks write to logs/ in it. Whatever
    happens here, an exception included, no process of theirs is left on this host.
    """
    told = {"commands": [list(words) for words in commands], "grace_seconds": ending.grace_seconds}
    told["farewell"] = list(ending.farewell) if ending.farewell else None
    (folder / "commands.json").write_text(json.dumps(told))
    reaper = [sys.executable, "-I", "-S", str(REAPER), str(folder / "commands.json")]
    began = time.monotonic()
    with (folder / "launcher.log").open("ab") as log:
        process = subprocess.Popen(
            reaper,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    try:
        how = _wait(process, began, limits, heartbeats, progress)
        # Now, for launchers wake stopped ranks to end them, and these may go on for a moment.
        step, lines = last_step(heartbeats), last_lines(folder)
    finally:
        _end(process, seconds=ending.grace_seconds + REAPER_SECONDS)
    seconds, note = time.monotonic() - began, _reaper_note(folder)
    return Outcome(
        how,
        int(note.get("exit_code", -1)),
        seconds,
        int(note.get("killed", 0)),
        step,
        lines,
        bool(note.get("gone", False)),
    )


def _wait(
    process: subprocess.Popen[bytes],
    began: float,
    limits: Limits,
    heartbeats: Sequence[Path],
    progress: Callable[[int | None], None],
) -> str:
    seen, changed, stepped = 0, began, False
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            return "exited"
        now = time.monotonic()
        size = sum(_size(path) for path in heartbeats)
        if size != seen:
            seen, changed, step = size, now, last_step(heartbeats)
            stepped = stepped or step is not None
            progress(step)
        # What a program tells before its first step, that it has begun or staged, is no step.
        if now - changed > (limits.stall_seconds if stepped else limits.start_seconds):
            return "stalled"
        if now - began > limits.timeout_seconds:
            return "timeout"


def _end(process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Closing the pipe tells the reaper to end everything below it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reaper_note(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "reaper.json").read_text())
    except (OSError, ValueError):
        return {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def last_step(heartbeats: Sequence[Path]) -> int | None:
    """The smallest last "step" of these files of JSON lines; None if none tells any."""
    steps = []
    for path in heartbeats:
        for line in reversed(tail(path).splitlines()):
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("step"), int):
                    steps.append(record["step"])
                    break
    return min(steps, default=None)


def tail(path: Path) -> str:
    """The end of a file that is being written; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_line(path: Path) -> str:
    lines = [line.strip() for line in tail(path).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def last_lines(folder: Path) -> dict[str, str]:
    """The last line that ranks wrote, and the launcher if it did.

    Of more than MOST_LINES ranks: of the first, the last, and those that wrote last.
    """
    logs = sorted((folder / "logs").glob("rank-*.log"))
    if len(logs) > MOST_LINES:
        # What a rank wrote while it failed is newer than what the others wrote while they worked.
        between = sorted(logs[1:-1], key=_changed)[2 - MOST_LINES :]
        logs = [logs[0], *sorted(between), logs[-1]]
    lines = {f"rank {int(path.stem.partition('-')[2])}": last_line(path) for path in logs}
    lines = {who: line or "(nothing)" for who, line in lines.items()}
    launcher = last_line(folder / "launcher.log")
    return lines | ({"launcher": launcher} if launcher else {})


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
