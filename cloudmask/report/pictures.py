"""Looks of one scene: read it and its mask, and show what there is to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from cloudmask.data import dual
from cloudmask.data.classes import with_classes
from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene, missing_pixels
from cloudmask.data.slstr import recorded
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SceneMask, classify, read_mask
from cloudmask.report import colours, looks, pixels
from cloudmask.report.looks import Look, Place
from cloudmask.report.sentences import REFERENCES, title_of
from cloudmask.report.sources import locate
from cloudmask.text import is_number


def of_scene(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], folder: Path, place: Place
) -> list[Look]:
    """The pictures of one scene; what cannot be read is said in its place. Raises OSError."""
    mask, problem = _read_mask(record, evaluation, folder)
    if mask is None:
        return [Look("No pictures", problem)]
    scene, problem = _read_scene(record, evaluation, folder)
    if scene is not None and scene.image.shape[:2] != mask.mask.shape:
        has, had = ("{} x {}".format(*size) for size in (scene.image.shape, mask.mask.shape))
        problem = f"The scene has {has} pixels and its mask {had}: it is another one by now."
        scene = None
    if scene is not None:
        try:
            scene = with_classes(scene, mask.classes)
        except ValueError as error:
            scene, problem = None, f"The scene cannot be shown beside its mask: {error}."
    found = of_values(scene, mask, evaluation, place)
    return found if scene is not None else [Look("No scene", problem), *found]


def of_values(
    scene: Scene | None, mask: SceneMask, evaluation: Mapping[str, Any], place: Place
) -> list[Look]:
    """What there is to see of a mask and, if it is there, its scene. Raises OSError.

    `evaluation` names its `members`.
    """
    if scene is None:
        return [_network(mask, place), _probability(mask, place)]
    return [
        _false_colour(scene, place),
        _reference("label", scene, evaluation, place),
        _network(mask, place),
        _difference(scene, mask, evaluation, place),
        *_temperature(scene, place),
        *([_reference("truth", scene, evaluation, place)] if scene.truth is not None else []),
        _probability(mask, place),
    ]


def telling(found: Sequence[Look]) -> list[Look]:
    """The four to begin with: what the sensor saw, the label, the network's mask, the errors."""
    shown = {look.kind: look for look in found if look.address}
    saw = shown.get("colour") or shown.get("temperature")
    four = [saw, *(shown.get(kind) for kind in ("label", "network", "difference"))]
    return [look for look in four if look] or list(found)


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
    made = (mask.attributes or {}).get("fingerprint", "")
    if made != evaluation.get("fingerprint", made):
        return None, (
            f"The mask {name} was made anew since, by another model or with other options: the "
            "figures are not of it. Run `cloudmask evaluate` again."
        )
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
        reading = recorded(evaluation.get("options") or {})
        strips = dual.from_json(evaluation.get("strips"))
        scene = read_scene(
            path, label=label, need_label=False, verify=False, reading=reading, strips=strips
        )
        return scene, ""
    except (ValueError, OSError) as error:
        return None, f"The scene cannot be read any more: {error}."


def _false_colour(scene: Scene, place: Place) -> Look:
    chosen = pixels.colour_channels(scene.channels)
    names = ", ".join(scene.channels[number] for number in chosen)
    planes = [scene.image[..., number] for number in chosen]
    title = "What the sensor saw"
    if any(not np.isfinite(plane).any() for plane in planes):
        return Look(title, f"No daylight: nothing was measured in {names}.")
    caption = f"{names} as red, green and blue, stretched from the 1st to the 99th percentile."
    return looks.channels(title, caption, planes, place, "colour")


def _temperature(scene: Scene, place: Place) -> list[Look]:
    if pixels.THERMAL not in scene.channels:
        return []
    kelvin = scene.image[..., scene.channels.index(pixels.THERMAL)]
    title = "Brightness temperature"
    if not np.isfinite(kelvin).any():
        return [Look(title, f"Nothing was measured in {pixels.THERMAL}.")]
    span = pixels.limits(kelvin)
    caption = f"{pixels.THERMAL} in K; cold is bright, as high cloud is."
    ticks = tuple(f"{value:.0f} K" for value in (span[0], sum(span) / 2, span[1]))
    table = pixels.grey_cold_is_bright()
    return [
        looks.values(
            title, caption, kelvin, place, "temperature", span=span, table=table, ticks=ticks
        )
    ]


def _classes(
    title: str, caption: str, found: np.ndarray, classes: Sequence[str], place: Place, kind: str
) -> Look:
    """(H, W) categories below 254 are classes."""
    styles, names = colours.class_styles(len(classes)), dict(enumerate(classes))
    return looks.categories(title, caption, found, place, kind, styles=styles, names=names)


def _reference(member: str, scene: Scene, evaluation: Mapping[str, Any], place: Place) -> Look:
    """The label or the truth, as it is."""
    found = scene.label if member == "label" else scene.truth
    title = title_of(evaluation, member)
    title = title[:1].upper() + title[1:]
    if found is None:
        return Look(title, "This scene has no such mask.")
    caption = "What the network was taught." if member == "label" else "What is really there."
    found = colours.classes_of(found, missing_pixels(scene.image))
    return _classes(title, caption, found, scene.classes, place, member)


def _network(mask: SceneMask, place: Place) -> Look:
    found = np.where(mask.mask == UNKNOWN, colours.MISSING, mask.mask).astype(np.uint8)
    return _classes("Network", "The class of each pixel.", found, mask.classes, place, "network")


def _probability(mask: SceneMask, place: Place) -> Look:
    """Of the second class of two; of more classes how sure the network is of the one it gives."""
    title, caption = "How sure the network is", "Probability of the class it gives; bright is sure."
    if len(mask.classes) == 2:
        title = f"Probability of {mask.classes[1]}"
        caption = "What the network says; dark is 0, bright is 1."
    return looks.values(
        *(title, caption, mask.probability.max(axis=-1), place, "probability"),
        span=(0, 1),
        table=pixels.cividis(),
        ticks=("0", "0.5", "1"),
    )


def _difference(scene: Scene, mask: SceneMask, evaluation: Mapping[str, Any], place: Place) -> Look:
    held = {"truth": scene.truth, "label": scene.label, "summary": scene.summary}
    for reference in REFERENCES:
        against = held[reference]
        if against is None:
            continue
        names = {colours.AGREE: "agree", colours.DIFFER: "differ"}
        styles = colours.AGREEMENT
        if len(mask.classes) == 2:
            clear, cloud = mask.classes
            names = {
                colours.HIT: f"hit: {cloud} in both",
                colours.CORRECT_CLEAR: f"correct: {clear} in both",
                colours.MISS: f"miss: {cloud} taken for {clear}",
                colours.FALSE_ALARM: f"false alarm: {clear} taken for {cloud}",
            }
            styles = colours.DIFFERENCE
        return looks.categories(
            f"Network against the {title_of(evaluation, reference)}",
            "",
            colours.difference(mask.mask, against, num_classes=len(mask.classes)),
            place,
            "difference",
            styles=styles,
            names=names,
            shares=True,
        )
    return Look("Difference", "The scene has no mask to compare the network with.")
