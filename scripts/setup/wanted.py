"""What an environment shall hold, read from a checkout."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import lockfile

# What a container image leaves out: the tools of developers with what only they need, and Spark,
# which wants a Java that is not there either.
DEVELOPERS = {"ast-serialize", "iniconfig", "librt", "mypy", "mypy-extensions", "pytest", "ruff"}
NOT_IN_IMAGE = DEVELOPERS | {"types-pyyaml", "types-tqdm", "py4j", "pyspark"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an environment shall hold.

    tensorflow: empty for the one that the device's lock pins. lock: the text of what to install;
    whole_lock: with what no image needs. project: installed from here, editable, unless it is None;
    metadata: what that installation records of it.
    """

    device: str
    tensorflow: str
    lock: str
    whole_lock: str
    build_lock: Path
    project: Path | None
    metadata: str


def read(root: Path, device: str, tensorflow: str | None, *, image: bool = False) -> Wanted:
    """Read from a checkout.

    image: what a layer of a container image holds that no change of the sources may rebuild: reads
    the locks and this folder alone, leaves the project out, and packages that no image needs.
    """
    own, whole_lock = lockfile.read(root, device), lockfile.read(root, device, tensorflow)
    build = "requirements-build-gpu.lock" if device == "gpu" else "requirements-build.lock"
    metadata = ""
    if not image:
        metadata = project_metadata((root / "pyproject.toml").read_text())
        metadata += (root / "cloudmask" / "version.py").read_text()
    return Wanted(
        device=device,
        tensorflow="" if tensorflow is None or whole_lock == own else tensorflow,
        lock=lockfile.without(whole_lock, NOT_IN_IMAGE if image else set()),
        whole_lock=whole_lock,
        build_lock=root / build,
        project=None if image else root,
        metadata=metadata,
    )


def project_metadata(pyproject: str) -> str:
    """What an editable install records of pyproject.toml: not the settings of linters and tests."""
    document = tomllib.loads(pyproject)
    build = document.get("tool", {}).get("hatch", {})
    return json.dumps([document["project"], document["build-system"], build], sort_keys=True)
