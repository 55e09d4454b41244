"""What lies in an archive: scenes of every kind, found below folders, each acquisition once.

What is found is not looked into, and nothing that is wrong with one entry stops the search: an
entry that cannot be read is told of when its turn comes.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudmask.data import kinds, once
from cloudmask.data.entry import Entry, size_and_date
from cloudmask.data.kinds import MANIFEST_NAME, scene_name
from cloudmask.data.patchset.model import MANIFEST, WORK_FOLDER
from cloudmask.data.patchset.open import is_patchset
from cloudmask.data.place import Place, Url, place_of, printable
from cloudmask.files import open_hdf5

Strangers = Counter[tuple[kinds.Group, str]]
"""how many of each group and detail"""


@dataclass(frozen=True)
class Archive:
    """What a search has found."""

    scenes: tuple[Entry, ...]
    """sorted by name"""
    left_out: tuple[str, ...]
    """what else was there that might be taken for scenes, and why it is none, in a line each"""


def find_scenes(paths: Sequence[str | os.PathLike[str] | Url]) -> list[Entry]:
    """The scenes of `search`, which says on stderr what it leaves out.

    Call it on one rank and send the list: an archive may grow while it is read.
    """
    archive = search(paths)
    for line in archive.left_out:
        print(f"left out: {line}", file=sys.stderr)
    return list(archive.scenes)


def search(paths: Sequence[str | os.PathLike[str] | Url]) -> Archive:
    """Scenes among and below `paths`, sorted by name whatever the file system does.

    Folders are searched for S3?*.hdf (.h5, .hdf5), S3?_SL_1_RBT*.SEN3, .SEN3.zip and .zarr, and
    *.npz, links included; what is named, by path or URL, is taken if its suffix is known. Of an
    acquisition that is there more than once, in other forms or from another processing, the best is
    taken. A folder that cannot be searched is an entry too, and so is a link that leads nowhere.
    ValueError for a path that does not exist, for two scenes of the same name, and if nothing is
    found.
    """
    found: dict[Place, str] = {}
    strangers: Strangers = Counter()
    places = [place_of(path) for path in paths]
    for place in places:
        if isinstance(place, Path) and kinds.form_of(place) is None and place.is_dir():
            _search(place, found, strangers)
        else:
            place = _named(place)
            found[place] = scene_name(place)
    if not found:
        under = ", ".join(map(printable, places))
        expected = "S3A*.hdf, S3A_SL_1_RBT*.SEN3, .SEN3.zip or .zarr, or *.npz"
        raise ValueError(
            f"no scenes found under {under}; expected {expected} (also S3B, S3C, S3D)"
            + "".join(f"; left out: {line}" for line in _counted(strangers))
        )
    entries = [Entry(place, name, *size_and_date(place)) for place, name in found.items()]
    kept, dropped = once.each_once(entries)
    left_out = (*_counted(strangers), *once.told(dropped))
    return Archive(tuple(sorted(kept, key=lambda entry: entry.name)), left_out)


def _named(place: Place) -> Place:
    """A scene that was asked for by name. ValueError."""
    if isinstance(place, Url):
        if kinds.form_of(place) != "product":
            raise ValueError(f"{place}: by URL are read .SEN3, .SEN3.zip and .zarr products alone")
        return place
    if not os.path.lexists(place):
        raise ValueError(
            f"{printable(place)} does not exist; give scene files or folders that hold them"
        )
    if kinds.form_of(place) is None:
        known = f".SEN3, .SEN3.zip, .zarr, .npz or {', '.join(kinds.HDF_SUFFIXES)}"
        raise ValueError(f"{printable(place)} is no scene: expected {known}")
    return kinds.spelled_out(place)


def _search(top: Path, found: dict[Place, str], strangers: Strangers) -> None:
    """Scenes below a folder. Patch sets are passed over: their files bear the names of scenes."""
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        folder = Path(error.filename or top)
        name = printable(folder.relative_to(top)) if folder != top else scene_name(top)
        found[folder] = name.replace("/", "_")

    for name, subfolders, files in os.walk(top, followlinks=True, onerror=unreadable):
        folder = Path(name)
        try:
            place = os.stat(folder)  # noqa: PTH116 (counted by a test)
        except OSError as error:  # it was there a moment ago
            unreadable(error)
            continue
        again = (place.st_dev, place.st_ino) in seen
        seen.add((place.st_dev, place.st_ino))
        ours = WORK_FOLDER in subfolders or (MANIFEST in files and is_patchset(folder))
        if again or ours:
            subfolders.clear()
            continue
        if MANIFEST_NAME in files:  # a product, whatever became of its name
            subfolders.clear()
            product = kinds.spelled_out(folder)
            found[product] = scene_name(product)
            continue
        for is_folder, names in ((False, files), (True, subfolders)):
            for entry in names:
                if not kinds.is_scene(entry, folder=is_folder):
                    if other := kinds.stranger(entry):
                        strangers[other] += 1
                elif entry.lower().endswith(".h5") and _is_mask(folder / entry):
                    strangers["mask", ""] += 1
                else:
                    found[folder / entry] = scene_name(folder / entry)
        subfolders[:] = [entry for entry in subfolders if not kinds.is_product_folder(entry)]


def _is_mask(path: Path) -> bool:
    """Whether predict wrote this file, which bears the name of its scene."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with open_hdf5(path) as file:
            return "mask" in file and "refs" not in file
    except (OSError, RuntimeError, ValueError, TypeError):
        return False


def _counted(strangers: Strangers) -> list[str]:
    """How many strangers of each kind, in one line."""
    groups: dict[kinds.Group, Counter[str]] = {}
    for (group, detail), number in sorted(strangers.items()):
        groups.setdefault(group, Counter())[detail] += number
    words = [_group(group, details) for group, details in groups.items()]
    return [", ".join(words)] if words else []


def _group(group: kinds.Group, details: Counter[str]) -> str:
    number = details.total()
    told = (f"{detail} {count:,}" for detail, count in details.most_common() if detail)
    noun = f"{number:,} {kinds.GROUPS[group][number > 1]}"
    return f"{noun} ({', '.join(told)})" if any(details) else noun
