"""When the runs of a study reached their target: medians, and the shares still on their way."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes

from cloudmask.text import plural
from scaling.laws import time_to_target
from scaling.record.store import Study
from scaling.report.style import BLUE, GREEN, ORANGE, PURPLE, RED, View
from scaling.report.tables import Table

CAPTION = (
    "Share of the runs that have not reached the target accuracy by an epoch, by Kaplan and Meier; "
    "a curve that stays above zero ends where runs ended without it. Dotted: half of the runs."
)
LOOKS = [
    (colour, line) for line in ("-", "--", "-.") for colour in (BLUE, RED, GREEN, PURPLE, ORANGE)
]


def table(study: Study, mode: str) -> Table:
    """Medians with intervals over rank counts; no rows where no run had a target."""
    rows = [
        (
            str(ranks),
            str(study.points(mode)[ranks][0].get("global_batch") or "-"),
            *(str(found), str(found.epochs), str(found.seconds)),
        )
        for ranks, found in time_to_target.of_study(study, mode).items()
    ]
    return Table(
        f"Time to the target as a distribution, {mode} scaling",
        "Medians over runs; one that ended without the target counts as longer than it went on "
        "(Kaplan and Meier). Square brackets: 95 % intervals; round ones: the range of fewer than "
        "six runs, too few for one. Seconds count from the launch, and hold the end of the "
        "program. Epochs are those that were validated. Failed points are not counted.",
        ("ranks", "global batch", "reached", "median epochs", "median seconds"),
        tuple(rows),
    )


def is_known(studies: Sequence[Study]) -> bool:
    """Whether runs differ: in whether they reached the target, or in when."""
    return any(
        len(found.epochs.at) > 1 or found.epochs.reached < found.epochs.runs
        for study in studies
        for mode in study.modes
        for found in time_to_target.of_study(study, mode).values()
    )


def draw(axes: Axes, found: Sequence[View]) -> None:
    """One falling curve for each rank count, of the last mode of a study."""
    looks, width = itertools.cycle(LOOKS), 4.0
    for view in found:
        mode = view.study.modes[-1]
        for ranks, one in time_to_target.of_study(view.study, mode).items():
            colour, line = next(looks)
            label = f"{view.prefix}{plural(ranks, 'rank')} ({mode}): {one}"
            at, left = [0.0, *one.epochs.at], [1.0, *one.epochs.left]
            axes.step(
                at, left, where="post", color=colour, linestyle=line, linewidth=width, label=label
            )
            width = max(1.2, width - 0.8)  # so that one beneath another is seen
    axes.axhline(0.5, linestyle=":", color="#999999", linewidth=1)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlim(left=0)
    axes.set_xlabel("epochs")
    axes.set_ylabel("share of runs on their way")
