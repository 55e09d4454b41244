"""Curves over rank counts: how much faster, how efficiently, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from cloudmask.text import plural
from scaling.laws import laws, ratios, reach
from scaling.report.style import (
    PALE,
    PROJECT,
    PURPLE,
    RED,
    STEP,
    WEAK,
    Look,
    View,
    is_wide,
    law_curve,
    projected_curve,
    rank_axis,
    series,
)

WHOLE = Look(RED, "s", -STEP)
ALONE = Look(PURPLE, "D", -2 * STEP, filled=False)


def _bases(found: Sequence[View], mode: str) -> str:
    """1 rank: what the ratios of a panel are taken to, study by study."""
    counts = [min(points) for view in found if (points := view.study.points(mode))]
    return " and ".join(dict.fromkeys(plural(count, "rank") for count in counts))


def _laws(axes: Axes, view: View, mode: str, base: int, simplest: str) -> None:
    """USL where rank counts test it and so far as it projects; else the simplest law fitted."""
    projecting, _ = reach.of_fitted(view.fitted, mode)
    fit = next(iter(projecting.values()), None) or view.law(simplest)
    if fit is None:
        return
    at_base = float(fit.predict([base])[0])

    def speedup(figures: laws.Array, ranks: laws.Array) -> laws.Array:
        return at_base / figures if fit.law == laws.AMDAHL else figures / at_base

    def efficiency(figures: laws.Array, ranks: laws.Array) -> laws.Array:
        return speedup(figures, ranks) * base / ranks

    shown = speedup if mode == "strong" else efficiency
    law_curve(axes, fit, shown, f"{view.prefix}{fit.law.name}", view.law_colour)
    projected_curve(axes, projecting, shown, view.prefix, view.law_colour)


def draw_strong(axes: Axes, found: Sequence[View]) -> None:
    rank_axis(axes, found, reach=PROJECT)
    for view in found:
        speedup = ratios.speedup(view.study)
        if not speedup:
            continue
        base = speedup[0].ranks
        series(axes, speedup, view, "steady steps", view.ranks)
        copies = ratios.speedup(view.study, "strong", "copies")
        series(axes, copies, view, "unconnected copies (bound)", view.copies)
        if view.alone:
            series(axes, ratios.solution_speedup(view.study), view, "whole run", WHOLE)
        _communication_bound(axes, view, "strong")
        _laws(axes, view, "strong", base, "strong_step")
    _ideal(axes, found, "strong")
    axes.set_ylabel(f"speed-up over {_bases(found, 'strong')}")
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
    steps = ratios.curve(rows, "step_seconds")
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
        efficiency = ratios.efficiency(view.study, "weak")
        if not efficiency:
            continue
        series(axes, efficiency, view, "ranks", view.ranks)
        copies = ratios.efficiency(view.study, "weak", "copies")
        series(axes, copies, view, "unconnected copies (bound)", view.copies)
        _communication_bound(axes, view, "weak")
        base = efficiency[0].ranks
        _laws(axes, view, "weak", base, "weak_gustafson")
    axes.axhline(1, linestyle=":", color=PALE, linewidth=1.5, label="ideal", zorder=0)
    axes.set_ylim(bottom=0, top=max(1.1, axes.get_ylim()[1]))
    axes.set_ylabel(f"efficiency over {_bases(found, 'weak')}")


def draw_throughput(axes: Axes, found: Sequence[View]) -> None:
    rank_axis(axes, found)
    for view in found:
        looks = (view.ranks, WEAK if view.alone else view.copies)
        for mode, look in zip(("strong", "weak"), looks, strict=True):
            series(axes, ratios.throughput(view.study, mode), view, f"{mode} scaling", look)
        if view.alone and view.study.modes:
            mode = view.study.modes[-1]
            for kind, name, look in (
                ("copies", "unconnected copies", view.copies),
                ("alone", "one rank, no Horovod", ALONE),
            ):
                other = ratios.throughput(view.study, mode, kind)
                series(axes, other, view, f"{name} ({mode})", look)
            base = ratios.base_of(ratios.throughput(view.study, mode)).estimate.value
            _ideal(axes, found, mode, unit=base)
    axes.set_ylabel("patches/s, all ranks")
    _double_scale(axes, found)
