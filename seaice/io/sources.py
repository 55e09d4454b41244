"""Scenes to work on: files and products by path, or objects by URI where Spark fetches them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from cloudmask.record import warn
from seaice.io import kinds, stamp
from seaice.io.kinds import PRODUCT, SCENE, SUFFIXES

_OTHER_PRODUCTS = (".SAFE", ".SEN3")
_OURS = "folders of labels, pictures or truth"


@dataclass(frozen=True)
class Source:
    """One scene, which is fetched where it is worked on."""

    place: str
    """a path, or a URI"""
    size_bytes: int
    modified: int
    """nanoseconds, or what else changes with the content"""
    name: str
    """its key everywhere: the path below the folder that was given, without suffix, __ for /"""
    content: bytes | None = None
    """what Spark has fetched already"""


@dataclass(frozen=True)
class Listed:
    """A file of an archive, as any file system lists it."""

    place: str
    parts: tuple[str, ...]
    """folders below the top, and the file's name"""
    size_bytes: int
    modified: int


@dataclass(frozen=True)
class Found(Sequence[Source]):
    """The scenes of an archive, by name; not all of them where a folder could not be listed."""

    scenes: tuple[Source, ...]
    unreadable: tuple[str, ...] = ()
    """folders that could not be listed: what is in them is not withdrawn, it is not known"""

    def __len__(self) -> int:
        return len(self.scenes)

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Source]: ...
    def __getitem__(self, index: int | slice) -> Source | Sequence[Source]:
        return self.scenes[index]


@dataclass
class LeftOut:
    """What is no scene, by kind and number."""

    kinds: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    """of what deserves a line of its own"""
    unreadable: list[str] = field(default_factory=list)
    """folders that could not be listed"""

    def not_listed(self, folder: str, error: OSError) -> None:
        self.unreadable.append(folder)
        self.lines.append(f"{folder} cannot be read ({error.strerror}): what it holds is not known")

    def tell(self) -> None:
        for line in self.lines:
            warn(line)
        if self.kinds:
            told = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items()))
            warn(f"left out, being no scenes: {told}")


