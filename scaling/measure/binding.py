"""Did every rank get the cores and threads that it was meant to get? By its own report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cloudmask.text import listed, plural
from scaling.measure.layout import Layout
from scaling.measure.notes import Note


def problem(reports: Sequence[dict[str, Any]], layout: Layout, began: Sequence[Note]) -> str | None:
    """What differs from the layout in the ranks' reports (rank, host, cores, threads), or None.

    A curve whose points have different cores per rank compares machines, not rank counts. A report
    names processors, of which a core may have several (hardware threads); `began`, the notes of
    rank.py, tell from each rank's own host which ones are of one core.
    """
    if len(reports) != layout.ranks:
        return f"{len(reports)} of {layout.ranks} ranks told where they ran"
    core_of = {
        (note["host"], cpu): core
        for note in began
        for cpu, core in zip(note["cores"], note["core_of"], strict=True)
    }
    used: Counter[tuple[Any, int]] = Counter()
    for report in reports:
        rank, host, cpus = (report.get(name) for name in ("rank", "host", "cores"))
        cpus = cpus or []
        cores = {core_of.get((host, cpu), cpu) for cpu in cpus}
        if len(cores) != layout.cores_per_rank:
            return (
                f"rank {rank} had {plural(len(cores), 'core')} instead of {layout.cores_per_rank} "
                f"({listed(cpus, most=8)})"
            )
        threads = report.get("threads")
        if threads is not None and threads not in {len(cores), len(cpus)}:
            return f"rank {rank} had {threads} threads for {plural(len(cores), 'core')}"
        used.update((host, core) for core in cores)
    if layout.oversubscribe:
        return None
    for (host, core), count in sorted(used.items(), key=str):
        if count > 1:
            return f"{count} ranks shared core {core} of {host}"
    return None


def hardware(reports: Sequence[dict[str, Any]], began: Sequence[Note]) -> list[str]:
    """The kinds of processors and GPUs that a point ran on, each once."""
    kinds = {str(note["cpu"]) for note in began if note.get("cpu")}
    devices = {str(report["device"]) for report in reports if report.get("device")}
    return sorted(kinds) + sorted(devices - {"CPU"})
