"""`cloudmask calibrate`: weights fitted on a few scenes whose mask is known, into a new model file.

Every rank predicts its share of the scenes and keeps their features in memory: 13 bytes for each
labelled pixel, 21 with a teacher. What the ranks add up has a place for each scene, so the weights
do not depend on their number, but for the last bits of matrix products on other threads.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli import errors
from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import CalibrateConfig
from cloudmask.data import parallel
from cloudmask.data.archive import find_scenes
from cloudmask.data.entry import Entry
from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene
from cloudmask.files import sha256_of
from cloudmask.labels import logistic
from cloudmask.labels.logistic import Pixels
from cloudmask.metrics import UNKNOWN
from cloudmask.model import calibration, keras_file
from cloudmask.model.calibration import KINDS, features, identity
from cloudmask.predict.command import check_channels, with_classes_of
from cloudmask.predict.model import Model, load
from cloudmask.predict.recipe import arithmetic
from cloudmask.record import now
from cloudmask.text import count, number, plural
from cloudmask.version import __version__

OUT = "calibrated.keras"
MOST_SCENES = 200
"""whose names every mask bears; who knows the masks of more scenes should train on them"""
LEAST_PIXELS = 1000
"""of each class, for a kind of pixels to be fitted: some two places, as the wider blur makes one of
450 pixels (4 pi sigma^2), and the ridge weighs no more on few pixels than on many"""
_NAMES = {"all": "with all channels", "some": "with channels missing"}

Share = dict[str, dict[int, Pixels]]
"""kind -> number of a scene -> its pixels: what a rank keeps"""


def calibrate(config: CalibrateConfig) -> int:
    """Fit, tell, and write the new model file. Collective. ValueError, OSError."""
    world = parallel.world()
    path, out, scenes = world.on_root(lambda: _checked(config))
    parallel.take_cores(world)
    precision = arithmetic(config.precision, world)
    with errors.the_same_on_all_ranks():
        model = load(path, precision=precision, tile=config.tile)
    share = _share(config, model, scenes, world)
    found = {kind: _fit(share[kind], len(scenes), config, world) for kind in KINDS}
    record: dict[str, Any] = {
        **{name: {kind: found[kind][name] for kind in KINDS} for name in found["all"]},
        "blurs": list(calibration.BLURS),
        "teacher_blur": calibration.TEACHER_BLUR,
        "ridge": logistic.RIDGE,
        "steps": logistic.STEPS,
        "label": config.label,
        "teacher": config.teacher,
        "scenes": [entry.name for entry in scenes],
        "precision": precision,
        "model": path.name,
        "model_sha256": world.on_root(lambda: sha256_of(path)),
        "date": now(),
        "program": f"cloudmask {__version__}",
    }
    if not any(record["fitted"].values()):
        raise AgreedError(
            f"no kind of pixels has {count(LEAST_PIXELS)} of each class in the label "
            f"'{config.label}' of the {plural(len(scenes), 'scene')}, so there is nothing to "
            "learn; give other scenes"
        )
    world.on_root(lambda: keras_file.write_calibrated(out, path, record))
    world.on_root(lambda: print("\n".join([*_told(record), f"calibrated model: {out}"])))
    return 0


def _checked(config: CalibrateConfig) -> tuple[Path, Path, list[Entry]]:
    """The model, the file to be written and the scenes. Before any work: ValueError, OSError."""
    path = keras_file.path_of(config.run)
    info = keras_file.read_info(path)
    if len(info.classes) != 2:
        raise ValueError(
            f"{path} tells {len(info.classes)} classes apart ({', '.join(info.classes)}); only "
            "models of two classes can be calibrated"
        )
    if info.calibration is not None:
        raise ValueError(
            f"{path} is calibrated already, on {', '.join(info.calibration['scenes'])}; give the "
            f"model that it was made from ({info.calibration.get('model', 'model.keras')})"
        )
    if config.teacher == config.label:
        raise ValueError(
            f"--teacher {config.teacher} is what --label takes for right: choose two masks, or "
            "leave --teacher out"
        )
    out = config.out or path.with_name(OUT)
    if out.suffix != ".keras" or out.is_dir():
        raise ValueError(f"--out {out} must be the name of a model file, such as {OUT}")
    if out.exists() and out.samefile(path):
        raise ValueError(f"--out {out} is the model itself, which is kept; choose another name")
    if out.exists() and not config.overwrite:
        raise ValueError(f"{out} is there already; give another --out, or --overwrite")
    if importlib.util.find_spec("scipy") is None:
        raise ValueError(errors.missing("scipy", "fits"))
    scenes = find_scenes(config.scenes)
    if len(scenes) > MOST_SCENES:
        raise ValueError(
            f"{count(len(scenes))} scenes are more than a calibration is for ({MOST_SCENES}): "
            "give fewer, or train on them (cloudmask prepare --label)"
        )
    return path, out, scenes


def _share(
    config: CalibrateConfig, model: Model, scenes: Sequence[Entry], world: parallel.World
) -> Share:
    """The pixels of this rank's scenes. Collective. AgreedError if any scene cannot be used."""
    share: Share = {kind: {} for kind in KINDS}

    def work(numbered: tuple[int, Entry]) -> bool:
        at, entry = numbered
        for kind, pixels in _pixels(entry, config, model).items():
            if len(pixels.label):
                share[kind][at] = pixels
        return True

    outcomes = parallel.map_items(
        work,
        list(enumerate(scenes)),
        world=world,
        weights=[float(entry.bytes) for entry in scenes],
        progress="calibrate",
    )
    failed = sum(1 for outcome in outcomes if outcome is None or outcome.error)
    if failed:
        raise AgreedError(
            f"{failed} of {plural(len(scenes), 'scene')} cannot be used (see above), so no model "
            "is written; leave them out of the command, or mend them"
        )
    return share


