"""`cloudmask predict`: a mask file for each of many scenes, on all ranks; what is done is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cloudmask.cli import errors
from cloudmask.cli.options import PredictConfig
from cloudmask.data import parallel
from cloudmask.data.archive import find_scenes
from cloudmask.data.classes import with_classes
from cloudmask.data.entry import Entry
from cloudmask.data.place import Place
from cloudmask.data.read import read_scene, read_stored
from cloudmask.data.scene import Scene, SceneError, StoredScene
from cloudmask.files import remove_leftovers
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks.files import attributes_of, path_of, write_mask
from cloudmask.predict.masks.netcdf import TOLD, write_bands
from cloudmask.predict.masks.values import About, SceneMask
from cloudmask.predict.model import Model, load
from cloudmask.predict.recipe import (
    Recipe,
    of_another_recipe,
    of_another_scene,
    recipe_of,
)
from cloudmask.record import now, warn
from cloudmask.text import plural
from cloudmask.version import __version__

LARGE_TILE = 1024
"""the most rows and columns computed at once of a scene that does not fit: its tiles take memory"""


def predict(config: PredictConfig) -> int:
    """Predict every scene on all ranks; exit code 1 if a scene failed. ValueError, OSError."""
    world = parallel.world()
    scenes = world.on_root(lambda: _scenes(config))
    _, outcomes = predict_scenes(config, scenes, world)
    return 1 if any(outcome is None or outcome.error for outcome in outcomes) else 0


def predict_scenes(
    config: PredictConfig, scenes: Sequence[Entry], world: parallel.World, *, tell: bool = True
) -> tuple[Recipe, list[parallel.Outcome[str] | None]]:
    """What these scenes were predicted with, and what became of each; see map_items. Collective."""
    parallel.take_cores(world)
    world.on_root(lambda: remove_leftovers(config.out))
    recipe = recipe_of(config, world)
    with errors.the_same_on_all_ranks():
        model = load(
            *(config.run, *config.models),
            precision=recipe.precision,
            tile=config.tile,
            overlap=config.overlap,
        )

    def work(scene: Entry) -> str:
        return predict_scene(scene, config, model, recipe)

    outcomes = parallel.map_items(
        work,
        scenes,
        world=world,
        weights=[float(scene.bytes) for scene in scenes],
        progress="predict",
        tell=tell,
    )
    values = [o.value for o in outcomes if o is not None]
    failed = sum(1 for o in outcomes if o is None or o.error)
    told = (
        f"{plural(values.count('written'), 'mask')} written to {config.out}, "
        f"{values.count('there')} were there, {failed} failed"
    )
    world.on_root(lambda: print(told))  # before any rank leaves with a failure
    return recipe, outcomes


def _scenes(config: PredictConfig) -> list[Entry]:
    found = find_scenes(config.scenes)
    if config.out.exists() and not config.out.is_dir():
        raise ValueError(f"{config.out} is a file; choose another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    return found


def predict_scene(entry: Entry, config: PredictConfig, model: Model, recipe: Recipe) -> str:
    """Write the mask of a scene: `written`, or `there` if it was made of the same with the same.

    A mask of a scene that has changed since is made again. ValueError for a scene that cannot be
    used and for a mask of another model or other options, which may be wanted.
    """
    out = path_of(config.out, entry.name, config.format)
    if out.exists() and not config.overwrite:
        made = attributes_of(out)
        problem = of_another_recipe(made, recipe)
        if problem is not None:
            raise ValueError(f"{out} {problem}; predict with --overwrite or into another folder")
        problem = of_another_scene(made, entry)
        if problem is None:
            return "there"
        warn(f"{out} {problem}, and is made again")
    stored = read_stored(entry.path) if in_bands(config, model) else None
    if stored is not None:
        check_names(stored.channels, entry.path, model, config.run)
        about = about_of(stored, entry, model, recipe)
        narrow = model
        if config.overlap is None:  # so there is no seam, whatever the tiles
            narrow = replace(model, tile=min(model.tile, LARGE_TILE))
        write_bands(out, about, narrow.bands(stored.image, threshold=config.threshold))
        return "written"
    scene = read_scene(
        entry.path,
        label=model.teacher or "any",
        need_label=False,
        verify=config.verify,
        reading=model.reading,
    )
    check_channels(scene, entry.path, model, config.run)
    found = model.predict(
        scene.image,
        channels=scene.channels,
        threshold=config.threshold,
        teacher=teacher_of(scene, entry.path, model),
    )
    deep = (*found.mask.shape, -1)
    about = about_of(scene, entry, model, recipe)
    mask = SceneMask(
        probability=found.probability.reshape(deep),
        spread=None if found.spread is None else found.spread.reshape(deep),
        mask=found.mask,
        **{name: getattr(about, name) for name in TOLD},
    )
    write_mask(out, mask)
    return "written"


def in_bands(config: PredictConfig, model: Model) -> bool:
    """Whether a large scene need not be in memory at once: a calibration looks at all of it, and
    other formats are written at once."""
    return config.format == "netcdf" and not any(model.calibrations)


def about_of(scene: Scene | StoredScene, entry: Entry, model: Model, recipe: Recipe) -> About:
    """What the mask's file tells beside the pixels."""
    return About(
        name=scene.name,
        classes=model.classes,
        shape=(scene.image.shape[0], scene.image.shape[1]),
        has_spread=len(model.networks) > 1,
        latitude=scene.latitude,
        longitude=scene.longitude,
        crs=scene.crs,
        transform=scene.transform,
        start=scene.start,
        stop=scene.stop,
        attributes={
            "source": f"cloudmask {__version__}",
            "history": f"{now()} cloudmask predict",
            "scene": scene.name,
            "training_patchset": model.info.patchset,
            **recipe.attributes(entry, model.reading),
        },
    )


