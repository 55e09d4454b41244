"""The file of a scene in a folder: by the scene's name, or where the scene lies in its archive.

Of `north/ice.png` the name is `north__ice`: NAME.tif and north/ice.tif are its masks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

SUFFIXES = (".tif", ".tiff", ".png", ".nc")
"""of masks and class maps; the first that is there is taken"""
WANTED = "NAME.tif, .tiff, .png or .nc, for a__b also a/b"
"""for messages that many scenes share"""
_JOINT = "__"


def find(folder: Path, name: str) -> Path | None:
    """The file of a scene, NAME before nested folders; None without one."""
    for stem in _stems(folder, name):
        for suffix in SUFFIXES:
            for path in (Path(f"{stem}{suffix}"), Path(f"{stem}{suffix.upper()}")):
                if path.is_file():
                    return path
    return None


def names(folder: Path, *, apart_from: Sequence[str]) -> list[str]:
    """Scenes that a folder has files of, sorted; not in subfolders of these names.

    OSError for a folder that cannot be listed.
    """
    found, been = set(), set()
    for top, subfolders, files in os.walk(folder, followlinks=True, onerror=_told):
        been.add(os.path.realpath(top))
        subfolders[:] = [
            one
            for one in subfolders
            if one not in apart_from and os.path.realpath(Path(top, one)) not in been
        ]
        parts = Path(top).relative_to(folder).parts
        for path in map(Path, files):
            if path.suffix.lower() in SUFFIXES:
                found.add(_JOINT.join((*parts, path.stem)))
    return sorted(found)


def looked_for(name: str) -> str:
    """For messages of one scene: what its file may be called."""
    first, *others = SUFFIXES
    nested = f", or {name.replace(_JOINT, '/')}{first}" if _JOINT in name else ""
    return f"{name}{first}, {', '.join(others)}{nested}"


def _stems(folder: Path, name: str) -> Iterator[Path]:
    """Paths without suffix: flat, and wherever the head of the name is a folder."""
    yield folder / name
    place = name.find(_JOINT)
    while place >= 0:
        head, rest = name[:place], name[place + len(_JOINT) :]
        if head not in ("", ".", "..") and rest and (folder / head).is_dir():
            yield from _stems(folder / head, rest)
        place = name.find(_JOINT, place + 1)


def _told(error: OSError) -> None:
    raise error
