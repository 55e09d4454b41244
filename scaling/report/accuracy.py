"""What a larger global batch costs in accuracy: a table, where a study trained at several."""

from __future__ import annotations

from collections import defaultdict

from cloudmask.text import count, listed
from scaling.laws import intervals
from scaling.record.conditions import told
from scaling.record.store import Row, Study
from scaling.report.sentences import shown
from scaling.report.tables import Table


def accuracy_table(study: Study) -> Table:
    """Best accuracy beside the baseline, by global batch; no rows where there is one batch alone.

    Only runs that trained on equally many patches stand in one row: more training is not a larger
    batch. For the same reason it is a finding only where both ends trained alike.
    """
    groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in study.measured:
        if row.get("best_accuracy") is not None and row.get("global_batch"):
            groups[row["global_batch"], row.get("patches_trained") or 0].append(row)
    rows = []
    for (batch, trained), here in sorted(groups.items()):
        best = intervals.median([float(row["best_accuracy"]) for row in here])
        wanted = [row for row in here if row.get("target_wanted") is not None]
        reached = sum(1 for row in wanted if row.get("target"))
        rows.append(
            (
                *(str(batch), listed(sorted({row["ranks"] for row in here})), str(len(here))),
                *(count(trained or None), shown(best), told(here, _baseline)),
                f"{reached} of {len(wanted)}" if wanted else "-",
            )
        )
    several = len({batch for batch, _ in groups}) > 1
    return Table(
        "Accuracy against the global batch",
        "Best accuracy on the validation split, median over runs and its interval, beside that of "
        "always the commonest class. Strong and weak runs of the same batch and as much training "
        "stand together.",
        (
            *("global batch", "ranks", "runs", "patches trained", "best accuracy"),
            *("baseline", "reached their target"),
        ),
        tuple(rows) if several else (),
        "accuracy",
        _finding(rows[0], rows[-1]) if several else "",
    )


def _finding(least: tuple[str, ...], most: tuple[str, ...]) -> str:
    """From the smallest batch to the largest, where both trained on as many patches."""
    if least[3] != most[3]:
        return ""
    ends = [f"{row[4]} at a global batch of {row[0]}" for row in (least, most)]
    return (
        f"Best accuracy is {' and '.join(ends)}, after {least[3]} patches each; the commonest "
        f"class alone has {most[5]}."
    )


def _baseline(row: Row) -> str | None:
    return None if row.get("majority") is None else f"{row['majority']:.3f}"
