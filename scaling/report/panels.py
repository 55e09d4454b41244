"""What is drawn of a study, panel by panel, and what stands beneath each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from cloudmask.text import listed
from scaling.laws import fits
from scaling.record.store import Study
from scaling.report import ledger, noise, peak, speedup, step_time, time_to_target
from scaling.report.style import View


@dataclass(frozen=True)
class Panel:
    """One picture and what it says beneath it."""

    key: str
    title: str
    caption: str
    draw: Callable[[Axes, Sequence[View]], None]
    legend: float = -0.13
    """where its legend begins, in heights of the axes"""


def panels(studies: Sequence[Study], roof: peak.Roof | None = None) -> list[Panel]:
    """The pictures that these studies have figures for."""
    modes = {mode for study in studies for mode in study.modes}
    flavours = " and ".join(sorted({study.header["dataset"] for study in studies}))
    found = []
    if "strong" in modes:
        found.append(
            Panel(
                "strong",
                "Strong scaling",
                "Speed-up at a fixed global batch: by steady steps, and by the whole run with "
                "start-up, validation and checkpoints.",
                speedup.draw_strong,
            )
        )
    if "weak" in modes:
        found.append(
            Panel(
                "weak",
                "Weak scaling",
                f"Efficiency at a fixed batch per rank, {flavours} dataset: patches/s over N "
                "times those of the base.",
                speedup.draw_weak,
            )
        )
    found += [
        Panel(
            "throughput",
            "Throughput",
            "Patches per second of all ranks together, steady steps.",
            speedup.draw_throughput,
        ),
        Panel(
            "step",
            "Where a step's time goes",
            "Parts of a steady step, mean over ranks, medians over repeats. Communication is "
            "what computing did not hide, waiting for slower ranks included. Numbers: ranks.",
            step_time.draw_step,
            legend=-0.2,
        ),
        Panel(
            "balance",
            "Load balance",
            "Mean over largest computing time of the ranks, and the largest computing time over "
            "the step (POP metrics).",
            step_time.draw_balance,
        ),
    ]
    if any(ledger.means(study, mode) for study in studies for mode in study.modes):
        found.append(
            Panel(
                "ledger",
                "Where the time went",
                "All rank-seconds from the launch to the end, mean over repeats. Numbers: ranks.",
                ledger.draw_ledger,
                legend=-0.2,
            )
        )
    if any(fits.allreduce_times(study) for study in studies):
        found.append(
            Panel(
                "allreduce",
                "Horovod's allreduce",
                f"One tensor at a time, {_repeats(studies)}; lines: the fitted model.",
                step_time.draw_allreduce,
            )
        )
    if noise.is_known(studies):
        title = "Goodput by the gradient noise scale (a model)"
        found.append(Panel("goodput", title, noise.CAPTION, noise.draw))
    if time_to_target.is_known(studies):
        title = "Runs that have not reached the target"
        found.append(Panel("target", title, time_to_target.CAPTION, time_to_target.draw))
    if roof and peak.is_drawn(studies, roof):
        draw = functools.partial(peak.draw, roof=roof)
        found.append(Panel("roofline", "Roofline", peak.CAPTION, draw))
    return found


def _repeats(studies: Sequence[Study]) -> str:
    """median of 21 each; older studies did not keep how many."""
    rows = [row for study in studies for row in study.rows if row["kind"] == "allreduce"]
    sizes = [one for row in rows for one in row.get("allreduce") or []]
    counts = {one["repeats"] for one in sizes if one.get("repeats")}
    told = bool(counts) and all(one.get("repeats") for one in sizes)
    return f"median of {listed(sorted(counts))} each" if told else "median of its repeats"
