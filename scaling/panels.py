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
    STEP,
    Law,
    Look,
    View,
    is_wide,
    law_curve,
    rank_axis,
    series,
)
from scaling.results import Study

PARTS = (
    ("computing", BLUE, ""),
    ("communication not hidden", ORANGE, "///"),
    ("waiting for data", RED, "xxx"),
    ("other", "#dddddd", "..."),
)
"""name, colour and hatch of curves.PARTS"""
WHOLE = Look(RED, "s", -STEP)
ALONE = Look(PURPLE, "D", -2 * STEP, filled=False)
WEAK = Look(RED, "s", -STEP)


@dataclass(frozen=True)
class Panel:
    """One picture and what it says beneath it."""

    key: str
    title: str
    caption: str
    draw: Callable[[Axes, Sequence[View]], None]
    legend: float = -0.13
    """where its legend begins, in heights of the axes"""


def _speedup(law: Law, ranks: laws.Array, base: int) -> laws.Array:
    return law([base]) / law(ranks)


def _efficiency(law: Law, ranks: laws.Array, base: int) -> laws.Array:
    return law(ranks) / (ranks * law([base]) / base)


def draw_strong(axes: Axes, found: Sequence[View]) -> None:
    rank_axis(axes, found, reach=PROJECT)
    for view in found:
        speedup = curves.speedup(view.study)
        if not speedup:
            continue
        base = speedup[0].ranks
        series(axes, speedup, view, "steady steps", view.ranks)
        copies = curves.speedup(view.study, "strong", "copies")
        series(axes, copies, view, "unconnected copies (bound)", view.copies)
        if view.alone:
            series(axes, curves.solution_speedup(view.study), view, "whole run", WHOLE)
        _communication_bound(axes, view, "strong")
        amdahl = view.law("strong_step")
        if amdahl:
            value = functools.partial(_speedup, base=base)
            law_curve(axes, amdahl, value, f"{view.prefix}Amdahl", view.law_colour)
    _ideal(axes, found, "strong")
    axes.set_ylabel("speed-up over the base")
    _double_scale(axes, found)


def _double_scale(axes: Axes, found: Sequence[View]) -> None:
    """Where rank counts span a lot, what grows with them is drawn in doublings too."""
    if is_wide(found):
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    else:
        axes.set_ylim(bottom=0)


def _communication_bound(axes: Axes, view: View, mode: str) -> None:
    """Perfectly shared computing plus one allreduce of all gradients, nothing hidden."""
    fit, rows = view.law("allreduce"), view.study.points(mode)
    size = next((row.get("gradient_bytes") for row in view.study.measured), None)
    steps = curves.curve(rows, "step_seconds")
    if fit is None or not size or not steps or steps[0].ranks != 1 or not view.alone:
        return
    step = steps[0].estimate.value
    ranks = [n for n in fit.ranks if n in rows]
    added = [float(fit.predict([n], [size])[0]) for n in ranks]
    strong = [step / (step / n + seconds) for n, seconds in zip(ranks, added, strict=True)]
    weak = [step / (step + seconds) for seconds in added]
    axes.plot(
        [1, *ranks],
        [1, *(strong if mode == "strong" else weak)],
        "-x",
        color=PURPLE,
        linewidth=1,
        markersize=5,
        label="allreduce as fitted, none of it hidden",
        zorder=1,
    )


def _ideal(axes: Axes, found: Sequence[View], mode: str, *, unit: float = 1.0) -> None:
    """Proportional to the ranks, from `unit` at the base."""
    counts = sorted({n for view in found for n in view.study.points(mode)})
    if counts:
        reach = PROJECT if unit == 1 else 1
        x = np.geomspace(counts[0], counts[-1] * reach, 50)
        axes.plot(x, unit * x / counts[0], ":", color=PALE, linewidth=1.5, label="ideal", zorder=0)


def draw_weak(axes: Axes, found: Sequence[View]) -> None:
    rank_axis(axes, found, reach=PROJECT)
    for view in found:
        efficiency = curves.efficiency(view.study, "weak")
        if not efficiency:
            continue
        series(axes, efficiency, view, "ranks", view.ranks)
        copies = curves.efficiency(view.study, "weak", "copies")
        series(axes, copies, view, "unconnected copies (bound)", view.copies)
        _communication_bound(axes, view, "weak")
        base = efficiency[0].ranks
        law = view.law("weak_usl") or view.law("weak_gustafson")
        if law:
            name = f"{view.prefix}{law.law.name}"
            law_curve(axes, law, functools.partial(_efficiency, base=base), name, view.law_colour)
    axes.axhline(1, linestyle=":", color=PALE, linewidth=1.5, label="ideal", zorder=0)
    axes.set_ylim(bottom=0, top=max(1.1, axes.get_ylim()[1]))
    axes.set_ylabel("efficiency over the base")


