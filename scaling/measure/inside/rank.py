"""What every rank starts under: its own log, its own cores where the launcher binds none, notes.

    python rank.py --notes FOLDER [--cores C] [--rank R [--gpus G]] [--drop-cache] [--watched HOST]
        -- PROGRAM ...

Ranks write into one terminal in the middle of each other's lines, and launchers differ in what they
do about it. Here each rank's output goes to FOLDER/rank-0000.log, whatever started it.

The program runs below this process, which waits, hands signals on, and ends as the program does. So
it can tell, on every host and under every launcher, what the rank has used and how busy its cores
were: two lines in FOLDER/host-NAME.jsonl, one when the program begins and one when it ends. That is
a file per host and not per rank, since lines appended on one host never mix. The first rank of
every host but HOST, whose energy the study itself reads, has its host's counters read meanwhile
(energy.py). It runs before anything is set up: beside the standard library it asks cloudmask.host
alone, which needs no more.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

RANKS = (
    *("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "JSM_NAMESPACE_RANK"),
    *("FLUX_TASK_RANK", "PALS_RANKID", "SLURM_PROCID"),
)
LOCAL_RANKS = (
    *("HOROVOD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"),
    *("JSM_NAMESPACE_LOCAL_RANK", "FLUX_TASK_LOCAL_ID", "PALS_LOCAL_RANKID", "SLURM_LOCALID"),
)
HANDED_ON = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGCONT,
)
NOT_STARTED = 127
PR_SET_PDEATHSIG = 1
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


def busy_seconds(stat: str, cpus: Sequence[int], *, ticks_per_second: int) -> list[float]:
    """Seconds since the start of the host that each of these processors has computed.

    `stat` is /proc/stat. What a hypervisor has taken from a processor counts too.
    """
    found = {}
    for line in stat.splitlines():
        name, *words = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _, _, irq, softirq, steal = map(int, words[:8])
            found[int(name[3:])] = user + nice + system + irq + softirq + steal
    return [found.get(cpu, 0) / ticks_per_second for cpu in cpus]


def busy_now(cpus: Sequence[int]) -> list[float]:
    """The same of this host, now; nothing where it does not tell."""
    try:
        text = Path("/proc/stat").read_text()
        return busy_seconds(text, cpus, ticks_per_second=os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError):
        return []


def drop_cache() -> str | None:
    """Empty this host's page cache; returns why it could not, None if it did."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError as error:
        return str(error.strerror)
    return None


def append(path: Path, record: dict[str, object]) -> None:
    """One write of one line, which no other process of this host can split."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(handle, json.dumps(record).encode() + b"\n")
    os.close(handle)


def become(program: Sequence[str], log: Path) -> int:
    """Turn into the program, its output in `log`; comes back only where it cannot be started."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    try:
        os.execvp(program[0], list(program))
    except OSError as error:
        print(f"cannot start {program[0]}: {error.strerror}", file=sys.stderr, flush=True)
    return NOT_STARTED


def hand_on(child: int) -> None:
    """From now on, what launchers send to this process goes to the program."""

    def send(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and this one is about to
            os.kill(child, number)

    for number in HANDED_ON:
        signal.signal(number, send)


def used() -> dict[str, float]:
    """What the program and its own children, all ended by now, have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
        "major_faults": usage.ru_majflt,
        "peak_memory_bytes": usage.ru_maxrss * 1024,
    }


def end_like(status: int) -> int:
    """The program's exit code; by the signal that ended it, this process ends itself."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


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
    dropping = "--drop-cache" in options
    options = [word for word in options if word != "--drop-cache"]
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
    notes = Path(given["--notes"])
    notes.mkdir(parents=True, exist_ok=True)
    place = notes / f"host-{host.name()}.jsonl"
    allowed = host.allowed_cores()
    note: dict[str, object] = {
        "event": "begin",
        "rank": rank,
        "local_rank": local_rank,
        "host": host.name(),
        "cores": allowed,
        "core_of": host.core_numbers(allowed),
        "cpu": host.cpu_model(),
        "slurm_step": _slurm_step(os.environ),
    }
    if dropping and local_rank == 0:
        note["cache_kept"] = drop_cache()

    if given.get("--watched", host.name()) != host.name() and local_rank == 0:
        _read_energy(notes / f"energy-{host.name()}.jsonl")

    parent, began = os.getpid(), time.monotonic()
    # Held back until they can be handed on: the program may be at work before this process is.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # In a group of its own, so that a signal to this process's group comes once; and never
        # left behind, whatever ends this process.
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(NOT_STARTED)
        append(place, note | {"pid": os.getpid(), "at": began, "busy_seconds": busy_now(allowed)})
        os._exit(become(program, notes / f"rank-{rank:04d}.log"))
    hand_on(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _, status = os.waitpid(child, 0)
    note = {"event": "end", "rank": rank, "host": host.name()}
    # The clock comes last, as it came first: what is counted as busy lies between the two.
    note |= {"busy_seconds": busy_now(allowed), "at": time.monotonic()}
    note |= {"status": os.waitstatus_to_exitcode(status)}
    with contextlib.suppress(OSError):  # a full disk: the program has ended as it has all the same
        append(place, note | used())
    return end_like(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
