"""Quicklooks of one scene: read it and its mask, write pictures, give back what the page shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from cloudmask.data import masks
from cloudmask.data.scene import LabelChoice, Scene, missing_pixels, read_scene
from cloudmask.report import patterns, quicklook
from cloudmask.report.patterns import Style
from cloudmask.report.sources import locate
from cloudmask.report.text import is_number, percent
from cloudmask.report.verdict import REFERENCES, title_of
from cloudmask.runlog import write_aside

THUMBNAIL = 480
"""longest side of a thumbnail, pixels"""


@dataclass(frozen=True)
class Legend:
    """What a picture's colours mean: named swatches, or a bar with its ends."""

    swatches: tuple[tuple[str, str], ...] = ()
    """data address and meaning"""
    bar: str = ""
    """data address of the colour bar"""
    ticks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quicklook:
    """One picture of a scene, or without an address the reason why there is none."""

    title: str
    caption: str
    address: str = ""
    file: str = ""
    """full size, as a path relative to the page"""
    legend: Legend = field(default_factory=Legend)


@dataclass(frozen=True)
class Place:
    """Where the pictures of a scene go."""

    folder: Path
    stem: str

    def write(self, name: str, picture: np.ndarray) -> str:
        """Write a full-size PNG; its path relative to the page."""
        path = self.folder / f"{self.stem}-{name}.png"
        write_aside(path, quicklook.encode(picture))
        return f"{self.folder.name}/{path.name}"


