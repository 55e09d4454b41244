"""What the page shows, gathered from what was read: a function of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudmask.report import charts, highlights, sentences, tables
from cloudmask.report.card import card
from cloudmask.report.charts import Chart
from cloudmask.report.facts import Facts, Training, of_evaluation, of_run
from cloudmask.report.sources import Part
from cloudmask.report.tables import NOTHING, Table
from cloudmask.text import NONE, plural

MOST_ROWS, MOST_FAILED = 200, 50
"""of the tables of scenes; the listing has all"""


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
class Highlight:
    """One of the most telling scenes."""

    gallery: Gallery
    reason: str
    agreement: str


@dataclass(frozen=True)
class Chapter:
    """One part of the page."""

    key: str
    title: str
    trained: str
    verdict: tuple[str, ...]
    remarks: tuple[str, ...]
    trainings: tuple[Training, ...]
    tables: tuple[Table, ...]
    reference: str = ""
    """title of what the scores are held against"""
    scores: tuple[tuple[str, float], ...] = ()
    failings: tuple[str, ...] = ()
    rule: str = ""
    highlights: tuple[Highlight, ...] = ()
    facts: Facts = ()
    card: Facts = ()
    calibration: Table = NOTHING
    charts: tuple[Chart, ...] = ()
    failed: Facts = ()
    scenes: Table = NOTHING
    by_scene: Chart | None = None
    galleries: tuple[Gallery, ...] = ()
    shown: str = ""
    """a sentence on how many scenes have pictures"""


def chapter(part: Part, *, key: str, show: int) -> Chapter:
    """Everything the page says of one part; `show` scenes, the worst, get pictures."""
    found = part.evaluation
    trainings = tuple(of_run(run, f"{key}-run{n}") for n, run in enumerate(part.runs))
    patches = tables.patches(part.runs)
    words = (part.name, sentences.trained(part), tuple(sentences.verdict(part)))
    if not found:
        shown = (patches,) if patches.rows else ()
        return Chapter(key, *words, part.remarks, trainings, shown, card=card(part))
    reference = sentences.best_reference(found)
    title = sentences.title_of(found, reference) if reference else ""
    ordered = highlights.worst_first(found["scenes"], reference)
    made = (
        tables.pooled(found),
        tables.regions(found),
        tables.pairs(found),
        tables.comparisons(found),
        tables.legacy(found),
        patches,
    )
    chosen = dict(list(highlights.choose(found, ordered, reference).items())[:show])
    galleries = {
        place: Gallery(
            f"{key}-scene-{place}",
            place,
            str(scene.get("name", NONE)),
            sentences.of_scene(found, scene),
            scene,
        )
        for place, scene in enumerate(ordered, start=1)
        if place <= show or place in chosen
    }
    return Chapter(
        key,
        *words,
        remarks=(*part.remarks, *sentences.lacks(found)),
        trainings=trainings,
        tables=tuple(table for table in made if table.rows),
        reference=title,
        scores=tuple(sentences.scores(found)),
        failings=tuple(sentences.failings(found)),
        rule=highlights.rule(found, reference) if len(ordered) > highlights.MOST else "",
        highlights=tuple(
            Highlight(galleries[place], reason, _agreement(found, ordered[place - 1], reference))
            for place, reason in chosen.items()
        ),
        facts=of_evaluation(part),
        card=card(part),
        calibration=tables.calibration(found),
        charts=tuple(charts.calibration(found, key=f"{key}-cal")),
        failed=_failed(found),
        scenes=tables.scenes(found, ordered, reference, most=max(MOST_ROWS, show)),
        by_scene=charts.by_scene(ordered, reference, title, key=f"{key}-scenes")
        if reference and len(ordered) > 1
        else None,
        galleries=tuple(galleries.values()),
        shown=_shown(len(ordered), len(galleries)),
    )


def _failed(evaluation: Mapping[str, Any]) -> Facts:
    """Scenes without figures, and why; of very many the first ones."""
    named = [(str(scene), str(why)) for scene, why in (evaluation.get("failed") or {}).items()]
    more = sentences.num_failed(evaluation) - len(named[:MOST_FAILED])
    all_of_them = f"all are in {evaluation.get('listing', NONE)} beside the masks"
    return (*named[:MOST_FAILED], *([(f"{more:,} more", all_of_them)] if more > 0 else []))


def _agreement(
    evaluation: Mapping[str, Any], scene: Mapping[str, Any], reference: str | None
) -> str:
    figures = (scene.get("against") or {}).get(reference) or {}
    told = sentences.agreement(evaluation, figures, reference) if reference else ""
    return told[:1].upper() + told[1:]


def _shown(scenes: int, shown: int) -> str:
    if not scenes:
        return "No scene has been evaluated."
    if shown == scenes:
        return f"All {plural(scenes, 'scene')}, worst first." if scenes > 1 else "The one scene."
    if shown == 0:
        return f"Pictures of the {plural(scenes, 'scene')} were not asked for."
    return f"{shown} of {plural(scenes, 'scene')} are shown, worst first; --show N shows more."
