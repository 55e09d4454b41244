"""`evaluate`: class maps against several references, side by side, by cloud cover, with areas.

A network that is scored against the labels it was trained on is scored on how well it copies a
rule. So every prediction is scored against every reference: raw labels, filtered labels, truth.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cloudmask.data.patchset.manifest import read_manifest
from cloudmask.files import parse_json, write_json
from cloudmask.record import now
from cloudmask.text import number
from seaice import colour
from seaice.io import classmap
from seaice.options import EvaluateConfig
from seaice.page import write_page
from seaice.scores import SHADES, Score, score

CLOUDY = 0.1
"""from this cloud and shadow cover on, a scene counts as cloudy; as published"""


def evaluate(config: EvaluateConfig) -> int:
    """Measure, print the table, write evaluation.json and index.html. ValueError, OSError."""
    predictions = folders(config.predictions, "--predictions")
    references = folders(config.against, "--against")
    names = scene_names(config, [*predictions.values(), *references.values()])
    config.out.mkdir(parents=True, exist_ok=True)
    record = measure(predictions, references, names, config.pixel_metres)
    record |= {"split": config.split if config.patchset else None, "date": now()}
    write_json(config.out / "evaluation.json", record)
    write_page(
        config.out / "index.html", record, predictions, references, config.scenes, config.shown
    )
    print("\n".join(table(record)))
    print(f"figures: {config.out / 'evaluation.json'}   page: {config.out / 'index.html'}")
    return 0


def folders(words: Sequence[str], flag: str) -> dict[str, Path]:
    """NAME=FOLDER words, in their order. ValueError."""
    found: dict[str, Path] = {}
    for word in words:
        name, _, folder = word.partition("=")
        if not name or not folder or name in found:
            raise ValueError(f"{flag} {word}: write NAME=FOLDER, with a name of its own for each")
        if not Path(folder).is_dir():
            raise ValueError(f"{flag} {word}: {folder} is not a folder")
        found[name] = Path(folder)
    if not found:
        raise ValueError(f"{flag} needs at least one NAME=FOLDER")
    return found


def scene_names(config: EvaluateConfig, places: Sequence[Path]) -> list[str]:
    """The scenes that every folder has, or of a split; ValueError where one lacks a scene of it."""
    if config.patchset is None:
        common = sorted(set.intersection(*(set(classmap.names(place)) for place in places)))
        if not common:
            raise ValueError("no scene is in all of the folders; scenes go by their file names")
        return common
    splits = read_manifest(config.patchset).splits
    if config.split not in splits:
        raise ValueError(f"{config.patchset} has no split '{config.split}'; it has: {set(splits)}")
    names = sorted(entry.scene for entry in splits[config.split].files)
    for place in places:
        lacking = [name for name in names if classmap.find(place, name) is None]
        if lacking:
            raise ValueError(f"{place} lacks the scene {lacking[0]} of split '{config.split}'")
    return names


def measure(
    predictions: dict[str, Path],
    references: dict[str, Path],
    names: Sequence[str],
    pixel_metres: float | None,
) -> dict[str, Any]:
    """The content of evaluation.json: scores of each pair, counts of each scene."""
    totals: dict[tuple[str, str, str], Score] = {}
    scenes: dict[str, Any] = {}
    km2 = pixel_metres**2 / 1e6 if pixel_metres else None
    for name in tqdm(names, desc="evaluate", leave=False, disable=None):
        known = {key: classmap.of_scene(folder, name).label for key, folder in references.items()}
        cover = cloud_cover([*references.values(), *predictions.values()], name)
        groups = ["all"] + ([] if cover is None else ["cloudy" if cover >= CLOUDY else "clear"])
        scenes[name] = {"cloud_cover": cover, "predicted": {}}
        for label, folder in predictions.items():
            predicted = classmap.of_scene(folder, name).label
            scenes[name]["predicted"][label] = colour.statistics(colour.count(predicted), km2)
            for key, reference in known.items():
                if reference.shape != predicted.shape:
                    raise ValueError(f"{name}: {label} {predicted.shape}, {key} {reference.shape}")
                found = score(reference, predicted)
                for group in groups:
                    totals.setdefault((label, key, group), Score()).add(found)
    rows = itertools.product(predictions, references, ("all", "clear", "cloudy"))
    return {
        "scores": [
            {"prediction": row[0], "against": row[1], "scenes_of": row[2], **totals[row].as_dict()}
            for row in rows
            if row in totals
        ],
        "classes": list(colour.CLASSES),
        "ssim_shades": {colour.CLASSES[index]: shade for index, shade in SHADES.items()},
        "cloudy_from": CLOUDY,
        "scenes": scenes,
    }


def cloud_cover(places: Sequence[Path], name: str) -> float | None:
    """Share of a scene under cloud or shadow: known for synthetic ones, else what a filter saw.

    The filter's share of changed pixels is a stand-in: it sees shadow on snow, and little else.
    """
    for place in places:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return float(parse_json((place / f"{name}.json").read_bytes())["cloud_cover"])
    for place in places:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = parse_json((place / classmap.RECORDS / f"{name}.json").read_bytes())
            return float(record["done"]["filter"]["share_of_pixels_changed"])
    return None


def table(record: dict[str, Any]) -> list[str]:
    """Lines for people: one row per prediction, reference and kind of scenes."""
    width = max(len(row["prediction"]) for row in record["scores"])
    other = max(len(row["against"]) for row in record["scores"])
    head = f"{'prediction':<{max(width, 10)}}  {'against':<{max(other, 7)}}  scenes      "
    lines = [f"{head}accuracy  mean IoU  kappa   SSIM    (majority)"]
    for row in record["scores"]:
        kind = f"{row['scenes']} {row['scenes_of']}"
        figures = [row[key] for key in ("accuracy", "mean_iou", "kappa", "ssim", "majority")]
        text = [f"{number(value):^6}" for value in figures]
        lines.append(
            f"{row['prediction']:<{max(width, 10)}}  {row['against']:<{max(other, 7)}}  {kind:<10}"
            f"  {text[0]}    {text[1]}    {text[2]}  {text[3]}  ({text[4]})"
        )
    return lines
