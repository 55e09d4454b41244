"""Records of `label`: one a scene, written last, so that a record says that its scene is done.

They also tell which picture labels were made of. What was made of a picture that is gone, or that
cannot be labelled any more, is moved to OUT/withdrawn.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cloudmask.files import parse_json
from cloudmask.text import plural
from seaice.io.classmap import LABELS, PICTURES, RECORDS
from seaice.io.reading import ImageError
from seaice.io.sources import Source, is_uri

WITHDRAWN = "withdrawn"


def path_of(out: Path, name: str) -> Path:
    return out / RECORDS / f"{name}.json"


def read(path: Path) -> dict[str, Any]:
    """What a record holds; nothing where there is none, or where it is no record. ImageError where
    it cannot be looked at, which concerns its scene alone."""
    try:
        return dict(parse_json(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}
    except OSError as error:
        raise ImageError(
            f"its record {path} cannot be read ({error.strerror}); rename the scene, or remove "
            "what lies there"
        ) from None


def facts_of(source: Source) -> dict[str, Any]:
    """Which picture it was, as records tell it."""
    place = source.place if is_uri(source.place) else _spelled(source.place)
    return {"source": place, "size_bytes": source.size_bytes, "modified": source.modified}


def beside(label: Path) -> Path | None:
    """Where the record of a label lies that `label` wrote; None of a label of other origin."""
    folder = label.parent.parent / RECORDS
    if label.parent.name != LABELS or not folder.is_dir():
        return None
    return folder / f"{label.stem}.json"


def check_picture(label: Path, source: Source) -> None:
    """ValueError if `label` wrote this label of another picture than the one that is there now.

    A picture is known by its size and date. Objects behind URIs have others than files have, so
    labels of these are not looked at.
    """
    path = beside(label)
    if path is None:
        return
    record = read(path)
    if not record:
        raise ValueError(f"{source.place}: {label} has no record; label it again")
    if is_uri(str(record.get("source"))):
        return
    facts = facts_of(source)
    if any(record.get(name) != facts[name] for name in ("size_bytes", "modified")):
        raise ValueError(
            f"{source.place}: {label} was made of another picture than is there now; label it again"
        )


def withdrawn(out: Path, searched: Sequence[str], found: Collection[str]) -> list[str]:
    """Scenes labelled before whose pictures are gone, sorted by name.

    Only of the places that were searched now: labels of another part of the archive stay. A folder
    that cannot be looked at has lost nothing.
    """
    paths = sorted((out / RECORDS).glob("*.json"))
    return [path.stem for path in paths if path.stem not in found and _is_gone(path, searched)]


def set_aside(out: Path, names: Sequence[str]) -> list[str]:
    """Move label, picture and record of scenes to OUT/withdrawn; the names of those that had any.

    The record goes first: a label without a record is not done.
    """
    moved = []
    for name in names:
        for path in (
            path_of(out, name),
            out / LABELS / f"{name}.tif",
            out / PICTURES / f"{name}.png",
        ):
            aside = out / WITHDRAWN / path.relative_to(out)
            if _is_file(path):
                aside.parent.mkdir(parents=True, exist_ok=True)
                path.replace(aside)
                moved.append(name)
    return list(dict.fromkeys(moved))


def tell(out: Path, names: Sequence[str], why: str) -> None:
    """One line of what was set aside, if anything was."""
    if names:
        what = f"labels of {plural(len(names), 'scene')} {why}, such as {names[0]}"
        print(f"moved to {out / WITHDRAWN}: {what}", file=sys.stderr)


def _is_gone(record: Path, searched: Sequence[str]) -> bool:
    try:
        place = read(record).get("source")
    except ImageError:
        return False
    if not isinstance(place, str):
        return False
    if is_uri(place):  # a listing of objects is whole, or fails
        tops = [_plain(spelling) for top in searched for spelling in (top, unquote(top))]
        return any(is_uri(top) and _plain(place).startswith(f"{top}/") for top in tops)
    if not any(Path(place).is_relative_to(_spelled(top)) for top in searched):
        return False
    try:
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file has so long a name
        return False


def _spelled(place: str) -> str:
    """One spelling of a path; links stay, as one may be withdrawn and what it names stay."""
    return os.path.normpath(Path(place).absolute())


def _plain(uri: str) -> str:
    """file:///folder/ and file:/folder are one."""
    return re.sub(":/+", ":/", uri, count=1).rstrip("/")
