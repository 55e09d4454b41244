"""The work of a run: what must be equal before two times may be compared, and which part is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudmask.text import plural
from scaling.record.store import OK, Row, Study

KIND_OF_PATCH = ("patch_size", "channels", "parameters")
"""they make a patch another amount of work, so that nothing can be projected either"""
ALIKE = ("mode", "global_batch", "batch_per_rank", "precision")
"""runs that differ in one of these are never pooled"""
Work = Mapping[str, Any]


def other_problem(row: Row, work: Work) -> list[str]:
    """What makes a patch of this run another amount of work than one of the reference."""
    return _differences(row, work, KIND_OF_PATCH)


def other_recipe(row: Row, work: Work) -> list[str]:
    """Batch and precision, where the reference states them."""
    return _differences(row, work, ("global_batch", "batch_per_rank", "precision"))


def _differences(row: Row, work: Work, names: Iterable[str]) -> list[str]:
    """Of these, what both know and is not the same."""
    return [
        f"{row[name]} {name.replace('_', ' ')} instead of {work[name]}"
        for name in names
        if work.get(name) is not None and row.get(name) is not None and row[name] != work[name]
    ]


def other_work(row: Row, work: Work) -> list[str]:
    """Every way in which a run did something else than the reference, part by part.

    A reference that states no number of validations is taken to validate after every epoch.
    """
    found = [*other_problem(row, work), *other_recipe(row, work)]
    epochs, patches = work["epochs"], work["training_patches"]
    wanted = {
        "training_patches": ("training patches", patches),
        "validation_patches": ("validation patches", work["validation_patches"]),
        "epochs_run": ("epochs", epochs),
        "validations": ("validations", work.get("validations", epochs)),
    }
    for name, (words, number) in wanted.items():
        if row.get(name) != number:
            found.append(f"{row.get(name)} {words} instead of {number}")
    if not found and row.get("patches_trained") != epochs * patches:
        found.append(f"{row.get('patches_trained')} patches trained instead of {epochs * patches}")
    if row.get("resets"):
        found.append(f"its ranks changed {plural(row['resets'], 'time')} while it ran")
    return found


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Runs that may be pooled, by what tells them from the others: 'weak, 32 global batch'."""
    telling = [name for name in ALIKE if len({row.get(name) for row in rows}) > 1]
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(", ".join(_told(name, row) for name in telling), []).append(row)
    return found


def failed(study: Study, mode: str, ranks: int) -> int:
    """Points that never gave a figure; whoever reads a median should know of them."""
    place = (mode, "ranks", ranks)
    here = [row for row in study.rows if (row["mode"], row["kind"], row["ranks"]) == place]
    return len({r["point"] for r in here} - {r["point"] for r in here if r["status"] == OK})


def mixed(rows: Sequence[Row], mode: str) -> str:
    """What the runs of one curve differ in that must be equal on it; empty if in nothing."""
    names = ("precision", "global_batch" if mode == "strong" else "batch_per_rank")
    found = {name: sorted({str(row.get(name)) for row in rows}) for name in names}
    return ", ".join(
        f"{name.replace('_', ' ')} ({' / '.join(values)})"
        for name, values in found.items()
        if len(values) > 1
    )


def _told(name: str, row: Row) -> str:
    value = str(row.get(name))
    return value if name in ("mode", "precision") else f"{name.replace('_', ' ')} {value}"


def not_counted(rows: Sequence[Row]) -> list[str]:
    """What the seconds of these runs leave out, so that they are no more than a lower bound."""
    found = []
    if any(row.get("before_resume_seconds") for row in rows):
        found.append(
            "it was resumed, and neither the launch of the earlier parts, nor what they did after "
            "their last checkpoint, nor the wait between them is known"
        )
    return found
