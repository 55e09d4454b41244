"""One scene, start to end: fetch, decode, label, write. The map function of every engine.

Files are written aside and renamed, the record last: a record says that its scene is done.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cloudmask.files import sha256_of, write_json, write_whole
from seaice import colour, ground, records
from seaice.colour import CLASSES
from seaice.infrared import BANDS
from seaice.io import classmap, masks
from seaice.io.classmap import LABELS, PICTURES
from seaice.io.grid import Grid
from seaice.io.masks import Laid, MaskSource
from seaice.io.picture import Opened, Reading, open_scene
from seaice.io.sources import Source
from seaice.rule import Rule, label_reflectance, label_scene

FORMAT_VERSION = 3
AS_IT_IS = Reading()
SCL: Literal["scl"] = "scl"
"""clouds as the scene classification of a Sentinel-2 product has them"""


@dataclass(frozen=True)
class Settings:
    """What a scene's labels depend on beside its picture, and where they go."""

    out: str
    rule: Rule
    reading: Reading = AS_IT_IS
    pixel_metres: float | None = None
    """of pictures that do not tell"""
    land: MaskSource | None = None
    clouds: MaskSource | Literal["scl"] | None = None

    def options(self) -> dict[str, Any]:
        """Everything but the folder, as the records tell it: in the types that JSON has."""
        values = {
            "rule": asdict(self.rule),
            "reading": asdict(self.reading),
            "pixel_metres": self.pixel_metres,
            "land": self.land.path if self.land else None,
            "clouds": self.clouds.path if isinstance(self.clouds, MaskSource) else self.clouds,
        }
        return json.loads(json.dumps(values))


@dataclass(frozen=True)
class Done:
    """What is handed back of a labelled scene: counts, never pixels."""

    name: str
    counts: tuple[int, ...]
    """pixels of each class, and at last the unknown ones"""
    km2: tuple[float, ...] | None
    """the same in square kilometres"""
    without: tuple[str, ...] = ()
    """options whose mask this scene does not have"""
    told: tuple[str, ...] = ()
    """what was decided, in lines for people; none of a scene that was done before"""
    decode_seconds: float = 0.0
    label_seconds: float = 0.0
    write_seconds: float = 0.0


def key_of(source: Source, settings: Settings) -> str:
    """Changes with the options, with the content of the masks, and with the picture as far as its
    size and date tell."""
    sources = [m for m in (settings.land, settings.clouds) if isinstance(m, MaskSource)]
    laid = [mask.content(source.name) for mask in sources]
    facts = [FORMAT_VERSION, settings.options(), source.name, source.size_bytes, source.modified]
    return hashlib.sha256(json.dumps([*facts, laid], sort_keys=True).encode()).hexdigest()


def label_source(source: Source, settings: Settings) -> Done:
    """Label one scene and write its files. ValueError: the scene is bad; OSError: the disk is.

    What is done is left as it is: Spark runs tasks again whose executor was lost.
    """
    done = already_done(source, settings)
    if done is not None:
        return done
    began = time.perf_counter()
    with open_scene(source, settings.reading) as scene:
        picture, grid, told = scene.picture(), scene.grid, list(scene.told)
        # One after the other: of a large scene each takes a byte a pixel.
        unknown, hidden, without = picture.missing, {}, []
        hidden["missing_pixels"] = int(np.count_nonzero(unknown))
        for what, mask in (("land", settings.land), ("clouds", settings.clouds)):
            if mask is None:
                continue
            laid = _laid(scene, source, mask)
            if laid.told:
                told.append(laid.told)
            if laid.mask is None:
                without.append(f"--{what}")
                continue
            laid.mask[unknown] = False
            hidden[f"{what.removesuffix('s')}_pixels"] = int(np.count_nonzero(laid.mask))
            unknown |= laid.mask
            del laid
        decoded = time.perf_counter()
        if settings.rule.kind == "infrared":
            labelled = label_reflectance(functools.partial(scene.reflectance, BANDS), unknown)
        else:
            labelled = label_scene(picture.image, unknown, settings.rule)
    told.extend(labelled.told)
    ready = time.perf_counter()
    counts = colour.count(labelled.label)
    km2 = _areas(labelled.label, counts, grid, settings.pixel_metres, told)
    content = classmap.encode(labelled.label, grid, date=scene.date)
    path = _write(Path(settings.out), source.name, content, classmap.quicklook(labelled.label))
    record = {
        "scene": source.name,
        **records.facts_of(source),
        "key": key_of(source, settings),
        "options": settings.options(),
        "label": path,
        "label_sha256": hashlib.sha256(content).hexdigest(),
        "rows": labelled.label.shape[0],
        "columns": labelled.label.shape[1],
        "crs": grid.crs if grid else None,
        "transform": grid.transform if grid else None,
        "date": scene.date,
        "tile": scene.tile,
        **colour.statistics(counts, km2),
        "rule": asdict(settings.rule),
        "done": labelled.done | hidden,
        "without": without,
        "told": told,
    }
    write_json(records.path_of(Path(settings.out), source.name), record)
    end = time.perf_counter()
    times = decoded - began, ready - decoded, end - ready
    return Done(source.name, counts, km2, tuple(without), tuple(told), *times)


