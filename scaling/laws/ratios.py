"""From rows to curves: medians with intervals, and ratios to one base.

Every speed-up and efficiency of a mode, of rates, of epochs or of both, is taken to the smallest
rank count whose rates were measured (`base_of`). What has no figure there has no ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling.laws import intervals
from scaling.laws.intervals import Estimate
from scaling.record.store import Row, Study

PARTS = {
    "compute_seconds": "computing",
    "exposed_communication_seconds": "communication not hidden",
    "data_wait_seconds": "waiting for data",
    "other_seconds": "other",
}
"""of a step, and what they are called"""
MEASURED_PARTS = tuple(PARTS)[:3]


@dataclass(frozen=True)
class CurvePoint:
    """One rank count of a curve: the single runs, and their median with its interval."""

    ranks: int
    values: tuple[float, ...]
    estimate: Estimate


Curve = tuple[CurvePoint, ...]


def curve(rows: dict[int, list[Row]], name: str) -> Curve:
    """A measured figure over rank counts, as it is; runs without it are left out."""
    points = []
    for ranks, here in rows.items():
        values = tuple(float(row[name]) for row in here if row.get(name) is not None)
        if values:
            points.append(CurvePoint(ranks, values, intervals.median(values)))
    return tuple(points)


def base_of(found: Curve) -> CurvePoint:
    """The smallest rank count: what ratios are taken to."""
    return found[0]


def to_base(found: Curve, base: CurvePoint, *, falling: bool = False) -> Curve:
    """Each point over the base (base over each point for falling figures, such as seconds).

    The base itself is 1 by definition and keeps the scatter of its own runs, not an interval.
    """
    points = []
    for point in found:
        middle = base.estimate.value
        values = tuple(middle / v if falling else v / middle for v in point.values)
        if point == base:
            estimate = Estimate(1.0, 1.0, 1.0, 1.0, point.estimate.repeats)
        elif falling:
            estimate = intervals.ratio(base.estimate, point.estimate)
        else:
            estimate = intervals.ratio(point.estimate, base.estimate)
        points.append(CurvePoint(point.ranks, values, estimate))
    return tuple(points)


def per_rank(found: Curve, base_ranks: int) -> Curve:
    """Each point over how many times the base's ranks it has: a speed-up becomes an efficiency."""
    points = []
    for point in found:
        share = base_ranks / point.ranks
        values = tuple(value * share for value in point.values)
        points.append(CurvePoint(point.ranks, values, intervals.scaled(point.estimate, share)))
    return tuple(points)


def throughput(study: Study, mode: str, kind: str = "ranks") -> Curve:
    """Patches per second, all ranks together."""
    return curve(study.points(mode, kind), "patches_per_second")


def speedup(study: Study, mode: str = "strong", kind: str = "ranks") -> Curve:
    """Rate over the base's rate, by steady steps. The base is always that of the ranks."""
    base = throughput(study, mode)
    return to_base(throughput(study, mode, kind), base_of(base)) if base else ()


def solution_speedup(study: Study) -> Curve:
    """Base's time from launch to end over each, the launcher's own included, at equal work."""
    return _falling(study, "strong", curve(study.points("strong"), "wall_seconds"))


def efficiency(study: Study, mode: str, kind: str = "ranks") -> Curve:
    """Speed-up per rank of the base."""
    base = throughput(study, mode)
    return per_rank(speedup(study, mode, kind), base_of(base).ranks) if base else ()


def against_copies(study: Study, mode: str) -> Curve:
    """Ranks over as many unconnected copies: what is lost to communication, and to it alone."""
    copies = {point.ranks: point for point in throughput(study, mode, "copies")}
    points = []
    for point in throughput(study, mode):
        other = copies.get(point.ranks)
        if other:
            middle = other.estimate.value
            values = tuple(value / middle for value in point.values)
            estimate = intervals.ratio(point.estimate, other.estimate)
            points.append(CurvePoint(point.ranks, values, estimate))
    return tuple(points)


def step_parts(study: Study, mode: str, kind: str = "ranks") -> dict[int, dict[str, float]]:
    """Rank count -> seconds of each part of a mean step, the median over repeats.

    `other` is what the parts leave of the step: applying gradients, Python, the clock itself.
    """
    found = {}
    for ranks, rows in study.points(mode, kind).items():
        whole = [row for row in rows if all(row.get(part) is not None for part in MEASURED_PARTS)]
        whole = [row for row in whole if row.get("step_seconds")]
        if not whole:
            continue
        parts = {
            part: intervals.median([float(row[part]) for row in whole]).value
            for part in MEASURED_PARTS
        }
        rest = [row["step_seconds"] - sum(row[part] for part in MEASURED_PARTS) for row in whole]
        found[ranks] = {**parts, "other_seconds": max(0.0, intervals.median(rest).value)}
    return found


def statistical_efficiency(study: Study, mode: str) -> tuple[Curve, dict[int, tuple[int, int]]]:
    """Epochs to the target at the base over those at N, and N -> (reached, runs) of all that tried.

    Runs that never reached it would need more epochs than they had; they are counted, not averaged.
    Nothing where the base has such a run: its epochs are what all others are held against.
    """
    tried: dict[int, tuple[int, int]] = {}
    epochs: dict[int, list[Row]] = {}
    for ranks, rows in study.points(mode).items():
        wanting = [row for row in rows if row.get("target_wanted") is not None]
        reached = [
            {**row, "epochs": row["target"]["epoch"]} for row in wanting if row.get("target")
        ]
        if wanting:
            tried[ranks] = (len(reached), len(wanting))
        if reached and len(reached) == len(wanting):
            epochs[ranks] = reached
    return _falling(study, mode, curve(epochs, "epochs")), tried


def total_efficiency(study: Study, mode: str) -> dict[int, Estimate]:
    """Throughput efficiency times statistical efficiency, of one base, by rank count."""
    rates = {point.ranks: point.estimate for point in efficiency(study, mode)}
    found, _ = statistical_efficiency(study, mode)
    return {
        point.ranks: intervals.product(rates[point.ranks], point.estimate)
        for point in found
        if point.ranks in rates
    }


def _falling(study: Study, mode: str, found: Curve) -> Curve:
    """Ratios of a figure that falls to what it was at the base of the mode, if it was there."""
    rates = throughput(study, mode)
    base = next((one for one in found if rates and one.ranks == base_of(rates).ranks), None)
    return to_base(found, base, falling=True) if base else ()
