"""What lies in an archive: scenes of every kind, found below folders, each acquisition once.

What is found is not looked into, and nothing that is wrong with one entry stops the search: an
entry that cannot be read is told of when its turn comes.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudmask.data import kinds
from cloudmask.data.acquisition import Acquisition, acquisition_of, same
from cloudmask.data.formats.eopf import ROOT_FILES, files_of_store
from cloudmask.data.formats.remote import size_and_date
from cloudmask.data.formats.safe.product import MEMBERS, NEEDED
from cloudmask.data.formats.safe.sources import Folder, source_of
from cloudmask.data.kinds import MANIFEST_NAME, scene_name
from cloudmask.data.patchset.model import MANIFEST, WORK_FOLDER
from cloudmask.data.patchset.open import is_patchset
from cloudmask.data.place import Place, Url, place_of, printable
from cloudmask.data.scene import SceneError
from cloudmask.files import open_hdf5
from cloudmask.text import listed, plural

Strangers = Counter[tuple[kinds.Group, str]]
"""how many of each group and detail"""
_SHOWN = 3
"""names that a line tells"""


@dataclass(frozen=True)
class Entry:
    """A scene of an archive as it was found there; nothing of it has been read."""

    path: Place
    name: str
    """of the scene, and so of its mask and of its patch file"""
    bytes: int
    changed: int
    """nanoseconds since 1970, of the last change of any of its files"""


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
    entries = [Entry(place, name, *_size_and_date(place)) for place, name in found.items()]
    kept, dropped = _each_once(entries)
    left_out = (*_counted(strangers), *_doubles(dropped))
    return Archive(tuple(sorted(kept, key=lambda entry: entry.name)), left_out)


def entry_of(path: Path) -> Entry:
    """A single scene."""
    return Entry(path, scene_name(path), *_size_and_date(path))


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


def _each_once(entries: Sequence[Entry]) -> tuple[list[Entry], list[tuple[Place, Place]]]:
    """The scenes to keep, and those to leave out with the one that stands for each."""
    by_name: dict[str, Entry] = {}
    products: list[tuple[Entry, Acquisition]] = []
    for entry in entries:
        whole = kinds.form_of(entry.path) != "product"  # NAME_tile1.npz is a part of it
        if acquisition := acquisition_of(entry.name, whole=whole):
            products.append((entry, acquisition))
            continue
        other = by_name.setdefault(entry.name, entry)
        if not _same_file(other.path, entry.path):
            both = f"{printable(other.path)} and {printable(entry.path)}"
            raise ValueError(f"two scenes are named {entry.name}: {both}; remove or rename one")
    products.sort(key=lambda product: str(product[0].path))
    products.sort(key=lambda product: _rank(*product), reverse=True)
    stands = same([acquisition for _, acquisition in products])
    rivals = Counter(stands)
    if len(rivals) < len(stands):  # only those that have a rival are looked into
        broken = {
            id(product[0])
            for product, at in zip(products, stands, strict=True)
            if rivals[at] > 1 and not _is_whole(product[0])
        }
        products.sort(key=lambda product: id(product[0]) in broken)
        stands = same([acquisition for _, acquisition in products])
    kept = [product[0] for index, product in enumerate(products) if stands[index] == index]
    pairs = [
        (one.path, products[at][0].path) for (one, _), at in zip(products, stands, strict=True)
    ]
    doubles = [(place, other) for place, other in pairs if not _same_file(place, other)]
    return [*by_name.values(), *kept], doubles


def _rank(entry: Entry, acquisition: Acquisition) -> tuple[object, ...]:
    """More is better: what is there at all, then of two processings, then of two wrappings."""
    suffix = Path(entry.path.name).suffix.lower()
    known = suffix in kinds.PREFERRED
    return (entry.bytes > 0, *acquisition.rank, -kinds.PREFERRED.index(suffix) if known else -99)


def _is_whole(entry: Entry) -> bool:
    """As far as the names of a product's members tell; of other forms, whether there is a file."""
    place = entry.path
    wrapped = Path(place.name).suffix.lower() in (kinds.PRODUCT_SUFFIX, ".zip")
    if not entry.bytes or isinstance(place, Url) or not wrapped:
        return entry.bytes > 0
    try:
        with source_of(place) as source:
            return source.held >= NEEDED
    except (OSError, SceneError):
        return False


def _same_file(one: Place, other: Place) -> bool:
    if one == other or isinstance(one, Url) or isinstance(other, Url):
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)


def _doubles(pairs: Sequence[tuple[Place, Place]]) -> list[str]:
    if not pairs:
        return []
    told = (f"{printable(place)} for {_short(other, place)}" for place, other in pairs)
    number = plural(len(pairs), "scene")
    return [f"{number} whose acquisition is there in a better one: {listed(told, most=_SHOWN)}"]


def _short(place: Place, other: Place) -> str:
    """Its name, or the whole path if the other one has the same."""
    return printable(place if place.name == other.name else place.name)


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


def _size_and_date(place: Place) -> tuple[int, int]:
    """Bytes of a scene, and nanoseconds of its last change, of a product by the members that are
    read; zeros for what cannot be looked at, as it will not be read either."""
    name = place.name.lower()
    try:
        if isinstance(place, Url):
            return _size_and_date_there(place)
        if name.endswith(".zarr"):
            found = list(files_of_store(place, MEMBERS))
        else:
            files: Iterable[Path] = [place]
            if name.endswith(kinds.PRODUCT_SUFFIX):
                product = Folder(place)
                files = (product.folder / m for m in MEMBERS if m in product.held)
            found = [os.stat(file) for file in files]  # noqa: PTH116 (counted by a test)
    except (OSError, SceneError):
        return 0, 0
    return sum(f.st_size for f in found), max((f.st_mtime_ns for f in found), default=0)


def _size_and_date_there(url: Url) -> tuple[int, int]:
    """Of the one file that tells of a product: few questions, as each takes a while. OSError."""
    name = url.name.lower()
    if name.endswith(".zarr"):
        for member in ROOT_FILES:
            with contextlib.suppress(FileNotFoundError):
                return size_and_date(url / member)
    return size_and_date(url / MANIFEST_NAME if name.endswith(kinds.PRODUCT_SUFFIX) else url)