def draw_throughput(axes: Axes, found: Sequence[View]) -> None:
    rank_axis(axes, found)
    for view in found:
        looks = (view.ranks, WEAK if view.alone else view.copies)
        for mode, look in zip(("strong", "weak"), looks, strict=True):
            series(axes, curves.throughput(view.study, mode), view, f"{mode} scaling", look)
        if view.alone and view.study.modes:
            mode = view.study.modes[-1]
            for kind, name, look in (
                ("copies", "unconnected copies", view.copies),
                ("alone", "one rank, no Horovod", ALONE),
            ):
                other = curves.throughput(view.study, mode, kind)
                series(axes, other, view, f"{name} ({mode})", look)
            base = curves.base_of(curves.throughput(view.study, mode)).estimate.value
            _ideal(axes, found, mode, unit=base)
    axes.set_ylabel("patches/s, all ranks")
    _double_scale(axes, found)


def draw_step(axes: Axes, found: Sequence[View]) -> None:
    """Shares of a step, with its absolute time on top of each bar; bars of a curve side by side."""
    places: list[float] = []
    bars: list[dict[str, float]] = []
    ticks: list[str] = []
    for view in found:
        for mode in view.study.modes:
            parts = curves.step_parts(view.study, mode)
            first = places[-1] + 1.6 if places else 0.0
            places += [first + number for number in range(len(parts))]
            bars += parts.values()
            ticks += map(str, parts)
            axes.text(
                *(first + (len(parts) - 1) / 2, -0.08, f"{view.prefix}\n{mode}".strip()),
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
            )
    whole = np.array([sum(bar.values()) for bar in bars])
    bottom = np.zeros(len(bars))
    for part, (name, colour, hatch) in zip(curves.PARTS, PARTS, strict=True):
        height = 100 * np.array([bar[part] for bar in bars]) / whole
        bars_of_part = axes.bar(places, height, bottom=bottom, label=name, color=colour, width=0.8)
        for bar in bars_of_part:
            bar.set(hatch=hatch, edgecolor="white", linewidth=0.5)
        bottom += height
    crowded = len(bars) > 6
    for x, seconds in zip(places, whole, strict=True):
        text = f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"
        axes.text(x, 102, text, ha="center", va="bottom", rotation=90 if crowded else 0)
    axes.set_xticks(places, ticks)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("% of a step's time")
    axes.set_ylim(0, 128 if crowded else 112)
    axes.grid(axis="x", visible=False)


def draw_balance(axes: Axes, found: Sequence[View]) -> None:
    rank_axis(axes, found)
    for view in found:
        modes = view.study.modes if view.alone else view.study.modes[-1:]
        looks = {
            "strong": (view.ranks, view.copies),
            "weak": (WEAK, Look(ORANGE, "v", 2 * STEP, filled=False)),
        }
        for mode in modes:
            load, share = looks[mode] if view.alone else (view.ranks, view.copies)
            rows = view.study.points(mode)
            balance = curves.curve(rows, "load_balance")
            series(axes, balance, view, f"load balance, {mode}", load)
            useful = curves.curve(rows, "communication_efficiency")
            series(axes, useful, view, f"slowest rank's computing, {mode}", share)
    axes.axhline(1, linestyle=":", color=PALE, linewidth=1.5, label="ideal", zorder=0)
    axes.set_ylim(0, 1.1)
    axes.set_ylabel("share")


def draw_allreduce(axes: Axes, found: Sequence[View]) -> None:
    looks = tuple(zip((BLUE, RED, GREEN, ORANGE, PURPLE, GREY), "os^DvP", strict=True))
    counts = sorted({n for view in found for n, _, _ in fits.allreduce_times(view.study)})
    for view in found:
        times = fits.allreduce_times(view.study)
        fit = view.law("allreduce")
        for ranks in sorted({n for n, _, _ in times}):
            here = [(size, seconds) for n, size, seconds in times if n == ranks]
            sizes, seconds = map(np.array, zip(*here, strict=True))
            colour, marker = looks[counts.index(ranks) % len(looks)]
            label = f"{view.prefix}{ranks} ranks"
            face = colour if view is found[0] else "white"
            axes.plot(
                *(sizes, 1e3 * seconds, marker),
                color=colour,
                markerfacecolor=face,
                markersize=5,
                label=label,
            )
            if fit:
                line = np.geomspace(sizes.min(), sizes.max(), 100)
                name = "ring model, fitted" if ranks == counts[0] else None
                model = 1e3 * fit.predict(np.full(100, ranks), line)
                axes.plot(line, model, "-", color=colour, linewidth=1, label=name)
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
            "what computing did not hide, waiting for slower ranks included. Numbers: ranks.",
            draw_step,
            legend=-0.2,
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
