"""The rows of a study for other programs: a table with a column per figure, and Extra-P's lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from scaling.record.store import Row, Study

FIRST = (
    *("study", "point", "attempt", "mode", "kind", "ranks", "repeat", "status", "error"),
    *("patches_per_second", "total_seconds", "wall_seconds"),
)
EXTRAP = {
    "main": "wall_seconds",
    "main->startup": "startup_seconds",
    "main->validation": "validation_seconds",
    "main->step": "step_seconds",
    "main->step->compute": "compute_seconds",
    "main->step->exposed_communication": "exposed_communication_seconds",
    "main->step->data_wait": "data_wait_seconds",
}


def as_csv(studies: Sequence[Study]) -> str:
    """Every row of every study; lists and dictionaries as JSON in their cell."""
    rows = [{"study": study.name, **row} for study in studies for row in study.rows]
    columns = list(FIRST)
    for row in rows:
        columns += [name for name in row if name not in columns]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return file.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def extrap_lines(study: Study, mode: str) -> str:
    """One JSON object per figure: {"params": {"p": ranks}, "callpath", "metric", "value"}.

    Extra-P's JSON Lines format (its docs/file-formats.md). One file per mode, because a parameter
    must mean one thing; repeats are lines of the same point.
    """
    lines = []
    for rows in study.points(mode).values():
        for row in rows:
            lines += [json.dumps(line) for line in _measurements(row)]
    return "".join(f"{line}\n" for line in lines)


def _measurements(row: Row) -> list[dict[str, Any]]:
    return [
        {"params": {"p": row["ranks"]}, "callpath": path, "metric": "time", "value": row[name]}
        for path, name in EXTRAP.items()
        if row.get(name) is not None
    ]
