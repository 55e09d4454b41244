"""How curves of one or two studies look. Solid is measured or fitted to it, dashed projected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from cloudmask.text import plural
from scaling.laws import laws, reach
from scaling.laws.fits import Fitted
from scaling.laws.fitting import Fit
from scaling.laws.ratios import Curve
from scaling.record.store import Study

# Okabe and Ito's colours, which colour-blind readers can tell apart. Nothing is told by colour
# alone: every series has a marker of its own, for prints in black and white.
BLUE, RED, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#E69F00"
GREY, PALE = "#555555", "#999999"
PROJECT = 2
"""laws are drawn up to this multiple of the largest measured rank count"""
STEP = 0.015
"""between series at one rank count, as a share of the axis"""
MARKERS = "os^DvP*Xp<>h"
TICK = 0.045
"""between two numbers of an axis, as a share of it"""
DOTS = 0.009
"""from a median to the dots of its single runs, as a share of the axis"""


@dataclass(frozen=True)
class Look:
    """How a series is told from others; `shift` keeps points at one rank count apart."""

    colour: str
    marker: str
    shift: float = 0.0
    """to the right of its rank count, as a share of the axis"""
    filled: bool = True


WEAK = Look(RED, "s", -STEP)
"""weak scaling beside strong, where one study has both in a panel"""


Shown = Callable[[laws.Array, laws.Array], laws.Array]
"""(figures of a law at ranks, these ranks) -> what a panel shows of them"""


@dataclass(frozen=True)
class View:
    """What a panel draws: a study, its fits, and how it looks; `alone` without a second study."""

    study: Study
    fitted: dict[str, Fitted]
    prefix: str
    ranks: Look
    copies: Look
    law_colour: str
    alone: bool

    def law(self, key: str) -> Fit | None:
        found = self.fitted.get(key)
        return found.fit if found else None


def series(axes: Axes, found: Curve, view: View, label: str, look: Look) -> None:
    """Medians with intervals, joined, and every single run beside them; after `rank_axis`."""
    if not found:
        return
    x = [point.ranks for point in found]
    middle = np.array([point.estimate.value for point in found])
    low = middle - [point.estimate.low for point in found]
    high = np.array([point.estimate.high for point in found]) - middle
    axes.plot(x, middle, "-", color=look.colour, linewidth=1.3, zorder=2)
    axes.errorbar(
        _beside(axes, found, look.shift),
        middle,
        [low, high],
        fmt=look.marker,
        color=look.colour,
        markerfacecolor=look.colour if look.filled else "white",
        markersize=5.5,
        capsize=3,
        linewidth=1.3,
        label=f"{view.prefix}{label}",
        zorder=3,
    )
    for place, point in zip(_beside(axes, found, look.shift + DOTS), found, strict=True):
        runs = [place] * len(point.values)
        axes.plot(runs, point.values, ".", color=look.colour, alpha=0.6, markersize=3.5, zorder=2)


def _beside(axes: Axes, found: Curve, share: float) -> list[float]:
    """Places of the rank counts, moved to the right by a share of the axis."""
    low, high = axes.get_xlim()
    if axes.get_xscale() == "log":
        return [point.ranks * (high / low) ** share for point in found]
    return [point.ranks + (high - low) * share for point in found]


def is_wide(found: Sequence[View]) -> bool:
    ranks = [row["ranks"] for view in found for row in view.study.measured]
    return max(ranks) / min(ranks) >= 8


def rank_axis(axes: Axes, found: Sequence[View], *, reach: float = 1.0) -> None:
    """Rank counts as ticks; logarithmic where they span a factor of eight or more."""
    ranks = sorted({row["ranks"] for view in found for row in view.study.measured})
    top = max(ranks) * reach
    if is_wide(found):
        axes.set_xscale("log", base=2)
        # Room for the series that stand beside their rank count, by shares of the axis.
        pad = max(1.25, (top / min(ranks)) ** 0.06)
        axes.set_xlim(min(ranks) / pad, top * pad)
    else:
        axes.set_xlim(min(ranks) - 0.35 * max(1, top / 8), top + 0.35 * max(1, top / 8))
    ticks = ranks + ([int(top)] if reach > 1 else [])
    axes.xaxis.set_major_locator(FixedLocator(_apart(axes, ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.set_xlabel(rank_label(found))


def rank_label(found: Sequence[View]) -> str:
    """ranks (of 2 GPUs each): a rank is a process, however many devices it has."""
    counts = sorted({int(view.study.header["gpus_per_rank"]) for view in found})
    if counts == [0]:
        return "ranks"
    return f"ranks (of {' or '.join(plural(count, 'GPU') for count in counts)} each)"


def _apart(axes: Axes, ticks: Sequence[int]) -> list[int]:
    """The ticks whose numbers do not run into each other; the largest first."""
    low, high = axes.get_xlim()
    wide = axes.get_xscale() == "log"
    kept: list[int] = []
    places: list[float] = []
    for tick in sorted(set(ticks), key=lambda tick: (-_evenness(tick), -tick)):
        share = math.log(tick / low) / math.log(high / low) if wide else (tick - low) / (high - low)
        if all(abs(share - place) >= TICK for place in places):
            kept.append(tick)
            places.append(share)
    return sorted(kept)


def _evenness(number: int) -> int:
    """How often 2 divides it: powers of two are kept before their neighbours."""
    return (number & -number).bit_length() - 1


def sequence(count: int) -> list[tuple[Any, str]]:
    """Colours that go from dark to light with the rank count, and markers: none looks like another.

    Cividis, which colour-blind readers see as the others do, without its palest end.
    """
    shades = matplotlib.colormaps["cividis"](np.linspace(0.0, 0.88, max(count, 2)))
    return [(tuple(shades[place]), MARKERS[place % len(MARKERS)]) for place in range(count)]


def thinned(counts: Sequence[int], most: int = 8) -> list[int]:
    """At most so many of them, evenly, the first and the last among them: for a legend."""
    if len(counts) <= most:
        return list(counts)
    places = np.unique(np.linspace(0, len(counts) - 1, most).round().astype(int))
    return [counts[place] for place in places]


def law_curve(axes: Axes, fit: Fit, shown: Shown, label: str, colour: str) -> None:
    """A fitted law where there are measurements."""
    inside = np.geomspace(min(fit.ranks), max(fit.ranks), 60)
    figures = shown(fit.predict(inside), inside)
    axes.plot(inside, figures, "-", color=colour, linewidth=1, label=_named(label, fit))


def projected_curve(
    axes: Axes, laws: Mapping[str, Fit], shown: Shown, prefix: str, colour: str
) -> None:
    """What the laws of a mode project, dashed, as far as they are carried and the page tells it.

    Shaded is the interval of what many runs would show, by whichever of the laws holds.
    """
    if not laws:
        return
    first = next(iter(laws.values()))
    beyond = np.geomspace(last := max(first.ranks), PROJECT * last, 60)
    carried = reach.carried(laws, beyond)
    beyond = beyond[: len(beyond) if carried.all() else int(carried.argmin())]
    if len(beyond) < 2:
        return
    label = f"{_named(prefix + first.law.name, first)}, projected"
    middle = shown(first.predict(beyond), beyond)
    low, high = (shown(bound, beyond) for bound in reach.possible([*laws.values()], beyond))
    axes.plot(beyond, middle, "--", color=colour, linewidth=1, label=label)
    axes.fill_between(beyond, low, high, color=colour, alpha=0.12, linewidth=0)


def _named(label: str, fit: Fit) -> str:
    return f"{label}, rejected" if fit.rejected else label
