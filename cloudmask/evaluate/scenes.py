"""How good masks of whole scenes are, beside the mask they learned from and whatever else is known.

Every scene is read with its mask and counted (counts.py); the counts of all scenes and ranks are
added, and what follows from them is divided once (figures.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloudmask.cli.errors import AgreedError
from cloudmask.data import dual, parallel
from cloudmask.data.entry import Entry
from cloudmask.data.place import Place
from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene
from cloudmask.data.slstr import recorded
from cloudmask.evaluate.counts import Count, Tally, references
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SUFFIXES, SceneMask, attributes_of, read_mask
from cloudmask.predict.masks.files import path_of
from cloudmask.predict.recipe import (
    Recipe,
    of_another_recipe,
    of_another_scene,
    options_of,
    scene_key,
)

FORMAT_OF_RUNS: Literal["netcdf"] = "netcdf"
"""of the masks that a run is measured by"""


@dataclass(frozen=True)
class Measured:
    """What all scenes gave, the same on every rank."""

    counts: list[Count]
    failed: dict[str, str]
    """scene -> why it could not be compared"""
    tally: Tally


def measure(
    masks: Path,
    scenes: Sequence[Entry],
    *,
    label: LabelChoice,
    strips: dual.Strips | None,
    threshold: float | None,
    verify: bool,
    recipe: Recipe | None,
    left_out: Mapping[Place, str],
    world: parallel.World,
) -> Measured:
    """Compare every scene with its mask. Collective. ValueError if nothing is left.

    With a recipe, masks that were not made by it, in the format of runs, are not counted. Scenes
    that are `left_out`, each with its reason, are among the failed ones.
    """
    todo = [entry for entry in scenes if entry.path not in left_out]
    if not todo:
        raise AgreedError(_nothing(masks, list(left_out.values())))
    kind = FORMAT_OF_RUNS if recipe else None
    classes = world.on_root(lambda: _classes(masks, todo, kind, label=label, verify=verify))
    if threshold is not None and len(classes) != 2:
        raise AgreedError(
            f"--threshold is for masks of two classes; those in {masks} have {len(classes)}, of "
            "which the most probable one counts"
        )
    tally = Tally.of_nothing(classes)

    def work(entry: Entry) -> Count:
        file = mask_of(masks, entry, kind)
        mask = read_mask(file, classes=classes)
        redated = _check_making(file, mask, recipe, entry)
        reading = recorded(options_of(mask.attributes or {}))
        scene = read_scene(
            entry.path,
            label=label,
            need_label=False,
            verify=verify,
            reading=reading,
            strips=strips,
        )
        _check(scene, mask, classes, entry.path)
        return tally.add(
            scene, mask, path=entry.path, file=file, threshold=threshold, redated=redated
        )

    outcomes = parallel.map_items(
        work,
        todo,
        world=world,
        weights=[float(entry.bytes) for entry in todo],
        progress="evaluate",
        tell=False,
    )
    tally = tally.over(world)
    counts = [outcome.value for outcome in outcomes if outcome and outcome.value]
    reasons = dict(left_out) | problems(todo, outcomes)
    failed = {str(entry.path): reasons[entry.path] for entry in scenes if entry.path in reasons}
    if not counts:
        raise AgreedError(_nothing(masks, list(failed.values())))
    made = {one.fingerprint for one in counts}
    if len(made) > 1:
        raise AgreedError(
            f"{masks} holds masks of {len(made)} different models or options, whose figures do not "
            "add up; predict with --overwrite"
        )
    return Measured(counts, failed, tally)


def problems(
    scenes: Sequence[Entry], outcomes: Sequence[parallel.Outcome | None]
) -> dict[Place, str]:
    """The scenes of which nothing came, and why."""
    return {
        entry.path: (outcome.error if outcome else None) or "not reached"
        for entry, outcome in zip(scenes, outcomes, strict=True)
        if outcome is None or outcome.error
    }


def _nothing(masks: Path, reasons: Sequence[str]) -> str:
    return (
        f"none of the {len(reasons)} scenes could be compared with {masks}; the first: {reasons[0]}"
    )


def _classes(
    masks: Path, scenes: Sequence[Entry], kind: str | None, *, label: LabelChoice, verify: bool
) -> tuple[str, ...]:
    """Of the first mask that can be read; ValueError if there is none at all.

    The classes of a mask that does not name them are its scene's.
    """
    reasons = []
    for entry in scenes:
        try:
            file = mask_of(masks, entry, kind)
            if "classes" in attributes_of(file):
                return read_mask(file, classes=()).classes
            return read_scene(entry.path, label=label, need_label=False, verify=verify).classes
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(_nothing(masks, reasons))


def mask_of(masks: Path, scene: Entry, kind: str | None = None) -> Path:
    """The file that holds a scene's mask, of a format if one is named.

    ValueError if there is none, or if there are several, of which one may be of another model.
    """
    places = [masks / f"{scene.name}{suffix}" for suffix in SUFFIXES]
    found = [path_of(masks, scene.name, kind)] if kind else places
    found = [path for path in found if path.exists()]
    if len(found) > 1:
        names = " and ".join(str(path) for path in found)
        raise ValueError(f"{scene.path} has more than one mask, {names}; keep one of them there")
    if not found:
        raise ValueError(
            f"{scene.path}: {masks} holds no mask {scene.name}{' or '.join(SUFFIXES)}; predict it "
            "first"
        )
    return found[0]


def _check_making(file: Path, mask: SceneMask, recipe: Recipe | None, entry: Entry) -> bool:
    """Whether the scene is another file, or has another date, than when its mask was made.

    ValueError for a mask that was made by another recipe, or of another scene. Masks that tell
    nothing of their making are taken for what they are called.
    """
    made = {key: str(value) for key, value in (mask.attributes or {}).items()}
    problem = recipe and (of_another_recipe(made, recipe) or of_another_scene(made, entry))
    if problem:
        raise ValueError(f"{file} {problem}; evaluate with --overwrite makes it again")
    if made.get("scene", entry.name) != entry.name:
        raise ValueError(
            f"{file} was made of the scene {made['scene']}, not of {entry.name}; predict it again"
        )
    if recipe or "scene_key" not in made:
        return False
    (name, size, _), (same_name, same_size, _) = (
        f", , {key}".rsplit(", ", 2) for key in (made["scene_key"], scene_key(entry))
    )
    if name == same_name and size != same_size:
        raise ValueError(
            f"{file} was made of a scene of {size}, and {entry.path} has {same_size}; predict it "
            "again"
        )
    return made["scene_key"] != scene_key(entry)


def _check(scene: Scene, mask: SceneMask, classes: tuple[str, ...], path: Place) -> None:
    if mask.mask.shape != scene.image.shape[:2]:
        raise ValueError(
            f"{path}: the scene has {scene.image.shape[:2]} pixels and its mask {mask.mask.shape}; "
            "predict it again"
        )
    if all(known is None or (known == UNKNOWN).all() for known in references(scene)):
        raise ValueError(f"{path}: has no label, summary or truth to compare with; leave it out")
    if mask.classes != classes or sorted(scene.classes) != sorted(classes):
        raise ValueError(
            f"{path}: its classes are {', '.join(scene.classes)}, those of its mask "
            f"{', '.join(mask.classes)}, of the others {', '.join(classes)}; give them the same "
            "names, or leave it out"
        )
