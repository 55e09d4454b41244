"""Two studies side by side: under which conditions each was measured, and which of them differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scaling.record.store import Row, Study

PATCH, RECIPE, MACHINE, REST = "patch", "recipe", "machine", "rest"
"""kinds of a condition: what a patch is, how it is trained, on what, and what is only told"""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Difference:
    """A condition that is not the same in both studies, as text."""

    kind: str
    name: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.name}: {self.a} against {self.b}"

    @property
    def known(self) -> bool:
        """False: one of both does not tell."""
        return UNKNOWN not in (self.a, self.b)


def _of_rows(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


_CONDITIONS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "patch size": (PATCH, _of_rows("patch_size")),
    "channels": (PATCH, _of_rows("channels")),
    "parameters": (PATCH, _of_rows("parameters")),
    "emulated step seconds": (PATCH, lambda row: row.get("emulated_step_seconds") or "none"),
    "precision": (RECIPE, _of_rows("precision")),
    "data": (RECIPE, _of_rows("data_mode")),
    "page cache": (RECIPE, _of_rows("page_cache")),
    "hardware": (MACHINE, lambda row: ", ".join(row.get("hardware") or ()) or None),
    "device": (MACHINE, _of_rows("device")),
    "nodes": (MACHINE, lambda row: row.get("nodes") or len(set(row.get("hosts") or ())) or None),
    "threads per rank": (MACHINE, _of_rows("threads_per_rank")),
    "cores per rank": (MACHINE, _of_rows("cores_per_rank")),
    "oversubscribed": (MACHINE, _of_rows("oversubscribed")),
    "launcher": (REST, _of_rows("launcher")),
    "binding": (REST, _of_rows("binding")),
    "training patches": (REST, _of_rows("training_patches")),
    "commit": (REST, lambda row: str(row.get("commit") or "")[:12] or None),
    "versions": (REST, lambda row: _pairs(row.get("versions"))),
    "settings": (REST, lambda row: _pairs(row.get("settings"))),
}
BATCH = {"strong": "global batch", "weak": "batch per rank"}


def _pairs(record: dict[str, Any] | None) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in sorted((record or {}).items())) or None


def differences(a: Study, b: Study, mode: str, ranks: int) -> list[Difference]:
    """Every condition that differs between the runs of one mode on one number of ranks."""
    sides = [study.points(mode)[ranks] for study in (a, b)]
    batch = BATCH[mode]
    conditions = {batch: (RECIPE, _of_rows(batch.replace(" ", "_"))), **_CONDITIONS}
    found = []
    for name, (kind, value) in conditions.items():
        one, other = (
            " / ".join(sorted({str(UNKNOWN if value(row) is None else value(row)) for row in rows}))
            for rows in sides
        )
        if one != other:
            found.append(Difference(kind, name, one, other))
    return found


def shared(a: Study, b: Study) -> list[tuple[str, int]]:
    """(mode, ranks) that both have measured."""
    return [
        (mode, ranks) for mode in a.modes for ranks in a.points(mode) if ranks in b.points(mode)
    ]
