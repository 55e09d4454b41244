"""What is drawn of a study, panel by panel, and what stands beneath each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from scaling import curves, fits, laws
from scaling.plotting import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PROJECT,
    PURPLE,
    RED,
    Law,
    View,
    is_wide,
    law_curve,
    rank_axis,
    series,
)
from scaling.results import Study

PART_COLOURS = (BLUE, RED, ORANGE, PALE)
PART_NAMES = ("computing", "communication not hidden", "waiting for data", "other")


@dataclass(frozen=True)
class Panel:
    """One picture and what it says beneath it."""

    key: str
    title: str
    caption: str
    draw: Callable[[Axes, Sequence[View]], None]


def _speedup(law: Law, ranks: laws.Array, base: int) -> laws.Array:
    return law([base]) / law(ranks)


def _efficiency(law: Law, ranks: laws.Array, base: int) -> laws.Array:
    return law(ranks) / (ranks * law([base]) / base)


def draw_strong(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        speedup = curves.speedup(view.study)
        if not speedup:
            continue
        base = speedup[0].ranks
        series(axes, speedup, view, "steady steps", view.colours[0])
        copies = curves.speedup(view.study, "strong", "copies")
        series(axes, copies, view, "unconnected copies (bound)", view.colours[1], 0.02)
        if view.alone:
            series(axes, curves.solution_speedup(view.study), view, "whole run", RED)
            _communication_bound(axes, view, base)
        amdahl = view.law("strong_step")
        if amdahl:
            value = functools.partial(_speedup, base=base)
            law_curve(axes, amdahl, value, f"{view.prefix}Amdahl", GREY)
    _ideal(axes, found, "strong")
    axes.set_ylabel("speed-up over the base")
    rank_axis(axes, found, reach=PROJECT)
    if is_wide(found):
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))


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
        x = np.geomspace(counts[0], counts[-1] * PROJECT, 50)
        axes.plot(x, x / counts[0], ":", color=PALE, linewidth=1.5, label="ideal", zorder=0)


def draw_weak(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        efficiency = curves.efficiency(view.study, "weak")
        if not efficiency:
            continue
        series(axes, efficiency, view, "ranks", view.colours[0])
        copies = curves.efficiency(view.study, "weak", "copies")
        series(axes, copies, view, "unconnected copies (bound)", view.colours[1], 0.02)
        base = efficiency[0].ranks
        law = view.law("weak_usl") or view.law("weak_gustafson")
        if law:
            name = f"{view.prefix}{law.law.name}"
            law_curve(axes, law, functools.partial(_efficiency, base=base), name, GREY)
    axes.axhline(1, linestyle=":", color=PALE, linewidth=1.5, label="ideal", zorder=0)
    axes.set_ylim(bottom=0, top=max(1.1, axes.get_ylim()[1]))
    axes.set_ylabel("efficiency over the base")
    rank_axis(axes, found, reach=PROJECT)


def draw_throughput(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        second = RED if view.alone else view.colours[1]
        for mode, colour in (("strong", view.colours[0]), ("weak", second)):
            series(axes, curves.throughput(view.study, mode), view, f"{mode} scaling", colour)
        if view.alone:
            mode = view.study.modes[-1]
            for kind, name, colour in (
                ("copies", "unconnected copies", GREEN),
                ("alone", "one rank, no Horovod", PURPLE),
            ):
                other = curves.throughput(view.study, mode, kind)
                series(axes, other, view, f"{name} ({mode})", colour, 0.03)
    axes.set_ylabel("patches/s, all ranks")
    rank_axis(axes, found)
    if is_wide(found):
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    else:
        axes.set_ylim(bottom=0)


def draw_step(axes: Axes, found: Sequence[View]) -> None:
    """Shares of a step, with its absolute time on top of each bar."""
    labels: list[str] = []
    bars: list[dict[str, float]] = []
    for view in found:
        for mode in view.study.modes:
            for ranks, parts in curves.step_parts(view.study, mode).items():
                labels.append(f"{view.prefix}{mode}, {ranks}")
                bars.append(parts)
    place = np.arange(len(bars))
    whole = np.array([sum(bar.values()) for bar in bars])
    bottom = np.zeros(len(bars))
    for part, name, colour in zip(curves.PARTS, PART_NAMES, PART_COLOURS, strict=True):
        height = 100 * np.array([bar[part] for bar in bars]) / whole
        axes.bar(place, height, bottom=bottom, color=colour, label=name, width=0.7)
        bottom += height
    crowded = len(bars) > 6
    turn = 90 if crowded else 0
    for x, seconds in enumerate(whole):
        text = f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"
        axes.text(x, 102, text, ha="center", va="bottom", fontsize=7, rotation=turn)
    axes.set_xticks(place, labels, fontsize=8, rotation=45 if crowded else 0)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("% of a step's time")
    axes.set_ylim(0, 165 if crowded else 150)
    axes.grid(axis="x", visible=False)


def draw_balance(axes: Axes, found: Sequence[View]) -> None:
    for view in found:
        modes = view.study.modes if view.alone else view.study.modes[-1:]
        colours = {"strong": (BLUE, GREEN), "weak": (RED, ORANGE)}
        for mode in modes:
            load, share = colours[mode] if view.alone else view.colours
            rows = view.study.points(mode)
            balance = curves.curve(rows, "load_balance")
            series(axes, balance, view, f"load balance, {mode}", load)
            useful = curves.curve(rows, "communication_efficiency")
            series(axes, useful, view, f"computing share of the slowest rank, {mode}", share)
    axes.set_ylim(0, 1.1)
    axes.set_ylabel("share of 1")
    rank_axis(axes, found)


def draw_allreduce(axes: Axes, found: Sequence[View]) -> None:
    colours = (BLUE, RED, GREEN, ORANGE, PURPLE, GREY)
    counts = sorted({n for view in found for n, _, _ in fits.allreduce_times(view.study)})
    for view in found:
        times = fits.allreduce_times(view.study)
        fit = view.law("allreduce")
        for ranks in sorted({n for n, _, _ in times}):
            here = [(size, seconds) for n, size, seconds in times if n == ranks]
            sizes, seconds = map(np.array, zip(*here, strict=True))
            colour = colours[counts.index(ranks) % len(colours)]
            label = f"{view.prefix}{ranks} ranks"
            axes.plot(sizes, 1e3 * seconds, view.marker, color=colour, markersize=5, label=label)
            if fit:
                line = np.geomspace(sizes.min(), sizes.max(), 100)
                axes.plot(line, 1e3 * fit.predict(np.full(100, ranks), line), "-", color=colour)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator([2**power for power in range(10, 31, 4)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: _bytes(value)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
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
