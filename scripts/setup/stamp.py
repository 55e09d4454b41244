"""The stamp in .venv: which stages of setup are done, and for which state of their inputs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment and its stamp: stage -> key."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    @property
    def stamp_file(self) -> Path:
        return self.folder / "setup.json"

    def log(self, stage: str) -> Path:
        """The path of a stage's log, emptied."""
        path = self.folder / "logs" / f"{stage}.log"
        path.unlink(missing_ok=True)
        return path

    def stamp(self) -> dict[str, str]:
        # A link to a Python that is gone makes the whole environment worthless.
        if not os.access(self.python, os.X_OK):
            return {}
        try:
            return json.loads(self.stamp_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def write_stamp(self, stamp: Mapping[str, str]) -> None:
        aside = self.stamp_file.with_suffix(".aside")
        aside.write_text(json.dumps(stamp, indent=2) + "\n")
        os.replace(aside, self.stamp_file)

    @contextlib.contextmanager
    def stage(self, name: str, key: str) -> Iterator[None]:
        """Strike the stage out of the stamp, run the block, and write its key when it went well."""
        self.write_stamp({k: v for k, v in self.stamp().items() if k not in (name, "inputs")})
        yield
        self.write_stamp(self.stamp() | {name: key})


def digest(*parts: object) -> str:
    """A short digest that differs when any part does, or where one ends and the next begins."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]
