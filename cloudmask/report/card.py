"""A model card: what the model is, learned, was tried on, and is not good for.

After Mitchell et al., Model cards for model reporting (2019). It is made from the records of the
run and of its evaluation alone; what they do not say is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudmask.data.acquisition import acquisition_of
from cloudmask.report import sentences
from cloudmask.report.facts import Facts
from cloudmask.report.sources import Part
from cloudmask.text import (
    NONE,
    count,
    date,
    enumerated,
    fingerprint,
    is_number,
    percent,
    plural,
    points,
)

UNKNOWN = "not in the records"


def card(part: Part) -> Facts:
    """Heads and texts; empty where there is neither a finished run nor an evaluation."""
    found = part.evaluation
    summary = next((run.summary for run in part.runs if run.summary), {})
    if not summary and not found:
        return ()
    return (
        ("Model", _model(summary, found)),
        ("Input", _input(summary)),
        ("Output", _output(summary, found)),
        ("Learned from", _learned(part, summary)),
        ("Evaluated on", _evaluated(part)),
        ("Intended use", _use(summary, found)),
        ("Limits", _limits(summary, found)),
    )


def _model(summary: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    names = found.get("models") if isinstance(found.get("models"), list) else []
    config = summary.get("config") or {}
    widths = config.get("widths")
    told = [f"{', '.join(map(str, names or [])) or NONE}."]
    if summary:
        told.append(
            f"A U-Net of {count(summary.get('parameters'))} parameters"
            + (f" (widths {', '.join(map(str, widths))})" if isinstance(widths, list) else "")
            + f", trained in {summary.get('precision', UNKNOWN)}, finished "
            f"{date(summary.get('date'))}."
        )
    return " ".join(told)


def _input(summary: Mapping[str, Any]) -> str:
    channels = ", ".join(map(str, summary.get("channels") or [])) or UNKNOWN
    return f"Channels {channels}, in physical units; NaN where nothing was measured."


def _output(summary: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    classes = found.get("classes") or summary.get("classes") or []
    threshold = found.get("threshold")
    if threshold is None:
        threshold = (found.get("options") or {}).get("threshold")
    told = f"The class of each pixel ({', '.join(map(str, classes)) or UNKNOWN}) and how sure it is"
    if len(classes) == 2 and is_number(threshold):
        told += f"; {classes[1]} from a probability of {threshold:g} on"
    return f"{told}."


def _learned(part: Part, summary: Mapping[str, Any]) -> str:
    found = part.evaluation
    patchset = summary.get("patchset") or found.get("training_patchset")
    told = [f"Patch set {fingerprint(patchset) if patchset else UNKNOWN}"]
    if is_number(summary.get("training_patches")):
        size = summary.get("patch_size", NONE)
        told.append(f"{count(summary['training_patches'])} patches of {size} x {size} pixels")
    if found and (teacher := sentences.title_of(found, "label")) != sentences.NO_TITLE:
        told.append(f"labels of the scenes tried: {teacher}")
    if summary.get("label_source"):
        told.append(f"labels learned from: {sentences.teacher_of(part)}")
    init = summary.get("init") or {}
    if isinstance(init, dict) and init:
        told.append(f"from the weights of {init.get('path') or init.get('sha256') or UNKNOWN}")
    return " ".join([f"{'; '.join(told)}.", *sentences.calibrated(found)])


def _evaluated(part: Part) -> str:
    found = part.evaluation
    if not found:
        patches = [one for run in part.runs for one in run.patch_evaluations]
        if not patches:
            return "Nothing but the validation patches of its training."
        first = patches[0]
        return (
            f"Patches of the split {first.get('split', NONE)}: accuracy "
            f"{percent(first.get('accuracy'))}, always the commonest class "
            f"{percent(first.get('majority'))}. No whole scenes."
        )
    told = [f"{plural(len(found['scenes']), 'whole scene')}, {date(found.get('date'))}."]
    for name in sentences.REFERENCES:
        if figures := found["pooled"].get(name):
            told.append(
                f"Against the {sentences.title_of(found, name)}: accuracy "
                f"{percent(figures.get('accuracy'))} (always the commonest class "
                f"{percent(figures.get('majority'))})."
            )
    if compared := sentences.main_comparison(found):
        other = sentences.title_of(found, "label")
        told.append(f"Difference to the {other}: {points(compared.get('difference'))} points, ")
        told[-1] += _interval(compared)
    return " ".join(told)


def _interval(compared: Mapping[str, Any]) -> str:
    interval, units = compared.get("interval"), sentences.units_of(compared)
    if not (isinstance(interval, list) and len(interval) == 2):
        return f"without an interval, which cannot be had from {units}."
    return f"95 % interval over {units} {points(interval[0])} to {points(interval[1])}."


def _use(summary: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    classes = [str(name) for name in found.get("classes") or summary.get("classes") or []]
    what = f"Masks of {', '.join(classes)}" if classes else "Masks"
    return (
        f"{what} for scenes of the sensor, the channels and the kind that it learned from. Look at "
        "figures and pictures of your own scenes before you rely on it."
    )


def _limits(summary: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    channels = ", ".join(map(str, summary.get("channels") or [])) or UNKNOWN
    told = [f"It takes these channels and no others: {channels}."]
    zenith = (found.get("options") or {}).get("max_solar_zenith")
    if is_number(zenith):
        told.append(f"No reflectance is used where the sun stands beyond {zenith:g} degrees.")
    else:
        told.append(f"Range of the sun's zenith angle: {UNKNOWN}.")
    told += [f"Sensors: {', '.join(_satellites(found)) or UNKNOWN}."]
    regions = [sentences.where(str(name)) for name in sorted(found.get("regions") or {})]
    tried = f"{enumerated(regions)} only" if regions else "at hours and places that are not known"
    told.append(f"Tried {tried}.")
    if found and not found["pooled"].get("truth"):
        told.append("No scene had a truth: the figures say how far it agrees with other masks.")
    told += sentences.failings(found) if found else []
    return " ".join(told)


def _satellites(found: Mapping[str, Any]) -> list[str]:
    """Sentinel-3 satellites among the scenes that were tried, by their names."""
    named = (acquisition_of(str(scene.get("name", ""))) for scene in found.get("scenes") or [])
    letters = {one.satellite.removeprefix("S3") for one in named if one}
    return [f"Sentinel-3{letter} SLSTR" for letter in sorted(letters)]
