"""Pictures and their labels to the `.npz` scenes that the rest of the project reads, and on from
there to a patch set by the writer that clouds have, too."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.options import PrepareConfig as PatchConfig
from cloudmask.data.prepare.command import prepare as prepare_patches
from cloudmask.files import sha256_of, write_whole
from cloudmask.text import plural
from seaice import opencv
from seaice.colour import CLASSES
from seaice.engines import Engine
from seaice.io import maps, sources
from seaice.io import reading as readings
from seaice.io.picture import BANDS, Reading, open_scene
from seaice.io.sources import Source
from seaice.options import PrepareConfig, ScenesConfig


def scenes(config: ScenesConfig) -> int:
    """Write a scene for every picture; exit code 1 if one failed. ValueError, OSError."""
    engine = Engine(config.engine, config.workers, config.master)
    written, failed = convert(config, config.out, engine)
    told = f"{plural(written, 'scene')} written, {failed} failed, in {config.out}"
    engine.world().on_root(lambda: print(told))  # before any rank leaves with a failure
    return 1 if failed else 0


def prepare(config: PrepareConfig) -> int:
    """Scenes, then patches; exit code 1 if a scene failed. ValueError, OSError."""
    engine = Engine(config.engine, config.workers, config.master)
    folder = config.out.with_name(f"{config.out.name}-scenes")
    _, failed = convert(config, folder, engine)
    names = ("out", "patch_size", "stride", "split", "seed", "strict")
    patches = PatchConfig(scenes=(folder,), **{name: getattr(config, name) for name in names})
    code = prepare_patches(patches, map_items=engine.map_items)
    return 1 if failed else code


def convert(config: ScenesConfig | PrepareConfig, out: Path, engine: Engine) -> tuple[int, int]:
    """Scenes written now, and failed ones. Those that are there and up to date stay."""
    world, labels = engine.world(), config.labels

    def plan() -> list[Source]:
        opencv.load()
        if not config.scenes:
            raise ValueError("give pictures, or folders of them")
        if labels is not None and not labels.is_dir():
            raise ValueError(f"--labels {labels} is not a folder")
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file; choose another --out")
        found = sources.find(config.scenes, apart_from=out)
        out.mkdir(parents=True, exist_ok=True)
        return found

    found = world.on_root(plan)
    outcomes = engine.map_items(
        functools.partial(
            write_scene,
            folder=out.absolute(),
            labels=labels.absolute() if labels else None,
            reading=readings.checked(config.stretch, config.nodata, config.bands),
        ),
        found,
        world=world,
        weights=[float(source.size_bytes) for source in found],
        progress="scenes",
    )
    failed = sum(1 for o in outcomes if o is None or o.error is not None)
    return sum(1 for o in outcomes if o is not None and o.value), failed


def write_scene(source: Source, *, folder: Path, labels: Path | None, reading: Reading) -> bool:
    """Write one scene; False if it is there already. ValueError: it cannot be made."""
    out = folder / f"{source.name}.npz"
    path = None
    facts: list[object] = [source.name, source.size_bytes, source.modified, asdict(reading)]
    if labels is not None:
        path = maps.find(labels, source.name)
        if path is None:
            raise ValueError(f"{source.place} has no label in {labels}; label it first")
        facts.append(sha256_of(path))
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    if _key_of(out) == key:
        return False
    with open_scene(source, reading) as scene:
        picture = scene.picture()
    arrays: dict[str, Any] = {"image": _image(picture.image, picture.missing)}
    if path is not None:
        label = maps.read(path)
        if label.shape != picture.missing.shape:
            raise ValueError(
                f"{path} has {label.shape[0]} x {label.shape[1]} pixels, {source.place} has "
                f"{picture.missing.shape[0]} x {picture.missing.shape[1]}"
            )
        arrays |= {"label": label, "classes": np.array(CLASSES)}
    stream = io.BytesIO()
    np.savez(stream, channels=np.array(BANDS), key=np.array(key), **arrays)
    write_whole(out, stream.getvalue())
    return True


def _image(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """(H, W, 3) as small as it can be: floating only where NaN has to say what is missing."""
    if not missing.any():
        return image
    result = image.astype(np.float32)
    result[missing] = np.nan
    return result


def _key_of(path: Path) -> str | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file["key"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
