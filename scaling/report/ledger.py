"""Where every second of every rank went, from the launch to the end: a table and bars."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes

from cloudmask.ledger import BUCKETS
from cloudmask.text import percent, plural, significant
from scaling.record.store import Study
from scaling.report.shares import draw_shares
from scaling.report.style import View
from scaling.report.tables import Table

LOOKS = {
    "compute": ("#0072B2", ""),
    "exposed_communication": ("#D55E00", "xxx"),
    "data_wait": ("#E69F00", "///"),
    "validation": ("#56B4E9", ""),
    "checkpoint": ("#009E73", "..."),
    "staging": ("#F0E442", "\\\\\\"),
    "compile": ("#CC79A7", "///"),
    "startup": ("#bbbbbb", ""),
    "launch": ("#666666", ""),
    "lost": ("#000000", "xxx"),
    "stall": ("#7a0000", ""),
    "rest": ("#eeeeee", "..."),
}
"""colour and hatch, in the order that bars are stacked in: Okabe and Ito's colours, and greys"""


def means(study: Study, mode: str) -> dict[int, dict[str, float]]:
    """Rank count -> rank-seconds by bucket, mean over the runs that have a ledger."""
    found = {}
    for ranks, rows in study.points(mode).items():
        ledgers = [row["ledger"] for row in rows if row.get("ledger")]
        if ledgers:
            found[ranks] = {
                bucket: statistics.fmean(one.get(bucket, 0.0) for one in ledgers)
                for bucket in BUCKETS
            }
    return found


def ledger_table(study: Study, mode: str) -> Table:
    """A row per bucket that holds anything, a column per rank count."""
    found = means(study, mode)
    totals = {ranks: sum(one.values()) for ranks, one in found.items()}
    rows = []
    for bucket, name in BUCKETS.items():
        cells = [
            f"{significant(one[bucket])} ({percent(one[bucket] / totals[ranks])})"
            for ranks, one in found.items()
        ]
        if any(one[bucket] for one in found.values()):
            rows.append((name, *cells))
    if rows:
        rows.append(("together", *(significant(total) for total in totals.values())))
    return Table(
        f"Where the time went, {mode} scaling",
        "Rank-seconds from the launch to the end (and share of all), mean over runs: each second "
        "of each rank is in one row. Rest: what nothing else explains, with leaving at the end.",
        ("", *(plural(ranks, "rank") for ranks in found)),
        tuple(rows),
    )


def draw_ledger(axes: Axes, found: Sequence[View]) -> None:
    """Shares of all rank-seconds, of the buckets that hold anything."""
    curves = [
        (f"{view.prefix}\n{mode}".strip(), here)
        for view in found
        for mode in view.study.modes
        if (here := means(view.study, mode))
    ]
    held = {name for _, here in curves for bar in here.values() for name in bar if bar[name]}
    looks = {name: (BUCKETS[name], *look) for name, look in LOOKS.items() if name in held}
    draw_shares(axes, curves, looks)
    axes.set_ylabel("% of all rank-seconds")
    axes.set_ylim(0, 104)
