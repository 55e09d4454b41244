"""Where time goes: the parts of a step, the balance of the ranks, the allreduce by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from scaling.laws import fits, ratios
from scaling.report.shares import draw_shares, size_of_text
from scaling.report.style import (
    BLUE,
    ORANGE,
    PALE,
    RED,
    STEP,
    WEAK,
    Look,
    View,
    rank_axis,
    sequence,
    series,
    thinned,
)

PARTS = ((BLUE, ""), (ORANGE, "///"), (RED, "xxx"), ("#dddddd", "..."))
"""colour and hatch of each of ratios.PARTS"""
WEAK_SHARE = Look(ORANGE, "v", 2 * STEP, filled=False)


def draw_step(axes: Axes, found: Sequence[View]) -> None:
    """Shares of a step, with its absolute time on top of each bar."""
    curves = [
        (f"{view.prefix}\n{mode}".strip(), ratios.step_parts(view.study, mode))
        for view in found
        for mode in view.study.modes
    ]
    looks = {
        part: (name, *look) for (part, name), look in zip(ratios.PARTS.items(), PARTS, strict=True)
    }
    places, whole = draw_shares(axes, curves, looks)
    crowded = len(places) > 6
    for x, seconds in zip(places, whole, strict=True):
        axes.text(
            *(x, 102, f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"),
            ha="center",
            va="bottom",
            rotation=90 if crowded else 0,
            size=size_of_text(len(places)),
        )
    axes.set_ylabel("% of a step's time")
    axes.set_ylim(0, 128 if crowded else 112)


def draw_balance(axes: Axes, found: Sequence[View]) -> None:
    rank_axis(axes, found)
    for view in found:
        modes = view.study.modes if view.alone else view.study.modes[-1:]
        looks = {
            "strong": (view.ranks, view.copies),
            "weak": (WEAK, WEAK_SHARE),
        }
        for mode in modes:
            load, share = looks[mode] if view.alone else (view.ranks, view.copies)
            rows = view.study.points(mode)
            balance = ratios.curve(rows, "load_balance")
            series(axes, balance, view, f"load balance, {mode}", load)
            useful = ratios.curve(rows, "communication_efficiency")
            series(axes, useful, view, f"slowest rank's computing, {mode}", share)
    axes.axhline(1, linestyle=":", color=PALE, linewidth=1.5, label="ideal", zorder=0)
    axes.set_ylim(0, 1.1)
    axes.set_ylabel("share")


def draw_allreduce(axes: Axes, found: Sequence[View]) -> None:
    counts = sorted({n for view in found for n, _, _ in fits.allreduce_times(view.study)})
    looks = dict(zip(counts, sequence(len(counts)), strict=True))
    named = set(thinned(counts))
    for view in found:
        times = fits.allreduce_times(view.study)
        fit = view.law("allreduce")
        for ranks in sorted({n for n, _, _ in times}):
            here = [(size, seconds) for n, size, seconds in times if n == ranks]
            sizes, seconds = map(np.array, zip(*here, strict=True))
            colour, marker = looks[ranks]
            label = f"{view.prefix}{ranks} ranks" if ranks in named else None
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
