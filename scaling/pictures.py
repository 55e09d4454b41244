"""The curves of one or two studies. Solid is measured or fitted to it, dashed is projected."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from scaling import curves, fits, laws
from scaling.curves import Curve
from scaling.fits import Fitted
from scaling.results import Study

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, RED, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00"
GREY, PALE = "#555555", "#bbbbbb"
PART_COLOURS = (BLUE, RED, ORANGE, PALE)
PART_NAMES = ("computing", "communication not hidden", "waiting for data", "other")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.hashsalt": "scaling",
    "svg.fonttype": "path",
}
PROJECT = 2
"""laws are drawn up to this multiple of the largest measured rank count"""


@dataclass(frozen=True)
class View:
    """What a panel draws: a study, its fits, and how its series look beside another's."""

    study: Study
    fitted: dict[str, Fitted]
    prefix: str
    marker: str
    filled: bool

    def law(self, key: str) -> laws.Fit | None:
        found = self.fitted.get(key)
        return found.fit if found else None


@dataclass(frozen=True)
class Panel:
    """One picture and what it says beneath it."""

    key: str
    title: str
    caption: str
    draw: Callable[[Axes, Sequence[View]], None]


def views(studies: Sequence[Study], fitted: Sequence[Sequence[Fitted]]) -> list[View]:
    return [
        View(
            study,
            {one.key: one for one in found},
            f"{study.name}: " if len(studies) > 1 else "",
            "os"[number],
            number == 0,
        )
        for number, (study, found) in enumerate(zip(studies, fitted, strict=True))
    ]


def series(axes: Axes, found: Curve, view: View, label: str, colour: str, shift: float = 0) -> None:
    """Medians with intervals, joined, and every single run beside them."""
    if not found:
        return
    x = np.array([point.ranks for point in found]) * (1 + shift)
    middle = np.array([point.estimate.value for point in found])
    low = middle - [point.estimate.low for point in found]
    high = np.array([point.estimate.high for point in found]) - middle
    face = colour if view.filled else "white"
    axes.errorbar(
        x,
        middle,
        [low, high],
        fmt="-" + view.marker,
        color=colour,
        markerfacecolor=face,
        markersize=5,
        capsize=3,
        linewidth=1.3,
        label=f"{view.prefix}{label}",
        zorder=3,
    )
    for place, point in zip(x, found, strict=True):
        runs = [place * 1.025] * len(point.values)
        axes.plot(runs, point.values, ".", color=colour, alpha=0.45, markersize=4, zorder=2)


def rank_axis(axes: Axes, found: Sequence[View], *, reach: float = 1.0) -> None:
    """Rank counts as ticks; logarithmic where they span more than a factor of eight."""
    ranks = sorted({row["ranks"] for view in found for row in view.study.measured})
    top = max(ranks) * reach
    if max(ranks) / min(ranks) > 8:
        axes.set_xscale("log", base=2)
        axes.set_xlim(min(ranks) / 1.25, top * 1.25)
    else:
        axes.set_xlim(min(ranks) - 0.35 * max(1, top / 8), top + 0.35 * max(1, top / 8))
    ticks = ranks + ([int(top)] if reach > 1 else [])
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    unit = "GPUs" if any(v.study.header["gpus_per_rank"] for v in found) else "ranks"
    axes.set_xlabel(unit)


def law_curve(
    axes: Axes,
    fit: laws.Fit | None,
    value: Callable[[np.ndarray], np.ndarray],
    label: str,
    colour: str,
) -> None:
    """A fitted law: solid where there are measurements, dashed and labelled beyond them."""
    if fit is None:
        return
    first, last = min(fit.ranks), max(fit.ranks)
    inside = np.linspace(first, last, 60)
    beyond = np.linspace(last, PROJECT * last, 60)
    axes.plot(inside, value(inside), "-", color=colour, linewidth=1, label=label, zorder=1)
    told = f"{label}, projected"
    axes.plot(beyond, value(beyond), "--", color=colour, linewidth=1, label=told, zorder=1)


def _speedup_of(fit: laws.Fit, base: int) -> Callable[[np.ndarray], np.ndarray]:
    one = float(fit.predict([base])[0])
    return lambda ranks: one / fit.predict(ranks)


def _efficiency_of(fit: laws.Fit, base: int) -> Callable[[np.ndarray], np.ndarray]:
    one = float(fit.predict([base])[0]) / base
    return lambda ranks: fit.predict(ranks) / (ranks * one)


