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
    "Arithmetic intensity: over the bytes that the convolutions alone must move; what else moves "
    "bytes makes the real one lower, so a roof by memory may lie too high. "
)
CAPTION = (
    "Arithmetic of a rank over the arithmetic intensity of its network, medians with intervals; "
    "the line is what its device can reach at most, by the peak and the memory that were stated. "
    "Left of the dotted ridge memory is the limit. Bytes are those that convolutions alone must "
    "move. Numbers: the fewest and the most ranks."
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
                raise UsageError(f"{option} {value:g} must be above 0, and finite")

    @property
    def ridge(self) -> float | None:
        """FLOP/byte below which memory is the limit; None unless both were stated."""
        if self.tflops and self.gb_per_second:
            return 1000 * self.tflops / self.gb_per_second
        return None

    def at(self, intensity: float) -> float | None:
        """TFLOP/s at most at so many FLOP/byte; None unless both were stated."""
        if self.tflops and self.gb_per_second:
            return min(self.tflops, intensity * self.gb_per_second / 1000)
        return None


@dataclasses.dataclass(frozen=True)
class Reached:
    """What the runs of one rank count did, where they told and truly computed it."""

    mode: str
    ranks: int
    precision: str
    flops: float
    """of a patch"""
    intensity: float | None
    """FLOP/byte"""
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
        under = roof.at(one.intensity) if one.intensity else None
        rows.append(
            (
                *(one.mode, str(one.ranks), one.precision, f"{one.flops / 1e9:.2f}", intensity),
                *(shown(one.tflops), shown(one.each)),
                *(_share(one.each, roof.tflops), _share(one.each, under)),
            )
        )
    return Table(
        "Arithmetic and its share of the peak",
        NOTE + _stated(roof, any(one.intensity for one in reached(study))),
        (
            *("scaling", "ranks", "precision", "GFLOP per patch", "FLOP/byte"),
            *("TFLOP/s", "TFLOP/s per rank", "share of peak", "share of roof"),
        ),
        tuple(rows),
    )


def _share(value: Estimate, limit: float | None) -> str:
    if limit is None:
        return "-"
    part = intervals.scaled(value, 1 / limit)
    return f"{percent(part.value)} ({percent(part.low)} - {percent(part.high)})"


def _stated(roof: Roof, known: bool) -> str:
    """`known`: whether the runs tell their intensity."""
    peak = "No peak was stated (--peak-tflops), so no share of it. "
    memory = "No memory rate was stated (--memory-gb-per-second), so no roof."
    if roof.tflops:
        peak = f"Peak of a rank as stated: {roof.tflops:g} TFLOP/s. "
    if roof.gb_per_second:
        memory = f"Its memory as stated: {roof.gb_per_second:g} GB/s"
        memory += f", the limit below {roof.ridge:.1f} FLOP/byte." if roof.ridge else "; no roof."
        memory += "" if known else " The runs do not tell their bytes (an earlier version)."
    return peak + memory


def is_drawn(studies: Sequence[Study], roof: Roof) -> bool:
    """Whether there is a roof, and something to draw under it."""
    found = (one.intensity for study in studies for one in reached(study))
    return bool(roof.ridge) and any(found)


def draw(axes: Axes, found: Sequence[View], roof: Roof) -> None:
    """Both axes logarithmic: the roof, and each rank count of each mode below it."""
    known = [(view, [one for one in reached(view.study) if one.intensity]) for view in found]
    ridge = roof.ridge or math.nan
    places = [ridge, *(one.intensity or ridge for _, many in known for one in many)]
    x = np.geomspace(min(places) / 4, max(places) * 4, 200)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(
        x, [roof.at(value) or math.nan for value in x], "-", color=GREY, linewidth=1.5, label="roof"
    )
    axes.axvline(ridge, linestyle=":", color=PALE, linewidth=1)
    for view, many in known:
        for mode in view.study.modes:
            _points(axes, view, mode, [one for one in many if one.mode == mode])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    tops = [roof.tflops or 0.0, *(one.each.high for _, many in known for one in many)]
    axes.set_ylim(top=2 * max(tops))
    axes.set_xlabel("arithmetic intensity, FLOP/byte")
    axes.set_ylabel("TFLOP/s of a rank")


def _points(axes: Axes, view: View, mode: str, many: Sequence[Reached]) -> None:
    """The rank counts of one mode, which differ little in intensity."""
    strong = mode == "strong"
    look = view.ranks if strong else (WEAK if view.alone else view.copies)
    values = [one.each for one in many]
    axes.errorbar(
        [one.intensity or math.nan for one in many],
        [each.value for each in values],
        [[each.value - each.low for each in values], [each.high - each.value for each in values]],
        fmt=look.marker,
        color=look.colour,
        markersize=5.5 if strong else 9,
        markerfacecolor=look.colour if strong else "none",
        capsize=3,
        label=f"{view.prefix}{mode}",
    )
    for one in {many[0].ranks: many[0], many[-1].ranks: many[-1]}.values() if many else ():
        axes.annotate(
            str(one.ranks),
            (one.intensity or math.nan, one.each.value),
            xytext=(7 if strong else -7, 0),
            textcoords="offset points",
            ha="left" if strong else "right",
            va="center",
            fontsize=8,
        )
