"""`cloudmask quicklook`: masks as PNG pictures by themselves, in the colours of the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cloudmask.cli.options import QuicklookConfig
from cloudmask.data.classes import with_classes
from cloudmask.data.place import Place
from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene
from cloudmask.data.slstr import recorded
from cloudmask.predict.masks import SUFFIXES, attributes_of, read_mask
from cloudmask.predict.recipe import options_of
from cloudmask.report import pictures
from cloudmask.report.sheet import Sheets
from cloudmask.text import plural

CLASSES = ("clear", "cloud")
"""of a mask that does not name its own"""


def quicklook(config: QuicklookConfig) -> int:
    """Draw every mask; exit code 1 if one could not be read. Raises ValueError, OSError."""
    files = _files(config.masks)
    if config.scene is not None and len(files) != 1:
        raise ValueError(f"--scene goes with a single mask, and {len(files)} are named")
    config.out.mkdir(parents=True, exist_ok=True)
    count = failed = 0
    for file in tqdm(files, desc="quicklook", leave=False, disable=None):
        try:
            count += _draw(file, config)
        except ValueError as error:
            if len(files) == 1:
                raise
            tqdm.write(f"left out: {error}", file=sys.stderr)
            failed += 1
    missed = f", {failed} failed" if failed else ""
    print(f"{plural(count, 'picture')} of {plural(len(files), 'mask')} in {config.out}{missed}")
    return 1 if failed else 0


def _files(paths: Sequence[Path]) -> list[Path]:
    """Masks among and in `paths`. ValueError if there is none, or two of one name."""
    found: dict[str, Path] = {}
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            if file.suffix not in SUFFIXES and path.is_dir():
                continue
            if not file.is_file() or file.suffix not in SUFFIXES:
                raise ValueError(f"{file} is no mask file; give {', '.join(SUFFIXES)} or a folder")
            if found.setdefault(file.stem, file) != file:
                raise ValueError(
                    f"{found[file.stem]} and {file} would give pictures of the same names; draw "
                    "them one after the other into two folders"
                )
    if not found:
        raise ValueError(f"{', '.join(map(str, paths))} holds no masks; predict first")
    return list(found.values())


def _draw(file: Path, config: QuicklookConfig) -> int:
    """How many pictures there are of a mask now. ValueError, OSError."""
    scene = None if config.scene is None else _scene_of(file, config.scene, config.label)
    mask = read_mask(file, classes=scene.classes if scene else CLASSES)
    titles = {"members": {"label": "label", "summary": "operational mask", "truth": "truth"}}
    if scene is not None:
        if scene.image.shape[:2] != mask.mask.shape:
            raise ValueError(
                f"{file} has {mask.mask.shape} pixels and the scene {scene.image.shape[:2]}: they "
                "do not belong together"
            )
        try:
            scene = with_classes(scene, mask.classes)
        except ValueError as error:
            raise ValueError(f"{file}: its scene has {error}") from None
    found = pictures.of_values(scene, mask, titles, Sheets(config.out, file.stem, mask.name))
    return sum(1 for look in found if look.file)


def _scene_of(file: Path, path: Place, label: LabelChoice) -> Scene:
    """A scene, read as it was for the mask in a file. ValueError, OSError."""
    try:
        reading = recorded(options_of(attributes_of(file)))
    except ValueError as error:
        raise ValueError(f"{file} does not tell how its scene was read ({error})") from None
    return read_scene(path, label=label, need_label=False, reading=reading)
