"""What every rank starts with: its own log, its own cores where the launcher binds none, a note.

    python rank.py --notes FOLDER [--cores C] [--rank R [--gpus G]] [--watched HOST] -- PROGRAM ...

Ranks write into one terminal in the middle of each other's lines, and launchers differ in what they
do about it. Here each rank's output goes to FOLDER/rank-0000.log, whatever started it. Then this
process becomes the program. The first rank of every host but HOST, whose energy the study itself
reads, has its host's counters read meanwhile (energy.py). It runs before anything is set up: beside
the standard library it asks cloudmask.host alone, which needs no more.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

RANKS = (
    *("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "JSM_NAMESPACE_RANK"),
    "SLURM_PROCID",
)
LOCAL_RANKS = (
    *("HOROVOD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"),
    *("JSM_NAMESPACE_LOCAL_RANK", "SLURM_LOCALID"),
)
NOT_STARTED = 127
CHECKOUT = Path(__file__).resolve().parents[3]


def number(names: Sequence[str], environment: Mapping[str, str]) -> int:
    """The first of these variables that holds a number; 0 without a launcher."""
    for name in names:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    return 0


def own_cores(cores: Sequence[Sequence[int]], local_rank: int, count: int) -> list[int]:
    """Processors of `count` cores, others for every local rank as long as there are any left."""
    places = len(cores) // count
    first = local_rank % places * count if places else 0
    mine = cores[first : first + count] if places else cores
    return sorted(cpu for core in mine for cpu in core)


def own_gpus(visible: str | None, copy: int, count: int) -> str:
    """CUDA_VISIBLE_DEVICES of a copy: `count` of the visible GPUs, others for every copy."""
    wanted = range(copy * count, (copy + 1) * count)
    if visible is None:
        return ",".join(map(str, wanted))
    names = visible.split(",")
    return ",".join(names[number % len(names)] for number in wanted)


def _slurm_step(environment: Mapping[str, str]) -> str | None:
    """Slurm's name of the step that this rank is of."""
    job, step = (environment.get(f"SLURM_{name}", "") for name in ("JOB_ID", "STEP_ID"))
    return f"{job}.{step}" if job and step else None


def _read_energy(file: Path) -> None:
    """Start the reading of this host's counters, which ends with this process."""
    script = str(Path(__file__).with_name("energy.py"))
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    words = [sys.executable, "-I", "-S", script, str(file), str(os.getpid())]
    os.posix_spawn(sys.executable, words, os.environ, file_actions=null)


def main(words: list[str]) -> int:
    sys.path.append(str(CHECKOUT))
    from cloudmask import host

    options, program = words[: words.index("--")], words[words.index("--") + 1 :]
    given = dict(zip(options[::2], options[1::2], strict=True))
    copy = int(given["--rank"]) if "--rank" in given else None
    rank = number(RANKS, os.environ) if copy is None else copy
    local_rank = number(LOCAL_RANKS, os.environ) if copy is None else copy
    if "--cores" in given:
        cores = host.physical_cores(host.allowed_cores())
        os.sched_setaffinity(0, own_cores(cores, local_rank, int(given["--cores"])))
    if "--gpus" in given:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = own_gpus(visible, rank, int(given["--gpus"]))
    note = {
        "rank": rank,
        "local_rank": local_rank,
        "host": host.name(),
        "pid": os.getpid(),
        "cores": host.allowed_cores(),
        "cpu": host.cpu_model(),
        "slurm_step": _slurm_step(os.environ),
    }
    notes = Path(given["--notes"])
    notes.mkdir(parents=True, exist_ok=True)
    (notes / f"rank-{rank:04d}.json").write_text(json.dumps(note) + "\n")
    if given.get("--watched", host.name()) != host.name() and local_rank == 0:
        _read_energy(notes / f"energy-{host.name()}.jsonl")
    log = os.open(notes / f"rank-{rank:04d}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        print(f"cannot start {program[0]}: {error.strerror}", file=sys.stderr)
        return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
