"""Whole scenes through a network: as few tiles as memory allows, stitched so that no seam exists.

A tile keeps only pixels whose whole receptive field it has seen, and starts on the grid of the
network's pooling; so the stitched scene is what the scene at once would give.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cloudmask import __version__
from cloudmask.cli import errors
from cloudmask.cli.options import PredictConfig
from cloudmask.data import parallel
from cloudmask.data.archive import find_scenes, size_and_date
from cloudmask.data.read import read_scene
from cloudmask.data.scene import Scene, SceneError
from cloudmask.data.tiles import Window, cover
from cloudmask.files import sha256_of
from cloudmask.model import keras_file
from cloudmask.predict.masks import Mask, classify, write_hdf5, write_netcdf
from cloudmask.record import now, warn

if TYPE_CHECKING:
    import keras

Forward = Callable[[np.ndarray], np.ndarray]
"""(1, h, w, C) physical units -> (h, w, K) probabilities"""

SUFFIX = {"netcdf": ".nc", "hdf5": ".h5"}


def receptive_margin(levels: int) -> int:
    """Pixels at a cut that may differ from the whole scene, rounded up to the pooling grid.

    Two 3x3 convolutions reach 2 pixels of their level, on the way down and again on the way up;
    each pooling adds the offset of a pixel in its block.
    """
    down = 2 * (2**levels - 1)
    up = 2 * (2 ** (levels - 1) - 1)
    blocks = 2 ** (levels - 1) - 1
    align = 2 ** (levels - 1)
    return math.ceil((down + up + blocks) / align) * align


def predict_image(
    forward: Forward, image: np.ndarray, *, levels: int, tile: int, margin: int | None = None
) -> np.ndarray:
    """(H, W, C) physical units -> (H, W, K) float32 probabilities, computed in tiles.

    Any H and W: the scene is filled up with missing pixels to the pooling grid.
    """
    height, width, _ = image.shape
    align = 2 ** (levels - 1)
    margin = receptive_margin(levels) if margin is None else margin
    tile = max(align, tile // align * align)
    rows = cover(height + -height % align, tile=tile, margin=margin, align=align)
    cols = cover(width + -width % align, tile=tile, margin=margin, align=align)
    result: np.ndarray | None = None
    for row in rows:
        for col in cols:
            part = forward(_cut(image, row, col))
            if result is None:
                result = np.empty((rows[-1].stop, cols[-1].stop, part.shape[-1]), np.float32)
            kept = part[
                row.keep_start - row.start : row.keep_stop - row.start,
                col.keep_start - col.start : col.keep_stop - col.start,
            ]
            result[row.keep_start : row.keep_stop, col.keep_start : col.keep_stop] = kept
    assert result is not None
    return result[:height, :width]


def _cut(image: np.ndarray, row: Window, col: Window) -> np.ndarray:
    """(1, h, w, C) of a window, with missing pixels where it reaches beyond the scene."""
    part = image[row.start : row.stop, col.start : col.stop]
    below, beside = row.stop - row.start - part.shape[0], col.stop - col.start - part.shape[1]
    if below or beside:
        part = np.pad(part, [(0, below), (0, beside), (0, 0)], constant_values=np.nan)
    return part[None]


@dataclass(frozen=True)
class Ensemble:
    """One network or several of the same channels and classes, whose probabilities are averaged."""

    forwards: tuple[Forward, ...]
    info: keras_file.ModelInfo
    tile: int
    margin: int | None

    def probabilities(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(H, W, C) -> mean and, of several networks, deviation, (H, W, K); NaN where missing."""
        levels = len(self.info.widths)
        parts = [
            predict_image(forward, image, levels=levels, tile=self.tile, margin=self.margin)
            for forward in self.forwards
        ]
        missing = np.isnan(image).all(axis=-1)
        for part in parts:
            part[missing] = np.nan
        if len(parts) == 1:
            return parts[0], None
        return np.mean(parts, axis=0), np.std(parts, axis=0)


def load(paths: Sequence[Path], *, precision: str, tile: int, margin: int | None) -> Ensemble:
    """Networks from run folders or model files. ValueError if they do not belong together."""
    with errors.loading_tensorflow():
        import tensorflow as tf

        from cloudmask.model import precision as arithmetic
    arithmetic.use(precision if precision != "auto" else arithmetic.best("CPU"))
    loaded = [keras_file.load(path) for path in paths]
    info = loaded[0][1]
    for path, (_, other) in zip(paths, loaded, strict=True):
        if (other.channels, other.classes) != (info.channels, info.classes):
            raise ValueError(
                f"{path} knows {', '.join(other.channels)} and {', '.join(other.classes)}; "
                f"{paths[0]} knows {', '.join(info.channels)} and {', '.join(info.classes)}"
            )

    def make(model: keras.Model) -> Forward:
        @tf.function(reduce_retracing=True)
        def graph(image):
            logits = model(image, training=False)
            return tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits)

        def forward(image: np.ndarray) -> np.ndarray:
            tensor = tf.constant(image, tf.float32)
            del image  # a padded copy of the scene, which need not outlive this
            return graph(tensor)[0].numpy()

        return forward

    return Ensemble(tuple(make(model) for model, _ in loaded), info, tile, margin)


