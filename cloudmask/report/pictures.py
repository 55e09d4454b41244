"""Quicklooks of one scene: read it and its mask, and show what there is to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene, missing_pixels
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SceneMask, classify, read_mask
from cloudmask.report import looks, patterns, quicklook
from cloudmask.report.looks import Place, Quicklook
from cloudmask.report.sources import locate
from cloudmask.report.verdict import REFERENCES, title_of
from cloudmask.text import is_number


def of_scene(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], folder: Path, place: Place
) -> list[Quicklook]:
    """The pictures of one scene; what cannot be read is said in its place. Raises OSError."""
    mask, problem = _read_mask(record, evaluation, folder)
    if mask is None:
        return [Quicklook("No pictures", problem)]
    scene, problem = _read_scene(record, evaluation, folder)
    if scene is not None and scene.image.shape[:2] != mask.mask.shape:
        has, had = ("{} x {}".format(*size) for size in (scene.image.shape, mask.mask.shape))
        problem = f"The scene has {has} pixels and its mask {had}: it is another one by now."
        scene = None
    if scene is None:
        return [Quicklook("No scene", problem), *_network(mask, place)]
    return [
        _false_colour(scene, place),
        *_temperature(scene, place),
        _reference("label", scene, evaluation, place),
        *([_reference("truth", scene, evaluation, place)] if scene.truth is not None else []),
        *_network(mask, place),
        _difference(scene, mask, evaluation, place),
    ]


def _read_mask(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], folder: Path
) -> tuple[SceneMask | None, str]:
    """A mask at the threshold of the evaluation, or why there is none."""
    name = Path(str(record.get("mask", ""))).name  # never outside the folder
    if not name or not (folder / name).is_file():
        return None, f"The mask {name or record.get('name')} is gone."
    classes = [str(name) for name in evaluation["classes"]]
    try:
        mask = read_mask(folder / name, classes=classes)
    except ValueError as error:
        return None, f"{error}."
    threshold = evaluation.get("threshold")
    if is_number(threshold):
        mask = replace(mask, mask=classify(mask.probability, threshold=threshold))
    return mask, ""


def _read_scene(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], folder: Path
) -> tuple[Scene | None, str]:
    named = str(record.get("scene", ""))
    path = locate(named, folder) if named else None
    if path is None:
        return None, f"The scene file {named} is gone: only the network's own pictures are left."
    choices: dict[Any, LabelChoice] = {choice: choice for choice in get_args(LabelChoice)}
    try:
        label = choices.get(evaluation.get("label_source"), "any")
        return read_scene(path, label=label, need_label=False, verify=False), ""
    except (ValueError, OSError) as error:
        return None, f"The scene cannot be read any more: {error}."


def _false_colour(scene: Scene, place: Place) -> Quicklook:
    chosen = quicklook.colour_channels(scene.channels)
    names = ", ".join(scene.channels[number] for number in chosen)
    planes = [scene.image[..., number] for number in chosen]
    title = "False colour"
    if any(not np.isfinite(plane).any() for plane in planes):
        return Quicklook(title, f"No daylight: nothing was measured in {names}.")
    caption = f"{names} as red, green and blue, stretched from the 1st to the 99th percentile."
    return looks.colours(title, caption, planes, place, "colour")


def _temperature(scene: Scene, place: Place) -> list[Quicklook]:
    if quicklook.THERMAL not in scene.channels:
        return []
    kelvin = scene.image[..., scene.channels.index(quicklook.THERMAL)]
    title = "Brightness temperature"
    if not np.isfinite(kelvin).any():
        return [Quicklook(title, f"Nothing was measured in {quicklook.THERMAL}.")]
    low, high = quicklook.limits(kelvin)
    return [
        looks.values(
            title,
            f"{quicklook.THERMAL} in K; cold is bright, as high cloud is.",
            kelvin,
            place,
            "temperature",
            span=(low, high),
            table=quicklook.grey_cold_is_bright(),
            ticks=tuple(f"{value:.0f} K" for value in (low, (low + high) / 2, high)),
        )
    ]


def _reference(member: str, scene: Scene, evaluation: Mapping[str, Any], place: Place) -> Quicklook:
    """The label or the truth, as it is."""
    found = scene.label if member == "label" else scene.truth
    title = title_of(evaluation, member)
    title = title[:1].upper() + title[1:]
    if found is None:
        return Quicklook(title, "This scene has no such mask.")
    return looks.categories(
        title,
        "What the network was taught." if member == "label" else "What is really there.",
        patterns.classes_of(found, missing_pixels(scene.image)),
        place,
        member,
        styles=patterns.class_styles(len(scene.classes)),
        names=dict(enumerate(scene.classes)),
    )


def _network(mask: SceneMask, place: Place) -> list[Quicklook]:
    """Two classes: the probability of the second; more: the map, and how sure it is."""
    two = len(mask.classes) == 2
    probability = looks.values(
        f"Probability of {mask.classes[1]}" if two else "How sure the network is",
        "What the network says; dark is 0, bright is 1."
        if two
        else "Probability of the class it gives; bright is sure.",
        mask.probability.max(axis=-1),
        place,
        "probability",
        span=(0, 1),
        table=quicklook.cividis(),
        ticks=("0", "0.5", "1"),
    )
    if two:
        return [probability]
    classes = looks.categories(
        "Network",
        "The class of each pixel.",
        np.where(mask.mask == UNKNOWN, patterns.MISSING, mask.mask).astype(np.uint8),
        place,
        "network",
        styles=patterns.class_styles(len(mask.classes)),
        names=dict(enumerate(mask.classes)),
    )
    return [classes, probability]


def _difference(
    scene: Scene, mask: SceneMask, evaluation: Mapping[str, Any], place: Place
) -> Quicklook:
    held = {"truth": scene.truth, "label": scene.label, "summary": scene.summary}
    for reference in REFERENCES:
        against = held[reference]
        if against is None:
            continue
        names = {patterns.AGREE: "agree", patterns.DIFFER: "differ"}
        styles = patterns.AGREEMENT
        if len(mask.classes) == 2:
            clear, cloud = mask.classes
            names = {
                patterns.HIT: f"hit: {cloud} in both",
                patterns.CORRECT_CLEAR: f"correct: {clear} in both",
                patterns.MISS: f"miss: {cloud} taken for {clear}",
                patterns.FALSE_ALARM: f"false alarm: {clear} taken for {cloud}",
            }
            styles = patterns.DIFFERENCE
        return looks.categories(
            f"Network against the {title_of(evaluation, reference)}",
            "",
            patterns.difference(mask.mask, against, num_classes=len(mask.classes)),
            place,
            "difference",
            styles=styles,
            names=names,
            shares=True,
        )
    return Quicklook("Difference", "The scene has no mask to compare the network with.")
