"""What the runs of a study cost: hours from launch to end, and money where a rate was stated."""

from __future__ import annotations

from collections.abc import Sequence

from cloudmask.text import plural, significant
from scaling.laws import cost, intervals
from scaling.laws.cost import Hours, Rate
from scaling.record.store import Study
from scaling.report.sentences import shown
from scaling.report.tables import Table


def cost_table(study: Study, rate: Rate | None) -> Table:
    """A run at each rank count, then all points of the study together, failed ones too."""
    rows = []
    for mode in study.modes:
        for ranks, here in study.points(mode).items():
            runs = [cost.hours(row, study) for row in here]
            rows.append((f"{mode}, {plural(ranks, 'rank')}", str(len(here)), *_medians(runs, rate)))
    every = [cost.hours(row, study) for row in study.rows]
    total = cost.together(every)
    price = rate.price(total) if rate else None
    cells = [total.rank, total.core, total.gpu or None, total.node, *([price] if rate else [])]
    texts = ["-" if value is None else significant(value) for value in cells]
    rows.append(("the whole study", str(len(every)), *texts))
    header = ("", "runs", "rank-hours", "core-hours", "GPU-hours", "node-hours")
    return Table(
        "Cost",
        "Everything is held from the launch to the end of a run: medians over runs; the whole "
        "study is the sum over all its points, with those that failed. "
        + (f"Price at the stated rate of {rate}." if rate else "No rate was stated, so no price."),
        (*header, *([f"price, {rate.currency}"] if rate else [])),
        tuple(rows),
    )


def _medians(runs: Sequence[Hours], rate: Rate | None) -> list[str]:
    columns: list[list[float | None]] = [
        [run.rank for run in runs],
        [run.core for run in runs],
        [run.gpu or None for run in runs],
        [run.node for run in runs],
    ]
    columns += [[rate.price(run) for run in runs]] if rate else []
    return [_middle(column) for column in columns]


def _middle(column: Sequence[float | None]) -> str:
    known = [value for value in column if value is not None]
    return shown(intervals.median(known)) if len(known) == len(column) else "-"
