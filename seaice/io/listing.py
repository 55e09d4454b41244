"""What lies in an archive: files, and products as one, found below a folder and not looked into."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloudmask.record import warn
from seaice.io import stamp
from seaice.io.kinds import PRODUCT

OTHER_PRODUCTS = (".SAFE", ".SEN3")
_OURS = "folders of labels, pictures or truth"


@dataclass(frozen=True)
class Listed:
    """A file of an archive, as any file system lists it."""

    place: str
    parts: tuple[str, ...]
    """folders below the top, and the file's name"""
    size_bytes: int
    modified: int


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


def is_product(place: Path) -> bool:
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


def listed(path: Path, parts: tuple[str, ...]) -> Listed:
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


def search(top: Path, apart: set[str], left_out: LeftOut) -> Iterator[Listed]:
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
            elif is_product(path):
                subfolders.remove(name)
                yield listed(path, (*parts, name))
            elif name.endswith(OTHER_PRODUCTS) and _can_be_listed(path):
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
                yield listed(path, (*parts, name))


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