def is_uri(place: str) -> bool:
    """Whether this is no path: s3a://bucket/folder, hdfs:/folder, file:/folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", place) is not None


def find(places: Sequence[str], *, apart_from: Path | Sequence[Path]) -> Found:
    """Scenes among and below `places`, sorted by name; files and folders `apart_from` are not.

    What is left out is told in a line. A folder that cannot be listed is told, and handed back as
    `unreadable`. ValueError for a place that does not exist or cannot be read, for two scenes of
    one name and if nothing is found.
    """
    apart = {os.path.realpath(path) for path in _several(apart_from)}
    left_out, found, seen = LeftOut(), list[Source](), set[str]()
    for place in map(Path, places):
        _ask(place)
        if place.is_dir() and not _is_product(place):
            if place.name.endswith(_OTHER_PRODUCTS):
                raise ValueError(
                    f"{place} is no Sentinel-2 product (L1C or L2A, one tile), and nothing in it "
                    "is a scene"
                )
            listed = _search(place, apart, left_out)
            some = scenes_of(listed, left_out)
        else:
            some = scenes_of([_given(place)], left_out)
        for source in some:
            real = os.path.realpath(source.place)
            if real in seen:
                left_out.kinds["files that were found before"] += 1
            else:
                seen.add(real)
                found.append(source)
    try:
        found = unique(found, left_out)
    finally:
        left_out.tell()
    return Found(tuple(found), tuple(left_out.unreadable))


def _ask(place: Path) -> None:
    """ValueError for a place that is not there, or may not be read."""
    try:
        if place.is_dir():
            with os.scandir(place):
                return
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"{place} does not exist; give pictures or folders that hold them"
        ) from None
    except OSError as error:
        raise ValueError(
            f"{place} cannot be read ({error.strerror}); give pictures or folders that may be read"
        ) from None


def _given(place: Path) -> Listed:
    """A file or product that was given by itself. ValueError if it is no scene."""
    file = _listed(place, (place.absolute().name,))
    if not place.is_dir():
        if not place.is_file():
            raise ValueError(f"{place} is no file that can be read twice; copy it to one")
        kind = kinds.kind(file.parts)
        if kind is None or kind.endswith("without a suffix") or kind.startswith("."):
            raise ValueError(f"{place} is no picture: expected {', '.join(SUFFIXES)}")
        if kind is not SCENE:
            raise ValueError(
                f"{place} is no scene by its name ({kind}); give the picture or the product that "
                "it belongs to, or rename it"
            )
    return file


def scenes_of(files: Iterable[Listed], left_out: LeftOut) -> list[Source]:
    """Those files that are scenes; the others are counted. Whatever lists files can use this."""
    found = []
    for file in files:
        kind = kinds.kind(file.parts)
        if kind is SCENE or _is_product(Path(file.place)):
            found.append(Source(file.place, file.size_bytes, file.modified, kinds.key(file.parts)))
        elif kind is not None:
            left_out.kinds[kind] += 1
    return found


def unique(sources: Iterable[Source], left_out: LeftOut | None = None) -> list[Source]:
    """Sorted by name. ValueError if there are none, or two files of one name.

    Of a product that is there twice, as a folder and as a zip file or in two places, one is taken,
    and the other is told.
    """
    left_out = left_out or LeftOut()
    by_name: dict[str, Source] = {}
    for source in sources:
        other = by_name.setdefault(source.name, source)
        if other.place == source.place:
            continue
        if PRODUCT.fullmatch(source.name):
            taken, left = sorted((other, source), key=_preference)
            by_name[source.name] = taken
            left_out.lines.append(f"{left.place} is left out: {taken.place} is the same product")
        else:
            raise ValueError(
                f"two scenes are named {source.name}: {other.place} and {source.place}; rename one"
            )
    if not by_name:
        raise ValueError(f"no scenes found; expected {', '.join(SUFFIXES)}, or Sentinel-2 products")
    return [by_name[name] for name in sorted(by_name)]


def _preference(source: Source) -> tuple[bool, str]:
    return source.place.endswith(".zip"), source.place


def _several(apart_from: Path | Sequence[Path]) -> Sequence[Path]:
    return [apart_from] if isinstance(apart_from, Path) else apart_from


def _is_product(place: Path) -> bool:
    """A folder that holds the metadata of a Sentinel-2 product, or is named as one."""
    if not stat.S_ISDIR(_mode(place)):
        return False
    return PRODUCT.fullmatch(place.name) is not None or any(
        stat.S_ISREG(_mode(place / f"MTD_MSI{level}.xml")) for level in ("L1C", "L2A")
    )


def _mode(path: Path) -> int:
    """What a place is; 0 where there is none, or where it may not be asked.

    Path.is_file and its like raise where a folder may not be entered.
    """
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _listed(path: Path, parts: tuple[str, ...]) -> Listed:
    """With its size and date; of a product with those of all that it holds, in one number each.

    What cannot be asked is 0.
    """
    if not path.is_dir():
        return Listed(str(path), parts, *_facts(path))
    held = sorted((one.relative_to(path).as_posix(), *_facts(one)) for one in _files_of(path))
    digest = hashlib.sha256(json.dumps(held).encode()).digest()
    return Listed(
        str(path), parts, sum(size for _, size, _ in held), int.from_bytes(digest[:7], "big")
    )


def _facts(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns


def _files_of(path: Path) -> Iterator[Path]:
    for folder, _, files in os.walk(path):
        yield from (Path(folder, name) for name in files)


def _search(top: Path, apart: set[str], left_out: LeftOut) -> Iterator[Listed]:
    """Files below a folder, and products as one; not what this program wrote."""
    been: set[str] = set()

    def unreadable(error: OSError) -> None:
        left_out.not_listed(str(error.filename), error)

    for folder, subfolders, files in os.walk(top, followlinks=True, onerror=unreadable):
        subfolders.sort()
        here = Path(folder)
        been.add(os.path.realpath(folder))
        parts = here.relative_to(top).parts
        for name in list(subfolders):
            path = here / name
            real = os.path.realpath(path)
            if real in apart:
                subfolders.remove(name)
            elif real in been:
                subfolders.remove(name)
                left_out.kinds["folders that were searched before"] += 1
            elif _is_product(path):
                subfolders.remove(name)
                yield _listed(path, (*parts, name))
            elif name.endswith(_OTHER_PRODUCTS) and _can_be_listed(path):
                subfolders.remove(name)
                left_out.kinds["products of other kinds"] += 1
            elif _is_ours(here, name):
                subfolders.remove(name)
                left_out.kinds[_OURS] += 1
        for name in sorted(files):
            path = here / name
            mode = _mode(path)  # 0 for a link that leads nowhere, which is told as a bad scene
            if os.path.realpath(path) in apart:
                continue
            if mode and not stat.S_ISREG(mode):
                left_out.kinds["pipes and devices"] += 1
            elif _is_chart(here, name) or (parts and name.endswith(".npz") and stamp.is_ours(path)):
                left_out.kinds["charts and .npz scenes that were made here"] += 1
            else:
                yield _listed(path, (*parts, name))


def _is_chart(parent: Path, name: str) -> bool:
    """The picture of a time series, by the tables that `series` writes beside it."""
    beside = (parent / f"series.{suffix}" for suffix in ("csv", "nc"))
    return name == "series.png" and all(stat.S_ISREG(_mode(path)) for path in beside)


def _can_be_listed(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return True
    except OSError:
        return False


def _is_ours(parent: Path, name: str) -> bool:
    """A folder that `label` or `synth` wrote, by what they write beside it."""
    if name == "truth":
        return stat.S_ISDIR(_mode(parent / "scenes")) and any((parent / name).glob("*.json"))
    return name in ("labels", "pictures", "records") and stat.S_ISDIR(_mode(parent / "records"))
