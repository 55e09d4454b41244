#!/usr/bin/env python3
"""Build the container image: `make image`, with whichever of docker, podman and buildah works here.

Needs no .venv. What follows `--` is handed to the builder, say `--isolation chroot` or a build
argument for a site's own package index.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILDERS = ("docker", "podman", "buildah")
DEVICES = ("cpu", "gpu")


def choose(found: Callable[[str], bool], answers: Callable[[str], bool]) -> str:
    """The first builder that is there and works. Raises ValueError that says what to do."""
    there = [name for name in BUILDERS if found(name)]
    for name in there:
        if answers(name):
            return name
    if there:
        asked = ", ".join(f"`{name} info`" for name in there)
        raise ValueError(f"{asked} failed: start its daemon, or install podman or buildah")
    raise ValueError(
        "none of docker, podman, buildah found: install one (Debian: apt install buildah)"
    )


def command(builder: str, *, device: str, commit: str, flags: Sequence[str]) -> list[str]:
    """The builder's command line, to be run in the project's folder. `flags` come last and win."""
    words = [builder, "build", "--tag", f"cloudmask:{device}"]
    if builder == "buildah":
        words.append("--layers")  # the others keep layers unasked; without, Horovod is built anew
    arguments = [f"DEVICE={device}", f"COMMIT={commit}"]
    for argument in arguments:
        words += ["--build-arg", argument]
    return [*words, *flags, "."]


def source_commit() -> str:
    """The commit of the sources, with '+' if they were changed; empty outside git."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        state = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return ""
    if head.returncode:
        return ""
    return head.stdout.strip() + ("+" if state.stdout.strip() else "")


def main() -> str | int:
    """Build; return what sys.exit takes: an exit code, or the problem in words."""
    parser = argparse.ArgumentParser(description="Build the container image of this checkout.")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("flags", nargs="*", help="after --: handed to the builder")
    arguments = parser.parse_args()

    def answers(name: str) -> bool:
        return subprocess.run([name, "info"], capture_output=True).returncode == 0

    try:
        builder = choose(lambda name: shutil.which(name) is not None, answers)
    except ValueError as error:
        return f"image: {error}"
    words = command(builder, device=arguments.device, commit=source_commit(), flags=arguments.flags)
    print(f"image: {' '.join(words)}", flush=True)
    return subprocess.run(words, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