def _pixels(entry: Entry, config: CalibrateConfig, model: Model) -> dict[str, Pixels]:
    """The labelled pixels of a scene by their kind. SceneError."""
    scene = _read(entry, config.label, config, model)
    check_channels(scene, entry.path, model, config.run)
    probability = model.predict(scene.image, channels=scene.channels).probability
    measured = ~np.isnan(probability)
    label = np.asarray(scene.label)[measured]
    known = label != UNKNOWN
    complete = ~np.isnan(scene.image[measured]).any(axis=-1)
    votes = _read(entry, config.teacher, config, model).label if config.teacher else None
    rows = features(probability, votes)
    kept = {"all": known & complete, "some": known & ~complete}
    return {
        kind: Pixels(np.stack([row[where].astype(np.float32) for row in rows]), label[where] == 1)
        for kind, where in kept.items()
    }


def _read(entry: Entry, label: LabelChoice, config: CalibrateConfig, model: Model) -> Scene:
    scene = read_scene(entry.path, label=label, verify=config.verify, reading=model.reading)
    return with_classes_of(model, scene, entry.path)


def _fit(
    mine: dict[int, Pixels], scenes: int, config: CalibrateConfig, world: parallel.World
) -> dict[str, Any]:
    """Weights of one kind of pixels and what they are worth on them. Collective.

    With fewer than LEAST_PIXELS of a class they are those that change nothing.
    """

    def added(of: Callable[[Pixels], Any], size: int) -> np.ndarray:
        """Over all scenes and ranks, in the order of the scenes whatever ranks they are on."""
        places = np.zeros((scenes, size))
        for at, pixels in mine.items():
            places[at] = of(pixels)
        return world.sum(places).sum(axis=0)

    start = identity(5 if config.teacher else 3)
    pixels, second = added(lambda part: (len(part.label), np.count_nonzero(part.label)), 2)
    fitted = min(second, pixels - second) >= LEAST_PIXELS
    weights = start
    if fitted:
        size = len(start)
        weights = logistic.newton(
            lambda at: added(lambda part: logistic.sums(part, at), 1 + size + size**2),
            int(pixels),
            start,
        )
    right = added(lambda part: [logistic.right(part, one) for one in (start, weights)], 2)
    return {
        "weights": weights.tolist(),
        "fitted": bool(fitted),
        "pixels": int(pixels),
        "accuracy_before": float(right[0] / pixels) if pixels else None,
        "accuracy_after": float(right[1] / pixels) if pixels else None,
    }


def _told(record: dict[str, Any]) -> list[str]:
    """Lines for people."""
    names = ", ".join(record["scenes"])
    lines = [f"{plural(len(record['scenes']), 'scene')} by '{record['label']}': {names}"]
    for kind, name in _NAMES.items():
        before, after = (number(record[f"accuracy_{when}"][kind]) for when in ("before", "after"))
        line = f"  pixels {name}: {count(record['pixels'][kind])}"
        if record["fitted"][kind]:
            line += f", accuracy {before} before and {after} after, on these scenes themselves"
        elif record["pixels"][kind]:
            line += (
                f", fewer than {count(LEAST_PIXELS)} of a class: their probability stays as it is"
            )
        else:
            line += ": their probability stays as it is"
        lines.append(line)
    return [*lines, "  on other scenes the gain will be less; never judge the model on these"]
