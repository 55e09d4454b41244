"""The command `seeds`: when finished runs of several seeds reached their target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloudmask.cli.errors import UsageError
from cloudmask.text import listed, plural
from scaling.laws import time_to_target
from scaling.options import SeedsConfig
from scaling.record import summaries
from scaling.record.store import Row, StudyError
from scaling.record.summaries import RunError


def seeds(config: SeedsConfig) -> int:
    """Print a line for each rank count and global batch. Raises StudyError, UsageError."""
    found, left_out = read(config.runs)
    if not found:
        raise StudyError("; ".join(["no run has come to its end", *left_out]))
    groups: dict[tuple[int, int], list[Row]] = {}
    for row in found:
        groups.setdefault((row["ranks"], row["global_batch"]), []).append(row)
    for (ranks, batch), rows in sorted(groups.items()):
        try:
            arrived = time_to_target.arrivals(rows)
        except ValueError as error:
            raise StudyError(f"{error}; name runs of one target") from None
        if arrived is None:
            raise StudyError("the runs had no target; train with --target-accuracy")
        numbers = listed(sorted({row["seed"] for row in rows}))
        print(
            f"{plural(ranks, 'rank')}, global batch {batch}: {arrived}; median {arrived.epochs} "
            f"epochs, {arrived.seconds} s (seeds {numbers})"
        )
    for line in left_out:
        print(f"left out: {line}")
    return 0


def read(folders: Sequence[Path]) -> tuple[list[Row], list[str]]:
    """The figures of the runs in these folders, or below them, and why others have none."""
    rows, left_out = [], []
    for folder in runs_in(folders):
        try:
            told = summaries.read_summary(folder)
            rows.append(summaries.measures(told) | {"ranks": told["ranks"]})
        except RunError as error:
            left_out.append(f"{folder}: {error}")
    return rows, left_out


def runs_in(folders: Sequence[Path]) -> list[Path]:
    """Run folders: each folder that is one, or the folders in it. UsageError for none."""
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}; name runs, or a folder of runs")
        here = [path for path in sorted(folder.iterdir()) if (path / "config.yaml").exists()]
        found += [folder] if (folder / "config.yaml").exists() else here
    if not found:
        raise UsageError(f"{listed(folders)} holds no run (no config.yaml); name a folder of runs")
    return list(dict.fromkeys(found))
