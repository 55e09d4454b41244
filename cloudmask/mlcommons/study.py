"""The runs of a scaling study as result sets: one for each kind of scaling and number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudmask.files import parse_json
from cloudmask.mlcommons.runs import Run, read_run
from cloudmask.record import warn

HEADER, ROWS = "study.json", "results.jsonl"
NAMES = ("point", "mode", "kind", "ranks", "status", "folder")


def is_study(path: Path) -> bool:
    return (path / HEADER).is_file()


def result_sets(folder: Path) -> dict[str, list[Run]]:
    """'strong-n0008' -> its runs, in the order of the repeats. ValueError if no run can be used.

    Of a point that ended well more than once the newest run counts, as in the study's own figures.

    A run whose records are not whole is left out with a warning: large files of finished points are
    not kept unless the study was told to.
    """
    found: dict[str, list[Run]] = {}
    newest = {row["point"]: row for row in _rows(folder) if row["status"] == "ok"}
    for _, row in sorted(newest.items()):
        if row["kind"] != "ranks":
            continue
        run = folder / "points" / row["folder"] / "run"
        try:
            read = read_run(run, name=row["point"])
        except OSError as error:
            warn(f"left out: {run} is not whole ({error.strerror}: {error.filename})")
            continue
        except ValueError as error:
            warn(f"left out: {error}")
            continue
        found.setdefault(f"{row['mode']}-n{row['ranks']:04d}", []).append(read)
    if not found:
        raise ValueError(f"no run of the study {folder} can be made a result of")
    return found


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / ROWS
    try:
        rows = [parse_json(line) for line in path.read_text().splitlines()]
        return [{name: row[name] for name in NAMES} for row in rows if row.get("folder")]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not of a scaling study: {error}") from None
