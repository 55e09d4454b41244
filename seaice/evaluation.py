"""`evaluate`: class maps against several references, side by side, by cloud cover, with areas.

A network that is scored against the labels it was trained on is scored on how well it copies a
rule. So every prediction is scored against every reference: raw labels, filtered labels, truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cloudmask.data.patchset.manifest import read_manifest
from cloudmask.files import remove_leftovers, write_json
from cloudmask.record import now, warn
from cloudmask.text import listed, plural
from seaice import colour, comparison, ground, page, table
from seaice.comparison import CLOUDY, Compared
from seaice.io import classmap, reading
from seaice.options import EvaluateConfig
from seaice.scores import SHADES

AREAS = (
    "km2 of the classes of each scene by itself, by the scale of its own projection; where scenes "
    "overlap they are not to be added up: see python -m seaice series"
)
_SHOWN = 3
"""names that a line tells"""


def evaluate(config: EvaluateConfig) -> int:
    """Measure, print the table, write evaluation.json and index.html; exit code 1 if a scene could
    not be compared. ValueError, OSError."""
    predictions = folders(config.predictions, "--predictions")
    references = folders(config.against, "--against")
    how = reading.checked(config.stretch, config.nodata, config.bands)
    ground.check_pixel("--pixel-metres", config.pixel_metres)
    names, lacking = scene_names(config, [*predictions.values(), *references.values()])
    for place, lost in lacking.items():
        warn(f"{place} lacks {plural(len(lost), 'scene')}, not scored: {listed(lost, most=_SHOWN)}")
    config.out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(config.out)
    scenes, failed = measure(predictions, references, names, config.pixel_metres)
    record = {
        **comparison.figures(scenes),
        "classes": list(colour.CLASSES),
        "ssim_shades": {colour.CLASSES[index]: shade for index, shade in SHADES.items()},
        "cloudy_from": CLOUDY,
        "area_km2": AREAS,
        "scenes": {one.name: _facts(one) for one in scenes},
        "failed": failed,
        "lacking": {str(place): lost for place, lost in lacking.items()},
        "split": config.split if config.patchset else None,
        "date": now(),
    }
    write_json(config.out / "evaluation.json", record)
    print("\n".join(table.lines_of(record)))
    pictures = page.Pictures(config.scenes, how, apart_from=config.out) if config.scenes else None
    page.write_page(
        config.out / "index.html", record, predictions, references, pictures, config.shown
    )
    print(f"figures: {config.out / 'evaluation.json'}   page: {config.out / 'index.html'}")
    return 1 if failed else 0


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


def scene_names(
    config: EvaluateConfig, places: Sequence[Path]
) -> tuple[list[str], dict[Path, list[str]]]:
    """The scenes that every folder has, and those that others have and a folder lacks.

    Or the scenes of a split: then ValueError where a folder lacks one of them.
    """
    if config.patchset is None:
        there = {place: set(classmap.names(place)) for place in places}
        common = sorted(set.intersection(*there.values()))
        if not common:
            raise ValueError("no scene is in all of the folders; scenes go by their file names")
        every = set.union(*there.values())
        lacking = {place: sorted(every - held) for place, held in there.items() if every - held}
        return common, lacking
    splits = read_manifest(config.patchset).splits
    if config.split not in splits:
        raise ValueError(f"{config.patchset} has no split '{config.split}'; it has: {set(splits)}")
    names = sorted(entry.scene for entry in splits[config.split].files)
    for place in places:
        lost = [name for name in names if classmap.find(place, name) is None]
        if lost:
            raise ValueError(
                f"{place} lacks {plural(len(lost), 'scene')} of split '{config.split}': "
                f"{listed(lost, most=_SHOWN)}"
            )
    return names, {}


def measure(
    predictions: dict[str, Path],
    references: dict[str, Path],
    names: Sequence[str],
    pixel_metres: float | None,
) -> tuple[list[Compared], dict[str, str]]:
    """What was counted of each scene, and why others could not be. ValueError if nothing could."""
    found: list[Compared] = []
    failed: dict[str, str] = {}
    for name in tqdm(names, desc="evaluate", leave=False, disable=None):
        try:
            found.append(comparison.compare(name, predictions, references, pixel_metres))
        except ValueError as error:
            failed[name] = str(error)
            warn(f"left out: {error}")
    if not found:
        raise ValueError(
            f"none of {plural(len(names), 'scene')} could be compared; the first: "
            f"{next(iter(failed.values()))}"
        )
    return found, failed


def _facts(one: Compared) -> dict[str, Any]:
    """What evaluation.json tells of a scene."""
    return {
        "date": one.date,
        "cloud_cover": one.cloud_cover,
        "predicted": one.predicted,
        "scores": [
            {"prediction": label, "against": key, **score.as_dict()}
            for (label, key), score in one.scores.items()
        ],
    }
