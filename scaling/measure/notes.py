"""What rank.py noted of every rank of a point: where it ran, what it used, what others took.

Each host's ranks write to one file. When a point has ended all of it goes into one, so that the
number of files does not grow with the ranks.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OF_A_HOST, GATHERED = "host-*.jsonl", "ranks.jsonl"
USAGE = (
    *("cpu_seconds", "voluntary_switches", "involuntary_switches", "major_faults"),
    "peak_memory_bytes",
)
KEPT_LOGS = 16
"""most logs of ranks that are kept of a point that failed"""

Note = dict[str, Any]
"""what rank.py writes when a rank begins; under "end" what it writes when it ends"""


def read(folder: Path) -> list[Note]:
    """One note per rank, in their order; a line that was cut short is left out."""
    began: dict[int, Note] = {}
    ended: dict[int, Note] = {}
    for path in [folder / GATHERED, *sorted(folder.glob(OF_A_HOST))]:
        if not path.exists():
            continue
        for line in path.read_text(errors="replace").splitlines():
            try:
                note = json.loads(line)
                (ended if note["event"] == "end" else began)[int(note["rank"])] = note
            except (ValueError, KeyError, TypeError):
                continue
    return [
        {**began[rank], **({"end": ended[rank]} if rank in ended else {})} for rank in sorted(began)
    ]


def gather(folder: Path) -> list[Note]:
    """The same, and the files of all hosts as one."""
    files = sorted(folder.glob(OF_A_HOST))
    notes = read(folder)
    if files:
        with (folder / GATHERED).open("ab") as file:
            for path in files:
                content = path.read_bytes()
                file.write(content[: content.rfind(b"\n") + 1])
        for path in files:
            path.unlink()
    return notes


def nodes(notes: Sequence[Note]) -> int | None:
    """Hosts that ranks ran on; None if not all of them have told."""
    hosts = {note.get("host") for note in notes}
    return len(hosts) if hosts and None not in hosts else None


@dataclass(frozen=True)
class Foreign:
    """What other programs took of the ranks' own cores on one host, while ranks were there."""

    host: str
    cores: float
    """taken on average, in cores"""
    of: int
    """processors that the ranks had"""

    @property
    def share(self) -> float:
        return self.cores / self.of


def foreign(notes: Sequence[Note]) -> list[Foreign]:
    """Of every host, the most disturbed first. Hosts whose ranks did not all tell are left out.

    How busy the ranks' own processors were, by the kernel's count of each, less what the ranks and
    their children used. Ranks may share processors; each counts once.
    """
    found = []
    for host in sorted({note["host"] for note in notes}):
        here = [note for note in notes if note["host"] == host]
        if not all(_told(note) for note in here):
            continue
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        for note in here:
            for cpu, before, after in zip(
                note["cores"], note["busy_seconds"], note["end"]["busy_seconds"], strict=True
            ):
                first[cpu] = min(before, first.get(cpu, before))
                last[cpu] = max(after, last.get(cpu, after))
        seconds = max(n["end"]["at"] for n in here) - min(n["at"] for n in here)
        own = sum(note["end"]["cpu_seconds"] for note in here)
        if first and seconds > 0:
            busy = sum(last[cpu] - first[cpu] for cpu in first)
            cores = max(0.0, busy - own) / seconds
            # Never more than there are: the kernel counts in hundredths of a second.
            found.append(Foreign(host, min(cores, len(first)), len(first)))
    return sorted(found, key=lambda one: -one.share)


def _told(note: Note) -> bool:
    count = len(note["cores"])
    return len(note["busy_seconds"]) == count == len(note.get("end", {}).get("busy_seconds", []))


def usage(notes: Sequence[Note]) -> dict[str, dict[str, float]] | None:
    """Of what the ranks used, the median, the most, and the rank that used it; None if untold."""
    ended = [note["end"] for note in notes if "end" in note]
    if not ended:
        return None
    found = {}
    for name in USAGE:
        most = max(ended, key=lambda note: note[name])
        middle = statistics.median(note[name] for note in ended)
        found[name] = {"median": middle, "most": most[name], "rank": most["rank"]}
    return found


def as_row(notes: Sequence[Note]) -> dict[str, Any]:
    """What the ranks used, and what other programs took of their cores, on all hosts."""
    others = foreign(notes)
    row: dict[str, Any] = {"nodes": nodes(notes), "usage": usage(notes)}
    if not others or len(others) < (row["nodes"] or 0):
        return row | {"other_cores": None, "other_share": None, "other_host": None}
    return row | {
        "other_cores": round(sum(one.cores for one in others), 3),
        "other_share": round(others[0].share, 4),
        "other_host": others[0].host,
    }


def cache_dropped(notes: Sequence[Note]) -> tuple[int, int]:
    """(hosts whose page cache was emptied, hosts)."""
    told = {note["host"]: note["cache_kept"] for note in notes if "cache_kept" in note}
    return sum(why is None for why in told.values()), len({note["host"] for note in notes})


def drop_logs(folder: Path, notes: Sequence[Note], *, failed: bool) -> None:
    """Keep the logs of the first and the last rank, and of some that failed."""
    logs = sorted(folder.glob("rank-*.log"))
    broken = {f"rank-{note['rank']:04d}.log" for note in notes if note.get("end", {}).get("status")}
    silent = {f"rank-{note['rank']:04d}.log" for note in notes if "end" not in note}
    telling = [path for path in logs if path.name in broken | silent] if failed else []
    kept = {*logs[:1], *logs[-1:], *telling[:KEPT_LOGS]}
    for path in logs:
        if path not in kept:
            path.unlink()
