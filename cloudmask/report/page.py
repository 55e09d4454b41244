"""What the page shows, gathered from what was read: a function of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudmask.report import curves, tables
from cloudmask.report.curves import Picture
from cloudmask.report.facts import Facts, Training, of_evaluation, of_run
from cloudmask.report.sources import Part
from cloudmask.report.tables import Table
from cloudmask.report.verdict import REFERENCES, best_reference, title_of, verdict
from cloudmask.text import NONE, count, is_number, number, percent, plural


@dataclass(frozen=True)
class Gallery:
    """A scene that is shown with pictures, which are made later, one scene at a time."""

    anchor: str
    place: int
    """in the order of the page, from 1"""
    name: str
    figures: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Chapter:
    """One part of the page."""

    key: str
    title: str
    verdict: tuple[str, ...]
    remarks: tuple[str, ...]
    facts: Facts
    trainings: tuple[Training, ...]
    tables: tuple[Table, ...]
    calibration: Table | None
    figures: tuple[Picture, ...]
    failed: Facts
    scenes: Table | None
    by_scene: Picture | None
    galleries: tuple[Gallery, ...]
    shown: str
    """a sentence on how many scenes have pictures"""


def chapter(part: Part, *, key: str, show: int) -> Chapter:
    """Everything the page says of one part; `show` scenes, the worst, get pictures."""
    found = part.evaluation
    trainings = tuple(of_run(run, f"{key}-run{n}") for n, run in enumerate(part.runs))
    patches = tables.patches(part.runs)
    if not found:
        return Chapter(
            key,
            part.name,
            tuple(verdict(part)),
            part.remarks,
            (),
            trainings,
            (patches,) if patches else (),
            *(None, (), (), None, None, (), ""),
        )
    reference = best_reference(found)
    ordered = worst_first(found["scenes"], reference)
    made = (
        tables.pooled(found) if reference else None,
        tables.regions(found),
        tables.pairs(found),
        tables.comparisons(found),
        tables.legacy(found),
        patches,
    )
    by_scene = None
    if reference and len(ordered) > 1:
        by_scene = curves.by_scene(
            ordered, reference, title_of(found, reference), key=f"{key}-scenes"
        )
    return Chapter(
        key=key,
        title=part.name,
        verdict=tuple(verdict(part)),
        remarks=(*part.remarks, *_remarks(found)),
        facts=of_evaluation(part),
        trainings=trainings,
        tables=tuple(table for table in made if table),
        calibration=tables.calibration(found),
        figures=tuple(curves.calibration(found, key=f"{key}-cal")),
        failed=tuple((str(k), str(v)) for k, v in (found.get("failed") or {}).items()),
        scenes=tables.scenes(found, ordered, reference) if ordered else None,
        by_scene=by_scene,
        galleries=tuple(
            _gallery(scene, place, f"{key}-scene-{place}", found)
            for place, scene in enumerate(ordered[:show], start=1)
        ),
        shown=_shown(len(ordered), show),
    )


def worst_first(scenes: list[dict[str, Any]], reference: str | None) -> list[dict[str, Any]]:
    """By accuracy against the reference; those without a figure last, else by name."""

    def key(scene: Mapping[str, Any]) -> tuple[bool, float, str]:
        accuracy = ((scene.get("against") or {}).get(reference or "") or {}).get("accuracy")
        name = str(scene.get("name"))
        return (False, accuracy, name) if is_number(accuracy) else (True, 0.0, name)

    return sorted(scenes, key=key)


def _shown(scenes: int, show: int) -> str:
    if not scenes:
        return "No scene has been evaluated."
    if show >= scenes:
        return f"All {plural(scenes, 'scene')}, worst first." if scenes > 1 else "The one scene."
    if show == 0:
        return f"Pictures were not asked for; all {plural(scenes, 'scene')} are in the table above."
    return (
        f"The worst {show} of {plural(scenes, 'scene')} are shown; all are in the table above, and "
        "--show N shows more."
    )


def _gallery(
    scene: Mapping[str, Any], place: int, anchor: str, evaluation: Mapping[str, Any]
) -> Gallery:
    against = scene.get("against") or {}
    parts = [
        f"{title_of(evaluation, name)}: accuracy {number(against[name].get('accuracy'))} "
        f"(majority {number(against[name].get('majority'))}), "
        f"mean IoU {number(against[name].get('mean_iou'))}"
        for name in REFERENCES
        if against.get(name)
    ]
    figures = "Against the " + "; ".join(parts) if parts else "No figures: there is no reference"
    measured = f"{count(scene.get('pixels'))} pixels measured, {count(scene.get('missing'))} not"
    day = _light(scene.get("day"))
    name = str(scene.get("name", NONE))
    return Gallery(anchor, place, name, f"{figures}. {measured}{day}.", scene)


def _light(day: Any) -> str:
    if not is_number(day):
        return ""
    if day in (0, 1):
        return "; a day scene" if day else "; a night scene"
    return f"; {percent(day, 0)} by day"


def _remarks(evaluation: Mapping[str, Any]) -> list[str]:
    """What an evaluation lacks, a sentence each."""
    told = []
    if not evaluation["pooled"].get("truth"):
        told.append("No scene has a truth: the masks can only be held against other masks.")
    if not evaluation.get("regions"):
        told.append("The scenes do not tell day from night or sea from land.")
    if not evaluation.get("calibration"):
        told.append("No probabilities were measured: there is no reliability diagram and no ROC.")
    return told
