"""The text of a lock file: what it pins, parts of it, and a second lock laid over it.

A lock has lines `a==1.0 ...`, each followed by its hashes and by remarks on who needs it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence, Set
from pathlib import Path

from stages import Failure


def blocks(lock: str) -> list[tuple[str, str]]:
    """(package, its lines) in order; a package with a version for each Python has several."""
    parts = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
    return [(part.partition("==")[0], part) for part in parts[1:]]


def heading(lock: str) -> str:
    """What stands before the first package."""
    return re.split(r"^(?=[a-z0-9])", lock, maxsplit=1, flags=re.MULTILINE)[0]


def locked_versions(lock: str) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock, flags=re.MULTILINE))


def without(lock: str, names: Set[str]) -> str:
    """The lock without some packages, each with its hashes and remarks."""
    return heading(lock) + "".join(block for name, block in blocks(lock) if name not in names)


def needed_by(lock: str, names: Set[str]) -> set[str]:
    """Those names and all that they need, by the remarks on what each package is there for."""
    needers: dict[str, set[str]] = {}
    for name, block in blocks(lock):
        remarks = re.findall(r"^ +#(?: +via)? +([a-z0-9-]+)$", block, flags=re.MULTILINE)
        needers.setdefault(name, set()).update(remarks)
    found: set[str] = set()
    while more := {n for n, by in needers.items() if n in names or by & found} - found:
        found |= more
    return found


def strays(lock: str, installed: Sequence[str], *, beside: Set[str]) -> list[str]:
    """Installed packages that neither a lock nor `beside` names, say the other TensorFlow."""
    wanted = beside | locked_versions(lock).keys()
    normal = (re.sub(r"[-_.]+", "-", name).lower() for name in installed)
    return sorted(set(normal) - wanted)


def overlaid(lock: str, over: str) -> str:
    """The lock with the packages of another one in place of its own."""
    return without(lock, locked_versions(over).keys()) + "".join(block for _, block in blocks(over))


def differing(lock: str, other: str) -> str:
    """What `other` pins and `lock` does not; laid over `lock`, it pins what `other` does."""

    def pins(block: str) -> list[str]:
        return [line for line in block.splitlines() if not line.lstrip().startswith("#")]

    known = [pins(block) for _, block in blocks(lock)]
    new = {name for name, block in blocks(other) if pins(block) not in known}
    return heading(other) + "".join(block for name, block in blocks(other) if name in new)


def read(root: Path, device: str, tensorflow: str | None = None) -> str:
    """The lock of a device, with another TensorFlow than its own laid over it if one is named.

    Failure where no lock has that version.
    """
    lock = (root / f"requirements-{device}.lock").read_text()
    versions = locked_versions(lock)
    own = versions[tensorflow_package(versions)]
    if tensorflow in (None, "", own):
        return lock
    pattern = f"requirements-{device}-tensorflow-{{}}.lock"
    path = root / pattern.format(tensorflow)
    if not path.is_file():
        others = root.glob(pattern.format("*"))
        there = [own, *sorted(other.stem.rpartition("-")[2] for other in others)]
        raise Failure(
            f"no lock pins TensorFlow {tensorflow} for DEVICE={device}, "
            f"only {' and '.join(there)}: use TENSORFLOW={there[-1]}"
        )
    return overlaid(lock, path.read_text())


def tensorflow_package(versions: Container[str]) -> str:
    """What TensorFlow is called for the device of a lock."""
    return "tensorflow-cpu" if "tensorflow-cpu" in versions else "tensorflow"
