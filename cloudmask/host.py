"""This host: its name, and the cores and memory that this process may use. Asked here alone.

A process may be held back by its affinity (taskset, cpusets, launchers), by the quota and limit of
its control group (containers, systemd), and by Slurm's memory limit. What counts is the least.
"""

from __future__ import annotations

import math
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROC, CGROUPS, TOPOLOGY = Path("/proc"), Path("/sys/fs/cgroup"), Path("/sys/devices/system/cpu")
_NO_LIMIT = 2**60
"""cgroup v1 writes the largest page-aligned number for "no limit" """


def name() -> str:
    return platform.node()


def allowed_cores() -> tuple[int, ...]:
    """The kernel's numbers of the processors this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def all_cores() -> int | None:
    """How many processors this host has, whether this process may use them or not."""
    return os.cpu_count()


def num_cores() -> int:
    """How many processors' worth of time this process may use: 1 or more, a part counts as one.

    So many workers or threads are worth starting.
    """
    limit = core_limit()
    allowed = len(allowed_cores())
    return allowed if limit is None else max(1, min(allowed, math.ceil(limit)))


def core_limit(environment: Mapping[str, str] = os.environ) -> float | None:
    """Processors' worth of time on this host for all ranks of a job: the least of the control
    groups' quota and what Slurm has granted, which not every site enforces. None for no limit."""
    granted = environment.get("SLURM_CPUS_ON_NODE", "")
    limits = [cpu_quota(), int(granted) if granted.isdigit() and int(granted) else None]
    return min((limit for limit in limits if limit is not None), default=None)


