"""Launch lines: pure functions from values to a list of words.

Every rank gets the same number of cores at every number of ranks, bound by the launcher where it
can (Open MPI, MPICH, srun, jsrun) and else by `rank.py`, which stands before the program under all
of them and gives each rank a log of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudmask.text import plural

INSIDE = Path(__file__).resolve().parent / "inside"
"""scripts that stand before the program, or in its place"""
LAUNCHERS = ("openmpi", "mpich", "horovodrun-gloo", "horovodrun-mpi", "srun", "jsrun", "python")
BINDERS = ("openmpi", "mpich", "srun", "jsrun", "horovodrun-mpi")


@dataclass(frozen=True)
class Layout:
    """How many ranks, where, and what each of them may use."""

    ranks: int
    cores_per_rank: int = 1
    gpus_per_rank: int = 0
    hosts: tuple[tuple[str, int], ...] = ()
    """(name, ranks it may take) in the order they are filled; empty: this host or the allocation"""
    ranks_per_node: int | None = None
    oversubscribe: bool = False
    """more ranks than cores: several ranks are bound to the same ones"""
    root: bool = False
    """started by root, as in most containers, which Open MPI refuses unless told"""

    @property
    def host_list(self) -> str:
        return ",".join(f"{name}:{slots}" for name, slots in self.hosts)

    @property
    def binding(self) -> str:
        """What is bound, in words."""
        cores = f"{plural(self.cores_per_rank, 'core')} per rank"
        return f"{cores}, shared by several (oversubscribed)" if self.oversubscribe else cores


def default_environment(*, cores_per_rank: int, gpus: bool) -> dict[str, str]:
    """What makes ranks fast.

    On CPUs an idle MPI thread would spin on the core that computes, and Horovod wakes every
    millisecond to ask for work: together they take up to a third of two one-core ranks. GPUs leave
    cores free and keep Horovod's own cycle. Unbuffered output shows what a killed rank said last.
    """
    common = {"OMP_NUM_THREADS": str(cores_per_rank), "PYTHONUNBUFFERED": "1"}
    if gpus:
        return common
    return common | {"HOROVOD_CYCLE_TIME": "10", "OMPI_MCA_mpi_yield_when_idle": "1"}


def rank_words(
    program: Sequence[str], notes: Path, *, bind: int | None = None, watched: str = ""
) -> list[str]:
    """The program with `rank.py` before it: a log per rank in `notes`, `bind` cores each, and where
    a host is `watched` the energy of all others."""
    words = [sys.executable, "-I", "-S", str(INSIDE / "rank.py"), "--notes", str(notes)]
    if watched:
        words += ["--watched", watched]
    if bind is not None:
        words += ["--cores", str(bind)]
    return [*words, "--", *program]


def copy_words(
    layout: Layout,
    program: Sequence[str],
    copy: int,
    *,
    notes: Path,
    environment: Mapping[str, str],
) -> list[str]:
    """One of several unconnected copies of a program of one rank, on cores and GPUs of its own."""
    words = rank_words([], notes, bind=layout.cores_per_rank)[:-1]
    words += ["--rank", str(copy)]
    if layout.gpus_per_rank:
        words += ["--gpus", str(layout.gpus_per_rank)]
    return [*_env(environment), *words, "--", *program]


def command(
    launcher: str,
    layout: Layout,
    program: Sequence[str],
    *,
    notes: Path,
    environment: Mapping[str, str],
    executable: str | None = None,
    watched: str = "",
) -> list[str]:
    """Words that start `program` on every rank of `layout`.

    `executable` is the launcher's path where its plain name is not enough. Raises ValueError for a
    layout that the launcher cannot make.
    """
    binds = launcher in BINDERS and not layout.oversubscribe
    bind = None if binds else layout.cores_per_rank
    words = rank_words(program, notes, bind=bind, watched=watched)
    if launcher == "openmpi":
        return [executable or "mpirun", *_openmpi(layout, environment), *words]
    if launcher == "mpich":
        return [executable or "mpiexec", *_mpich(layout, environment), *words]
    if launcher.startswith("horovodrun"):
        start = [executable or "horovodrun", *_horovodrun(layout, launcher)]
        return [*_env(environment), *start, *words]
    if launcher == "srun":
        return [*_env(environment), executable or "srun", *_srun(layout), *words]
    if launcher == "jsrun":
        return [executable or "jsrun", *_jsrun(layout, environment), *words]
    if launcher == "python":
        if layout.ranks != 1 or layout.hosts:
            raise ValueError(
                f"launcher python starts 1 rank on this host, not {layout.ranks}; "
                "use --launcher mpirun or horovodrun"
            )
        return [*_env(environment), *words]
    raise ValueError(f"no launcher '{launcher}'; there are: {', '.join(LAUNCHERS)}")


def _env(environment: Mapping[str, str]) -> list[str]:
    """`env NAME=VALUE ...`, for launchers that hand on the environment they find."""
    return ["env", *(f"{name}={value}" for name, value in environment.items())]


def _openmpi(layout: Layout, environment: Mapping[str, str]) -> list[str]:
    """Open MPI 4 and 5. Its own parameters go by --mca, which all its daemons obey."""
    words = ["--allow-run-as-root"] if layout.root else []
    words += ["-n", str(layout.ranks)]
    if layout.hosts:
        words += ["--host", layout.host_list]
    words += _openmpi_binding(layout)
    for name, value in environment.items():
        if name.startswith("OMPI_MCA_"):
            words += ["--mca", name.removeprefix("OMPI_MCA_"), value]
        else:
            words += ["-x", f"{name}={value}"]
    return [*words, "-x", "PATH"]


def _openmpi_binding(layout: Layout) -> list[str]:
    if layout.oversubscribe:
        return ["--oversubscribe", "--bind-to", "none"]
    where = f"ppr:{layout.ranks_per_node}:node" if layout.ranks_per_node else "slot"
    return ["--map-by", f"{where}:PE={layout.cores_per_rank}", "--bind-to", "core"]


def _mpich(layout: Layout, environment: Mapping[str, str]) -> list[str]:
    """MPICH's Hydra."""
    words = ["-n", str(layout.ranks)]
    if layout.hosts:
        words += ["-hosts", layout.host_list]
    if layout.ranks_per_node:
        words += ["-ppn", str(layout.ranks_per_node)]
    words += ["-bind-to", "none" if layout.oversubscribe else f"core:{layout.cores_per_rank}"]
    for name, value in environment.items():
        words += ["-genv", name, value]
    return words


