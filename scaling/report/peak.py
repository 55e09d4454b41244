"""Arithmetic that training reached, and its share of what the user states a device can do.

The roof is the lesser of two limits: the arithmetic peak (a share of it is the MFU), and the bytes
that memory moves in a second times the operations done with each (the roofline model: Williams,
Waterman and Patterson 2009, doi 10.1145/1498765.1498785).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from cloudmask.cli.errors import UsageError
from cloudmask.text import percent
from scaling.laws import intervals, ratios
from scaling.laws.intervals import Estimate
from scaling.record.store import Study
from scaling.report.sentences import shown
from scaling.report.style import GREY, PALE, WEAK, View
from scaling.report.tables import Table

NOTE = (
    "Operations of the network's convolutions, forward and backward, by patches per second of "
    "steady steps (Chowdhery et al., PaLM, appendix B: nothing that is computed twice counts). "
    "FLOP per byte: over the bytes that the convolutions alone must move; what else moves bytes "
    "makes the real intensity lower, so a roof by memory may lie too high. "
)
CAPTION = (
    "Arithmetic of a rank against the operations it does with each byte; the line is what its "
    "device can reach at most, by the peak and the memory that were stated. Bytes are those that "
    "convolutions alone must move. Numbers: ranks."
)


@dataclasses.dataclass(frozen=True)
class Roof:
    """What one rank's device can do, as the user states it."""

    tflops: float | None = None
    gb_per_second: float | None = None
    """what its memory moves"""

    def __post_init__(self) -> None:
        """UsageError for what cannot be."""
        for option, value in (
            ("--peak-tflops", self.tflops),
            ("--memory-gb-per-second", self.gb_per_second),
        ):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{option} {value:g} must be above 0")

    @property
    def ridge(self) -> float | None:
        """Operations a byte below which memory is the limit; None unless both were stated."""
        if self.tflops and self.gb_per_second:
            return 1000 * self.tflops / self.gb_per_second
        return None

    def at(self, intensity: float) -> float:
        """TFLOP/s at most with so many operations a byte, by what of it was stated."""
        by_memory = intensity * self.gb_per_second / 1000 if self.gb_per_second else math.inf
        return min(self.tflops or math.inf, by_memory)


@dataclasses.dataclass(frozen=True)
class Reached:
    """What the runs of one rank count did, where they told and truly computed it."""

    mode: str
    ranks: int
    precision: str
    flops: float
    """of a patch"""
    intensity: float | None
    """operations a byte"""
    tflops: Estimate
    """of all ranks"""

    @property
    def each(self) -> Estimate:
        """TFLOP/s of a rank."""
        return intervals.scaled(self.tflops, 1 / self.ranks)


def reached(study: Study) -> Iterator[Reached]:
    """Every rank count of every mode."""
    for mode in () if study.emulated else study.modes:
        points = study.points(mode)
        for point in ratios.throughput(study, mode):
            rows = points[point.ranks]
            flops, moved = (_same(rows, f"{name}_per_patch") for name in ("flops", "bytes"))
            if flops:
                yield Reached(
                    mode,
                    point.ranks,
                    str(rows[0].get("precision") or "unknown"),
                    flops,
                    flops / moved if moved else None,
                    intervals.scaled(point.estimate, flops / 1e12),
                )


def _same(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """What all rows tell, if it is the same."""
    values = {row.get(name) for row in rows}
    return values.pop() if len(values) == 1 else None


def peak_table(study: Study, roof: Roof) -> Table:
    """A row a rank count; shares where the user stated of what."""
    rows = []
    for one in reached(study):
        intensity = "-" if one.intensity is None else f"{one.intensity:.1f}"
        under = roof.at(one.intensity) if roof.ridge and one.intensity else None
        rows.append(
            (
                *(one.mode, str(one.ranks), one.precision, f"{one.flops / 1e9:.2f}", intensity),
                *(shown(one.tflops), shown(one.each)),
                *(_share(one.each, roof.tflops), _share(one.each, under)),
            )
        )
    return Table(
        "Arithmetic and its share of the peak",
        NOTE + _stated(roof),
        (
            *("scaling", "ranks", "precision", "GFLOP per patch", "FLOP per byte"),
            *("TFLOP/s", "TFLOP/s per rank", "share of peak", "share of roof"),
        ),
        tuple(rows),
    )


def _share(value: Estimate, limit: float | None) -> str:
    if limit is None:
        return "-"
    part = intervals.scaled(value, 1 / limit)
    return f"{percent(part.value)} ({percent(part.low)} - {percent(part.high)})"


def _stated(roof: Roof) -> str:
    peak = "No peak was stated (--peak-tflops), so no share of it. "
    memory = "No memory rate was stated (--memory-gb-per-second), so no roof."
    if roof.tflops:
        peak = f"Peak of a rank as stated: {roof.tflops:g} TFLOP/s. "
    if roof.gb_per_second:
        memory = f"Its memory as stated: {roof.gb_per_second:g} GB/s"
        memory += f", the limit below {roof.ridge:.1f} FLOP a byte." if roof.ridge else "."
    return peak + memory


def is_drawn(studies: Sequence[Study], roof: Roof) -> bool:
    """Whether there is a roof, and something to draw under it."""
    found = (one.intensity for study in studies for one in reached(study))
    return bool(roof.ridge) and any(found)


def draw(axes: Axes, found: Sequence[View], roof: Roof) -> None:
    """Both axes logarithmic: the roof, and each rank count of each mode below it."""
    drawn = [
        (view, one, one.intensity, one.each.value)
        for view in found
        for one in reached(view.study)
        if one.intensity
    ]
    ridge = roof.ridge or math.nan
    places = [ridge, *(intensity for *_, intensity, _ in drawn)]
    x = np.geomspace(min(places) / 4, max(places) * 4, 200)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(x, [roof.at(value) for value in x], "-", color=GREY, linewidth=1.5, label="roof")
    axes.axvline(ridge, linestyle=":", color=PALE, linewidth=1)
    told = set()
    for view, one, intensity, tflops in drawn:
        strong = one.mode == "strong"
        look = view.ranks if strong else (WEAK if view.alone else view.copies)
        label = f"{view.prefix}{one.mode}"
        axes.plot(
            [intensity],
            [tflops],
            look.marker,
            color=look.colour,
            markersize=5.5 if strong else 9,
            markerfacecolor=look.colour if strong else "none",
            label="" if label in told else label,
        )
        told.add(label)
        axes.annotate(
            str(one.ranks),
            (intensity, tflops),
            xytext=(5 if strong else -5, 3),
            textcoords="offset points",
            ha="left" if strong else "right",
            fontsize=8,
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_ylim(top=2 * roof.at(ridge))
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("TFLOP/s of a rank")
