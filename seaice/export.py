"""Pictures and their labels to the `.npz` scenes that the rest of the project reads, and on from
there to a patch set by the writer that clouds have, too."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.options import PrepareConfig as PatchConfig
from cloudmask.data.prepare.command import prepare as prepare_patches
from cloudmask.files import remove_leftovers, sha256_of, whole_file
from cloudmask.text import plural
from seaice import opencv, records
from seaice.colour import CLASSES
from seaice.engines import Engine
from seaice.io import classmap, lookup, raster, reading, sources, stamp
from seaice.io.classmap import ClassMap
from seaice.io.picture import BANDS, Opened, Reading, open_scene
from seaice.io.sources import Found, Source
from seaice.options import PrepareConfig, ScenesConfig

FORMAT_VERSION = 2


@dataclass(frozen=True)
class Converted:
    """What became of the scenes of an archive."""

    paths: tuple[Path, ...]
    """.npz files of those that could be made, now or before"""
    written: int
    failed: int
    unreadable: tuple[str, ...] = ()
    """folders that could not be listed"""

    @property
    def whole(self) -> bool:
        return not self.failed and not self.unreadable


def scenes(config: ScenesConfig) -> int:
    """Write a scene for every picture; exit code 1 if one failed, or a folder could not be listed.
    ValueError, OSError."""
    engine = Engine(config.engine, config.workers, config.master)
    found = convert(config, config.out, engine)
    told = f"{plural(found.written, 'scene')} written, {found.failed} failed, in {config.out}"
    engine.world().on_root(lambda: print(told))  # before any rank leaves with a failure
    return 0 if found.whole else 1


def prepare(config: PrepareConfig) -> int:
    """Scenes, then patches of exactly these; exit code 1 if a scene failed, or a
    folder could not be listed. ValueError, OSError."""
    engine = Engine(config.engine, config.workers, config.master)
    folder = config.out.with_name(f"{config.out.name}-scenes")
    found = convert(config, folder, engine)

    def check() -> None:
        if not found.unreadable:  # else nobody knows what is gone
            remove_withdrawn(folder, found.paths)
        if not found.paths:
            raise ValueError("no scene could be made, so there is nothing to cut")

    engine.world().on_root(check)
    names = ("out", "patch_size", "stride", "split", "seed", "strict")
    patches = PatchConfig(scenes=found.paths, **{name: getattr(config, name) for name in names})
    code = prepare_patches(patches, map_items=engine.map_items)
    return code if found.whole else 1


def convert(config: ScenesConfig | PrepareConfig, out: Path, engine: Engine) -> Converted:
    """A scene for every picture. Those that are there and up to date stay.

    Of a picture that is broken now, what was made of it before is removed.
    """
    world, labels = engine.world(), config.labels

    def plan() -> tuple[Found, Reading, int]:
        opencv.load()
        raster.load()
        if not config.scenes:
            raise ValueError("give pictures, or folders of them")
        if labels is not None and not labels.is_dir():
            raise ValueError(f"--labels {labels} is not a folder")
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file; choose another --out")
        how = reading.checked(config.stretch, config.nodata, config.bands)
        found = sources.find(config.scenes, apart_from=[out, *([labels] if labels else [])])
        out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        return found, how, engine.bytes_each(found, how)

    found, how, bytes_each = world.on_root(plan)
    outcomes = engine.map_items(
        functools.partial(
            write_scene,
            folder=out.absolute(),
            labels=labels.absolute() if labels else None,
            reading=how,
        ),
        found,
        world=world,
        weights=[float(source.size_bytes) for source in found],
        progress="scenes",
        bytes_each=bytes_each,
    )
    paths = [_path_of(out, source) for source in found]
    done = [outcome is not None and outcome.error is None for outcome in outcomes]
    for path, outcome in zip(paths, outcomes, strict=True):
        if (
            world.is_root
            and outcome is not None
            and outcome.error is not None
            and stamp.is_ours(path)
        ):
            path.unlink()
    return Converted(
        tuple(path for path, good in zip(paths, done, strict=True) if good),
        sum(1 for outcome in outcomes if outcome is not None and outcome.value),
        done.count(False),
        found.unreadable,
    )


def remove_withdrawn(folder: Path, kept: tuple[Path, ...]) -> None:
    """Remove scenes of pictures that are no longer there, and say so.

    What was not written here stays; it goes into no patch set either.
    """
    others = sorted(set(folder.glob("*.npz")) - set(kept))
    ours = [path for path in others if stamp.is_ours(path)]
    for path in ours:
        path.unlink()
    if ours:
        what = f"{plural(len(ours), 'scene')} of pictures that are not there any more"
        print(f"removed: {what}, such as {ours[0]}", file=sys.stderr)
    if len(others) > len(ours):
        strange = next(path for path in others if path not in ours)
        what = f"{plural(len(others) - len(ours), 'file')} that prepare did not write"
        print(f"left out: {what}, such as {strange}", file=sys.stderr)


def write_scene(source: Source, *, folder: Path, labels: Path | None, reading: Reading) -> bool:
    """Write one scene; False if it is there already. ValueError: it cannot be made.

    It is 8-bit, with a mask of what is missing, and never held as floating numbers: a full tile of
    Sentinel-2 takes 0.6 GB.
    """
    out = _path_of(folder, source)
    path = None
    facts: list[object] = [source.name, source.size_bytes, source.modified, asdict(reading)]
    if labels is not None:
        path = classmap.find(labels, source.name)
        if path is None:
            looked_for = lookup.looked_for(source.name)
            raise ValueError(
                f"{source.place} has no label in {labels} ({looked_for}); label it first"
            )
        records.check_picture(path, source)
        facts.append(_sha256(path))
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    key = stamp.KEY.format(version=FORMAT_VERSION, digest=digest)
    if stamp.of(out) == key:
        return False
    labelled = classmap.read(path) if path is not None else None
    with open_scene(source, reading) as scene:
        if labelled is not None:
            _check_fit(labelled, path, scene, source)
        picture = scene.picture()
        arrays = {"image": picture.image, **_place(scene, labelled)}
    if picture.missing.any():
        arrays["missing"] = picture.missing
    if labelled is not None:
        arrays |= {"label": labelled.label, "classes": np.array(CLASSES)}
    with whole_file(out) as file:
        np.savez(file, channels=np.array(BANDS), key=np.array(key), **arrays)
    return True


def _check_fit(labelled: ClassMap, path: Path | None, scene: Opened, source: Source) -> None:
    """ValueError for a label of other pixels."""
    rows, columns = scene.shape
    if labelled.label.shape != scene.shape:
        raise ValueError(
            f"{path} has {labelled.label.shape[0]} x {labelled.label.shape[1]} pixels, "
            f"{source.place} has {rows} x {columns}"
        )
    one, other = labelled.grid, scene.grid
    if one is not None and other is not None and not one.lies_on(other, scene.shape):
        raise ValueError(f"{path} lies elsewhere than {source.place}; label it again")


def _place(scene: Opened, labelled: ClassMap | None) -> dict[str, Any]:
    """Where and when the scene was taken, as .npz files say it; a label made by hand may know."""
    grid = scene.grid or (labelled.grid if labelled else None)
    date = scene.date or (labelled.date if labelled else None)
    place: dict[str, Any] = {}
    if grid is not None:
        place |= {"crs": np.array(grid.crs), "transform": np.array(grid.transform)}
    if date is not None:
        place["start"] = np.array(date)
    return place


def _path_of(folder: Path, source: Source) -> Path:
    return folder / f"{source.name}.npz"


def _sha256(path: Path) -> str:
    """ValueError where a label cannot be read: that concerns its scene alone."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