def cpu_quota(proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """Processors' worth of time that the control groups grant; None for no limit."""
    found = []
    for folder in _groups("cpu", proc, cgroups):
        both = _words(folder / "cpu.max")  # version 2: "QUOTA PERIOD" or "max PERIOD"
        if not both:  # version 1: -1 for none
            both = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        if len(both) == 2 and both[0].isdigit() and both[1].isdigit() and int(both[1]):
            found.append(int(both[0]) / int(both[1]))
    return min(found, default=None)


def memory_bytes(environment: Mapping[str, str] = os.environ) -> int:
    """Memory that this process and its neighbours may use in all."""
    limits = [limit for limit, _ in _memory_limits(PROC, CGROUPS)]
    return min([_physical_bytes(), *limits, *_slurm_bytes(environment)])


def _slurm_bytes(environment: Mapping[str, str]) -> list[int]:
    """What Slurm has granted on this host; nothing where it grants all or there is none."""
    names = ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE")
    found = [environment.get(name, "") for name in names]
    node, core, cores = (int(text) if text.isdigit() else 0 for text in found)
    megabytes = node or core * cores  # of which 0 is all there are
    return [megabytes * 2**20] if megabytes else []


def memory_gib() -> float:
    """All of this host's memory, whatever of it this process may use, in GiB to one decimal."""
    return round(_physical_bytes() / 2**30, 1)


def free_memory_bytes(
    proc: Path = PROC,
    cgroups: Path = CGROUPS,
    environment: Mapping[str, str] = os.environ,
    *,
    processes: int = 1,
) -> int:
    """Memory that can still be taken: what the kernel has, and what the control groups and Slurm
    leave. Slurm is taken to count this process and its likes, `processes` in all on this host.

    Pages of files count as free: the kernel drops them when memory is wanted.
    """
    lines = (proc / "meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    limits = _memory_limits(proc, cgroups)
    limits += [
        (granted, processes * _resident_bytes(proc)) for granted in _slurm_bytes(environment)
    ]
    return min([free, *(max(0, limit - used) for limit, used in limits)])


def _resident_bytes(proc: Path) -> int:
    return int(_words(proc / "self/statm")[1]) * os.sysconf("SC_PAGE_SIZE")


def started_at(process: int | None = None, proc: Path = PROC) -> float | None:
    """When a process was started, this one by default, as time.time() tells times: to a hundredth
    of a second. None where the kernel does not say."""
    # The name, in brackets, may hold anything: what counts comes after the last of them.
    text = "".join(_lines(proc / str(process or "self") / "stat"))
    words = text.rpartition(")")[2].split()
    if len(words) < 20:
        return None
    after_boot = int(words[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + after_boot


def peak_memory_bytes() -> int:
    """The most that this process has had in memory at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_model(proc: Path = PROC) -> str:
    lines = [line for line in _lines(proc / "cpuinfo") if line.startswith("model name")]
    names = [line.partition(":")[2].strip() for line in lines]
    return names[0] if names else platform.processor() or platform.machine()


def physical_cores(allowed: Sequence[int]) -> list[list[int]]:
    """The allowed processors of the kernel, those of one core together, those of a socket in a row.

    Kernels number the processors of a core, and of a socket, one after the other or in turns.
    """
    cores: dict[str, list[int]] = {}
    for cpu in sorted(allowed):
        siblings = _words(TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list")
        cores.setdefault(" ".join(siblings) or str(cpu), []).append(cpu)
    return sorted(cores.values(), key=lambda core: (_socket(core[0]), core))


def core_numbers(cpus: Sequence[int]) -> list[int]:
    """Of each processor the least processor of its core, allowed or not: equal within a core."""
    found = []
    for cpu in cpus:
        siblings = "".join(_words(TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list"))
        numbers = siblings.replace("-", ",").split(",")
        found.append(min((int(number) for number in numbers if number.isdigit()), default=cpu))
    return found


def _socket(cpu: int) -> int:
    number = _words(TOPOLOGY / f"cpu{cpu}/topology/physical_package_id")
    return int(number[0]) if number else 0


def neighbours(cpu: int) -> list[str]:
    """The processors of its socket and of its part of memory, as the kernel writes sets of them."""
    place = TOPOLOGY / f"cpu{cpu}"
    files = [place / "topology/package_cpus_list", *place.glob("node*/cpulist")]
    return [" ".join(_words(file)) for file in files]


def own_cores(
    affinities: Mapping[int, tuple[int, ...]],
    rank: int,
    *,
    together: Callable[[Sequence[int]], list[list[int]]] = physical_cores,
) -> tuple[int, ...]:
    """Rank -> allowed cores of every rank on a host: the cores that `rank` shall use.

    Ranks that a launcher bound to cores of their own keep them. Ranks that share one set share it
    out evenly: in whole cores, as `together` names them, unless the ranks are more than those.
    Where there are more ranks than processors, several take the same one.
    """
    mine = affinities[rank]
    sharing = sorted(other for other, cores in affinities.items() if cores == mine)
    if len(sharing) == 1:
        return mine
    position = sharing.index(rank)
    if len(sharing) > len(mine):
        return (mine[position % len(mine)],)
    cores = together(mine)
    if len(sharing) > len(cores):
        cores = [[cpu] for core in cores for cpu in core]
    share = len(cores) // len(sharing)
    own = cores[position * share : (position + 1) * share]
    return tuple(sorted(cpu for core in own for cpu in core))


def _physical_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _memory_limits(proc: Path, cgroups: Path) -> list[tuple[int, int]]:
    """(limit, used without pages of files) in bytes of every control group that sets a limit."""
    found = []
    for folder in _groups("memory", proc, cgroups):
        for limit, used, dropped in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            (bound, *_), (now, *_) = _words(folder / limit) or [""], _words(folder / used) or [""]
            if bound.isdigit() and now.isdigit() and int(bound) < _NO_LIMIT:
                statistics = _words(folder / "memory.stat")
                pairs = dict(zip(statistics[::2], statistics[1::2], strict=False))
                found.append((int(bound), int(now) - int(pairs.get(dropped, 0))))
    return found


def _groups(controller: str, proc: Path, cgroups: Path) -> list[Path]:
    """Folders of this process's control group and those above it, of either version.

    In a container the group's path may be the host's, which is not mounted: there the top counts.
    """
    folders = []
    for line in _lines(proc / "self/cgroup"):
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        # Version 2 has one tree; version 1 one for each controller, under its name(s).
        tops = [cgroups / names, cgroups / controller] if names else [cgroups, cgroups / "unified"]
        top = next((top for top in tops if top.is_dir()), None)
        if top is not None:
            inside = top / path.lstrip("/")
            folders += [place for place in (inside, *inside.parents) if place.is_relative_to(top)]
    return [folder for folder in folders if folder.is_dir()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