def draw_strong(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        speedup = curves.speedup(view.study)
        if not speedup:
            continue
        base = speedup[0].ranks
        series(axes, speedup, view, "steady steps", BLUE)
        series(axes, curves.solution_speedup(view.study), view, "whole run", RED)
        copies = curves.speedup(view.study, "strong", "copies")
        series(axes, copies, view, "unconnected copies (bound)", GREEN, 0.02)
        amdahl = view.law("strong_step")
        if amdahl:
            law_curve(axes, amdahl, _speedup_of(amdahl, base), f"{view.prefix}Amdahl", GREY)
        _communication_bound(axes, view, base)
    _ideal(axes, found, "strong")
    axes.set_ylabel("speed-up over the base")
    rank_axis(axes, found, reach=PROJECT)


def _communication_bound(axes: Axes, view: View, base: int) -> None:
    """Perfectly shared computing plus one allreduce of all gradients, nothing hidden."""
    fit, rows = view.law("allreduce"), view.study.points("strong")
    size = next((row.get("gradient_bytes") for row in view.study.measured), None)
    if fit is None or not size or base != 1:
        return
    step = curves.curve(rows, "step_seconds")[0].estimate.value
    ranks = [n for n in fit.ranks if n > 1]
    seconds = [step / n + float(fit.predict([n], [size])[0]) for n in ranks]
    axes.plot(
        [1, *ranks],
        [1, *(step / taken for taken in seconds)],
        "-x",
        color=PURPLE,
        linewidth=1,
        markersize=5,
        label=f"{view.prefix}allreduce as measured, not hidden",
        zorder=1,
    )


def _ideal(axes: Axes, found: Sequence[View], mode: str) -> None:
    counts = sorted({n for view in found for n in view.study.points(mode)})
    if counts:
        x = np.array([counts[0], counts[-1] * PROJECT], float)
        axes.plot(x, x / counts[0], ":", color=PALE, linewidth=1.5, label="ideal", zorder=0)


def draw_weak(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        efficiency = curves.efficiency(view.study, "weak")
        if not efficiency:
            continue
        series(axes, efficiency, view, "ranks", BLUE)
        copies = curves.efficiency(view.study, "weak", "copies")
        series(axes, copies, view, "unconnected copies (bound)", GREEN, 0.02)
        base = efficiency[0].ranks
        law = view.law("weak_usl") or view.law("weak_gustafson")
        if law:
            name = f"{view.prefix}{law.law.name}"
            law_curve(axes, law, _efficiency_of(law, base), name, GREY)
    axes.axhline(1, linestyle=":", color=PALE, linewidth=1.5, label="ideal", zorder=0)
    axes.set_ylim(bottom=0, top=max(1.1, axes.get_ylim()[1]))
    axes.set_ylabel("efficiency over the base")
    rank_axis(axes, found, reach=PROJECT)


def draw_throughput(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        for mode, colour in (("strong", BLUE), ("weak", RED)):
            series(axes, curves.throughput(view.study, mode), view, f"{mode} scaling", colour)
            for kind, name, mark in (("copies", "copies", GREEN), ("alone", "no Horovod", PURPLE)):
                if mode == view.study.modes[-1]:
                    other = curves.throughput(view.study, mode, kind)
                    series(axes, other, view, f"{name} ({mode})", mark, 0.03)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("patches/s, all ranks")
    rank_axis(axes, found)


def draw_step(axes: Axes, found: Sequence[View]) -> None:
    labels: list[str] = []
    bars: list[dict[str, float]] = []
    for view in found:
        for mode in view.study.modes:
            for kind in ("ranks", "copies"):
                for ranks, parts in curves.step_parts(view.study, mode, kind).items():
                    what = f"{ranks} copies" if kind == "copies" else f"N = {ranks}"
                    labels.append(f"{view.prefix.rstrip(': ')}\n{mode}\n{what}".strip())
                    bars.append(parts)
    bottom = np.zeros(len(bars))
    for part, name, colour in zip(curves.PARTS, PART_NAMES, PART_COLOURS, strict=True):
        height = np.array([bar[part] for bar in bars])
        axes.bar(range(len(bars)), height, bottom=bottom, color=colour, label=name, width=0.7)
        bottom += height
    axes.set_xticks(range(len(bars)), labels, fontsize=7)
    axes.set_ylabel("seconds per step")
    axes.set_ylim(top=1.35 * max(bottom, default=1))
    axes.grid(axis="x", visible=False)


def draw_balance(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        for mode, (load, communication) in {
            "strong": (BLUE, GREEN),
            "weak": (RED, ORANGE),
        }.items():
            rows = view.study.points(mode)
            balance = curves.curve(rows, "load_balance")
            series(axes, balance, view, f"load balance, {mode}", load)
            useful = curves.curve(rows, "communication_efficiency")
            series(axes, useful, view, f"useful share of the slowest rank, {mode}", communication)
    axes.set_ylim(0, 1.1)
    axes.set_ylabel("share of 1")
    rank_axis(axes, found)


def draw_allreduce(axes: Axes, found: Sequence[View]) -> None:
    colours = (BLUE, RED, GREEN, ORANGE, PURPLE, GREY)
    for view in found:
        times = fits.allreduce_times(view.study)
        fit = view.law("allreduce")
        for number, ranks in enumerate(sorted({n for n, _, _ in times})):
            here = [(size, seconds) for n, size, seconds in times if n == ranks]
            sizes, seconds = map(np.array, zip(*here, strict=True))
            colour = colours[number % len(colours)]
            face = colour if view.filled else "white"
            axes.plot(
                sizes,
                1e3 * seconds,
                view.marker,
                color=colour,
                markerfacecolor=face,
                markersize=5,
                label=f"{view.prefix}{ranks} ranks",
            )
            if fit:
                line = np.geomspace(sizes.min(), sizes.max(), 100)
                axes.plot(line, 1e3 * fit.predict(np.full(100, ranks), line), "-", color=colour)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator([2**power for power in range(10, 31, 4)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: _bytes(value)))
    axes.set_xlabel("size of the message")
    axes.set_ylabel("milliseconds")


def _bytes(value: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} B"


def panels(studies: Sequence[Study]) -> list[Panel]:
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
                draw_strong,
            )
        )
    if "weak" in modes:
        found.append(
            Panel(
                "weak",
                "Weak scaling",
                f"Efficiency at a fixed batch per rank, {flavours} dataset: patches/s over N "
                "times those of the base.",
                draw_weak,
            )
        )
    found += [
        Panel(
            "throughput",
            "Throughput",
            "Patches per second of all ranks together, steady steps.",
            draw_throughput,
        ),
        Panel(
            "step",
            "Where a step's time goes",
            "Parts of a steady step, mean over ranks, medians over repeats. Communication is "
            "what computing did not hide, waiting for slower ranks included.",
            draw_step,
        ),
        Panel(
            "balance",
            "Load balance",
            "Mean over largest computing time of the ranks, and the largest computing time over "
            "the step (POP metrics).",
            draw_balance,
        ),
    ]
    if any(fits.allreduce_times(study) for study in studies):
        found.append(
            Panel(
                "allreduce",
                "Horovod's allreduce",
                "One tensor at a time, median of 15 each; lines: the fitted model.",
                draw_allreduce,
            )
        )
    return found


def draw_panel(panel: Panel, found: Sequence[View], path: Path) -> None:
    """One panel alone, as SVG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        panel.draw(axes, found)
        axes.set_title(panel.title)
        _legend(axes)
        figure.savefig(path, metadata={"Date": None})


def draw_all(
    chosen: Sequence[Panel], found: Sequence[View], conditions: Sequence[str], folder: Path
) -> None:
    """curves.png and curves.svg: every panel, with the conditions beneath."""
    with matplotlib.rc_context(STYLE):
        rows = -(-len(chosen) // 2)
        text = "\n".join(textwrap.fill(line, 150) for line in conditions)
        lines = text.count("\n") + 1
        figure = Figure(figsize=(12, 4.2 * rows + 0.2 * lines), layout="constrained")
        grid = figure.subplots(rows, 2, squeeze=False)
        for axes, panel in zip(grid.flat, chosen, strict=False):
            panel.draw(axes, found)
            axes.set_title(panel.title)
            _legend(axes)
        for axes in grid.flat[len(chosen) :]:
            axes.set_visible(False)
        figure.supxlabel(text, fontsize=8, color=GREY, x=0.01, ha="left")
        figure.savefig(folder / "curves.png", dpi=130)
        figure.savefig(folder / "curves.svg", metadata={"Date": None})


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")
