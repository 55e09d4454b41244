"""The figures in plain words: what can be said of a network, and what cannot."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from cloudmask.data.scene import LABEL_TITLES
from cloudmask.model import calibration
from cloudmask.report.sources import Part, Run
from cloudmask.text import (
    NONE,
    count,
    enumerated,
    is_number,
    number,
    p_value,
    percent,
    plural,
    points,
)

Figures = Mapping[str, Any]

REFERENCES = ("truth", "label", "summary")
"""the best one first"""
_REGIONS = {"day": "by day", "night": "by night", "twilight": "in twilight"}
_REGIONS |= {"sea": "over sea", "land": "over land"}
NO_TITLE = "label"
"""what the label is called where its file does not say what it is"""


def trained(part: Part) -> str:
    """What the network is, what it learned from and what it was tried on."""
    found = part.evaluation
    run = next((run.summary for run in part.runs if run.summary), {})
    classes = [str(name) for name in found.get("classes") or run.get("classes") or []]
    what = (
        f"tells {' from '.join(classes)}" if len(classes) == 2 else f"knows {len(classes)} classes"
    )
    told = [f"A network that {what}." if classes else "A network."]
    if run:
        size, init = run.get("patch_size", NONE), run.get("init") or {}
        start = f"started from the weights of {init['path']} and " if init.get("path") else ""
        told.append(
            f"It {start}was trained on {count(run.get('training_patches'))} patches of "
            f"{size} x {size} pixels; epochs: {count(run.get('epochs_run'))}."
        )
    if teacher := teacher_of(part):
        told.append(f"Its teacher was the {teacher}.")
    told += calibrated(found)
    if found:
        told.append(f"It was tried on {plural(len(found['scenes']), 'whole scene')}.")
    return " ".join(told)


def teacher_of(part: Part) -> str | None:
    """What the labels were that the network learned from; None where nothing tells.

    Runs of before said nothing of it: of them the label that the masks were held against is told.
    """
    source = next((s for run in part.runs if (s := run.summary.get("label_source"))), None)
    if source is not None:
        return LABEL_TITLES.get(str(source), str(source))
    title = title_of(part.evaluation, "label") if part.evaluation else NO_TITLE
    return None if title == NO_TITLE else title


def calibrated(evaluation: Figures) -> list[str]:
    """What the probabilities were made better by, and whether it was tried on that; or nothing."""
    records = (evaluation.get("options") or {}).get("calibrations") or []
    told = dict.fromkeys(
        f"It was {calibration.sentence(one)}: {enumerated(list(map(str, one['scenes'])))}."
        for one in records
        if one
    )
    lines = list(told)
    if again := [str(name) for name in evaluation.get("calibrated_on") or []]:
        lines.append(
            f"It was tried on {len(again)} of these too ({enumerated(again)}), so the figures are "
            "too good."
        )
    return lines


def verdict(part: Part) -> list[str]:
    """Sentences, the most important first."""
    if part.evaluation:
        return _of_scenes(part)
    for run in part.runs:
        if run.patch_evaluations or run.summary.get("best") or run.summary.get("final"):
            return _of_patches(run)
    return ["Nothing has been measured yet, so nothing can be said about how good the masks are."]


def best_reference(evaluation: Figures) -> str | None:
    """The best reference that any scene has."""
    pooled = evaluation["pooled"]
    return next((name for name in REFERENCES if pooled.get(name)), None)


def title_of(evaluation: Figures, member: str) -> str:
    return str(evaluation["members"].get(member, member))


def where(region: str) -> str:
    """day -> by day"""
    return _REGIONS.get(region, f"in {region}")


def main_comparison(evaluation: Figures) -> Figures | None:
    """Network and label, the mask it learned from, against truth."""
    wanted = ("truth", "network", "label")
    for found in evaluation.get("comparisons") or []:
        if tuple(found.get(key) for key in ("reference", "a", "b")) == wanted:
            return found
    return None


def _of_scenes(part: Part) -> list[str]:
    evaluation = part.evaluation
    reference, scenes = best_reference(evaluation), plural(len(evaluation["scenes"]), "scene")
    if reference is None:
        return [
            f"No mask of the {scenes} has a reference to be compared with, so "
            "nothing can be said about how good the masks are."
        ]
    baseline = f"Over {scenes}: {agreement(evaluation, evaluation['pooled'][reference], reference)}"
    compared = main_comparison(evaluation)
    compare = functools.partial(comparison, evaluation, teacher=teacher_of(part))
    told = [*(compare(compared) if compared else ()), baseline]
    if not compared and reference != "truth":
        told.append(
            "Whether the network is better than the mask it learned from cannot be said: "
            "no scene has a truth to hold both against."
        )
    failed = num_failed(evaluation)
    if failed:
        is_ = "is" if failed == 1 else "are"
        told.append(f"{plural(failed, 'scene')} could not be evaluated and {is_} left out.")
    return told


def num_failed(evaluation: Figures) -> int:
    """How many scenes could not be evaluated; the file names no more than some of them."""
    named, told = len(evaluation.get("failed") or {}), evaluation.get("num_failed")
    return max(named, int(told)) if is_number(told) else named


def unit_of(found: Figures) -> str:
    """What the units of a comparison are, between which the network does better or worse."""
    return "orbit" if found.get("unit") == "orbit" else "scene"


def units_of(found: Figures) -> str:
    """3 orbits, 20 scenes"""
    told = found.get("units", found.get("scenes"))
    return plural(int(told), unit_of(found)) if is_number(told) else f"the {unit_of(found)}s"


def agreement(evaluation: Figures, figures: Figures, reference: str) -> str:
    """How often the network is right, beside an answer without looking."""
    accuracy, majority = figures.get("accuracy"), figures.get("majority")
    against = title_of(evaluation, reference)
    if not (is_number(accuracy) and is_number(majority)):
        return f"no pixel could be compared with the {against}."
    text = (
        f"the network agrees with the {against} on {percent(accuracy)} of the pixels; "
        f"{commonest(figures, evaluation['classes'])} would reach {percent(majority)}"
    )
    return f"{text}." if accuracy > majority else f"{text}, so it has learned nothing useful here."


def commonest(figures: Figures, classes: list[Any]) -> str:
    """The answer without looking that agrees most often."""
    if figures.get("commonest"):
        return f"always saying {figures['commonest']}"
    rows = figures.get("confusion") or []
    sums = [sum(row) for row in rows]
    if len(sums) != len(classes):
        return "always giving the commonest answer"
    return f"always saying {classes[sums.index(max(sums))]}"


def scores(evaluation: Figures) -> list[tuple[str, float]]:
    """Masks, and the share of pixels that each has right: the network first, no looking last."""
    reference = best_reference(evaluation)
    if reference is None:
        return []
    pooled = evaluation["pooled"][reference]
    found = [("network", pooled.get("accuracy"))]
    found += [
        (title_of(evaluation, str(pair.get("of"))), pair.get("accuracy"))
        for pair in evaluation.get("pairs") or []
        if pair.get("against") == reference and pair.get("of") != "network"
    ]
    found.append((commonest(pooled, evaluation["classes"]), pooled.get("majority")))
    return [(name, share) for name, share in found if is_number(share)]


def failings(evaluation: Figures) -> list[str]:
    """Where the network fails: which class it takes for another, and in which region."""
    reference = best_reference(evaluation)
    recall = (evaluation["pooled"].get(reference) or {}).get("recall") or {}
    missed = {name: 1 - share for name, share in recall.items() if is_number(share)}
    told = [
        f"{percent(share)} of the {name} pixels are given as something else"
        for name, share in sorted(missed.items(), key=lambda one: -one[1])[:2]
    ]
    told = [f"{'; '.join(told)}."] if told else []
    regions = {
        where(region): found[reference]["accuracy"]
        for region, found in (evaluation.get("regions") or {}).items()
        if is_number((found.get(reference) or {}).get("accuracy"))
    }
    if len(regions) > 1:
        worst, best = (choose(regions, key=lambda name: regions[name]) for choose in (min, max))
        low, high = percent(regions[worst]), percent(regions[best])
        if low != high:
            told.append(
                f"It is weakest {worst}, with {low} of the pixels right, and best {best}, with "
                f"{high}."
            )
    return told


def comparison(
    evaluation: Figures, found: Figures, *, teacher: str | None = None
) -> tuple[str, str]:
    """Is a better than b? Decided by the interval over scenes, not by the number of pixels.

    The answer, and the figures behind it. `teacher` is what the network learned from, if it is
    known: it may have been another mask than the label of the scenes.
    """
    a, b = (title_of(evaluation, str(found.get(side))) for side in "ab")
    learned = " it learned from" if found.get("b") == "label" and teacher in (None, b) else ""
    figures = (
        f"By the {title_of(evaluation, str(found.get('reference')))}, the {a} is right on "
        f"{percent(found.get('accuracy_a'), 2)} of the pixels and the {b} on "
        f"{percent(found.get('accuracy_b'), 2)}"
    )
    interval = found.get("interval")
    scenes = plural(found.get("scenes") or 0, "scene")
    if not (isinstance(interval, list) and len(interval) == 2 and all(map(is_number, interval))):
        least = found.get("least_units")
        why = f"no interval that holds can be given from {units_of(found)}"
        if is_number(least):
            why = f"{why} (it takes {least:g} that differ)"
        return (
            f"Whether the {a} is better than the {b}{learned} cannot be told from {scenes}.",
            f"{figures}; {why}, so the difference may be chance.",
        )
    low, high = interval
    which = "better" if low > 0 else "worse" if high < 0 else ""
    p = found.get("clustered_p")
    doubt = bool(which) and is_number(p) and p >= 0.05
    verb = "seems" if doubt else "is"
    outcome = f"{verb} {which} than" if which else "cannot be told apart from"
    unit, units = unit_of(found), units_of(found)
    caution = f" McNemar's test with {unit}s as units leaves room for chance (p = {p_value(p)})."
    return (
        f"The {a} {outcome} the {b}{learned}.",
        f"{figures}: a difference of {points(found.get('difference'))} percentage points "
        f"(95 % interval over {units} {points(low)} to {points(high)}). It is the better "
        f"one in {found.get('scenes_a_better', NONE)} of {scenes}, the worse one in "
        f"{found.get('scenes_b_better', NONE)}.{caution if doubt else ''}",
    )


def _of_patches(run: Run) -> list[str]:
    """A run without scenes: its patches, measured after training or by the validation within."""
    if run.patch_evaluations:
        found = run.patch_evaluations[0]
        what = f"On the patches of the split {found.get('split', NONE)}"
    else:
        found = run.summary.get("best") or (run.summary.get("final") or {}).get("valid") or {}
        what = "On the validation patches"
    return [
        f"{what} the network agrees with its labels on {percent(found.get('accuracy'))} of the "
        f"pixels; always giving the commonest answer would reach {percent(found.get('majority'))}.",
        "Whether it is better than the mask it learned from cannot be said from patches: that "
        "takes scenes with a truth.",
    ]


def mcnemar(found: Figures) -> str:
    """What the two tests mean, to follow a colon: pixels of one scene are not independent."""
    p, clustered, unit = found.get("p"), found.get("clustered_p"), unit_of(found)
    if not is_number(clustered):
        return f"with so few scenes there is no test that takes whole {unit}s as its units."
    if clustered < 0.05:
        return (
            f"the difference holds when whole {unit}s are the units (p = {p_value(clustered)}), "
            "which is the test to go by: pixels of one scene are not independent."
        )
    if is_number(p) and p < 0.05:
        return (
            f"counted by pixels the difference looks certain (p {p_value(p)}), but pixels of one "
            f"scene are not independent: with {unit}s as units it may be chance "
            f"(p = {p_value(clustered)})."
        )
    return f"the difference may be chance (p = {p_value(clustered)} with {unit}s as units)."


def of_scene(evaluation: Figures, scene: Figures) -> str:
    """The figures of one scene."""
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
    return f"{figures}. {measured}{light(scene)}."


def light(scene: Figures) -> str:
    day = scene.get("day")
    if not is_number(day):
        return ""
    if day in (0, 1):
        return "; a day scene" if day else "; a night scene"
    return f"; {percent(day, 0)} by day"


def lacks(evaluation: Figures) -> list[str]:
    """What an evaluation lacks, a sentence each."""
    told = []
    if not evaluation["pooled"].get("truth"):
        told.append("No scene has a truth: the masks can only be held against other masks.")
    if not evaluation.get("regions"):
        told.append("The scenes do not tell day from night or sea from land.")
    if not evaluation.get("calibration"):
        told.append("No probabilities were measured: there is no reliability diagram and no ROC.")
    redated = evaluation.get("redated")
    if is_number(redated) and redated:
        told.append(
            f"{plural(int(redated), 'scene')} had another date than when the masks were made: if "
            "more than the date had changed, the figures are of no use."
        )
    return told
