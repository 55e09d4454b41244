"""Charts as SVG that stands inside the page: curves told apart by markers and dashes too."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cloudmask.report.sentences import REFERENCES, title_of
from cloudmask.text import is_number, number

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499", "#555555")
MARKERS, DASHES = ("o", "s", "^", "D", "v"), ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)))
INCHES = (4.6, 3.2)
MOST_POINTS = 400
_STYLE: dict[Any, Any] = {  # of matplotlib
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a class may be named $x$
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 9,
}


@dataclass(frozen=True)
class Chart:
    """One chart of the page."""

    title: str
    caption: str
    svg: str


Draw = Callable[[Axes], None]


def svg(draw: Draw, *, key: str, title: str) -> str:
    """What `draw` draws as an <svg> element; `key` makes its ids differ from all others."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
        text = io.StringIO()
        nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    return _inline(text.getvalue(), key=key, title=title)


def _inline(text: str, *, key: str, title: str) -> str:
    """A whole SVG file -> an element for a page: its own ids, a name to be read out, no size."""
    body = text[text.index("<svg") :]
    head, rest = body.split(">", 1)
    box = re.search(r'viewBox="[\d. ]+"', head)
    assert box
    rest = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', rest)
    rest = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', rest)
    rest = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", rest)
    return f'<svg {box.group()} role="img" aria-label="{html.escape(title)}">{rest}'


