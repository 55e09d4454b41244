"""The page's tables, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudmask.report.sentences import REFERENCES, mcnemar, title_of, unit_of
from cloudmask.report.sources import Run
from cloudmask.text import NONE, count, number, p_value, percent, plural, points

Figures = Mapping[str, Any]

MEASURES = ("accuracy", "majority", "balanced_accuracy", "mean_iou", "kappa")
CALIBRATION = ("brier", "expected_calibration_error", "auc")
HEADER = ("pixels", "accuracy", "majority", "balanced accuracy", "mean IoU", "kappa")


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first cell of a row names it. Shown if it has rows."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    text_columns: int = 1
    """how many columns, from the left, hold words"""
    sentences: tuple[str, ...] = ()
    """what the rows mean"""


NOTHING = Table("", (), ())


def _measures(figures: Figures) -> tuple[str, ...]:
    return (count(figures.get("pixels")), *(number(figures.get(name)) for name in MEASURES))


def pooled(evaluation: Figures) -> Table:
    classes = [str(name) for name in evaluation["classes"]]
    rows = []
    for name in REFERENCES:
        if found := evaluation["pooled"].get(name):
            iou = (number((found.get("iou") or {}).get(one)) for one in classes)
            rows.append((title_of(evaluation, name), *_measures(found), *iou))
    return Table(
        "Network against each reference",
        ("reference", *HEADER, *(f"IoU {name}" for name in classes)),
        tuple(rows),
        "All pixels of all scenes that were measured and that the reference knows, added up and "
        "divided once. Majority is the accuracy of always giving the reference's commonest class: "
        "what an answer without looking would reach.",
    )


def regions(evaluation: Figures) -> Table:
    rows = [
        (str(region), title_of(evaluation, name), *_measures(found[name]))
        for region, found in (evaluation.get("regions") or {}).items()
        for name in REFERENCES
        if found.get(name)
    ]
    note = "Day and night by the reflectances or flags, sea and land where flags tell."
    header = ("region", "reference", *HEADER)
    return Table("By region", header, tuple(rows), note, text_columns=2)


def pairs(evaluation: Figures) -> Table:
    rows = [
        (
            *(title_of(evaluation, str(found.get(key))) for key in ("of", "against")),
            *_measures(found),
        )
        for found in evaluation.get("pairs") or []
    ]
    note = "Two masks that agree are not both right: only a truth, where there is one, can tell."
    header = ("mask", "held against", *HEADER)
    return Table("Each mask against each", header, tuple(rows), note, text_columns=2)


def comparisons(evaluation: Figures) -> Table:
    rows, meanings, unit = [], [], "scene"
    for found in evaluation.get("comparisons") or []:
        unit = unit_of(found)
        a, b, reference = (
            title_of(evaluation, str(found.get(key))) for key in ("a", "b", "reference")
        )
        interval = found.get("interval") or [None, None]
        rows.append(
            (
                f"{a} or {b}, by the {reference}",
                f"{number(found.get('accuracy_a'))}, {number(found.get('accuracy_b'))}",
                f"{number(found.get('mean_iou_a'))}, {number(found.get('mean_iou_b'))}",
                points(found.get("difference")),
                f"{points(interval[0])} to {points(interval[1])}"
                if found.get("interval")
                else NONE,
                f"{found.get('scenes_a_better', NONE)} and {found.get('scenes_b_better', NONE)} "
                f"of {found.get('scenes', NONE)}",
                f"{count(found.get('a_only'))}, {count(found.get('b_only'))}",
                f"{count(found.get('chi2'))} (p {_p(found.get('p'))})",
                f"{number(found.get('clustered_chi2'), 2)} (p {_p(found.get('clustered_p'))})",
            )
        )
        meanings.append(f"{a[:1].upper()}{a[1:]} or {b}, by the {reference}: {mcnemar(found)}")
    return Table(
        "Which is nearer? McNemar's test",
        (
            *("question", "accuracy of each", "mean IoU of each", "difference, points"),
            *(f"95 % interval over {unit}s", "scenes where each is better"),
            *("pixels only one has right", "chi-square by pixels", f"chi-square by {unit}s"),
        ),
        tuple(rows),
        "The test by pixels takes each pixel for an independent witness, which neighbours in one "
        f"cloud are not: its p is far too small. The clustered one (Durkalski 2003) takes whole "
        f"{unit}s as the units, and so does the interval.",
        sentences=tuple(meanings),
    )


def _p(value: Any) -> str:
    text = p_value(value)
    return text if text.startswith("<") or text == NONE else f"= {text}"


def legacy(evaluation: Figures) -> Table:
    """The figure that papers give beside the one to go by."""
    found, honest = evaluation.get("legacy") or {}, evaluation["pooled"].get("label") or {}
    accuracy, majority = (number(honest.get(name)) for name in ("accuracy", "majority"))
    rows = (
        ("honest: measured pixels with a label, pooled", accuracy, majority),
        ("legacy: whole frames, mean over scenes", number(found.get("accuracy")), NONE),
    )
    meaning = str(found.get("meaning") or "")
    return Table(
        "The honest and the legacy figure",
        (f"against the {title_of(evaluation, 'label')}", "accuracy", "majority"),
        rows if found else (),
        f"The legacy figure is given to be compared with published ones: {meaning}".rstrip(": ")
        + ("" if meaning.endswith(".") else "."),
    )


def calibration(evaluation: Figures) -> Table:
    rows = []
    for reference in REFERENCES:
        for name, found in ((evaluation.get("calibration") or {}).get(reference) or {}).items():
            best = found.get("best") or {}
            rows.append(
                (
                    f"{name}, by the {title_of(evaluation, reference)}",
                    count(found.get("pixels")),
                    *(number(found.get(name)) for name in CALIBRATION),
                    f"{number(best.get('threshold'))} ({number(best.get('accuracy'))})",
                )
            )
    return Table(
        "How far the probabilities can be trusted",
        (
            *("class", "pixels", "Brier score", "expected calibration error", "area under ROC"),
            "best threshold (its accuracy)",
        ),
        tuple(rows),
        "The calibration error is how far stated probabilities are from observed frequencies on "
        "average. The best threshold is chosen on these very scenes, so its accuracy flatters.",
    )


def scenes(
    evaluation: Figures, ordered: Sequence[Figures], reference: str | None, *, most: int
) -> Table:
    """Every scene, in the order given, but no more than `most`."""
    references = [name for name in REFERENCES if evaluation["pooled"].get(name)]
    classes = [str(name) for name in evaluation["classes"]]
    shown = classes[1:] if len(classes) == 2 else classes
    members = ("network", *references) if len(classes) == 2 else ("network", *references[:1])
    rows = []
    for place, scene in enumerate(ordered[:most], start=1):
        against, fractions = scene.get("against") or {}, scene.get("fraction") or {}
        figures = against.get(reference or "") or {}
        rows.append(
            (
                f"{place}.\N{NO-BREAK SPACE}{scene.get('name', NONE)}",
                *(number((against.get(name) or {}).get("accuracy")) for name in references),
                *(number(figures.get(name)) for name in ("majority", "mean_iou")),
                *(
                    ", ".join(
                        f"{name} {share}" if len(shown) > 1 else share
                        for name in shown
                        for share in [percent((fractions.get(member) or {}).get(name))]
                    )
                    for member in members
                ),
                count(scene.get("pixels")),
                percent(scene.get("day"), 0),
            )
        )
    titles = {name: title_of(evaluation, name) for name in ("network", *REFERENCES)}
    note = "Shares are of measured pixels."
    if reference:
        note = (
            f"Majority and mean IoU against the {titles[reference]}; shares are of measured pixels."
        )
    title = "All scenes, worst first"
    if len(ordered) > most:
        title = f"The {most} worst of {plural(len(ordered), 'scene')}"
        note = f"All of them are in {evaluation.get('listing', NONE)} beside the masks. {note}"
    return Table(
        title,
        (
            "scene",
            *(f"accuracy against {titles[name]}" for name in references),
            "majority",
            "mean IoU",
            *(f"{shown[0] if len(shown) == 1 else 'shares'}: {titles[m]}" for m in members),
            "measured pixels",
            "day",
        ),
        tuple(rows),
        note,
    )


def patches(runs: Sequence[Run]) -> Table:
    rows = [
        (f"{run.name}: {found.get('split', NONE)}", count(found.get("patches")), *_measures(found))
        for run in runs
        for found in run.patch_evaluations
    ]
    note = "Of patches, against their labels: not whole scenes, and no truth."
    header = ("run and split", "patches", *HEADER)
    return Table("Patches", header, tuple(rows), note)
