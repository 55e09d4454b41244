"""How many ranks, where, and what each of them may use: values, and what follows from them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloudmask.text import plural


@dataclass(frozen=True)
class Layout:
    """The ranks of one point, or of the largest."""

    ranks: int
    cores_per_rank: int = 1
    """0: a rank is bound to none, and may use all that its host has"""
    gpus_per_rank: int = 0
    hosts: tuple[tuple[str, int], ...] = ()
    """(name, ranks it may take) in the order they are filled; empty: this host or the allocation"""
    ranks_per_node: int | None = None
    oversubscribe: bool = False
    """more ranks than cores: several ranks are bound to the same ones"""
    root: bool = False
    """started by root, as in most containers, which Open MPI refuses unless told"""
    slots: tuple[int, ...] = ()
    """ranks that each node of a batch system's allocation takes, in its order; empty: unknown"""
    peers: bool = False
    """every rank sees all GPUs of its node and takes its own by its local rank"""

    @property
    def host_list(self) -> str:
        return ",".join(f"{name}:{slots}" for name, slots in self.hosts)

    @property
    def binding(self) -> str:
        """What is bound, in words."""
        cores = f"{plural(self.cores_per_rank, 'core')} per rank"
        return f"{cores}, shared by several (oversubscribed)" if self.oversubscribe else cores

    @property
    def nodes(self) -> int | None:
        """Nodes that the ranks fill, one after the other, as mpirun fills them; None if unknown."""
        if self.ranks_per_node:
            return -(-self.ranks // self.ranks_per_node)
        slots = tuple(count for _, count in self.hosts) or self.slots
        if not slots:
            return None
        filled = itertools.accumulate(slots)
        return next((n for n, room in enumerate(filled, 1) if room >= self.ranks), len(slots))

    @property
    def filled(self) -> tuple[tuple[str, int], ...]:
        """The hosts that are needed, with as many slots as ranks go there."""
        left, found = self.ranks, []
        for name, slots in self.hosts:
            here = min(left, self.ranks_per_node or slots)
            if here:
                found.append((name, here))
            left -= here
        return tuple(found)

    @property
    def ranks_on_a_node(self) -> int:
        """The most ranks on one node."""
        slots = [count for _, count in self.hosts] or list(self.slots)
        most = self.ranks_per_node or max(slots, default=self.ranks)
        return min(self.ranks, most)

    def crowded(self, cores: int, gpus: int) -> bool:
        """Whether ranks must share on nodes with so many of each, or nodes take more than they
        were to take."""
        slots = sum(count for _, count in self.hosts) or sum(self.slots)
        on_a_node = self.ranks_on_a_node
        full = on_a_node * self.cores_per_rank > cores or on_a_node * self.gpus_per_rank > gpus
        return full or 0 < slots < self.ranks


def slurm_slots(environment: Mapping[str, str]) -> tuple[int, ...]:
    """Ranks of each node of a Slurm job: '4(x2),1' -> (4, 4, 1). What mpirun counts there too."""
    found: list[int] = []
    for word in filter(None, environment.get("SLURM_TASKS_PER_NODE", "").split(",")):
        matched = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", word.strip())
        if not matched:
            return ()
        found += [int(matched[1])] * int(matched[2] or 1)
    return tuple(found)
