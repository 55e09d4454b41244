"""`cloudmask predict`: a mask file for each of many scenes, on all ranks; what is done is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloudmask.cli import errors
from cloudmask.cli.options import PredictConfig
from cloudmask.data import parallel
from cloudmask.data.archive import Entry, find_scenes
from cloudmask.data.place import Place
from cloudmask.data.read import read_scene
from cloudmask.data.scene import Scene, SceneError
from cloudmask.files import open_hdf5, sha256_of
from cloudmask.model.keras_file import path_of
from cloudmask.predict.masks import SceneMask, write_hdf5, write_netcdf
from cloudmask.predict.model import Model, load
from cloudmask.record import now, warn
from cloudmask.text import plural
from cloudmask.version import __version__

SUFFIX = {"netcdf": ".nc", "hdf5": ".h5"}


def predict(config: PredictConfig) -> int:
    """Predict every scene on all ranks; exit code 1 if a scene failed. ValueError, OSError."""
    world = parallel.world()
    models = [config.run, *config.models]
    scenes = world.on_root(lambda: _scenes(config))
    parallel.take_cores(world)
    with errors.the_same_on_all_ranks():
        model = load(*models, precision=config.precision, tile=config.tile, overlap=config.overlap)
        fingerprint = _fingerprint(config, models)

    def work(scene: Entry) -> str:
        return predict_scene(scene, config, model, fingerprint)

    outcomes = parallel.map_items(
        work,
        scenes,
        world=world,
        weights=[float(scene.bytes) for scene in scenes],
        progress="predict",
    )
    values = [o.value for o in outcomes if o is not None]
    failed = sum(1 for o in outcomes if o is None or o.error)
    if world.is_root:
        print(
            f"{plural(values.count('written'), 'mask')} written to {config.out}, "
            f"{values.count('there')} were there, {failed} failed"
        )
    return 1 if failed else 0


def _scenes(config: PredictConfig) -> list[Entry]:
    found = find_scenes(config.scenes)
    if config.out.exists() and not config.out.is_dir():
        raise ValueError(f"{config.out} is a file; choose another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    return found


def predict_scene(entry: Entry, config: PredictConfig, model: Model, fingerprint: str) -> str:
    """Write the mask of a scene: `written`, or `there` if the same model and options made it.

    ValueError for a scene that cannot be used and for a mask that something else has made.
    """
    out = config.out / f"{entry.name}{SUFFIX[config.format]}"
    if out.exists() and not config.overwrite:
        if _made_with(out) == fingerprint:
            return "there"
        raise ValueError(
            f"{out} exists, of another model or options; predict with --overwrite or into another "
            "folder"
        )
    scene = read_scene(entry.path, need_label=False, verify=config.verify, reading=model.reading)
    check_channels(scene, entry.path, model, config.run)
    found = model.predict(scene.image, channels=scene.channels, threshold=config.threshold)
    deep = (*found.mask.shape, -1)
    names = [str(name) for name in (config.run, *config.models)]
    options = {"models": names, "threshold": config.threshold, "precision": config.precision}
    options |= model.reading.record()
    mask = SceneMask(
        name=scene.name,
        classes=model.classes,
        probability=found.probability.reshape(deep),
        spread=None if found.spread is None else found.spread.reshape(deep),
        mask=found.mask,
        latitude=scene.latitude,
        longitude=scene.longitude,
        attributes={
            "source": f"cloudmask {__version__}",
            "history": f"{now()} cloudmask predict",
            "scene": scene.name,
            "model": ", ".join(names),
            "training_patchset": model.info.patchset,
            "options": json.dumps(options),
            "fingerprint": fingerprint,
        },
    )
    (write_netcdf if config.format == "netcdf" else write_hdf5)(out, mask)
    return "written"


def check_channels(scene: Scene, path: Place, model: Model, source: Path) -> None:
    """SceneError unless the scene has the model's channels; warn of what it never saw missing."""
    if scene.channels != model.channels:
        lacks = [name for name in model.channels if name not in scene.channels]
        extra = [name for name in scene.channels if name not in model.channels]
        raise SceneError(
            path,
            f"has channels {', '.join(scene.channels)}, {source} takes {', '.join(model.channels)} "
            f"(lacks {', '.join(lacks) or 'none'}; unknown {', '.join(extra) or 'none'})",
            "choose a model of the same sensor",
        )
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


def _made_with(out: Path) -> str | None:
    try:
        with open_hdf5(out) as file:
            return str(file.attrs.get("fingerprint"))
    except OSError:
        return None


def _fingerprint(config: PredictConfig, models: Sequence[Path]) -> str:
    """Of everything that a mask depends on beside its scene."""
    digest = hashlib.sha256()
    for model in models:
        digest.update(sha256_of(path_of(model)).encode())
    digest.update(f"{config.threshold} {config.precision} {config.overlap}".encode())
    return digest.hexdigest()
