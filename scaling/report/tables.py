"""The tables of figures: each as text, with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.text import listed, percent, plural, with_unit
from scaling.laws import intervals, ratios
from scaling.laws.exposed import Exposed
from scaling.laws.fits import Fitted
from scaling.laws.holdout import Prediction
from scaling.laws.intervals import Estimate
from scaling.laws.ratios import Curve, CurvePoint
from scaling.record import conditions
from scaling.record.store import Row, Study
from scaling.record.summaries import LEAST_SHARE
from scaling.report.sentences import base_name, coverage_note, shown


@dataclass(frozen=True)
class Table:
    """A table of the page; what it shows in one sentence may stand among the findings."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    key: str = ""
    """by which findings point at it; else made of the title"""
    finding: str = ""
    """a sentence for the first page, with its figure and interval; empty: none"""

    @property
    def anchor(self) -> str:
        """strong-scaling: what an address can hold."""
        return "-".join(re.findall(r"[a-z0-9]+", (self.key or self.title).lower()))


def _column(found: Curve, ranks: int) -> str:
    return next((shown(point.estimate) for point in found if point.ranks == ranks), "-")


def _of(study: Study) -> str:
    return f", {study.emulated}" if study.emulated else ""


def scaling_table(study: Study, mode: str) -> Table:
    """Absolute figures beside every ratio, rank count by rank count, then the base cases."""
    rate = ratios.throughput(study, mode)
    whole = ratios.curve(study.points(mode), "wall_seconds")
    columns = {
        "patches/s": rate,
        "speed-up": ratios.speedup(study, mode),
        "efficiency": ratios.efficiency(study, mode),
        "of unconnected copies": ratios.against_copies(study, mode),
        "whole run, s": whole,
        "start-up, s": ratios.curve(study.points(mode), "startup_seconds"),
        "validation, s": ratios.curve(study.points(mode), "validation_seconds"),
        "rank-hours": _rank_hours(whole),
    }
    if mode == "strong":
        columns["speed-up, whole run"] = ratios.solution_speedup(study)
    rows = []
    for point in rate:
        runs = study.points(mode)[point.ranks]
        first = (str(point.ranks), str(len(point.values)))
        each = conditions.told(runs, "batch_per_rank")
        size = f"{conditions.told(runs, 'global_batch')} ({each} per rank)"
        places = _nodes(study, runs)
        rows.append((*first, *places, size, *(_column(c, point.ranks) for c in columns.values())))
    for kind, name in (("alone", "1, no Horovod"), ("copies", "{} copies")):
        speedup = ratios.speedup(study, mode, kind)
        for point in ratios.throughput(study, mode, kind):
            blank = ("-",) * (len(columns) - 2)
            runs = study.points(mode, kind)[point.ranks]
            label = (name.format(point.ranks), str(len(point.values)), *_nodes(study, runs), "-")
            rows.append((*label, shown(point.estimate), _column(speedup, point.ranks), *blank))
    flavour = "fixed global batch" if mode == "strong" else "fixed batch per rank"
    data = f", {study.header['dataset']} dataset" if mode == "weak" else ""
    return Table(
        f"{mode.capitalize()} scaling ({flavour}{data}){_of(study)}",
        f"Medians over runs. Base of every ratio: {base_name(study, rate)}. Whole runs are timed "
        f"from their launch to their end. {_copies_note(study, mode)}{coverage_note(rate)}",
        ("ranks", "runs", *_nodes_header(study), "global batch", *columns),
        tuple(rows),
        f"{mode}-scaling",
    )


def _copies_note(study: Study, mode: str) -> str:
    """Copies begin together, but nothing makes them compute together."""
    rows = [row for rows in study.points(mode, "copies").values() for row in rows]
    shares = [row.get("common_share") or 0.0 for row in rows]
    if not rows:
        return ""
    if min(shares) < LEAST_SHARE:
        return "Rates of unconnected copies are added, though they need not compute all at once. "
    return (
        "The rate of unconnected copies is that of the time in which all of them compute, "
        f"{math.floor(100 * min(shares))} % or more of each one's steady steps. "
    )


def _rank_hours(whole: Curve) -> Curve:
    """Ranks times the time from launch to end."""
    return tuple(
        CurvePoint(
            point.ranks,
            tuple(value * point.ranks / 3600 for value in point.values),
            intervals.scaled(point.estimate, point.ranks / 3600),
        )
        for point in whole
    )


def _nodes_header(study: Study) -> list[str]:
    """A column of nodes where rows tell them."""
    return ["nodes"] if any(row.get("nodes") for row in study.rows) else []


def _nodes(study: Study, rows: Sequence[Row]) -> list[str]:
    return [conditions.told(rows, "nodes") for _ in _nodes_header(study)]


