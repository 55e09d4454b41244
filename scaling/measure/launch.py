"""Launch lines: pure functions from values to a list of words.

Every rank gets the same number of cores at every number of ranks, bound by the launcher where it
can (Open MPI, MPICH, srun, jsrun) and else by `rank.py`, which stands before the program under all
of them and gives each rank a log of its own. Any other launcher is a template (template.py).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scaling.measure import template
from scaling.measure.layout import Layout

INSIDE = Path(__file__).resolve().parent / "inside"
"""scripts that stand before the program, or in its place"""
LAUNCHERS = ("openmpi", "mpich", "horovodrun-gloo", "horovodrun-mpi", "srun", "jsrun", "python")
BINDERS = ("openmpi", "mpich", "srun", "jsrun", "horovodrun-mpi")
GRACE_SECONDS = {"openmpi": 5.0, "mpich": 5.0, "srun": 5.0, "python": 5.0}
PATIENCE_SECONDS = 30.0
"""what a launcher may take to end its ranks when it is asked to; of others than these, unknown
ones included, as much as batch systems give. srun's step is ended beside it: see steps.py"""


def is_template(launcher: str) -> bool:
    return template.PROGRAM in launcher


def grace_seconds(launcher: str) -> float:
    """What it may take to end its ranks, on all hosts, when it is asked to."""
    if launcher.startswith("horovodrun"):
        return 10.0  # it gives its ranks 5 s itself
    return GRACE_SECONDS.get(launcher, PATIENCE_SECONDS)


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
    program: Sequence[str],
    notes: Path,
    *,
    bind: int | None = None,
    drop_cache: bool = False,
    watched: str = "",
) -> list[str]:
    """The program with `rank.py` before it: a log per rank in `notes`, `bind` cores each, and where
    a host is `watched` the energy of all others."""
    words = [sys.executable, "-I", "-S", str(INSIDE / "rank.py"), "--notes", str(notes)]
    if watched:
        words += ["--watched", watched]
    if bind is not None:
        words += ["--cores", str(bind)]
    if drop_cache:
        words += ["--drop-cache"]
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
    step: str | None = None,
    drop_cache: bool = False,
    watched: str = "",
) -> list[str]:
    """Words that start `program` on every rank of `layout`.

    `executable` is the launcher's path where its plain name is not enough; `step` names the job
    step of srun; `drop_cache` empties the page cache of every host first. Raises ValueError for a
    layout that the launcher cannot make.
    """
    binds = launcher in BINDERS and not layout.oversubscribe
    # Whom a template's launcher has bound to as many cores as it shall have keeps them.
    bind = None if binds else layout.cores_per_rank
    words = rank_words(program, notes, bind=bind, drop_cache=drop_cache, watched=watched)
    return start(launcher, layout, words, environment, executable=executable, step=step)


def start(
    launcher: str,
    layout: Layout,
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    executable: str | None = None,
    step: str | None = None,
) -> list[str]:
    """The launcher's own words, and after them (in a template, within them) these."""
    if is_template(launcher):
        if layout.hosts:
            raise ValueError("--launch names its hosts itself; leave out --hosts")
        return [*_env(environment), *template.fill_in(launcher, layout, words)]
    if launcher == "openmpi":
        return [executable or "mpirun", *_openmpi(layout, environment), *words]
    if launcher == "mpich":
        return [executable or "mpiexec", *_mpich(layout, environment), *words]
    if launcher.startswith("horovodrun"):
        start = [executable or "horovodrun", *_horovodrun(layout, launcher)]
        return [*_env(environment), *start, *words]
    if launcher == "srun":
        return [*_env(environment), executable or "srun", *_srun(layout, step), *words]
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
    where = f"ppr:{layout.ranks_per_node}:node" if layout.ranks_per_node else "slot"
    if layout.oversubscribe:
        return ["--map-by", f"{where}:OVERSUBSCRIBE", "--bind-to", "none"]
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
        # By Gloo it starts a rank in every slot that it is told of, whatever -np says.
        words += ["-H", ",".join(f"{name}:{ranks}" for name, ranks in layout.filled)]
    if launcher == "horovodrun-gloo":
        return [*words, "--gloo"]
    return [*words, "--mpi", f"--binding-args={' '.join(_openmpi_binding(layout))}"]


def _srun(layout: Layout, step: str | None) -> list[str]:
    """It packs ranks as mpirun does, and is told cores: on nodes whose cores have several hardware
    threads Slurm would count these, so each core gives one."""
    words, nodes = [f"--ntasks={layout.ranks}"], layout.nodes
    if layout.cores_per_rank:
        words += [f"--cpus-per-task={layout.cores_per_rank}"]
    if layout.hosts:
        words += [f"--nodelist={','.join(name for name, _ in layout.hosts[:nodes])}"]
    if nodes:
        words += [f"--nodes={nodes}"]
    if layout.ranks_per_node:
        words += [f"--ntasks-per-node={layout.ranks_per_node}"]
    words += ["--distribution=block:block,Pack"]
    if layout.gpus_per_rank and layout.peers:
        words += [f"--gpus-per-node={layout.ranks_on_a_node * layout.gpus_per_rank}"]
        words += ["--gpu-bind=none"]
    elif layout.gpus_per_rank:
        words += [f"--gpus-per-task={layout.gpus_per_rank}"]
    if layout.oversubscribe:
        words += ["--overcommit", "--cpu-bind=none"]
    else:
        words += ["--threads-per-core=1", "--cpu-bind=cores"]
    if step:
        words += [f"--job-name={step}"]
    return [*words, "--kill-on-bad-exit=1", "--export=ALL"]


def _jsrun(layout: Layout, environment: Mapping[str, str]) -> list[str]:
    """One resource set per rank."""
    if layout.hosts:
        raise ValueError("jsrun places ranks on its allocation; leave out --hosts")
    if layout.oversubscribe:
        raise ValueError("jsrun gives every rank cores of its own; leave out --oversubscribe")
    words = ["--nrs", str(layout.ranks), "--tasks_per_rs", "1"]
    bound = layout.cores_per_rank > 0
    words += ["--cpu_per_rs", str(layout.cores_per_rank) if bound else "ALL_CPUS"]
    words += ["--gpu_per_rs", str(layout.gpus_per_rank) if bound else "ALL_GPUS"]
    if layout.ranks_per_node:
        words += ["--rs_per_host", str(layout.ranks_per_node)]
    words += ["--bind", f"packed:{layout.cores_per_rank}" if bound else "none"]
    for name, value in environment.items():
        words += ["--env", f"{name}={value}"]
    return words
