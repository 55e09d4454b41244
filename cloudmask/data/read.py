"""A scene from whatever it is stored in. The only place that knows all formats."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cloudmask.data.archive import HDF_SUFFIXES, is_product
from cloudmask.data.formats.benchmark import read_hdf
from cloudmask.data.formats.npz import read_npz
from cloudmask.data.formats.safe.product import read_safe
from cloudmask.data.scene import LabelChoice, Scene, SceneError
from cloudmask.data.slstr import Reading
from cloudmask.metrics import UNKNOWN


def read_scene(
    path: str | os.PathLike[str],
    *,
    label: LabelChoice = "any",
    need_label: bool = True,
    verify: bool = True,
    reading: Reading = Reading(),  # noqa: B008 (a frozen value)
) -> Scene:
    """Read a scene: an HDF5 file of the benchmark, a folder of a .SEN3 product, or an .npz file.

    `image` is (H, W, C) float32 in physical units (of SLSTR: reflectances S1..S6 and brightness
    temperatures S7..S9 in K), NaN where nothing was measured; `label` is (H, W) uint8 with indices
    into `classes`, 255 where it is not known. `Scene` tells the rest.

    `label` says which mask of the file becomes the label (an .npz file has one, `any`, and perhaps
    a `truth`); with `need_label=False` a missing or empty one is no error. `verify` compares a
    product with the checksums it comes with; `reading` says what of it counts, which for a model
    is its `reading`. SceneError, a ValueError of one line that names the
    file, for everything that is wrong with it.
    """
    path = Path(path)
    if path.suffix.lower() in HDF_SUFFIXES:
        if reading.oblique:
            problem = "holds no oblique view, which the benchmark's files never do"
            raise SceneError(path, problem, "give products, or leave --oblique out")
        scene = read_hdf(path, label=label, need_label=need_label)
    elif is_product(path):
        scene = read_safe(path, label=label, need_label=need_label, verify=verify, reading=reading)
    elif path.suffix.lower() == ".npz":
        scene = read_npz(path, label=label, need_label=need_label)
    else:
        kinds = ", ".join((*HDF_SUFFIXES, ".SEN3"))
        raise SceneError(path, "is of no known kind", f"expected .npz or {kinds}")
    if np.isnan(scene.image).all():
        raise SceneError(path, "holds no measurement at all", "leave this scene out")
    if need_label and (scene.label is None or (scene.label == UNKNOWN).all()):
        raise SceneError(path, "no measured pixel has a label", "leave this scene out")
    return scene
