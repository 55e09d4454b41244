"""One scene, start to end: fetch, decode, label, write. The map function of every engine.

Files are written aside and renamed, the record last: a record says that its scene is done.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.files import parse_json, sha256_of, write_json, write_whole
from seaice import colour, opencv
from seaice.colour import CLASSES
from seaice.io import classmap, png
from seaice.io.grid import Grid
from seaice.io.maps import LABELS, PICTURES, RECORDS
from seaice.io.picture import Picture, Reading, open_scene
from seaice.io.sources import Source
from seaice.rule import Rule, label_scene

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """What a scene's labels depend on beside its picture, and where they go."""

    out: str
    rule: Rule
    reading: Reading = dataclasses.field(default_factory=Reading)
    pixel_metres: float | None = None
    """of pictures that do not tell"""
    land: str | None = None
    """folder of masks NAME.png, not zero on land"""

    def options(self) -> dict[str, Any]:
        """Everything but the folder, as the records tell it: in the types that JSON has."""
        values = {key: value for key, value in asdict(self).items() if key != "out"}
        return json.loads(json.dumps(values))


@dataclass(frozen=True)
class Done:
    """What is handed back of a labelled scene: counts, never pixels."""

    name: str
    counts: tuple[int, ...]
    """pixels of each class, and at last the unknown ones"""
    km2_per_pixel: float | None
    decode_seconds: float = 0.0
    label_seconds: float = 0.0
    write_seconds: float = 0.0


def key_of(source: Source, settings: Settings) -> str:
    """Changes with the options, and with the picture as far as its size and date tell."""
    facts = [FORMAT_VERSION, settings.options(), source.name, source.size_bytes, source.modified]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def label_source(source: Source, settings: Settings) -> Done:
    """Label one scene and write its files. ValueError: the scene is bad; OSError: the disk is.

    What is done is left as it is: Spark runs tasks again whose executor was lost.
    """
    done = already_done(source, settings)
    if done is not None:
        return done
    began = time.perf_counter()
    with open_scene(source, settings.reading) as scene:
        picture, grid, told = scene.picture(), scene.grid, scene.told
    land = _land(source.name, settings.land, picture)
    decoded = time.perf_counter()
    labelled = label_scene(picture.image, picture.missing, settings.rule, land=land)
    ready = time.perf_counter()
    counts = colour.count(labelled.label)
    km2 = km2_per_pixel(grid, settings.pixel_metres)
    out = Path(settings.out)
    if grid is not None:
        path = f"{LABELS}/{source.name}.tif"
        content = classmap.encode(labelled.label, grid)
    else:
        path = f"{LABELS}/{source.name}.png"
        content = png.encode(labelled.label)
    write_whole(out / path, content)
    picture_png = png.encode_palette(labelled.label, colour.COLOURS)
    write_whole(out / PICTURES / f"{source.name}.png", picture_png)
    record = {
        "scene": source.name,
        "source": source.place,
        "key": key_of(source, settings),
        "options": settings.options(),
        "label": path,
        "label_sha256": hashlib.sha256(content).hexdigest(),
        "rows": labelled.label.shape[0],
        "columns": labelled.label.shape[1],
        "km2_per_pixel": km2,
        **colour.statistics(counts, km2),
        "done": labelled.done,
        "told": list(told),
    }
    write_json(out / RECORDS / f"{source.name}.json", record)
    end = time.perf_counter()
    return Done(source.name, counts, km2, decoded - began, ready - decoded, end - ready)


def already_done(source: Source, settings: Settings) -> Done | None:
    """What an earlier run has left of this very scene; None if it is to be done.

    ValueError if it was made with other options.
    """
    out = Path(settings.out)
    path = out / RECORDS / f"{source.name}.json"
    try:
        record = parse_json(path.read_bytes())
        key, options, label = record["key"], dict(record["options"]), record["label"]
        counts = (*(record["pixels"][name] for name in CLASSES), record["unknown_pixels"])
        area = record["km2_per_pixel"]
    except (FileNotFoundError, LookupError, ValueError, TypeError):
        return None
    # What tells of another scene's labels, or of files elsewhere, tells nothing of this scene.
    if label not in [f"{LABELS}/{source.name}{suffix}" for suffix in (".tif", ".png")]:
        return None
    if not all(type(count) is int for count in counts) or type(area) not in (
        float,
        int,
        type(None),
    ):
        return None
    asked = settings.options()
    if options != asked:
        differing = ", ".join(name for name in asked if options.get(name) != asked[name])
        raise ValueError(
            f"{out} holds labels made with other options ({differing} differ); choose another "
            "--out or delete it"
        )
    if key != key_of(source, settings) or not (out / label).is_file():
        return None
    if sha256_of(out / label) != record.get("label_sha256"):
        return None
    return Done(source.name, counts, area)


def km2_per_pixel(grid: Grid | None, given_metres: float | None) -> float | None:
    """From the picture's own reference, else from the size that was given."""
    own = (abs(grid.transform[0]), abs(grid.transform[4])) if grid else None
    width, height = own or (given_metres, given_metres)
    return None if width is None or height is None else width * height / 1e6


def _land(name: str, folder: str | None, picture: Picture) -> np.ndarray | None:
    """(H, W) bool, or None without a mask for this scene. ValueError for one that does not fit."""
    if folder is None:
        return None
    path = Path(folder) / f"{name}.png"
    if not path.is_file():
        return None
    cv2 = opencv.load()
    mask = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask is None or mask.shape != picture.missing.shape:
        found = "no picture" if mask is None else f"{mask.shape[0]} x {mask.shape[1]}"
        rows, columns = picture.missing.shape
        raise ValueError(f"land mask {path} is {found}; the scene has {rows} x {columns} pixels")
    return mask != 0