def teacher_of(scene: Scene, path: Place, model: Model) -> np.ndarray | None:
    """The mask that the calibration of the model wants of a scene that was read with it.

    SceneError if it is not there, or of other classes.
    """
    if model.teacher is None:
        return None
    if scene.label is None or (scene.label == UNKNOWN).all():
        problem = f"holds no label '{model.teacher}', which the model was calibrated with"
        raise SceneError(path, problem, "leave this scene out, or use a model without a teacher")
    return with_classes_of(model, scene, path).label


def with_classes_of(model: Model, scene: Scene, path: Place) -> Scene:
    """The same scene with its classes in the model's order. SceneError where they are others."""
    try:
        return with_classes(scene, model.classes)
    except ValueError:
        raise SceneError(
            path,
            f"its label tells {', '.join(scene.classes)} apart, the model "
            f"{', '.join(model.classes)}",
            "give the classes the same names, or leave it out",
        ) from None


def check_channels(scene: Scene, path: Place, model: Model, source: Path) -> None:
    """SceneError unless the scene has the model's channels; warn of what it never saw missing."""
    check_names(scene.channels, path, model, source)
    absent = [
        name
        for index, name in enumerate(scene.channels)
        if name in model.info.always_there and np.isnan(scene.image[..., index]).all()
    ]
    if absent:
        warn(
            f"{path}: nothing in {', '.join(absent)} (a night scene?), and {source} has never been "
            "trained on such a scene"
        )


def check_names(channels: tuple[str, ...], path: Place, model: Model, source: Path) -> None:
    """SceneError unless these are the model's channels."""
    if channels != model.channels:
        lacks = [name for name in model.channels if name not in channels]
        extra = [name for name in channels if name not in model.channels]
        raise SceneError(
            path,
            f"has channels {', '.join(channels)}, {source} takes {', '.join(model.channels)} "
            f"(lacks {', '.join(lacks) or 'none'}; unknown {', '.join(extra) or 'none'})",
            "choose a model that takes these channels",
        )
