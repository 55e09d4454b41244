"""The rows of a study for other programs: a table with a column per figure, and Extra-P's lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from scaling.record import columns
from scaling.record.columns import COLUMNS, Column
from scaling.record.store import Row, Study

LONGEST_CELL = 32_767
"""characters; spreadsheets cut longer ones without a word"""
EXTRAP = {
    "main": "wall_seconds",
    "main->startup": "startup_seconds",
    "main->validation": "validation_seconds",
    "main->step": "step_seconds",
    "main->step->compute": "compute_seconds",
    "main->step->exposed_communication": "exposed_communication_seconds",
    "main->step->data_wait": "data_wait_seconds",
}


def csv_columns(studies: Sequence[Study]) -> tuple[Column, ...]:
    """All that the schema describes, in its order, then what it does not, by name."""
    names = {name for study in studies for row in study.rows for name in row}
    return (*COLUMNS, *columns.unknown(sorted(names)))


def as_csv(studies: Sequence[Study]) -> str:
    """Every row of every study; lists and objects as JSON in their cell, none over 32,767 long."""
    file = io.StringIO()
    names = [column.name for column in csv_columns(studies)]
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for study in studies:
        for row in study.rows:
            cells = {name: _cell(value) for name, value in row.items()}
            long = [name for name, cell in cells.items() if len(cell) > LONGEST_CELL]
            cells |= dict.fromkeys(long, "")
            writer.writerow({**cells, "study": study.name, "left_out": " ".join(long)})
    return file.getvalue()


def schema(studies: Sequence[Study]) -> str:
    """datapackage.json, which says what the columns of results.csv are."""
    title = "Scaling study: " + " and ".join(study.name for study in studies)
    package = columns.data_package(title, csv_columns(studies))
    return json.dumps(package, indent=1) + "\n"


def _cell(value: Any) -> str:
    """As Table Schema reads it: no text for nothing, true and false, JSON of lists and objects."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


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
