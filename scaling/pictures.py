"""The curves of one or two studies as files: one picture of all, and each panel by itself."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.fits import Fitted
from scaling.panels import Panel
from scaling.plotting import BLUE, GREEN, GREY, ORANGE, RED, View
from scaling.results import Study

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.hashsalt": "scaling",
    "svg.fonttype": "path",
}


def views(studies: Sequence[Study], fitted: Sequence[Sequence[Fitted]]) -> list[View]:
    """The first study in blue and green, one laid over it in red and orange."""
    alone = len(studies) == 1
    looks = [("o", (BLUE, GREEN)), ("s", (RED, ORANGE))]
    return [
        View(
            study,
            {one.key: one for one in found},
            "" if alone else f"{study.name}: ",
            *look,
            alone,
        )
        for study, found, look in zip(studies, fitted, looks, strict=False)
    ]


def draw_panel(panel: Panel, found: Sequence[View], path: Path) -> None:
    """One panel alone, as SVG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        panel.draw(axes, found)
        axes.set_title(_title(panel, found))
        _legend(axes)
        figure.savefig(path, metadata={"Date": None})


def draw_all(
    chosen: Sequence[Panel], found: Sequence[View], conditions: Sequence[str], folder: Path
) -> None:
    """curves.png and curves.svg: every panel, with the conditions beneath."""
    with matplotlib.rc_context(STYLE):
        rows = -(-len(chosen) // 2)
        text = "\n".join(textwrap.fill(line, 190) for line in conditions)
        lines = text.count("\n") + 1
        figure = Figure(figsize=(12, 4.2 * rows + 0.2 * lines), layout="constrained")
        grid = figure.subplots(rows, 2, squeeze=False)
        for axes, panel in zip(grid.flat, chosen, strict=False):
            panel.draw(axes, found)
            axes.set_title(_title(panel, found))
            _legend(axes)
        for axes in grid.flat[len(chosen) :]:
            axes.set_visible(False)
        figure.supxlabel(text, fontsize=8, color=GREY, x=0.01, ha="left")
        figure.savefig(folder / "curves.png", dpi=130)
        figure.savefig(folder / "curves.svg", metadata={"Date": None})


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")


def _title(panel: Panel, found: Sequence[View]) -> str:
    rows = [row for view in found for row in view.study.measured]
    crowded = any(row.get("oversubscribed") for row in rows)
    return f"{panel.title} (oversubscribed)" if crowded else panel.title
