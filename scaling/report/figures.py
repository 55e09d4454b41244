"""The curves of one or two studies as files: one picture of all, and each panel by itself."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cloudmask.files import write_whole
from scaling.laws.fits import Fitted
from scaling.record.store import Study
from scaling.report.panels import Panel
from scaling.report.style import BLUE, GREEN, GREY, ORANGE, RED, STEP, Look, View

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

UNDATED = {"svg": "Date", "pdf": "CreationDate"}
"""what a picture would say of the time it was drawn: the same study gives the same bytes"""


def views(studies: Sequence[Study], fitted: Sequence[Sequence[Fitted]]) -> list[View]:
    """The first study in blue and green, one laid over it in red and orange."""
    alone = len(studies) == 1
    looks = [
        (Look(BLUE, "o"), Look(GREEN, "^", STEP, filled=False), GREY if alone else BLUE),
        (Look(RED, "s", -STEP), Look(ORANGE, "v", 2 * STEP, filled=False), RED),
    ]
    return [
        View(
            study,
            {one.key: one for one in found},
            "" if alone else f"{named(study)}: ",
            *look,
            alone,
        )
        for study, found, look in zip(studies, fitted, looks, strict=False)
    ]


def named(study: Study) -> str:
    """A study's name, which says so where its device was emulated."""
    return f"{study.name} (emulated device)" if study.emulated else study.name


def draw_panel(panel: Panel, found: Sequence[View]) -> bytes:
    """One panel alone, as SVG, for a page that tells its conditions itself."""
    return _drawn(panel, found, (), "svg")[0]


def draw_files(
    chosen: Sequence[Panel], found: Sequence[View], notes: Sequence[str], folder: Path
) -> None:
    """figures/KEY.svg and KEY.pdf of every panel, notes and conditions beneath each."""
    (folder / "figures").mkdir(exist_ok=True)
    for panel in chosen:
        pictures = _drawn(panel, found, (panel.caption, *notes), *UNDATED)
        for kind, picture in zip(UNDATED, pictures, strict=True):
            write_whole(folder / "figures" / f"{panel.key}.{kind}", picture)


def _drawn(panel: Panel, found: Sequence[View], notes: Sequence[str], *kinds: str) -> list[bytes]:
    """One drawing in each of these formats, laid out once, which takes most of the time."""
    text = "\n".join(textwrap.fill(line, 108) for line in notes)
    lines = text.count("\n") + 1 if text else 0
    pictures = []
    # A page has its letters as outlines, for any reader; a file has text that can be edited.
    text_as = {"svg.fonttype": "none" if notes else "path"}
    with matplotlib.rc_context(STYLE | text_as):
        figure = Figure(figsize=(5.2, 4.4 + 0.12 * lines), layout="constrained")
        _draw(figure.subplots(), panel, found)
        if text:
            figure.supxlabel(text, fontsize=6, color=GREY, x=0.01, ha="left")
        for kind in kinds:
            file = io.BytesIO()
            figure.savefig(file, format=kind, metadata={UNDATED[kind]: None})
            pictures.append(file.getvalue())
            figure.set_layout_engine("none")
    return pictures


def draw_all(
    chosen: Sequence[Panel], found: Sequence[View], notes: Sequence[str], folder: Path
) -> None:
    """curves.png: every panel, with notes and conditions beneath."""
    with matplotlib.rc_context(STYLE):
        rows = -(-len(chosen) // 2)
        text = "\n".join(textwrap.fill(line, 180) for line in notes)
        lines = text.count("\n") + 1
        layout = ConstrainedLayoutEngine(hspace=0.06, wspace=0.05)
        figure = Figure(figsize=(12, 4.8 * rows + 0.2 * lines), layout=layout)
        grid = figure.subplots(rows, 2, squeeze=False)
        for axes, panel in zip(grid.flat, chosen, strict=False):
            _draw(axes, panel, found)
        for axes in grid.flat[len(chosen) :]:
            axes.set_visible(False)
        figure.supxlabel(text, fontsize=9, color=GREY, x=0.01, ha="left")
        figure.savefig(folder / "curves.png", dpi=130)


def _draw(axes: Axes, panel: Panel, found: Sequence[View]) -> None:
    """A panel with its legend beneath, where it can cover nothing."""
    panel.draw(axes, found)
    rows = [row for view in found for row in view.study.measured]
    marks = ["emulated device"] if all(view.study.emulated for view in found) else []
    marks += ["oversubscribed"] if any(row.get("oversubscribed") for row in rows) else []
    # Beneath the title, for beside it they would not fit the narrow pictures.
    axes.set_title("\n".join([panel.title, *([f"({', '.join(marks)})"] if marks else [])]))
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        # What was measured first, then the laws and bounds.
        order = sorted(zip(handles, labels, strict=True), key=lambda one: not _measured(one[0]))
        axes.legend(
            *zip(*order, strict=True),
            loc="upper center",
            bbox_to_anchor=(0.5, panel.legend),
            ncols=2,
        )


def _measured(handle: Any) -> bool:
    return isinstance(handle, ErrorbarContainer)
