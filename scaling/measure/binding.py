"""Did every rank get the cores and threads that it was meant to get? By its own report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudmask.text import listed
from scaling.measure.launch import Layout


def problem(
    reports: Sequence[dict[str, Any]], layout: Layout, *, threads_per_core: int
) -> str | None:
    """What differs from the layout in the ranks' reports (rank, host, cores, threads), or None.

    A curve whose points have different cores per rank compares machines, not rank counts.
    """
    if len(reports) != layout.ranks:
        return f"{len(reports)} of {layout.ranks} ranks told where they ran"
    wanted = {layout.cores_per_rank, layout.cores_per_rank * threads_per_core}
    for report in reports:
        cores, threads = report.get("cores") or [], report.get("threads")
        if len(cores) not in wanted:
            return (
                f"rank {report.get('rank')} had {len(cores)} cores instead of "
                f"{layout.cores_per_rank} ({listed(cores, most=8)})"
            )
        if threads is not None and threads not in wanted:
            return f"rank {report.get('rank')} had {threads} threads for {len(cores)} cores"
    if layout.oversubscribe:
        return None
    used = Counter((report.get("host"), core) for report in reports for core in report["cores"])
    for (host, core), count in sorted(used.items(), key=str):
        if count > 1:
            return f"{count} ranks shared core {core} of {host}"
    return None


def notes(folder: Path) -> list[dict[str, Any]]:
    """What rank.py noted when each rank began: rank, host, cores, cpu."""
    found = []
    for path in sorted(folder.glob("rank-*.json")):
        try:
            found.append(json.loads(path.read_text()))
        except ValueError:
            continue
    return found


def hardware(reports: Sequence[dict[str, Any]], began: Sequence[dict[str, Any]]) -> list[str]:
    """The kinds of processors and GPUs that a point ran on, each once."""
    kinds = {str(note["cpu"]) for note in began if note.get("cpu")}
    devices = {str(report["device"]) for report in reports if report.get("device")}
    return sorted(kinds) + sorted(devices - {"CPU"})
