"""The figures in plain words: what can be said of a network, and what cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmask.report.sources import Part, Run
from cloudmask.text import NONE, is_number, number, p_value, percent, plural, points

REFERENCES = ("truth", "label", "summary")
"""the best one first"""


def verdict(part: Part) -> list[str]:
    """Sentences, the most important first."""
    if part.evaluation:
        return _of_scenes(part.evaluation)
    for run in part.runs:
        if run.patch_evaluations or run.summary.get("best") or run.summary.get("final"):
            return _of_patches(run)
    return ["Nothing has been measured yet, so nothing can be said about how good the masks are."]


def best_reference(evaluation: Mapping[str, Any]) -> str | None:
    """The best reference that any scene has."""
    pooled = evaluation["pooled"]
    return next((name for name in REFERENCES if pooled.get(name)), None)


def title_of(evaluation: Mapping[str, Any], member: str) -> str:
    return str(evaluation["members"].get(member, member))


def main_comparison(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """Network and label, the mask it learned from, against truth."""
    for found in evaluation.get("comparisons") or []:
        if (found.get("reference"), found.get("a"), found.get("b")) == (
            "truth",
            "network",
            "label",
        ):
            return found
    return None


def _of_scenes(evaluation: dict[str, Any]) -> list[str]:
    reference = best_reference(evaluation)
    scenes = len(evaluation["scenes"])
    if reference is None:
        return [
            f"No mask of the {plural(scenes, 'scene')} has a reference to be compared with, so "
            "nothing can be said about how good the masks are."
        ]
    compared = main_comparison(evaluation)
    told = [comparison_sentence(evaluation, compared)] if compared else []
    if not compared and reference != "truth":
        told.append(
            "Whether the network is better than the mask it learned from cannot be said: "
            "no scene has a truth to hold both against."
        )
    told.append(_baseline_sentence(evaluation, reference, scenes))
    failed = len(evaluation.get("failed") or {})
    if failed:
        told.append(f"{plural(failed, 'scene')} could not be evaluated and {_is(failed)} left out.")
    return told


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def comparison_sentence(evaluation: dict[str, Any], found: dict[str, Any]) -> str:
    """Is a better than b? Decided by the interval over scenes, not by the number of pixels."""
    a, b = (title_of(evaluation, str(found.get(side))) for side in "ab")
    learned = " it learned from" if found.get("b") == "label" else ""
    against = title_of(evaluation, str(found.get("reference")))
    figures = (
        f"accuracy {number(found.get('accuracy_a'))} against {number(found.get('accuracy_b'))}"
    )
    interval = found.get("interval")
    scenes = found.get("scenes") or 0
    wins = (
        f"It is the better one in {found.get('scenes_a_better', NONE)} of "
        f"{plural(scenes, 'scene')}, the worse one in {found.get('scenes_b_better', NONE)}."
    )
    if not (isinstance(interval, list) and len(interval) == 2 and all(map(is_number, interval))):
        return (
            f"Held against the {against}, the {a} has {figures} of the {b}{learned}; with "
            f"{plural(scenes, 'scene')} no interval can be given, so the difference may be chance."
        )
    low, high = interval
    which = "better" if low > 0 else "worse" if high < 0 else ""
    p = found.get("clustered_p")
    doubt = bool(which) and is_number(p) and p >= 0.05
    verb = "seems" if doubt else "is"
    outcome = f"{verb} {which} than" if which else "cannot be told from"
    caution = (
        f" McNemar's test with scenes as units leaves room for chance (p = {p_value(p)})."
        if doubt
        else ""
    )
    return (
        f"The {a} {outcome} the {b}{learned}: held against the {against}, {figures}, a difference "
        f"of {points(found.get('difference'))} percentage points (95 % interval over scenes "
        f"{points(low)} to {points(high)}). {wins}{caution}"
    )


def _baseline_sentence(evaluation: dict[str, Any], reference: str, scenes: int) -> str:
    figures = evaluation["pooled"][reference]
    accuracy, majority = figures.get("accuracy"), figures.get("majority")
    against = title_of(evaluation, reference)
    if not (is_number(accuracy) and is_number(majority)):
        return f"No pixel of the {plural(scenes, 'scene')} could be compared with the {against}."
    text = (
        f"Over {plural(scenes, 'scene')} the network agrees with the {against} on "
        f"{percent(accuracy)} of the pixels; always giving the commonest answer would reach "
        f"{percent(majority)}"
    )
    return f"{text}." if accuracy > majority else f"{text}, so it has learned nothing useful."


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


def mcnemar_sentence(found: Mapping[str, Any]) -> str:
    """What the two tests mean, to follow a colon: pixels of one scene are not independent."""
    p, clustered = found.get("p"), found.get("clustered_p")
    if not is_number(clustered):
        return "with so few scenes there is no test that takes whole scenes as its units."
    naive = is_number(p) and p < 0.05
    if clustered < 0.05:
        return (
            f"the difference holds when whole scenes are the units (p = {p_value(clustered)}), "
            "which is the test to go by: pixels of one scene are not independent."
        )
    if naive:
        return (
            f"counted by pixels the difference looks certain (p {p_value(p)}), but pixels of one "
            f"scene are not independent: with scenes as units it may be chance "
            f"(p = {p_value(clustered)})."
        )
    return f"the difference may be chance (p = {p_value(clustered)} with scenes as units)."
