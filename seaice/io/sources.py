"""Scenes to work on: files and products by path, or objects by URI where Spark fetches them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from seaice.io import kinds, listing
from seaice.io.kinds import PRODUCT, SCENE, SUFFIXES
from seaice.io.listing import LeftOut, Listed


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
        if place.is_dir() and not listing.is_product(place):
            if place.name.endswith(listing.OTHER_PRODUCTS):
                raise ValueError(
                    f"{place} is no Sentinel-2 product (L1C or L2A, one tile), and nothing in it "
                    "is a scene"
                )
            listed = listing.search(place, apart, left_out)
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
    file = listing.listed(place, (place.absolute().name,))
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
        if kind is SCENE or listing.is_product(Path(file.place)):
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