def already_done(source: Source, settings: Settings) -> Done | None:
    """What an earlier run has left of this very scene; None if it is to be done.

    ValueError if it was made with other options; ImageError if its record cannot be looked at.
    """
    out = Path(settings.out)
    record = records.read(records.path_of(out, source.name))
    try:
        key, options, label = record["key"], dict(record["options"]), record["label"]
        done = _told_by(record, source.name)
    except (LookupError, ValueError, TypeError):
        return None
    # What tells of another scene's labels, or of files elsewhere, tells nothing of this scene.
    if label != _label_of(source.name):
        return None
    asked = settings.options()
    if options != asked:
        names = sorted(name for name in {*asked, *options} if options.get(name) != asked.get(name))
        raise ValueError(
            f"{out} holds labels made with other options ({', '.join(names)} differ); choose "
            "another --out or delete it"
        )
    if key != key_of(source, settings):
        return None
    try:
        same = sha256_of(out / label) == record.get("label_sha256")
    except OSError:  # it is not there, or nobody may read it: it is written anew
        return None
    return done if same else None


def _told_by(record: dict[str, Any], name: str) -> Done:
    """What a record counts. LookupError, ValueError or TypeError if it cannot be true."""
    counts = (*(record["pixels"][kind] for kind in CLASSES), record["unknown_pixels"])
    areas, without, km2 = record["area_km2"], record["without"], None
    if areas is not None:
        km2 = (*(areas[kind] for kind in CLASSES), record["unknown_km2"])
    whole = all(type(count) is int and count >= 0 for count in counts)
    if not whole or sum(counts) != record["rows"] * record["columns"]:
        raise ValueError("these are not the pixels of the scene")
    if not all(type(area) in (float, int) and 0 <= area < math.inf for area in km2 or ()):
        raise ValueError("these are no areas")
    if not isinstance(without, list) or not set(without) <= {"--land", "--clouds"}:
        raise ValueError("these are no options")
    return Done(name, counts, km2, tuple(without))


def _laid(scene: Opened, source: Source, mask: MaskSource | Literal["scl"]) -> Laid:
    if isinstance(mask, MaskSource):
        return masks.lay(mask, source.name, scene.grid, scene.shape)
    clouds = scene.clouds(slice(0, scene.shape[0]))
    if clouds is None:
        return Laid(None, "it has no scene classification, so no clouds are taken out")
    return Laid(clouds)


def _areas(
    label: np.ndarray,
    counts: tuple[int, ...],
    grid: Grid | None,
    pixel_metres: float | None,
    told: list[str],
) -> tuple[float, ...] | None:
    """km2 of each class and of what is unknown; None where nothing tells. Adds why to `told`."""
    if grid is not None:
        try:
            return tuple(ground.class_areas(label, grid).values())
        except ground.NoAreaError as error:
            told.append(f"it has no areas: {error}")
    if pixel_metres is None:
        return None
    return tuple(count * pixel_metres**2 / 1e6 for count in counts)


def _write(out: Path, name: str, content: bytes, picture: bytes) -> str:
    """Label and quicklook."""
    write_whole(out / _label_of(name), content)
    write_whole(out / PICTURES / f"{name}.png", picture)
    return _label_of(name)


def _label_of(name: str) -> str:
    return f"{LABELS}/{name}.tif"
