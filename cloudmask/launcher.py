"""What Open MPI has bound this rank to, and whether anybody asked it to. Nothing heavy is imported.

Open MPI binds each rank to one core where there are one or two, and to a socket or a part of memory
where there are more, whatever the host has and whatever the ranks compute with. Nobody has asked
for that, so it is set aside: what counts is what Open MPI itself, which started the rank, may use.
What was asked for (--bind-to, --map-by with PE or a part of the hardware, a cpu set, a rank file)
counts as it is. Version 4 leaves its options in the environment of its ranks, on every host;
version 5 on its own command line alone, which only ranks of its own host can see: others keep to
their binding, as all do whose launcher cannot be seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudmask import host

_WITH_OPTIONS = ("mpirun", "mpiexec", "orterun", "prterun")
_LAUNCHERS = (*_WITH_OPTIONS, "orted", "prted", "prte")
_OTHERS = ("horovodrun", "hydra_pmi_proxy", "slurmstepd", "jsrun", "mpiexec.hydra")
BETWEEN_SECONDS = 10.0
"""how long before a rank the shells between its launcher and itself may have begun"""
_ASKS = re.compile(
    r"hwloc_(base|default)_(binding_policy|bind_to_\w+|cpu_(set|list)|slot_list)"
    r"|(orte|prte)_rankfile|rmaps_rank_file_path|rmaps_base_(bycore|bysocket|cpus_per_\w+)"
)
"""names of parameters that ask for a binding, whatever they are set to"""
_MAPS = ("rmaps_base_mapping_policy", "rmaps_default_mapping_policy")
_OPTIONS = ("bind-to", "cpu-set", "cpu-list", "rankfile", "cpus-per-proc", "cpus-per-rank")
_PARTS: tuple[str, ...] = ("hwthread", "core", "l1cache", "l2cache", "l3cache", "numa", "rankfile")
_PARTS += ("socket", "package")


@dataclass(frozen=True)
class Allowed:
    """What a process may compute on before the ranks of its host share it out."""

    cores: tuple[int, ...]
    bound: bool
    """whether that is less than its launcher may use, since somebody wished so"""


def allowed_cores(environment: Mapping[str, str] = os.environ, proc: Path = host.PROC) -> Allowed:
    """This process's cores, or those of Open MPI where that bound it without being told to."""
    mine = host.allowed_cores()
    if "OMPI_COMM_WORLD_SIZE" not in environment:
        # Others bind where they are told to, or it was taskset: the parent then has more.
        parent = next(_forebears(proc), None)
        return Allowed(mine, bound=parent is not None and set(mine) < set(_cores(proc, parent)))
    number = _launcher(proc)
    if number is None:
        return Allowed(mine, bound=True)
    theirs = _cores(proc, number)
    if set(mine) == set(theirs):
        return Allowed(mine, bound=False)
    words = _words(proc, number)
    if "OMPI_MCA_orte_bound_at_launch" in environment:
        unasked = not asks(environment, files=_files(environment))
    else:
        program = Path(words[0]).name
        unasked = program in _WITH_OPTIONS and not asks(environment, words, _files(environment))
    if unasked and _is_default(mine, theirs):
        return Allowed(theirs, bound=False)
    return Allowed(mine, bound=True)


def _is_default(mine: Sequence[int], theirs: Sequence[int]) -> bool:
    """Whether Open MPI may have chosen so by itself: one core, or a socket, or a node of memory.

    What taskset or numactl before the program have set is mostly something else.
    """
    if len(host.physical_cores(mine)) == 1:
        return True
    parts = [set(processors(text)) for text in host.neighbours(mine[0])]
    return any(set(mine) in (part, part.intersection(theirs)) for part in parts)


def asks(
    environment: Mapping[str, str], words: Sequence[str] = (), files: Sequence[str] = ()
) -> bool:
    """Whether mpirun was asked for a binding: by options that its ranks' environment tells, by its
    own words, or by lines of parameter files."""
    parameters = {
        name.partition("_MCA_")[2]: value
        for name, value in environment.items()
        if name.startswith(("OMPI_MCA_", "PRTE_MCA_"))
    }
    for line in files:
        name, equals, value = line.partition("#")[0].partition("=")
        if equals:
            parameters[name.strip()] = value.strip()
    options = [word.lstrip("-") for word in words]
    for place, option in enumerate(options):
        after = [*options[place + 1 : place + 3], "", ""]
        if option.endswith("mca"):
            parameters[after[0]] = after[1]
        elif option == "map-by":
            parameters[_MAPS[0]] = after[0]
    if any(_ASKS.fullmatch(name) for name in parameters) or set(options) & set(_OPTIONS):
        return True
    return any(_is_of_cores(parameters.get(name, "")) for name in _MAPS)


def _is_of_cores(policy: str) -> bool:
    """Whether ranks are mapped to cores or other parts of a host, not to hosts and slots alone."""
    what, *more = policy.lower().split(":")
    return what in _PARTS or any("pe=" in word for word in more)


def _files(environment: Mapping[str, str]) -> list[str]:
    """Lines of the parameter files that mpirun reads: the user's, those named, the site's."""
    places = [Path.home() / ".openmpi/mca-params.conf"]
    named = environment.get("OMPI_MCA_mca_base_param_file_prefix", "")
    places += [Path(name) for name in re.split("[:,]", named) if name]
    for name in ("OPAL_PREFIX", "PMIX_INSTALL_PREFIX", "PMIX_PREFIX"):
        if name in environment:
            places.append(Path(environment[name], "etc/openmpi-mca-params.conf"))
    return [line for place in places for line in _text(place).splitlines()]


def launched_at(proc: Path = host.PROC) -> float | None:
    """When the nearest launcher of this host that this process descends from was started, as
    time.time() tells times. Ranks away from it know its daemon alone.

    None without one, or where a process between them began long before this one: a script that has
    done other things first, as a batch job's.
    """
    mine = host.started_at(proc=proc)
    for number in _forebears(proc):
        began = host.started_at(number, proc)
        if mine is None or began is None:
            return None
        if _is_one_of((*_LAUNCHERS, *_OTHERS), proc, number):
            return began
        if mine - began > BETWEEN_SECONDS:
            return None
    return None


def _launcher(proc: Path) -> int | None:
    """The nearest of this process's forebears that is Open MPI's, whatever shells lie between."""
    return next((one for one in _forebears(proc) if _is_one_of(_LAUNCHERS, proc, one)), None)


def _is_one_of(names: Sequence[str], proc: Path, number: int) -> bool:
    program = Path(_words(proc, number)[0]).name  # as it was called, where it is a link
    return program in names or _text(proc / f"{number}/comm") in names


def _words(proc: Path, number: int) -> list[str]:
    return _text(proc / f"{number}/cmdline").split("\0")


def _forebears(proc: Path) -> Iterator[int]:
    number = "self"
    while True:
        # The name, in brackets, may hold anything: what counts comes after the last of them.
        after = _text(proc / number / "stat").rpartition(")")[2].split()
        if len(after) < 2 or int(after[1]) <= 0:
            return
        number = after[1]
        yield int(number)


def _cores(proc: Path, number: int) -> tuple[int, ...]:
    return processors(_entry(proc / f"{number}/status", "Cpus_allowed_list"))


def processors(text: str) -> tuple[int, ...]:
    """ "0-3,8" -> (0, 1, 2, 3, 8), as the kernel writes sets of processors."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(sorted(found))


def _entry(path: Path, name: str) -> str:
    """Of a file of lines `name: value`."""
    lines = (line.partition(":") for line in _text(path).splitlines())
    return next((value.strip() for key, _, value in lines if key == name), "")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
