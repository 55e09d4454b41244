"""Goodput by the gradient noise scale: what ranks gain when the batch grows with them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from cloudmask.text import significant
from scaling.laws import noise_scale, ratios
from scaling.laws.intervals import Estimate
from scaling.record.store import Study
from scaling.report.sentences import shown
from scaling.report.style import PALE, View, rank_axis, series
from scaling.report.tables import Table

CAPTION = (
    "Patches per second, and goodput: the same times the statistical efficiency E_stat that the "
    f"gradient noise scale predicts for the batch at each rank count. {noise_scale.MODEL}"
)


def table(study: Study, mode: str) -> Table:
    """E_stat and goodput over rank counts; no rows where the noise scale is not known.

    Strong scaling has one batch, so nothing is gained or lost: weak scaling says more where it is.
    """
    found = noise_scale.of_study(study, mode)
    rows = []
    told_elsewhere = mode == "strong" and is_known([study])
    if found.critical is not None and found.batches is not None and not told_elsewhere:
        rates = {point.ranks: point for point in ratios.throughput(study, mode)}
        for point in noise_scale.goodput(study, found):
            batch = found.batches[point.ranks]
            share = noise_scale.efficiency_at(found, batch)
            rows.append(
                (
                    *(str(point.ranks), str(batch)),
                    significant(batch / found.critical.value),
                    *(shown(rates[point.ranks].estimate), _share(share), shown(point.estimate)),
                )
            )
    notes = " ".join(found.notes)
    critical = noise_scale.told(found.critical) if found.critical else found.refusal
    return Table(
        f"Goodput by the gradient noise scale, {mode} scaling",
        f"{notes} Critical batch, median over runs: {critical} patches; the brackets hold those of "
        "every rank count, square ones only where each has six runs or more. There a training "
        "needs twice the epochs of a tiny batch. E_stat: epochs at the batch of the fewest ranks "
        "over those at this one.",
        ("ranks", "global batch", "of the critical", "patches/s", "E_stat (model)", "goodput"),
        tuple(rows),
    )


def is_known(studies: Sequence[Study]) -> bool:
    """Whether there is something to draw: of weak scaling, where the batch grows with the ranks."""
    return any(noise_scale.of_study(study, "weak").critical for study in studies)


def draw(axes: Axes, found: Sequence[View]) -> None:
    """Patches/s and goodput over rank counts, weak scaling."""
    rank_axis(axes, found)
    for view in found:
        known = noise_scale.of_study(view.study, "weak")
        rates = ratios.throughput(view.study, "weak")
        series(axes, rates, view, "patches/s", view.ranks)
        if known.critical is None:
            continue
        series(axes, noise_scale.goodput(view.study, known), view, "goodput (model)", view.copies)
        ranks, base = [point.ranks for point in rates], rates[0]
        ideal = [base.estimate.value * n / base.ranks for n in ranks]
        axes.plot(ranks, ideal, ":", color=PALE, linewidth=1.5, zorder=0)
    axes.set_ylabel("patches/s, all ranks")
    axes.set_ylim(bottom=0)


def _share(share: Estimate) -> str:
    """1 where the batch is that of the base."""
    return "1 (base)" if share.low == share.high == 1 else shown(share)
