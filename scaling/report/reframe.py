"""A study as a test of ReFrame (reframe-hpc.readthedocs.io), to be run again on the machine."""

from __future__ import annotations

import pprint
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.laws import intervals, next_run
from scaling.record import conditions
from scaling.record.store import Row, Study
from scaling.report.page import environment

FIGURES = {"patches_per_second": ("patches/s", True), "total_seconds": ("s", False)}
"""figure -> its unit, and whether more is better"""
TRAINING = "train_hvd.py"
"""the program that `scaling run` fills words in for without placeholders"""
Reference = tuple[float, float | None, float | None, str]
"""ReFrame's: value, lower and upper tolerance as shares of it (None: no bound), unit"""


def as_test(study: Study) -> str:
    """A module with a parameterised test: one for each rank count of each mode."""
    points = {
        f"{mode}_{ranks}": point(study, mode, rows)
        for mode in study.modes
        for ranks, rows in study.points(mode).items()
    }
    hardware = conditions.told(study.measured, "hardware")
    return (
        environment()
        .get_template("reframe_cloudmask.py.jinja")
        .render(
            title=study.name.replace('"', "'").replace("\\", "/"),
            emulated=study.emulated,
            hardware=hardware.replace('"', "'").replace("\\", "/"),
            environment=pprint.pformat(study.header["environment"], width=96),
            points=pprint.pformat(points, width=96, sort_dicts=False),
        )
    )


def point(study: Study, mode: str, rows: Sequence[Row]) -> dict[str, Any]:
    """What a point of ranks is run with, and its references."""
    return {
        "ranks": rows[0]["ranks"],
        "cores_per_rank": study.header["cores_per_rank"],
        "global_batch": rows[0].get("global_batch"),
        "program": _program(study, mode, rows[0]),
        "reference": {
            name: reference(
                [row[name] for row in rows if (row.get(name) or 0) > 0], unit, more_is_better=more
            )
            for name, (unit, more) in FIGURES.items()
            if any((row.get(name) or 0) > 0 for row in rows)
        },
    }


def reference(values: Sequence[float], unit: str, *, more_is_better: bool) -> Reference:
    """The median, and how far on the bad side of it a single further run may lie."""
    middle = intervals.median(values).value
    try:
        low, high = next_run.bounds(values)
    except ValueError:
        return middle, None, None, unit
    lower, upper = round(low / middle - 1, 4), round(high / middle - 1, 4)
    if more_is_better:
        return middle, max(-1.0, min(0.0, lower)), None, unit
    return middle, None, max(0.0, upper), unit


def _program(study: Study, mode: str, row: Row) -> list[str]:
    """The program's words with batch and seed of the point; {out} is filled in by the test."""
    values = {
        "{batch}": str(row.get("batch_per_rank")),
        "{global_batch}": str(row.get("global_batch")),
        "{seed}": str(study.header["seed"]),
        "{ranks}": str(row["ranks"]),
    }
    words = [str(word) for word in study.header["program"]]
    text = " ".join(words)
    if any(Path(word).name == TRAINING for word in words):
        flag = "--global-batch {global_batch}" if mode == "strong" else "--batch-size {batch}"
        words += [] if "{out}" in text else ["--out", "{out}"]
        words += [] if "{batch}" in text or "{global_batch}" in text else flag.split()
        words += [] if "{seed}" in text else ["--seed", "{seed}"]
    for placeholder, value in values.items():
        words = [word.replace(placeholder, value) for word in words]
    return words
