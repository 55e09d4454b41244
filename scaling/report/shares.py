"""Bars of shares: what a whole is made of, the bars of a curve side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

GAP = 1.6
"""between the last bar of a curve and the first of the next, in bars"""
LARGEST, ROOM = 9.0, 170.0
"""size of what stands below and above bars, and what there is for all of them together"""

Array = np.ndarray[Any, np.dtype[np.float64]]
Looks = Mapping[str, tuple[str, str, str]]
"""part -> name, colour and hatch, in the order that bars are stacked in"""


def size_of_text(bars: int) -> float:
    return min(LARGEST, ROOM / max(bars, 1))


def draw_shares(
    axes: Axes, curves: Iterable[tuple[str, Mapping[int, Mapping[str, float]]]], looks: Looks
) -> tuple[list[float], Array]:
    """Of each curve its name and, by rank count, the parts of a whole.

    Returns where the bars stand, and (bars,) their wholes.
    """
    places: list[float] = []
    bars: list[Mapping[str, float]] = []
    ticks: list[str] = []
    for name, here in curves:
        first = places[-1] + GAP if places else 0.0
        places += [first + number for number in range(len(here))]
        bars += here.values()
        ticks += map(str, here)
        axes.text(
            *(first + (len(here) - 1) / 2, -0.08, name),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
        )
    whole = np.array([sum(bar.values()) for bar in bars])
    bottom = np.zeros(len(bars))
    for part, (label, colour, hatch) in looks.items():
        height = 100 * np.array([bar[part] for bar in bars]) / whole
        for drawn in axes.bar(places, height, bottom=bottom, label=label, color=colour):
            drawn.set(hatch=hatch, edgecolor="white", linewidth=0.5)
        bottom += height
    axes.set_xticks(places, ticks, size=size_of_text(len(bars)))
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="x", visible=False)
    return places, whole
