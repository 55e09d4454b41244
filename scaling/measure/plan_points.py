"""From what was asked for to what will be run: checked before anything is started."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import UsageError
from scaling.measure import launch, machine, points
from scaling.measure.commands import Conditions, start_environment
from scaling.measure.layout import Layout, slurm_slots
from scaling.measure.points import Point
from scaling.options import RunConfig, rank_counts
from scaling.record import store


def prepare(config: RunConfig, program: Sequence[str]) -> tuple[list[Point], Conditions]:
    """The points in their order, and the conditions they share. Raises UsageError."""
    _check_numbers(config)
    counts = _counts(config)
    modes = points.parse_modes(config.modes)
    points.check_program(program, dataset=config.dataset)
    alone = points.alone_words(config.alone, program)
    global_batch = config.global_batch or config.batch_per_rank * max(counts)
    order = points.plan(
        counts,
        modes,
        repeats=config.repeats,
        batch_per_rank=config.batch_per_rank,
        global_batch=global_batch,
        seed=config.seed,
        copies=config.copies,
        alone=bool(alone),
        allreduce=config.allreduce,
    )
    launcher, executable = machine.find_launcher(
        config.launcher,
        controller=config.controller,
        ranks=max(counts),
        template=config.launch,
    )
    layout = Layout(
        max(counts),
        config.cores_per_rank,
        hosts=points.parse_hosts(config.hosts),
        ranks_per_node=config.ranks_per_node,
        oversubscribe=config.oversubscribe,
        root=os.geteuid() == 0,
        slots=slurm_slots(os.environ),
        peers=config.gpu_bind == "none",
    )
    if config.gpu_bind == "none" and launcher != "srun":
        raise UsageError("--gpu-bind none is for --launcher srun; others hide no GPUs")
    elsewhere = machine.are_elsewhere(launcher, layout, os.environ)
    try:
        found = (
            machine.ask_hosts(launcher, executable, layout, environment=start_environment())
            if elsewhere
            else machine.hardware()
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    gpus = config.gpus_per_rank
    layout = replace(layout, gpus_per_rank=(1 if found.gpus else 0) if gpus is None else gpus)
    machine.check_room(layout, found, os.environ, launcher=launcher)
    if config.copies and layout.hosts:
        raise UsageError("--copies runs them on this host alone; leave out --hosts, or --copies")
    if config.copies:
        machine.check_room(layout, found, {})
    defaults = launch.default_environment(
        cores_per_rank=config.cores_per_rank, gpus=layout.gpus_per_rank > 0
    )
    # What is set in this shell already was set on purpose.
    defaults |= {name: os.environ[name] for name in defaults if name in os.environ}
    conditions = Conditions(
        program=tuple(program),
        launcher=launcher,
        executable=executable,
        layout=layout,
        environment=points.parse_environment(defaults, config.env),
        hardware=found,
        elsewhere=elsewhere,
        alone=alone,
        config=config,
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


def _counts(config: RunConfig) -> tuple[int, ...]:
    """The rank counts, of nodes or as they were given. Raises UsageError."""
    if not config.nodes:
        return rank_counts(config.ranks or "1,2", option="--ranks")
    if config.ranks:
        raise UsageError("give --ranks or --nodes, not both")
    if not config.ranks_per_node:
        raise UsageError(f"--nodes {config.nodes} needs --ranks-per-node")
    nodes = rank_counts(config.nodes, option="--nodes")
    return tuple(count * config.ranks_per_node for count in nodes)


def _check_numbers(config: RunConfig) -> None:
    for name in ("repeats", "batch_per_rank", "global_batch", "cores_per_rank", "ranks_per_node"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value} must be 1 or more")
    for name in ("start_seconds", "stall_seconds", "timeout"):
        if getattr(config, name) <= 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0")


def header(order: Sequence[Point], conditions: Conditions) -> dict[str, Any]:
    """study.json. All but FREE must stay as it is for a study to go on."""
    strong = [point.global_batch for point in order if point.mode == "strong"]
    layout, config = conditions.layout, conditions.config
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
        "gpu_bind": "none" if layout.peers else None,
        "oversubscribe": layout.oversubscribe,
        "environment": dict(conditions.environment),
        "batch_per_rank": config.batch_per_rank,
        "global_batch": max(strong, default=None),
        "dataset": config.dataset,
        "page_cache": config.page_cache,
        "alone": list(conditions.alone),
        "seed": config.seed,
        "hardware": conditions.hardware.as_dict(),
        "plan": {
            "ranks": sorted({point.ranks for point in order}),
            "modes": sorted({point.mode for point in order} - {"any"}),
            "repeats": config.repeats,
            "points": len(order),
        },
    }
