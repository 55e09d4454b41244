"""What a mask is made with and of: by this `predict` and `evaluate` know whose mask a file holds.

A mask depends on its models, on the options, on the arithmetic and on its scene. Tiles, threads and
devices move last bits at most, so they do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from cloudmask.cli import errors
from cloudmask.cli.options import PredictConfig
from cloudmask.data.entry import Entry
from cloudmask.data.parallel import World
from cloudmask.data.slstr import Reading
from cloudmask.files import parse_json, sha256_of
from cloudmask.model.calibration import sentence
from cloudmask.model.keras_file import calibration_of, path_of
from cloudmask.predict.masks.files import attributes_of

Precision = Literal["float32", "tf32", "bfloat16"]
VERSION = 2
"""of what is computed: it grows when the same models and options give other masks"""
_BESIDE = {"run", "models", "scenes", "out", "tile", "precision", "format", "verify", "overwrite"}
"""options that do not change what a mask says, or that `facts` tell by another name"""


@dataclass(frozen=True)
class Recipe:
    """What all masks of a run of `predict` are made with."""

    models: tuple[str, ...]
    """where they lie, for people"""
    facts: Mapping[str, Any]
    """everything that a mask depends on beside its scene"""

    @property
    def precision(self) -> Precision:
        """The arithmetic itself, never `auto`."""
        return cast(Precision, self.facts["precision"])

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that change with any of the facts."""
        return hashlib.sha256(json.dumps(dict(self.facts), sort_keys=True).encode()).hexdigest()

    def attributes(self, entry: Entry, reading: Reading) -> dict[str, str]:
        """What the mask of a scene says of its making; `reading` is that of the models."""
        return {
            "model": ", ".join(self.models),
            **self._calibrated(),
            "options": json.dumps({"models": self.models, **self.facts, **reading.record()}),
            "fingerprint": self.fingerprint,
            "scene_key": scene_key(entry),
        }

    def _calibrated(self) -> dict[str, str]:
        """A line for people; the options have it all."""
        records = self.facts.get("calibrations") or []
        told = dict.fromkeys(sentence(record) for record in records if record)
        return {"calibration": "; ".join(told)} if told else {}


def recipe_of(config: PredictConfig, world: World) -> Recipe:
    """The same on every rank. Collective, and loads TensorFlow. ValueError, OSError.

    Where `auto` means bfloat16 on some ranks and float32 on others, all take float32.
    """
    paths = [config.run, *config.models]
    checksums = world.on_root(lambda: [sha256_of(path_of(path)) for path in paths])
    precision = arithmetic(config.precision, world)
    named = {field.name: getattr(config, field.name) for field in fields(config)}
    facts = {
        "version": VERSION,
        "sha256": checksums,
        "precision": precision,
        **{name: value for name, value in named.items() if name not in _BESIDE},
    }
    if config.overlap is not None:  # there may be seams, and they lie where the tiles end
        facts["tile"] = config.tile
    calibrations = world.on_root(lambda: [calibration_of(path_of(path)) for path in paths])
    if any(calibrations):
        facts["calibrations"] = calibrations
    return Recipe(tuple(str(path) for path in paths), facts)


def arithmetic(precision: str, world: World) -> Precision:
    """The arithmetic of all ranks for a choice. Collective, and loads TensorFlow. ValueError."""
    with errors.the_same_on_all_ranks():
        mine = _resolved(precision)
    return agreed(set(world.broadcast(world.gather(mine)) or ()))


def _resolved(precision: str) -> str:
    with errors.loading_tensorflow():
        from cloudmask.model.precision import resolve
    return resolve(precision)


def agreed(everyone: set[str]) -> Precision:
    """The arithmetic of all ranks, of what each of them would take."""
    return cast(Precision, everyone.pop() if len(everyone) == 1 else "float32")


def scene_key(entry: Entry) -> str:
    """Changes with a scene as far as its size and date tell, as in `prepare`."""
    return f"{entry.path.name}, {entry.bytes} bytes, changed {entry.changed}"


def stale(path: Path, recipe: Recipe, entry: Entry) -> str | None:
    """Why the mask in a file is not the one of this recipe and scene, as "it ..."; None if it is.

    ValueError for a file that is no mask.
    """
    found = attributes_of(path)
    return of_another_recipe(found, recipe) or of_another_scene(found, entry)


def of_another_recipe(found: Mapping[str, str], recipe: Recipe) -> str | None:
    """What else a mask with these attributes was made with; None if it was this recipe."""
    if found.get("fingerprint") == recipe.fingerprint:
        return None
    options = options_of(found)
    if "sha256" not in options:
        return "was made by another program or version"
    if options["sha256"] != recipe.facts["sha256"]:
        return f"was made by another model ({found.get('model', 'unknown')})"
    differing = [
        f"{name} {options.get(name)} instead of {value}"
        for name, value in recipe.facts.items()
        if options.get(name) != value
    ]
    return f"was made with {', '.join(differing) or 'other options'}"


def options_of(made: Mapping[str, str]) -> dict[str, Any]:
    """The options that a mask with these attributes tells; empty where they are no such record."""
    try:
        found = parse_json(made.get("options", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def of_another_scene(found: Mapping[str, str], entry: Entry) -> str | None:
    """What else a mask with these attributes is of; None if it is this scene."""
    if found.get("scene_key") == scene_key(entry):
        return None
    return f"is of another {entry.path.name} ({found.get('scene_key', 'of no known size or date')})"
