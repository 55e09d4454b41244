"""From what was asked for to what will be run: checked before anything is started."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling import launch, machine, points, results, watch
from scaling.command import UsageError
from scaling.launch import Layout
from scaling.onepoint import Conditions
from scaling.points import Point
from scaling.settings import RunSettings


def prepare(settings: RunSettings, program: Sequence[str]) -> tuple[list[Point], Conditions]:
    """The points in their order, and the conditions they share. Raises UsageError."""
    counts = points.parse_ranks(settings.ranks)
    modes = points.parse_modes(settings.modes)
    _check_numbers(settings)
    points.check_program(program, dataset=settings.dataset)
    alone = points.alone_words(settings.alone, program)
    global_batch = settings.global_batch or settings.batch_per_rank * max(counts)
    order = points.plan(
        counts,
        modes,
        repeats=settings.repeats,
        batch_per_rank=settings.batch_per_rank,
        global_batch=global_batch,
        seed=settings.seed,
        copies=settings.copies,
        alone=bool(alone),
        allreduce=settings.allreduce,
    )
    launcher, executable = machine.find_launcher(
        settings.launcher, controller=settings.controller, ranks=max(counts)
    )
    found = machine.hardware()
    gpus = settings.gpus_per_rank
    layout = Layout(
        max(counts),
        settings.cores_per_rank,
        (1 if found.gpus else 0) if gpus is None else gpus,
        points.parse_hosts(settings.hosts),
        settings.ranks_per_node,
        settings.oversubscribe,
        root=os.geteuid() == 0,
    )
    machine.check_room(layout, found, os.environ)
    if settings.copies and layout.hosts:
        raise UsageError("--copies runs them on this host alone; leave out --hosts, or --copies")
    if settings.copies:
        machine.check_room(layout, found, {})
    defaults = launch.default_environment(
        cores_per_rank=settings.cores_per_rank, gpus=layout.gpus_per_rank > 0
    )
    # What is set in this shell already was set on purpose.
    defaults |= {name: os.environ[name] for name in defaults if name in os.environ}
    conditions = Conditions(
        program=tuple(program),
        launcher=launcher,
        executable=executable,
        layout=layout,
        environment=points.parse_environment(defaults, settings.env),
        hardware=found,
        limits=watch.Limits(settings.stall_seconds, settings.timeout),
        heartbeat=settings.heartbeat,
        dataset=settings.dataset,
        page_cache=settings.page_cache,
        alone=alone,
        keep_files=settings.keep_files,
    )
    try:
        for count in counts:
            layout_ok = Point("weak", "ranks", count, 1, count, 1, 0)
            launch.command(
                launcher, conditions.layout_of(layout_ok), ["true"], notes=Path(), environment={}
            )
    except ValueError as error:
        raise UsageError(str(error)) from None
    return order, conditions


def _check_numbers(settings: RunSettings) -> None:
    for name in ("repeats", "batch_per_rank", "global_batch", "cores_per_rank", "ranks_per_node"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value} must be 1 or more")
    for name in ("stall_seconds", "timeout"):
        if getattr(settings, name) <= 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0")


def header(settings: RunSettings, order: Sequence[Point], conditions: Conditions) -> dict[str, Any]:
    """study.json. All but FREE must stay as it is for a study to go on."""
    strong = [point.global_batch for point in order if point.mode == "strong"]
    layout = conditions.layout
    return {
        "format": results.FORMAT,
        "version": results.VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "program": list(conditions.program),
        "launcher": conditions.launcher,
        "cores_per_rank": layout.cores_per_rank,
        "gpus_per_rank": layout.gpus_per_rank,
        "hosts": layout.host_list,
        "ranks_per_node": layout.ranks_per_node,
        "oversubscribe": layout.oversubscribe,
        "environment": dict(conditions.environment),
        "batch_per_rank": settings.batch_per_rank,
        "global_batch": max(strong, default=None),
        "dataset": conditions.dataset,
        "page_cache": conditions.page_cache,
        "alone": list(conditions.alone),
        "seed": settings.seed,
        "hardware": conditions.hardware.as_dict(),
        "plan": {
            "ranks": sorted({point.ranks for point in order}),
            "modes": sorted({point.mode for point in order} - {"any"}),
            "repeats": settings.repeats,
            "points": len(order),
        },
    }
