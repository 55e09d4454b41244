"""From what was asked for to what will be run: checked before anything is started."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import UsageError
from scaling.measure import launch, machine, points
from scaling.measure.launch import Layout
from scaling.measure.point import Conditions
from scaling.measure.points import Point
from scaling.options import RunOptions, rank_counts
from scaling.record import store


def prepare(options: RunOptions, program: Sequence[str]) -> tuple[list[Point], Conditions]:
    """The points in their order, and the conditions they share. Raises UsageError."""
    counts = rank_counts(options.ranks, option="--ranks")
    modes = points.parse_modes(options.modes)
    _check_numbers(options)
    points.check_program(program, dataset=options.dataset)
    alone = points.alone_words(options.alone, program)
    global_batch = options.global_batch or options.batch_per_rank * max(counts)
    order = points.plan(
        counts,
        modes,
        repeats=options.repeats,
        batch_per_rank=options.batch_per_rank,
        global_batch=global_batch,
        seed=options.seed,
        copies=options.copies,
        alone=bool(alone),
        allreduce=options.allreduce,
    )
    launcher, executable = machine.find_launcher(
        options.launcher, controller=options.controller, ranks=max(counts)
    )
    found = machine.hardware()
    gpus = options.gpus_per_rank
    layout = Layout(
        max(counts),
        options.cores_per_rank,
        (1 if found.gpus else 0) if gpus is None else gpus,
        points.parse_hosts(options.hosts),
        options.ranks_per_node,
        options.oversubscribe,
        root=os.geteuid() == 0,
    )
    machine.check_room(layout, found, os.environ)
    if options.copies and layout.hosts:
        raise UsageError("--copies runs them on this host alone; leave out --hosts, or --copies")
    if options.copies:
        machine.check_room(layout, found, {})
    defaults = launch.default_environment(
        cores_per_rank=options.cores_per_rank, gpus=layout.gpus_per_rank > 0
    )
    # What is set in this shell already was set on purpose.
    defaults |= {name: os.environ[name] for name in defaults if name in os.environ}
    conditions = Conditions(
        program=tuple(program),
        launcher=launcher,
        executable=executable,
        layout=layout,
        environment=points.parse_environment(defaults, options.env),
        hardware=found,
        alone=alone,
        options=options,
    )
    try:
        for count in counts:
            largest = Point("weak", "ranks", count, 1, count, 1, 0)
            launch.command(
                launcher, conditions.layout_of(largest), ["true"], notes=Path(), environment={}
            )
    except ValueError as error:
        raise UsageError(str(error)) from None
    return order, conditions


def _check_numbers(options: RunOptions) -> None:
    for name in ("repeats", "batch_per_rank", "global_batch", "cores_per_rank", "ranks_per_node"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value} must be 1 or more")
    for name in ("stall_seconds", "timeout"):
        if getattr(options, name) <= 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0")


def header(order: Sequence[Point], conditions: Conditions) -> dict[str, Any]:
    """study.json. All but FREE must stay as it is for a study to go on."""
    strong = [point.global_batch for point in order if point.mode == "strong"]
    layout, options = conditions.layout, conditions.options
    return {
        "format": store.FORMAT,
        "version": store.VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "program": list(conditions.program),
        "launcher": conditions.launcher,
        "cores_per_rank": layout.cores_per_rank,
        "gpus_per_rank": layout.gpus_per_rank,
        "hosts": layout.host_list,
        "ranks_per_node": layout.ranks_per_node,
        "oversubscribe": layout.oversubscribe,
        "environment": dict(conditions.environment),
        "batch_per_rank": options.batch_per_rank,
        "global_batch": max(strong, default=None),
        "dataset": options.dataset,
        "page_cache": options.page_cache,
        "alone": list(conditions.alone),
        "seed": options.seed,
        "hardware": conditions.hardware.as_dict(),
        "plan": {
            "ranks": sorted({point.ranks for point in order}),
            "modes": sorted({point.mode for point in order} - {"any"}),
            "repeats": options.repeats,
            "points": len(order),
        },
    }
