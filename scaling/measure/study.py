"""Runs a study: every missing point once, each a fresh process group, whatever happens to it."""

from __future__ import annotations

import contextlib
import difflib
import signal
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from cloudmask.cli.errors import UsageError
from cloudmask.files import write_json
from cloudmask.text import plural
from scaling.measure.commands import Conditions
from scaling.measure.plan_points import header, prepare
from scaling.measure.point import run_point
from scaling.measure.points import Point
from scaling.options import RunConfig
from scaling.record import store
from scaling.record.store import OK, Row, StudyError

FREE = ("created", "plan", "hardware")
"""what may change when a study goes on; the hardware is compared by itself"""


def run(config: RunConfig, program: Sequence[str]) -> int:
    """The command `run`. Raises UsageError and StudyError before anything is started."""
    order, conditions = prepare(config, program)
    _check_again(order, config.again)
    folder = config.out.resolve()
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file; choose another --out")
    content = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if content - {store.LOCK} and store.read_header(folder) is None:
        raise StudyError(f"{folder} exists and holds no study; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with store.lock(folder), _ended_like_ctrl_c():
        _claim(folder, header(order, conditions), mixed=config.mixed)
        rows = store.checked_rows(folder)
        todo = missing(order, rows, retry_failed=config.retry_failed, again=config.again)
        for line in opening_lines(order, todo, conditions):
            print(line, flush=True)
        rows += _run_points(todo, rows, conditions, folder, mixed=config.mixed)
    print("\n".join(closing_lines(order, rows, folder)), flush=True)
    measured = {row["point"] for row in rows if row["status"] == OK}
    return 0 if all(point.name in measured for point in order) else 1


def _claim(folder: Path, present: dict[str, Any], *, mixed: bool) -> None:
    """Write study.json, or check that the study there is this one. Raises StudyError."""
    past = store.read_header(folder)
    if past:
        before, now = past["hardware"]["title"], present["hardware"]["title"]
        if before != now and not mixed:
            raise StudyError(
                f"{folder} was measured on other hardware ({before}; this is {now}), so its curve "
                "would compare machines; choose another --out, or add --mixed"
            )
        if None in (past.get("global_batch"), present["global_batch"]):  # strong scaling is new
            known = past.get("global_batch") or present["global_batch"]
            past, present = past | {"global_batch": known}, present | {"global_batch": known}
        for name, value in present.items():
            if name not in FREE and past.get(name) != value:
                raise StudyError(
                    f"{folder} was begun with other settings ({name} was {past.get(name)}, "
                    f"is {value}); repeat them, or choose another --out"
                )
        present = present | {"created": past["created"]}
    write_json(folder / store.HEADER, present)


def _check_again(order: Sequence[Point], again: Sequence[str]) -> None:
    """Raise UsageError for a name that no point of this study has."""
    names = [point.name for point in order]
    for name in again:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; a name is such as {names[0]}"
            raise UsageError(f"--again {name}: the study has no such point{hint}")


def missing(
    order: Sequence[Point], rows: Sequence[Row], *, retry_failed: bool, again: Sequence[str] = ()
) -> list[tuple[Point, int]]:
    """(point, attempt) of every point without a row; where that is wished failed ones too, and
    those that are named in `again`."""
    attempts: dict[str, list[Row]] = {}
    for row in rows:
        attempts.setdefault(row["point"], []).append(row)
    todo = []
    for point in order:
        past = attempts.get(point.name, [])
        failed = past and all(row["status"] != OK for row in past)
        if not past or (retry_failed and failed) or point.name in again:
            todo.append((point, len(past) + 1))
    return todo


def _run_points(
    todo: Sequence[tuple[Point, int]],
    past: Sequence[Row],
    conditions: Conditions,
    folder: Path,
    *,
    mixed: bool,
) -> list[Row]:
    """Run them one after another; each row is on disk before the next point starts."""
    rows: list[Row] = []
    bar = tqdm(total=len(todo), unit="point", leave=False, disable=not sys.stderr.isatty())
    try:
        for done, (point, attempt) in enumerate(todo):
            left = [point for point, _ in todo[done:]]
            known = [*past, *rows]
            bar.set_description_str(f"{point.title} ({_minutes(seconds_left(left, known))} left)")
            name = point.name if attempt == 1 else f"{point.name}-a{attempt}"
            row = run_point(
                point,
                conditions,
                folder / "points" / name,
                attempt=attempt,
                progress=lambda step: bar.set_postfix_str(f"step {step}"),
            )
            _check_hardware(row, known, mixed=mixed)
            store.append(folder, row)
            rows.append(row)
            bar.update()
            left = [point for point, _ in todo[done + 1 :]]
            tqdm.write(
                f"{done + 1}/{len(todo)} {point.title}: {told(row)}"
                f" | {_minutes(seconds_left(left, [*past, *rows]))} left",
                file=sys.stdout,
            )
            sys.stdout.flush()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted with {len(todo) - len(rows)} points missing; "
            "the same command goes on with them"
        ) from None
    finally:
        bar.close()
    return rows