def _line(axes: Axes, place: int, points: Sequence[tuple[Any, Any]], label: str) -> None:
    """One curve with a look of its own; points without a figure are left out."""
    known = [(x, y) for x, y in points if is_number(x) and is_number(y)]
    if not known:
        return
    x, y = zip(*known, strict=True)
    axes.plot(
        x,
        y,
        marker=MARKERS[place % len(MARKERS)],
        linestyle=DASHES[place % len(DASHES)],
        color=COLOURS[place % len(COLOURS)],
        markersize=4,
        markevery=max(1, len(x) // 12),
        linewidth=1.5,
        label=label,
    )


def training(history: Sequence[Mapping[str, Any]], *, key: str) -> list[Chart]:
    """Loss, accuracy beside the majority baseline, and speed, by epoch."""
    valid = [(record.get("epoch"), record.get("valid") or {}) for record in history]

    def of(name: str) -> list[tuple[Any, Any]]:
        return [(record.get("epoch"), record.get(name)) for record in history]

    def measured(name: str) -> list[tuple[Any, Any]]:
        return [(epoch, found.get(name)) for epoch, found in valid]

    def loss(axes: Axes) -> None:
        _line(axes, 0, of("loss"), "training")
        _line(axes, 1, measured("loss"), "validation")
        _epochs(axes, "loss")

    def accuracy(axes: Axes) -> None:
        _line(axes, 1, measured("accuracy"), "validation")
        _line(axes, 4, measured("majority"), "always the commonest class")
        _epochs(axes, "accuracy")

    def speed(axes: Axes) -> None:
        _line(axes, 0, of("patches_per_second"), "all ranks")
        _epochs(axes, "patches/s")
        axes.set_ylim(bottom=0)

    found = [Chart("Loss", "By epoch.", svg(loss, key=f"{key}-loss", title="Loss by epoch"))]
    if any(is_number(record.get("accuracy")) for _, record in valid):
        caption = "Of the validation patches against their labels."
        picture = svg(accuracy, key=f"{key}-accuracy", title="Validation accuracy by epoch")
        found.append(Chart("Validation accuracy", caption, picture))
    caption = "Patches per second of all ranks together; the first epoch holds the start-up."
    picture = svg(speed, key=f"{key}-speed", title="Patches per second by epoch")
    return [*found, Chart("Throughput", caption, picture)]


def _epochs(axes: Axes, what: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def calibration(evaluation: Mapping[str, Any], *, key: str) -> list[Chart]:
    """Reliability, ROC and threshold sweep of each class whose probability was stored."""
    found = evaluation.get("calibration") or {}
    names = list(dict.fromkeys(str(name) for by in found.values() for name in by))
    pictures = []
    for place, name in enumerate(names):
        kinds = [
            (title_of(evaluation, reference), found[reference][name])
            for reference in REFERENCES
            if name in (found.get(reference) or {})
        ]
        pictures += _of_class(name, kinds, evaluation, f"{key}-{place}")
    return pictures


def _of_class(
    name: str,
    kinds: Sequence[tuple[str, Mapping[str, Any]]],
    evaluation: Mapping[str, Any],
    key: str,
) -> list[Chart]:
    chosen = evaluation.get("threshold")  # of the evaluation, else of the masks
    if chosen is None:
        chosen = (evaluation.get("options") or {}).get("threshold")

    def reliability(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], ":", color="#777777", label="perfect")
        for place, (title, figures) in enumerate(kinds):
            rows = figures.get("reliability") or []
            line = [(row.get("mean_probability"), row.get("frequency")) for row in rows]
            _line(axes, place, line, title)
        axes.set(xlabel=f"probability of {name}", ylabel=f"how often it was {name}")
        axes.set(xlim=(0, 1), ylim=(0, 1))

    def roc(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], ":", color="#777777", label="chance")
        for place, (title, figures) in enumerate(kinds):
            rows = figures.get("sweep") or []
            line = [(r.get("false_positive_rate"), r.get("true_positive_rate")) for r in rows]
            _line(axes, place, line, f"{title} (area {number(figures.get('auc'), 3)})")
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.set(xlim=(0, 1), ylim=(0, 1))

    def sweep(axes: Axes) -> None:
        title, figures = kinds[0]
        rows = figures.get("sweep") or []
        measures = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
        measures |= {"iou": "IoU", "f1": "F1"}
        for place, (measure, label) in enumerate(measures.items()):
            _line(axes, place, [(row.get("threshold"), row.get(measure)) for row in rows], label)
        if is_number(chosen):
            axes.axvline(chosen, color="#333333", linewidth=1)
            axes.annotate(f" used: {chosen:g}", (chosen, 0.02), fontsize=9)
        axes.set(xlabel="threshold", ylabel=f"figure against {title}", xlim=(0, 1), ylim=(0, 1))

    best = kinds[0][0]
    return [
        Chart(
            f"Reliability: {name}",
            "How often a pixel was what the probability said. On the dotted line the network is "
            "right as often as it claims; below it, it claims too much.",
            svg(reliability, key=f"{key}-reliability", title=f"Reliability of {name}"),
        ),
        Chart(
            f"ROC: {name}",
            "Hits against false alarms at every threshold; the dotted line is chance.",
            svg(roc, key=f"{key}-roc", title=f"Receiver operating characteristic of {name}"),
        ),
        Chart(
            f"Thresholds: {name}",
            f"Figures against the {best} by threshold; the upright line is the one used.",
            svg(sweep, key=f"{key}-sweep", title=f"Threshold sweep of {name}"),
        ),
    ]


def by_scene(
    ordered: Sequence[Mapping[str, Any]], reference: str, title: str, *, key: str
) -> Chart:
    """Accuracy of each scene beside its majority baseline, worst first."""
    step = -(-len(ordered) // MOST_POINTS)
    numbers = range(1, len(ordered) + 1, step)
    figures = [(scene.get("against") or {}).get(reference) or {} for scene in ordered[::step]]

    def draw(axes: Axes) -> None:
        for measure, label, marker, colour in (
            ("accuracy", "network", "o", COLOURS[0]),
            ("majority", "always the commonest class", "_", COLOURS[4]),
        ):
            values = [found.get(measure) for found in figures]
            known = [(n, v) for n, v in zip(numbers, values, strict=True) if is_number(v)]
            if known:
                x, y = zip(*known, strict=True)
                axes.plot(x, y, marker, color=colour, label=label)
        axes.set(xlabel="scene, worst first", ylabel="accuracy", ylim=(None, 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    caption = f"Against the {title}; numbers as in the table of scenes."
    if step > 1:
        caption += f" Every {step}th scene is drawn."
    return Chart("Scene by scene", caption, svg(draw, key=key, title="Accuracy of each scene"))
