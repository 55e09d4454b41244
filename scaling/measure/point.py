"""One point of a study: a fresh folder, a fresh process group, and the row that tells of it."""

from __future__ import annotations

import datetime
import shlex
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudmask import ledger
from cloudmask.files import write_json
from scaling.measure import binding, cause, copies, machine, notes, watch
from scaling.measure.commands import (
    THROUGH_LAUNCHER,
    Conditions,
    command_lines,
    ending_of,
    output_folders,
    start_environment,
)
from scaling.measure.energy import Meter
from scaling.measure.layout import Layout
from scaling.measure.points import Point
from scaling.record import shapes, summaries
from scaling.record.store import OK, Row
from scaling.record.summaries import RunError

LARGE_BYTES = 4 * 2**20
RECORDED = (
    *("HOROVOD_", "OMPI_", "OMP_", "TF_", "NCCL_", "CUDA_", "KMP_", "ONEDNN_", "MKL_", "SLURM_"),
    *("LSB_", "PYTHON", "PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "MALLOC_", "LD_PRELOAD"),
)


def run_point(
    point: Point,
    conditions: Conditions,
    folder: Path,
    *,
    attempt: int = 1,
    progress: Callable[[int | None], None] = lambda step: None,
) -> Row:
    """Run it in `folder`, which is made anew; returns its row, whatever the program did."""
    if folder.exists():
        shutil.rmtree(folder)  # of a study that was killed in the middle of this point
    folder.mkdir(parents=True)
    layout = conditions.layout_of(point)
    outs = output_folders(point, folder)
    step = f"{point.name}-{uuid.uuid4().hex[:12]}"
    commands = command_lines(point, conditions, folder, step=step)
    environment = start_environment()
    write_down(folder, commands, environment, conditions)
    if conditions.config.page_cache == "dropped" and not conditions.leaves_here(point):
        machine.drop_page_cache()

    heartbeat = "events.jsonl" if point.kind == "allreduce" else conditions.config.heartbeat
    meter = Meter(folder / "energy.jsonl", conditions.config.idle_seconds)
    with meter.reading():
        started = time.time()
        outcome = watch.watch(
            commands,
            folder,
            environment=environment,
            limits=conditions.limits,
            ending=ending_of(point, conditions, step),
            heartbeats=[out / heartbeat for out in outs],
            progress=progress,
        )
        ended = started + outcome.seconds

    began = notes.gather(folder / "logs")
    row = asked_for(point, conditions, layout) | seen(point, outcome) | notes.as_row(began)
    row |= {"attempt": attempt, "folder": folder.name}
    row["page_cache"] = page_cache(point, conditions, began)
    if point.kind != "allreduce":
        hung = outcome.ending in ("stalled", "timeout")
        row["ledger"] = rank_seconds(outs, started, ended, hung=hung)
    row["energy"] = meter.result(
        folder / "logs",
        hosts=sorted({str(note["host"]) for note in began}),
        ended=ended,
        gpus=layout.gpus_per_rank > 0,
        steps={str(note["slurm_step"]) for note in began if row["launcher"] == "srun"},
    )
    row["cores"] = [note["cores"] for note in began]
    row["hardware"] = binding.hardware([], began)
    try:
        cause.check_ending(outcome, conditions.limits, folder)
        if point.kind == "allreduce":
            row["allreduce"] = summaries.read_allreduce(outs[0])
        else:
            row |= measured(row, point, layout, outs, began)
    except RunError as error:
        status = outcome.ending if outcome.ending in ("stalled", "timeout") else "failed"
        row |= {"status": status, "error": str(error)}
    if row["status"] != OK and not outcome.gone:
        row["error"] = f"{row['error']}; what it started could not all be ended"
    if not conditions.config.keep_logs:
        notes.drop_logs(folder / "logs", began, failed=row["status"] != OK)
    if row["status"] != OK:
        row["last_lines"] = outcome.last_lines
    elif not conditions.config.keep_files:
        _drop_large_files(folder)
    return row


def write_down(
    folder: Path,
    commands: Sequence[Sequence[str]],
    environment: Mapping[str, str],
    conditions: Conditions,
) -> None:
    """What is started, and under which variables."""
    lines = "\n".join(map(shlex.join, commands))
    (folder / "command.txt").write_text(lines + "\n")
    recorded = {k: v for k, v in sorted(environment.items()) if k.startswith(RECORDED)}
    record = {"set_by_the_study": dict(conditions.environment), "found": recorded}
    write_json(folder / "environment.json", record)


def asked_for(point: Point, conditions: Conditions, layout: Layout) -> Row:
    """What the study wanted of a point, as its row tells it."""
    return {
        "point": point.name,
        "mode": point.mode,
        "kind": point.kind,
        "ranks": point.ranks,
        "repeat": point.repeat,
        "launcher": conditions.launcher if point.kind in THROUGH_LAUNCHER else "none",
        "binding": layout.binding,
        "cores_per_rank": layout.cores_per_rank,
        "oversubscribed": layout.oversubscribe,
        "dataset": conditions.config.dataset if point.mode == "weak" else "fixed",
        "seed": point.seed,
        "global_batch": point.global_batch,
        "batch_per_rank": point.batch_per_rank,
        "environment": dict(conditions.environment),
    }


def seen(point: Point, outcome: watch.Outcome) -> Row:
    """How a point ended, as seen from outside; good until something is found against it."""
    return {
        "status": OK,
        "error": None,
        "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "exit_code": outcome.exit_code,
        "wall_seconds": round(outcome.seconds, 3),
        "rank_hours": round(point.ranks * outcome.seconds / 3600, 6),
        "processes_killed": outcome.killed,
        "last_step": outcome.step,
    }


def measured(
    row: Row, point: Point, layout: Layout, outs: Sequence[Path], began: Sequence[notes.Note]
) -> Row:
    """The row with what the program's summaries tell. Raises RunError, too, for those that are no
    training's: a program of any author's may have written them."""
    told = [summaries.read_summary(out) for out in outs]
    try:
        parts = [summaries.measures(one) for one in told]
        figures = parts[0] if len(parts) == 1 else copies.together(parts, outs)
        # What the study asked for stays, where the program does not tell.
        row = row | {k: v for k, v in figures.items() if v is not None or k not in row}
        reports = rank_reports(point, told, began)
        row["cores"] = [report.get("cores") for report in reports]
        row["hardware"] = binding.hardware(reports, began)
        row["nodes"] = notes.nodes(reports) or row["nodes"]
        found = binding.problem(reports, layout, began)
        if found:
            row |= {"status": "invalid", "error": found}
        shapes.check_row(row)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"summary.json is not a summary of a training ({error})") from None
    return row