def _check_hardware(row: Row, known: Sequence[Row], *, mixed: bool) -> None:
    """Mark a row invalid that was measured on other hardware than the ones before it."""
    measured = (other for other in known if other["status"] == OK)
    before = next((other for other in measured if store.is_training(other)), None)
    if row["status"] != OK or not store.is_training(row) or not before:
        return
    device, other = store.device_of(row), store.device_of(before)
    if device != other:
        row |= {"status": "invalid", "error": f"ran on {device}, the points before on {other}"}
    elif row["hardware"] != before["hardware"] and not mixed:
        now, then = (", ".join(one["hardware"]) for one in (row, before))
        row |= {"status": "invalid", "error": f"ran on {now}, the points before on {then}"}


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """A batch system that ends a study (SIGTERM) is obeyed as Ctrl-C is: nothing is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def seconds_left(left: Sequence[Point], rows: Sequence[Row]) -> float | None:
    """What the points left will take, by points of their kind so far; None before the first."""
    if not rows:
        return None
    every = statistics.fmean(row["wall_seconds"] for row in rows)
    total = 0.0
    for point in left:
        alike = [
            row["wall_seconds"]
            for row in rows
            if (row["mode"], row["kind"], row["ranks"]) == (point.mode, point.kind, point.ranks)
        ]
        total += statistics.fmean(alike) if alike else every
    return total


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def told(row: Row) -> str:
    """A row for people, in one line."""
    if row["status"] != OK:
        return f"{row['status']}: {row['error']}"
    if row["kind"] == "allreduce":
        largest = row["allreduce"][-1]
        return f"{largest['bytes'] / 2**20:.0f} MiB in {1e3 * largest['seconds']:.1f} ms"
    emulated = f", {store.device_of(row)}" if row.get("emulated_step_seconds") is not None else ""
    return f"{row['patches_per_second']:.2f} patches/s, {row['wall_seconds']:.0f} s{emulated}"


def opening_lines(
    order: Sequence[Point], todo: Sequence[tuple[Point, int]], conditions: Conditions
) -> list[str]:
    """What is about to run, under which conditions."""
    layout, found = conditions.layout, conditions.hardware
    repeats = max((point.repeat for point in order), default=0)
    lines = [
        f"{len(order)} points, {len(todo)} of them to run, {repeats} repeats; "
        f"launcher {conditions.launcher}, {layout.cores_per_rank} of {found.cores} cores per rank"
        + (f", {layout.gpus_per_rank} of {len(found.gpus)} GPUs" if found.gpus else "")
        + f" on {found.cpu}",
        "environment of every rank: "
        + " ".join(f"{name}={value}" for name, value in conditions.environment.items()),
    ]
    if config := conditions.config.nodes:
        each = plural(layout.ranks_per_node or 0, "rank")
        lines.append(f"on {config} nodes, {each} on each")
    if layout.oversubscribe:
        lines.append("oversubscribed: ranks may share cores, so what computes gets no faster")
    if any(point.mode == "weak" for point in order):
        lines.append(f"weak scaling with a {conditions.config.dataset} dataset")
    return lines


def closing_lines(order: Sequence[Point], rows: Sequence[Row], folder: Path) -> list[str]:
    measured = {row["point"] for row in rows if row["status"] == OK}
    without = [point for point in order if point.name not in measured]
    lines = [f"{len(order) - len(without)} of {len(order)} points measured in {folder}"]
    last = {row["point"]: row for row in rows}
    for point in without[:5]:
        row = last[point.name]
        lines.append(f"  {point.title}: {row['status']}: {row['error']}")
    if len(without) > 5:
        lines.append(f"  and {len(without) - 5} more; --retry-failed runs them once more")
    if len(without) < len(order):
        lines.append(f"next: python -m scaling report {folder}")
    return lines