def step_table(study: Study, mode: str) -> Table:
    rows = []
    points = study.points(mode)
    balance = ratios.curve(points, "load_balance")
    useful = ratios.curve(points, "communication_efficiency")
    for ranks, parts in ratios.step_parts(study, mode).items():
        shares = shares_of(parts)
        cells = [f"{1e3 * parts[name]:.1f} ({percent(share)})" for name, share in shares.items()]
        rows.append((str(ranks), *cells, _column(balance, ranks), _column(useful, ranks)))
    return Table(
        f"A step of {mode} scaling{_of(study)}",
        "Milliseconds of a mean step (and share of it): mean over ranks, median over runs, after "
        "the warm-up. The product of the last two columns is POP's parallel efficiency. How much "
        "of the communication is transfer and how much serialisation is not measured: that wants "
        "the run replayed on an ideal network.",
        (
            *("ranks", *ratios.PARTS.values()),
            *("load balance", "computing share of the slowest rank"),
        ),
        tuple(rows),
        f"{mode}-step",
    )


def shares_of(parts: dict[str, float]) -> dict[str, float]:
    """Of a step that took time, what each of its parts took of it; 0 of one that took none."""
    whole = sum(parts.values())
    return {name: part / whole if whole else 0.0 for name, part in parts.items()}


def exposed_table(found: Sequence[Exposed]) -> Table:
    """Communication that was not hidden, as measured and as the allreduce by itself has it."""
    rows = [
        (
            *(one.mode, str(one.ranks), f"{one.num_bytes / 1e6:.2f} MB"),
            str(len(one.messages)) if one.told else "not told, taken as 1",
            *(milliseconds(one.measured), " to ".join(_bounds(one.expected))),
            *(percent(one.difference, 0, sign=True), one.verdict),
        )
        for one in found
    ]
    return Table(
        "Communication not hidden, and the allreduce by itself",
        "Milliseconds of a step from the last gradient to the last sum, on the rank that was last "
        "to finish computing: median over steps and runs. Expected if nothing was hidden: the "
        "messages of all gradients one after the other, each as long as Horovod's allreduce of its "
        "size took by itself; less where they share the wait of the smallest, to more where each "
        "waits for its own. The difference is that to the nearer end.",
        (
            *("mode", "ranks", "gradients", "messages", "measured", "expected"),
            *("measured to expected", "so"),
        ),
        tuple(rows),
        "exposed",
    )


def _bounds(seconds: tuple[float, float]) -> list[str]:
    return list(dict.fromkeys(f"{1e3 * one:.1f}" for one in seconds))


def milliseconds(seconds: Estimate) -> str:
    return shown(intervals.scaled(seconds, 1e3))


def fits_table(fitted: Sequence[Fitted]) -> Table:
    rows = []
    for one in fitted:
        if one.fit is None:
            rows.append((one.law.name, one.subject, "not fitted", "-", one.refusal or ""))
            continue
        values = "; ".join(f"{p.name.replace('_', ' ')} {p}" for p in one.fit.parameters)
        left = f"{one.fit.left}, {plural(one.fit.points, 'run')}"
        name = f"{one.law.name}: {one.law.formula}"
        rows.append((name, one.subject, values, left, "; ".join(one.notes)))
    return Table(
        "Fitted laws",
        "Least squares of logarithms through single runs; the intervals hold for all parameters "
        "of a law together in 95 %.",
        ("law", "of", "parameters", "residuals", "notes"),
        tuple(rows),
        "laws",
    )


def held_out_table(found: Sequence[Prediction]) -> Table:
    """What laws say of rank counts they were not fitted to, beside what was measured there."""
    rows = []
    for one in found:
        rows.append(
            (
                *(
                    str(one.ranks),
                    one.law + (", rejected" if one.rejected else ""),
                    one.subject,
                    listed(one.fitted_to),
                    one.expectation,
                ),
                *(with_unit(one.measured, one.unit), percent(one.difference, sign=True)),
                f"{'yes' if one.inside else 'no'} ({one.runs_inside} of {one.runs} runs)",
            )
        )
    return Table(
        "Rank counts held out",
        "Predictions of laws fitted to the other rank counts, with the 95 % interval of a median "
        "of as many runs (their scatter, and doubt of the law), beside the median of the runs "
        "there; in brackets the runs inside the interval of a single one.",
        (
            *("ranks", "law", "of", "fitted to ranks", "predicted", "measured", "difference"),
            "inside the interval",
        ),
        tuple(rows),
        "held-out",
    )


def target_table(study: Study, mode: str) -> Table:
    """Statistical and total efficiency; no rows where no run had a target.

    Epochs and seconds to it stand in the table of their distribution, on one clock.
    """
    found, tried = ratios.statistical_efficiency(study, mode)
    total = ratios.total_efficiency(study, mode)
    rows = []
    for ranks, (reached, runs) in tried.items():
        whole = shown(total[ranks]) if ranks in total else "-"
        rows.append((str(ranks), f"{reached} of {runs}", _column(found, ranks), whole))
    base = plural(ratios.base_of(ratios.throughput(study, mode)).ranks, "rank")
    lacking = "" if found or not rows else f" Not given: not every run of {base} reached it."
    return Table(
        f"Efficiency to the target, {mode} scaling{_of(study)}",
        f"Statistical efficiency: median epochs to the target of {base}, the base of every "
        f"efficiency, over those at N; open where a run never reached it.{lacking} Times the "
        "throughput efficiency: the total.",
        ("ranks", "reached", "statistical efficiency", "total efficiency"),
        tuple(rows),
        f"{mode}-target",
    )