def _horovodrun(layout: Layout, launcher: str) -> list[str]:
    words = ["-np", str(layout.ranks)]
    if layout.hosts:
        words += ["-H", layout.host_list]
    if launcher == "horovodrun-gloo":
        return [*words, "--gloo"]
    return [*words, "--mpi", f"--binding-args={' '.join(_openmpi_binding(layout))}"]


def _srun(layout: Layout) -> list[str]:
    words = [f"--ntasks={layout.ranks}", f"--cpus-per-task={layout.cores_per_rank}"]
    if layout.hosts:
        words += [f"--nodelist={','.join(name for name, _ in layout.hosts)}"]
    if layout.ranks_per_node:
        nodes = -(-layout.ranks // layout.ranks_per_node)
        words += [f"--nodes={nodes}", f"--ntasks-per-node={layout.ranks_per_node}"]
    if layout.gpus_per_rank:
        words += [f"--gpus-per-task={layout.gpus_per_rank}"]
    words += ["--overcommit", "--cpu-bind=none"] if layout.oversubscribe else ["--cpu-bind=cores"]
    return [*words, "--kill-on-bad-exit=1", "--export=ALL"]


def _jsrun(layout: Layout, environment: Mapping[str, str]) -> list[str]:
    """One resource set per rank."""
    if layout.hosts:
        raise ValueError("jsrun places ranks on its allocation; leave out --hosts")
    if layout.oversubscribe:
        raise ValueError("jsrun gives every rank cores of its own; leave out --oversubscribe")
    words = ["--nrs", str(layout.ranks), "--tasks_per_rs", "1"]
    words += ["--cpu_per_rs", str(layout.cores_per_rank)]
    words += ["--gpu_per_rs", str(layout.gpus_per_rank)]
    if layout.ranks_per_node:
        words += ["--rs_per_host", str(layout.ranks_per_node)]
    words += ["--bind", f"packed:{layout.cores_per_rank}"]
    for name, value in environment.items():
        words += ["--env", f"{name}={value}"]
    return words
