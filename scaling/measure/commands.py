"""The command lines of a point, what they run under, and how it is ended when it must be."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloudmask import host
from scaling.measure import launch, machine, watch
from scaling.measure.layout import Layout
from scaling.measure.points import Point, fill_in
from scaling.options import RunConfig

THROUGH_LAUNCHER = ("ranks", "allreduce")
"""kinds of points whose ranks the launcher starts; the others are processes of this host"""
RANK_VARIABLES = (
    *("OMPI_COMM_WORLD", "PMIX_", "PMI_", "JSM_NAMESPACE"),
    *("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL", "HOROVOD_CROSS"),
)


@dataclass(frozen=True)
class Conditions:
    """What holds for every point of a study."""

    program: tuple[str, ...]
    launcher: str
    executable: str | None
    layout: Layout
    """with one rank; each point has its own number"""
    environment: Mapping[str, str]
    hardware: machine.Hardware
    elsewhere: bool
    """whether ranks may run on other hosts than this one"""
    alone: tuple[str, ...]
    """words that make the program run without Horovod"""
    config: RunConfig

    @property
    def limits(self) -> watch.Limits:
        config = self.config
        return watch.Limits(config.start_seconds, config.stall_seconds, config.timeout)

    def leaves_here(self, point: Point) -> bool:
        """Whether a point's ranks may run on other hosts than this one."""
        return self.elsewhere and point.kind in THROUGH_LAUNCHER

    def layout_of(self, point: Point) -> Layout:
        """Sharing cores is allowed only where a node has more ranks than cores."""
        layout = dataclasses.replace(self.layout, ranks=point.ranks)
        if not layout.oversubscribe:
            return layout
        placed = layout
        if not self.leaves_here(point):  # all are on this host
            placed = dataclasses.replace(layout, hosts=(), slots=(), ranks_per_node=None)
        crowded = placed.crowded(self.hardware.cores, len(self.hardware.gpus))
        return dataclasses.replace(layout, oversubscribe=crowded)


def output_folders(point: Point, folder: Path) -> list[Path]:
    """The program's output folder; one for each copy."""
    if point.kind == "copies":
        return [folder / f"run-{copy:04d}" for copy in range(point.ranks)]
    return [folder / "run"]


def command_lines(
    point: Point, conditions: Conditions, folder: Path, *, step: str
) -> list[list[str]]:
    """The process groups of a point: one, or for copies as many as there are ranks.

    `step` is the name of the job step that srun makes of it.
    """
    outs, logs = output_folders(point, folder), folder / "logs"
    environment = conditions.environment
    if point.kind == "copies":
        return [
            launch.copy_words(
                conditions.layout,
                [*fill_in(conditions.program, point, out), *conditions.alone],
                copy,
                notes=logs,
                environment=environment,
            )
            for copy, out in enumerate(outs)
        ]
    if point.kind == "allreduce":
        program = [sys.executable, str(launch.INSIDE / "allreduce.py"), "--out", str(outs[0])]
    else:
        program = fill_in(conditions.program, point, outs[0])
    launcher, executable = conditions.launcher, conditions.executable
    if point.kind == "alone":
        launcher, executable = "python", None
        program += conditions.alone
    layout = conditions.layout_of(point)
    if launcher == "python":
        layout = dataclasses.replace(layout, hosts=())
    return [
        launch.command(
            launcher,
            layout,
            program,
            notes=logs,
            environment=environment,
            executable=executable,
            step=step,
            drop_cache=conditions.leaves_here(point) and conditions.config.page_cache == "dropped",
            watched=host.name(),
        )
    ]


def ending_of(point: Point, conditions: Conditions, step: str) -> watch.Ending:
    """How a point is ended when it must be."""
    launcher = conditions.launcher if point.kind in THROUGH_LAUNCHER else "python"
    farewell = None
    if launcher == "srun":
        farewell = [sys.executable, "-I", "-S", str(launch.INSIDE / "steps.py"), step]
    return watch.Ending(launch.grace_seconds(launcher), farewell)


def start_environment() -> dict[str, str]:
    """This process's environment, without traces of a launcher that started it.

    The folder of this Python comes first in PATH, so that `python` is the one the study runs under.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(RANK_VARIABLES)}
    here = str(Path(sys.executable).parent)
    folders = [here, *filter(lambda part: part != here, kept.get("PATH", "").split(os.pathsep))]
    return kept | {"PATH": os.pathsep.join(filter(None, folders))}