def page_cache(point: Point, conditions: Conditions, began: Sequence[notes.Note]) -> str:
    """as-found or dropped; and where, unless it was dropped on every host."""
    wanted = conditions.config.page_cache
    if wanted != "dropped" or not conditions.leaves_here(point):
        return wanted
    dropped, hosts = notes.cache_dropped(began)
    return wanted if dropped == hosts else f"dropped on {dropped} of {hosts} hosts"


def rank_reports(
    point: Point, told: Sequence[dict[str, Any]], began: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Where each rank ran: by the program's summary, else by the note it began with."""
    reports = [dict(report) for one in told for report in one.get("placement") or []]
    if point.kind == "copies":
        reports = [{**report, "rank": copy} for copy, report in enumerate(reports)]
    return reports or [dict(note) for note in began]


def rank_seconds(
    outs: Sequence[Path], began: float, ended: float, *, hung: bool = False
) -> dict[str, float] | None:
    """Where the rank-seconds of a point went, from its launch to its end, whatever that was; None
    of a program that keeps no such record. Of copies: of all of them together. `hung`: it was
    ended because it made no step any more, or took too long."""
    total = dict.fromkeys(ledger.BUCKETS, 0.0)
    for out in outs:
        try:
            found = ledger.of_run(out)
        except (OSError, ValueError):
            return None
        found.enclose(began, ended, hung=hung)
        for bucket, seconds in found.rank_seconds.items():
            total[bucket] += seconds
    return {bucket: round(seconds, 3) for bucket, seconds in total.items()}


def _drop_large_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > LARGE_BYTES:
            path.unlink()
