"""Where every second of every rank went, from the launch to the end: a table and bars."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cloudmask.ledger import BUCKETS
from cloudmask.text import percent, plural, significant
from scaling.record.store import Study
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
    """Shares of all rank-seconds, the bars of a curve side by side."""
    places: list[float] = []
    bars: list[dict[str, float]] = []
    ticks: list[str] = []
    for view in found:
        for mode in view.study.modes:
            here = means(view.study, mode)
            if not here:
                continue
            first = places[-1] + 1.6 if places else 0.0
            places += [first + number for number in range(len(here))]
            bars += here.values()
            ticks += map(str, here)
            axes.text(
                *(first + (len(here) - 1) / 2, -0.08, f"{view.prefix}\n{mode}".strip()),
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
            )
    whole = np.array([sum(bar.values()) for bar in bars])
    bottom = np.zeros(len(bars))
    for bucket, (colour, hatch) in LOOKS.items():
        height = 100 * np.array([bar[bucket] for bar in bars]) / whole
        if not height.any():
            continue
        drawn = axes.bar(places, height, bottom=bottom, label=BUCKETS[bucket], color=colour)
        for bar in drawn:
            bar.set(hatch=hatch, edgecolor="white", linewidth=0.5)
        bottom += height
    axes.set_xticks(places, ticks)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("% of all rank-seconds")
    axes.set_ylim(0, 104)
    axes.grid(axis="x", visible=False)