def predict(config: PredictConfig) -> int:
    """Predict every scene on all ranks; exit code 1 if a scene failed. ValueError, OSError."""
    world = parallel.world()
    models = [config.run, *config.models]
    scenes = world.on_root(lambda: _scenes(config))
    parallel.take_cores(world)
    ensemble = load(models, precision=config.precision, tile=config.tile, margin=config.overlap)
    fingerprint = _fingerprint(config, models)

    def work(path: Path) -> str:
        return predict_scene(path, config, ensemble, fingerprint)

    outcomes = parallel.map_items(
        work,
        scenes,
        world=world,
        weights=[float(size_and_date(path)[0]) for path in scenes],
        progress="predict",
    )
    if not world.is_root:
        return 1 if any(o is None or o.error for o in outcomes) else 0
    values = [o.value for o in outcomes if o is not None]
    failed = sum(1 for o in outcomes if o is None or o.error)
    print(
        f"{values.count('written')} masks written to {config.out}, "
        f"{values.count('there')} were there, {failed} failed"
    )
    return 1 if failed else 0


def _scenes(config: PredictConfig) -> list[Path]:
    found = find_scenes(config.scenes)
    if config.out.exists() and not config.out.is_dir():
        raise ValueError(f"{config.out} is a file; choose another --out")
    config.out.mkdir(parents=True, exist_ok=True)
    return found


def predict_scene(path: Path, config: PredictConfig, ensemble: Ensemble, fingerprint: str) -> str:
    out = config.out / f"{path.stem}{SUFFIX[config.format]}"
    if out.exists() and not config.overwrite:
        if _made_with(out) == fingerprint:
            return "there"
        raise ValueError(
            f"{out} exists, of another model or options; predict with --overwrite or into another "
            "folder"
        )
    scene = read_scene(path, need_label=False, verify=config.verify)
    check_channels(scene, path, ensemble.info, config.run)
    probability, spread = ensemble.probabilities(scene.image)
    models = [str(model) for model in (config.run, *config.models)]
    mask = Mask(
        name=scene.name,
        classes=ensemble.info.classes,
        probability=probability,
        spread=spread,
        mask=classify(probability, threshold=config.threshold),
        latitude=scene.latitude,
        longitude=scene.longitude,
        attributes={
            "source": f"cloudmask {__version__}",
            "history": f"{now()} cloudmask predict",
            "scene": scene.name,
            "model": ", ".join(models),
            "training_patchset": ensemble.info.patchset,
            "options": json.dumps(
                {
                    "models": models,
                    "threshold": config.threshold,
                    "precision": config.precision,
                }
            ),
            "fingerprint": fingerprint,
        },
    )
    (write_netcdf if config.format == "netcdf" else write_hdf5)(out, mask)
    return "written"


def check_channels(scene: Scene, path: Path, info: keras_file.ModelInfo, model: Path) -> None:
    """SceneError unless the scene has the network's channels; warn of what it never saw missing."""
    if scene.channels != info.channels:
        lacks = [name for name in info.channels if name not in scene.channels]
        extra = [name for name in scene.channels if name not in info.channels]
        raise SceneError(
            path,
            f"has channels {', '.join(scene.channels)}, {model} takes {', '.join(info.channels)} "
            f"(lacks {', '.join(lacks) or 'none'}; unknown {', '.join(extra) or 'none'})",
            "choose a model of the same sensor",
        )
    absent = [
        name
        for index, name in enumerate(scene.channels)
        if name in info.always_there and np.isnan(scene.image[..., index]).all()
    ]
    if absent:
        warn(
            f"{path}: nothing in {', '.join(absent)} (a night scene?), and {model} has never been "
            "trained on such a scene"
        )


def _made_with(out: Path) -> str | None:
    import h5py

    try:
        with h5py.File(out, "r") as file:
            return str(file.attrs.get("fingerprint"))
    except OSError:
        return None


def _fingerprint(config: PredictConfig, models: Sequence[Path]) -> str:
    """Of everything that a mask depends on beside its scene."""
    digest = hashlib.sha256()
    for model in models:
        path = model / "model.keras" if model.is_dir() else model
        digest.update(sha256_of(path).encode())
    digest.update(f"{config.threshold} {config.precision} {config.overlap}".encode())
    return digest.hexdigest()
