"""Statistical efficiency from the gradient noise scale: what a larger batch is worth in epochs.

This is a model, not a measurement of epochs. McCandlish et al. (arXiv 1812.06162, section 2) take
one noise scale B_noise for the whole training, and the best learning rate at every batch B. Then
the steps to a quality go as 1 + B_noise / B, and the patches to it as B + B_noise. Hence

    E_stat(B) = (B0 + B_noise) / (B + B_noise),    goodput = patches/s x E_stat(B)

where goodput, of Pollux (Qiao et al., OSDI 2021), is a rate in patches of batch B0. At B = B_noise,
the critical batch, a training takes twice the steps of an endless batch and twice the patches of a
tiny one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.text import plural, significant
from scaling.laws import intervals, ratios
from scaling.laws.intervals import Estimate
from scaling.laws.ratios import Curve, CurvePoint
from scaling.record.store import Row, Study

MODEL = (
    "A MODEL, NOT A MEASUREMENT: that of McCandlish et al. for large batches, with one noise scale "
    "for the whole training and the best learning rate at every batch."
)
ONE_RANK = (
    "BIASED: estimated on one rank, from the differences of successive steps, between which the "
    "weights have moved."
)


NOT_MEASURED = "not measured; train with --noise-scale, on two ranks or more"


def efficiency(b_noise: float, batch: float, base: float) -> float:
    """E_stat: patches to the target at the batch `base` over those at `batch`."""
    return (base + b_noise) / (batch + b_noise)


def steps_ratio(b_noise: float, batch: float, base: float) -> float:
    """Steps to the target at `batch` over those at the batch `base`."""
    return base / batch / efficiency(b_noise, batch, base)


@dataclass(frozen=True)
class NoiseScale:
    """What the runs of one mode say; only the refusal where they say nothing."""

    mode: str
    critical: Estimate | None = None
    """B_noise, patches: the median over runs, and an interval around those of all rank counts"""
    biased: bool = False
    batches: dict[int, int] | None = None
    """rank count -> global batch"""
    refusal: str | None = None

    @property
    def base(self) -> int:
        """Global batch of the smallest rank count, to which E_stat is taken."""
        assert self.batches
        return self.batches[min(self.batches)]

    @property
    def notes(self) -> list[str]:
        """What must stand beside every figure."""
        return [MODEL, *([ONE_RANK] if self.biased else [])]


def of_study(study: Study, mode: str) -> NoiseScale:
    """The noise scale of a mode's runs, those on one rank only where there are no others."""
    points = study.points(mode)
    measured = [row for rows in points.values() for row in rows if row.get("noise_scale")]
    if not measured:
        return NoiseScale(mode, refusal=NOT_MEASURED)
    rows = [row for row in measured if not row["noise_scale"]["biased"]]
    biased = not rows
    rows = rows or measured
    scales = [scale_of(row) for row in rows]
    lost = sum(map(math.isinf, scales))
    found = intervals.median(scales)
    if math.isinf(found.value):
        why = (
            f"not known: in {lost} of {plural(len(scales), 'run')} the gradient is lost in its "
            "noise; train for more steps, or with a larger batch"
        )
        return NoiseScale(mode, refusal=why)
    batches = {ranks: int(here[0]["global_batch"]) for ranks, here in points.items()}
    return NoiseScale(mode, _over_all(found.value, rows), biased, batches)


def _over_all(value: float, rows: Sequence[Row]) -> Estimate:
    """The value, from the lowest to the highest end of the intervals of single rank counts.

    Runs on other numbers of ranks are not alike: their noise scales may drift with the batch. So
    it is an interval only where every rank count has runs enough for one.
    """
    each = [
        intervals.median([scale_of(row) for row in rows if row["ranks"] == ranks])
        for ranks in {row["ranks"] for row in rows}
    ]
    return Estimate(
        value,
        min(one.low for one in each),
        max(one.high for one in each),
        min(one.coverage for one in each),
        min(one.repeats for one in each),
    )


def scale_of(row: Row) -> float:
    """B_noise of one run; endless where its gradient cannot be told from zero."""
    value = row["noise_scale"]["b_noise"]
    return math.inf if value is None else float(value)


def efficiency_at(found: NoiseScale, batch: int) -> Estimate:
    """E_stat of a batch, its interval that of B_noise, with which it grows above the base."""
    critical = found.critical
    assert critical
    ends = [_at(scale, batch, found.base) for scale in (critical.low, critical.high)]
    value = _at(critical.value, batch, found.base)
    return Estimate(value, min(ends), max(ends), critical.coverage, critical.repeats)


def _at(b_noise: float, batch: int, base: int) -> float:
    return 1.0 if math.isinf(b_noise) else efficiency(b_noise, batch, base)


def goodput(study: Study, found: NoiseScale) -> Curve:
    """Patches/s times E_stat, by rank counts: patches of the base's batch that would do as much."""
    assert found.batches
    points = []
    for point in ratios.throughput(study, found.mode):
        share = efficiency_at(found, found.batches[point.ranks])
        values = tuple(value * share.value for value in point.values)
        estimate = intervals.product(point.estimate, share)  # of the same runs
        points.append(CurvePoint(point.ranks, values, estimate))
    return tuple(points)


def lines(study: Study) -> list[str]:
    """What `fit` prints: the critical batch of each mode, or why there is none."""
    found = []
    for one in (of_study(study, mode) for mode in study.modes):
        what = one.refusal
        if one.critical:
            what = f"critical batch {told(one.critical)} patches; {' '.join(one.notes)}"
        found.append(f"gradient noise scale, {one.mode}: {what}")
    return found


def told(found: Estimate) -> str:
    """31 [24, 40], or 31 (24 - 40) where there are too few runs for an interval."""
    ends = [significant(e) if math.isfinite(e) else "no bound" for e in (found.low, found.high)]
    bounds = "[{}, {}]" if found.is_interval else "({} - {})"
    return f"{significant(found.value)} {bounds.format(*ends)}"
