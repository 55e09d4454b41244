"""Scenes with labels from their images alone, as a patch set: `prepare` with other eyes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.errors import the_same_on_all_ranks
from cloudmask.cli.options import LabelConfig
from cloudmask.data import parallel, slstr
from cloudmask.data.kinds import form_of
from cloudmask.data.place import Place
from cloudmask.data.prepare.command import MapItems, make_patch_set
from cloudmask.data.prepare.plan import Job
from cloudmask.data.read import read_scene
from cloudmask.data.scene import Scene, SceneError
from cloudmask.data.slstr import CLASSES, Reading
from cloudmask.files import sha256_of
from cloudmask.labels.unsupervised import VERSION, confident_label, unsupervised_log_odds
from cloudmask.model.keras_file import path_of
from cloudmask.predict.command import check_channels
from cloudmask.predict.model import Model, load


def label(config: LabelConfig, *, map_items: MapItems = parallel.map_items) -> int:
    """Label scenes and cut them into the patch set `out`, on all ranks, with receipts as `prepare`
    leaves them. The exit code: 1 if a scene failed.

    The label is 1 for cloud, 0 for clear, and 255 where the image does not tell well enough. With
    `model` its clear pixels are compared with. AgreedError on every rank, ValueError.
    """
    labelling = {"label": config.method, "label_version": str(VERSION), "model": ""}
    model = None
    if config.model is not None:
        path = config.model
        world = parallel.world()
        parallel.take_cores(world)
        labelling["model"] = world.on_root(lambda: sha256_of(path_of(path)))
        with the_same_on_all_ranks():
            # In float32, as what is found must not depend on the device.
            model = load(path, precision="float32")
            _check(model, path)
    read = functools.partial(_read, model=model, source=config.model)
    return make_patch_set(config, labelling, read, map_items=map_items)


def _check(model: Model, path: Path) -> None:
    if model.classes != CLASSES:
        known = ", ".join(model.classes)
        raise ValueError(f"{path} tells apart {known}; choose one of {' and '.join(CLASSES)}")
    if model.teacher is not None:
        raise ValueError(
            f"{path} was calibrated with the mask '{model.teacher}' and needs it of each scene; "
            "choose a model that needs none"
        )


def _read(
    job: Job, options: Mapping[str, Any], verify: bool, *, model: Model | None, source: Path | None
) -> Scene:
    reading = slstr.recorded(options)
    if model is not None:
        _check_reading(job.source, reading, model.reading, source)
    scene = read_scene(job.source, need_label=False, verify=verify, reading=reading)
    clear = None
    if model is not None and source is not None:
        check_channels(scene, job.source, model, source)
        clear = _clear_pixels(scene, model)
    label = confident_label(log_odds_of(scene, job.source, clear=clear))
    return replace(scene, label=label, classes=CLASSES, label_source=options["label"])


def log_odds_of(scene: Scene, path: Place, *, clear: np.ndarray | None = None) -> np.ndarray:
    """(H, W) log-odds of cloud by its image alone. SceneError where that does not tell."""
    try:
        return unsupervised_log_odds(scene.image, scene.channels, clear=clear)
    except ValueError as error:
        problem, _, advice = str(error).partition("; ")
        raise SceneError(path, problem, advice) from error


def _check_reading(place: Place, asked: Reading, trained: Reading, source: Path | None) -> None:
    """SceneError if a scene is read otherwise than those that the model learned from.

    Of a benchmark's file only the skin temperature is a question, of an .npz nothing.
    """
    form = form_of(place)
    if form == "hdf":
        trained = replace(asked, skin_temperature=trained.skin_temperature)
    if form != "npz" and asked != trained:
        problem = f"is read otherwise ({asked}) than {source} was trained ({trained})"
        raise SceneError(place, problem, "give the options that it was trained with")


def _clear_pixels(scene: Scene, model: Model) -> np.ndarray:
    """(H, W) bool"""
    found = model.predict(scene.image, channels=scene.channels)
    return (found.mask == 0) & ~found.nodata