def safe_stem(number: int, name: str) -> str:
    """A file name of plain characters, whatever the scene is called; the number keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:100]
    return f"{number:04d}-{plain or 'scene'}"


def of_scene(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], folder: Path, place: Place
) -> list[Quicklook]:
    """The pictures of one scene; what cannot be read is said in its place. Raises OSError."""
    mask, problem = _read_mask(record, evaluation, folder)
    if mask is None:
        return [Quicklook("No pictures", problem)]
    scene, problem = _read_scene(record, evaluation, folder)
    if scene is not None and scene.image.shape[:2] != mask.mask.shape:
        problem = (
            f"The scene is {scene.image.shape[:2]}, its mask {mask.mask.shape}: it has changed."
        )
        scene = None
    found = [] if scene else [Quicklook("No scene", problem)]
    if scene:
        found += [
            _false_colour(scene, place),
            *_thermal(scene, place),
            *_label(scene, evaluation, place),
        ]
    found += _network(mask, evaluation, place)
    if scene:
        found.append(_difference(scene, mask, evaluation, place))
    return found


def _read_mask(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], folder: Path
) -> tuple[masks.Mask | None, str]:
    path = folder / Path(str(record.get("mask", ""))).name  # never outside the folder
    try:
        if path == folder or not path.is_file():
            return None, f"The mask {path.name or record.get('name')} is gone."
        mask = masks.read_mask(path, classes=[str(name) for name in evaluation["classes"]])
    except ValueError as error:
        return None, f"{error}."
    threshold = evaluation.get("threshold")
    if not is_number(threshold):
        return mask, ""
    return replace(mask, mask=masks.classify(mask.probability, threshold=threshold)), ""


def _read_scene(
    record: Mapping[str, Any], evaluation: Mapping[str, Any], folder: Path
) -> tuple[Scene | None, str]:
    named = str(record.get("scene", ""))
    path = locate(named, folder) if named else None
    if path is None:
        return (
            None,
            f"The scene file {named} is gone, so only the network's own pictures are shown.",
        )
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
    ranges = [quicklook.limits(plane) for plane in planes]
    factor = quicklook.shrink_factor(planes[0].shape, THUMBNAIL)
    small = quicklook.rgb([quicklook.box_mean(plane, factor) for plane in planes], ranges)
    return Quicklook(
        title,
        f"{names} as red, green and blue, stretched from the 1st to the 99th percentile.",
        quicklook.data_address(quicklook.encode(small, "JPEG")),
        place.write("colour", quicklook.rgb(planes, ranges)),
        _swatches({"not measured": Style(patterns.BACKGROUND)}),
    )


def _thermal(scene: Scene, place: Place) -> list[Quicklook]:
    if quicklook.THERMAL not in scene.channels:
        return []
    kelvin = scene.image[..., scene.channels.index(quicklook.THERMAL)]
    title = "Brightness temperature"
    if not np.isfinite(kelvin).any():
        return [Quicklook(title, f"Nothing was measured in {quicklook.THERMAL}.")]
    low, high = quicklook.limits(kelvin)
    caption = f"{quicklook.THERMAL} in K; cold is bright, as high cloud is."
    table = quicklook.grey_cold_is_bright()
    ticks = tuple(f"{value:.0f} K" for value in (low, (low + high) / 2, high))
    return [_mapped(title, caption, kelvin, (low, high), table, ticks, place, "temperature")]


def _mapped(
    title: str,
    caption: str,
    values: np.ndarray,
    span: tuple[float, float],
    table: np.ndarray,
    ticks: tuple[str, ...],
    place: Place,
    name: str,
) -> Quicklook:
    factor = quicklook.shrink_factor(values.shape, THUMBNAIL)
    small = quicklook.mapped(quicklook.box_mean(values, factor), *span, table)
    bar = quicklook.data_address(quicklook.encode(quicklook.bar(table)))
    missing = _swatches({"not measured": Style(patterns.BACKGROUND)}).swatches
    return Quicklook(
        title,
        caption,
        quicklook.data_address(quicklook.encode(small, "JPEG")),
        place.write(name, quicklook.mapped(values, *span, table)),
        Legend(missing, bar, ticks),
    )


def _label(scene: Scene, evaluation: Mapping[str, Any], place: Place) -> list[Quicklook]:
    title = title_of(evaluation, "label")
    title = title[:1].upper() + title[1:]
    if scene.label is None:
        return [Quicklook(title, "This scene has no such mask.")]
    categories = patterns.classes_of(scene.label, missing_pixels(scene.image))
    styles = patterns.class_styles(len(scene.classes))
    names = dict(enumerate(scene.classes))
    return [
        _categories(
            title, "What the network was taught.", categories, styles, names, place, "label"
        )
    ]


def _network(mask: masks.Mask, evaluation: Mapping[str, Any], place: Place) -> list[Quicklook]:
    """Two classes: the probability of the second; more: the map, and how sure it is."""
    table, ticks = quicklook.cividis(), ("0", "0.5", "1")
    if len(mask.classes) == 2:
        values, what = mask.probability[..., 0], f"Probability of {mask.classes[1]}"
        caption = "What the network says; dark is 0, bright is 1."
        return [_mapped(what, caption, values, (0, 1), table, ticks, place, "probability")]
    styles, names = patterns.class_styles(len(mask.classes)), dict(enumerate(mask.classes))
    categories = np.where(mask.mask == masks.NODATA, patterns.MISSING, mask.mask).astype(np.uint8)
    caption = "Probability of the class that was given: bright is sure."
    sure = mask.probability.max(axis=-1)
    return [
        _categories(
            "Network", "What the network says.", categories, styles, names, place, "network"
        ),
        _mapped("How sure it is", caption, sure, (0, 1), table, ticks, place, "probability"),
    ]


def _difference(
    scene: Scene, mask: masks.Mask, evaluation: Mapping[str, Any], place: Place
) -> Quicklook:
    held = {"truth": scene.truth, "label": scene.label, "summary": scene.summary}
    reference = next((name for name in REFERENCES if held[name] is not None), None)
    if reference is None:
        return Quicklook("Difference", "The scene has no mask to compare the network with.")
    classes = mask.classes
    categories = patterns.difference(mask.mask, held[reference], num_classes=len(classes))  # type: ignore[arg-type]
    if len(classes) == 2:
        styles = patterns.DIFFERENCE
        names = {
            patterns.HIT: f"hit: {classes[1]} in both",
            patterns.CORRECT_CLEAR: f"{classes[0]} in both",
            patterns.MISS: f"miss: {classes[1]} taken for {classes[0]}",
            patterns.FALSE_ALARM: f"false alarm: {classes[0]} taken for {classes[1]}",
        }
    else:
        styles = patterns.AGREEMENT
        names = {patterns.AGREE: "agree", patterns.DIFFER: "differ"}
    title = f"Network against the {title_of(evaluation, reference)}"
    return _categories(title, "", categories, styles, names, place, "difference", shares=True)


def _categories(
    title: str,
    caption: str,
    categories: np.ndarray,
    styles: Mapping[int, Style],
    names: Mapping[int, str],
    place: Place,
    name: str,
    *,
    shares: bool = False,
) -> Quicklook:
    """A map of categories, with shares of the measured pixels in its legend if wanted."""
    factor = quicklook.shrink_factor(categories.shape, THUMBNAIL)
    small = patterns.paint(patterns.shrink_categories(categories, factor), styles)
    if factor > 1:
        caption += f" Small: the commonest of each {factor} x {factor} pixels."
    full = {**names, patterns.UNKNOWN: "unknown", patterns.MISSING: "not measured"}
    counts = np.bincount(categories.ravel(), minlength=256)
    measured = int(counts.sum() - counts[patterns.MISSING])
    meaning = {
        text: styles[value] for value, text in full.items() if counts[value] or value in names
    }
    if shares and measured:
        meaning = {
            f"{text}, {percent(counts[value] / measured)}"
            if value != patterns.MISSING
            else text: styles[value]
            for value, text in full.items()
            if counts[value] or value in names
        }
    return Quicklook(
        title,
        caption.strip(),
        quicklook.data_address(quicklook.encode(small)),
        place.write(name, patterns.paint(categories, styles)),
        _swatches(meaning),
    )


def _swatches(meaning: Mapping[str, Style]) -> Legend:
    return Legend(
        tuple(
            (quicklook.data_address(quicklook.encode(patterns.swatch(style))), text)
            for text, style in meaning.items()
        )
    )
