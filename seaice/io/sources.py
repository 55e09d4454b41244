"""Scenes to work on: files by path, or objects by URI where Spark fetches them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seaice.io.picture import SUFFIXES


@dataclass(frozen=True)
class Source:
    """One scene, which is fetched where it is worked on."""

    place: str
    """a path, or a URI"""
    size_bytes: int
    modified: int
    """nanoseconds, or what else changes with the content"""
    content: bytes | None = None
    """what Spark has fetched already"""

    @property
    def name(self) -> str:
        return PurePosixPath(self.place).stem

    def fetch(self) -> bytes:
        """The file's content. ValueError if it cannot be had: that concerns this scene alone."""
        if self.content is not None:
            return self.content
        try:
            return Path(self.place).read_bytes()
        except OSError as error:
            raise ValueError(f"{self.place} cannot be read ({error.strerror})") from None


def is_uri(place: str) -> bool:
    """Whether this is no path: s3a://bucket/folder, hdfs:/folder, file:/folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", place) is not None


def find(places: Sequence[str], *, apart_from: Path) -> list[Source]:
    """Scenes among and below `places`, sorted by name; what lies in `apart_from` is ours.

    ValueError for a place that does not exist, for two scenes of one name and if nothing is found.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            found += _search(place, apart_from)
        elif not place.exists():
            raise ValueError(f"{place} does not exist; give pictures or folders that hold them")
        elif place.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{place} is no picture: expected {', '.join(SUFFIXES)}")
        else:
            found.append(place)
    stats = [(path, path.stat()) for path in found]
    return unique([Source(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats])


def unique(sources: Iterable[Source]) -> list[Source]:
    """Sorted by name. ValueError if there are none, or two of one name."""
    by_name: dict[str, Source] = {}
    for source in sources:
        other = by_name.setdefault(source.name, source)
        if other.place != source.place:
            raise ValueError(
                f"two scenes are named {source.name}: {other.place} and {source.place}; rename one"
            )
    if not by_name:
        raise ValueError(f"no scenes found; expected {', '.join(SUFFIXES)}")
    return [by_name[name] for name in sorted(by_name)]


def _search(top: Path, apart_from: Path) -> list[Path]:
    ours = apart_from.resolve()
    found = []
    for folder, subfolders, files in os.walk(top, followlinks=True):
        if Path(folder).resolve() == ours:
            subfolders.clear()
            continue
        found += [Path(folder, name) for name in files if Path(name).suffix.lower() in SUFFIXES]
    return found
