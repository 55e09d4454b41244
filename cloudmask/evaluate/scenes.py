"""How good masks of whole scenes are, beside the mask they learned from and whatever else is known.

Every scene is read with its mask and counted (counts.py); the counts of all scenes and ranks are
added, and what follows from them is divided once (figures.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import AgreedError
from cloudmask.data import parallel
from cloudmask.data.archive import Entry
from cloudmask.data.place import Place
from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene
from cloudmask.data.slstr import recorded
from cloudmask.evaluate.counts import Count, count, histograms, no_histograms, references
from cloudmask.evaluate.figures import derive
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SceneMask, read_mask
from cloudmask.record import commit, now, versions

FORMAT, VERSION = "cloudmask-evaluation", 1


def measure(
    masks: Path,
    scenes: Sequence[Entry],
    *,
    label: LabelChoice,
    threshold: float | None,
    verify: bool,
    world: parallel.World,
) -> dict[str, Any]:
    """The content of evaluation.json, the same on every rank. ValueError if nothing is left."""
    classes = world.on_root(lambda: _classes(masks, scenes))
    added = no_histograms(len(classes))

    def work(entry: Entry) -> Count:
        file = _mask_of(masks, entry)
        mask = read_mask(file, classes=classes)
        scene = read_scene(
            entry.path,
            label=label,
            need_label=False,
            verify=verify,
            reading=recorded(json.loads((mask.attributes or {}).get("options", "{}"))),
        )
        _check(scene, mask, classes, entry.path)
        added[...] += histograms(scene, mask)
        return count(scene, mask, entry.path, file, threshold=threshold)

    outcomes = parallel.map_items(
        work,
        scenes,
        world=world,
        weights=[float(entry.bytes) for entry in scenes],
        progress="evaluate",
    )
    total = world.sum(added)
    pairs = list(zip(scenes, outcomes, strict=True))
    counts = [outcome.value for _, outcome in pairs if outcome and outcome.value]
    if not counts:
        raise AgreedError(f"none of the {len(scenes)} scenes could be compared with {masks}")
    made = {one.attributes.get("fingerprint") for one in counts}
    if len(made) > 1:
        raise AgreedError(
            f"{masks} holds masks of {len(made)} different models or options, whose figures do not "
            "add up; predict with --overwrite"
        )
    attributes = counts[0].attributes
    options = json.loads(attributes.get("options", "{}"))
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": "scenes",
        "date": now(),
        "commit": commit() if world.is_root else None,
        "versions": versions() if world.is_root else {},
        "ranks": world.size,
        "masks": str(masks),
        "threshold": threshold,
        "models": options.pop("models", []),
        "training_patchset": attributes.get("training_patchset"),
        "options": options,
        "label_source": label,
        "failed": {
            str(entry.path): outcome.error if outcome else "not reached"
            for entry, outcome in pairs
            if outcome is None or outcome.error
        },
        **derive(counts, total, classes),
    }


def _classes(masks: Path, scenes: Sequence[Entry]) -> tuple[str, ...]:
    """Of the first mask that can be read; ValueError if there is none at all."""
    for entry in scenes:
        try:
            return read_mask(_mask_of(masks, entry), classes=("clear", "cloud")).classes
        except ValueError:
            continue
    raise ValueError(
        f"{masks} holds no mask of these {len(scenes)} scenes (such as {scenes[0].name}.nc); "
        "predict them first"
    )


def _mask_of(masks: Path, scene: Entry) -> Path:
    for suffix in (".nc", ".h5"):
        path = masks / f"{scene.name}{suffix}"
        if path.exists():
            return path
    raise ValueError(
        f"{scene.path}: {masks} holds no mask {scene.name}.nc or .h5; predict it first"
    )


def _check(scene: Scene, mask: SceneMask, classes: tuple[str, ...], path: Place) -> None:
    if mask.classes != classes or len(scene.classes) != len(classes):
        raise ValueError(
            f"{path}: its classes are {', '.join(scene.classes)}, those of its mask "
            f"{', '.join(mask.classes)}, of the others {', '.join(classes)}; leave it out"
        )
    if mask.mask.shape != scene.image.shape[:2]:
        raise ValueError(
            f"{path}: the scene has {scene.image.shape[:2]} pixels and its mask {mask.mask.shape}; "
            "predict it again"
        )
    if all(known is None or (known == UNKNOWN).all() for known in references(scene)):
        raise ValueError(f"{path}: has no label, summary or truth to compare with; leave it out")
