"""What a report says in words and tables; every figure as text, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.text import listed, percent, plural, significant, with_unit
from scaling.laws import intervals, ratios
from scaling.laws.exposed import Exposed
from scaling.laws.fits import Fitted
from scaling.laws.holdout import Prediction
from scaling.laws.intervals import Estimate
from scaling.laws.ratios import Curve
from scaling.record import conditions
from scaling.record.store import OK, Row, Study
from scaling.report.sentences import coverage_note, shown


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def _column(found: Curve, ranks: int) -> str:
    return next((shown(point.estimate) for point in found if point.ranks == ranks), "-")


def _of(study: Study) -> str:
    return f", {study.emulated}" if study.emulated else ""


def scaling_table(study: Study, mode: str) -> Table:
    """Absolute figures beside every ratio, rank count by rank count, then the base cases."""
    rate = ratios.throughput(study, mode)
    columns = {
        "patches/s": rate,
        "speed-up": ratios.speedup(study, mode),
        "efficiency": ratios.efficiency(study, mode),
        "of unconnected copies": ratios.against_copies(study, mode),
        "whole run, s": ratios.curve(study.points(mode), "total_seconds"),
        "start-up, s": ratios.curve(study.points(mode), "startup_seconds"),
        "validation, s": ratios.curve(study.points(mode), "validation_seconds"),
        "rank-hours": ratios.curve(study.points(mode), "rank_hours"),
    }
    if mode == "strong":
        columns["speed-up, whole run"] = ratios.solution_speedup(study)
    rows = []
    for point in rate:
        batch = study.points(mode)[point.ranks][0]
        first = (str(point.ranks), str(len(point.values)))
        size = f"{batch['global_batch']} ({batch['batch_per_rank']} per rank)"
        rows.append((*first, size, *(_column(c, point.ranks) for c in columns.values())))
    base = ratios.base_of(rate).ranks
    for kind, name in (("alone", "1, no Horovod"), ("copies", "{} copies")):
        speedup = ratios.speedup(study, mode, kind)
        for point in ratios.throughput(study, mode, kind):
            blank = ("-",) * (len(columns) - 2)
            label = (name.format(point.ranks), str(len(point.values)), "-")
            rows.append((*label, shown(point.estimate), _column(speedup, point.ranks), *blank))
    flavour = "fixed global batch" if mode == "strong" else "fixed batch per rank"
    data = f", {study.header['dataset']} dataset" if mode == "weak" else ""
    return Table(
        f"{mode.capitalize()} scaling ({flavour}{data}){_of(study)}",
        f"Medians over runs. Base of every ratio: {plural(base, 'rank')} through "
        f"{study.header['launcher']}. {coverage_note(rate)}",
        ("ranks", "runs", "global batch", *columns),
        tuple(rows),
    )


def step_table(study: Study, mode: str) -> Table:
    rows = []
    points = study.points(mode)
    balance = ratios.curve(points, "load_balance")
    useful = ratios.curve(points, "communication_efficiency")
    for ranks, parts in ratios.step_parts(study, mode).items():
        whole = sum(parts.values())
        cells = [f"{1e3 * part:.1f} ({percent(part / whole)})" for part in parts.values()]
        rows.append((str(ranks), *cells, _column(balance, ranks), _column(useful, ranks)))
    return Table(
        f"A step of {mode} scaling{_of(study)}",
        "Milliseconds of a mean step (and share of it): mean over ranks, median over runs, after "
        "the warm-up. The product of the last two columns is POP's parallel efficiency.",
        (
            *("ranks", *ratios.PARTS.values()),
            *("load balance", "computing share of the slowest rank"),
        ),
        tuple(rows),
    )


def exposed_table(found: Sequence[Exposed]) -> Table:
    """Communication that was not hidden, as measured and as the allreduce model has it."""
    rows = [
        (
            *(one.mode, str(one.ranks), f"{one.num_bytes / 1e6:.2f} MB"),
            *(milliseconds(one.measured), f"{1e3 * one.modelled:.1f}"),
            *(percent(one.difference, 0, sign=True), one.verdict),
        )
        for one in found
    ]
    return Table(
        "Communication not hidden, and the allreduce model",
        "Milliseconds of a step from the last gradient to the last sum, on the rank that was last "
        "to finish computing: median over steps and runs. The model: one allreduce of all "
        "gradients, as fitted below to Horovod's own, after the last of them is there.",
        ("mode", "ranks", "gradients", "measured", "model", "measured to model", "so"),
        tuple(rows),
    )


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
    )


def held_out_table(found: Sequence[Prediction]) -> Table:
    """What laws say of rank counts they were not fitted to, beside what was measured there."""
    rows = []
    for one in found:
        rows.append(
            (
                *(str(one.ranks), one.law, one.subject, listed(one.fitted_to), one.expectation),
                *(with_unit(one.measured, one.unit), percent(one.difference, sign=True)),
                f"{'yes' if one.inside else 'no'} ({one.runs_inside} of {one.runs} runs)",
            )
        )
    return Table(
        "Rank counts held out",
        "Predictions of laws fitted to the other rank counts, with the 95 % interval of a single "
        "run (scatter of the runs and doubt of the law), beside the median of the runs there.",
        (
            *("ranks", "law", "of", "fitted to ranks", "predicted", "measured", "difference"),
            "inside the interval",
        ),
        tuple(rows),
    )


def target_table(study: Study, mode: str) -> Table:
    """Statistical efficiency; no rows where no run had a target."""
    found, tried = ratios.statistical_efficiency(study, mode)
    rates = ratios.efficiency(study, mode)
    rows = []
    for ranks, (reached, runs) in tried.items():
        targets = [row["target"] for row in study.points(mode)[ranks] if row.get("target")]
        epochs, seconds = (sorted(one[name] for one in targets) for name in ("epoch", "seconds"))
        statistical = next((p.estimate.value for p in found if p.ranks == ranks), None)
        rate = next((p.estimate.value for p in rates if p.ranks == ranks), None)
        total = significant(statistical * rate) if statistical and rate else "-"
        rows.append(
            (
                *(str(ranks), f"{reached} of {runs}"),
                listed(epochs) or "-",
                listed(map(significant, seconds)) or "-",
                *(_column(found, ranks), total),
            )
        )
    return Table(
        f"Time to the target, {mode} scaling{_of(study)}",
        "Statistical efficiency: median epochs to the target at the base over those at N; open "
        "where a run never reached it. Times its throughput efficiency: the total.",
        ("ranks", "reached", "epochs", "seconds", "statistical efficiency", "total efficiency"),
        tuple(rows),
    )


def points_table(study: Study) -> Table:
    """Every row, failed ones too."""
    rows = []
    for row in study.rows:
        rate = f"{row['patches_per_second']:.2f}" if row.get("patches_per_second") else "-"
        total = f"{row['total_seconds']:.1f}" if row.get("total_seconds") else "-"
        rows.append(
            (
                *(row["point"], str(row["attempt"]), row["status"], rate, total),
                *(f"{row['wall_seconds']:.1f}", significant(row.get("rank_hours") or 0)),
                *(cores(row), str(row["seed"]), row["ended"], what_happened(row)),
            )
        )
    return Table(
        "Every point",
        "In the order they were run. Points without figures stay.",
        (
            *("point", "attempt", "status", "patches/s", "run, s", "with its start, s"),
            *("rank-hours", "cores of each rank", "seed", "ended", "what happened"),
        ),
        tuple(rows),
    )


def cores(row: Row) -> str:
    """0 | 1: the cores of each rank."""
    places = ["+".join(map(str, here or ["?"])) for here in row.get("cores") or []]
    return " | ".join(places[:16]) + (" | ..." if len(places) > 16 else "")


def what_happened(row: Row) -> str:
    if row["status"] == OK:
        return ""
    lines = "; ".join(f"{who}: {line}" for who, line in (row.get("last_lines") or {}).items())
    return f"{row['error']}{f' [{lines}]' if lines else ''}"


def conditions_table(study: Study) -> Table:
    row, header = study.measured[0], study.header
    versions = row.get("versions") or {}
    rows = [
        ("hardware", ", ".join(row.get("hardware") or []) or header["hardware"]["title"]),
        ("study started on", f"{header['hardware']['title']}, {header['created']}"),
        ("hosts", ", ".join(row.get("hosts") or ["unknown"])),
        ("device", str(row.get("device") or "unknown")),
        ("launcher", f"{header['launcher']}, controller {row.get('controller') or 'unknown'}"),
        ("binding", str(row["binding"])),
        ("environment", " ".join(f"{k}={v}" for k, v in header["environment"].items())),
        ("settings found", " ".join(f"{k}={v}" for k, v in (row.get("settings") or {}).items())),
        ("program", " ".join(header["program"])),
        ("precision", str(row.get("precision") or "unknown")),
        ("learning rate", str(row.get("learning_rate") or "unknown")),
        ("data", f"{row.get('data_mode') or 'mode unknown'}; page cache {header['page_cache']}"),
        ("energy", conditions.energy(study)),
        (
            "patches",
            f"{row.get('training_patches')} training, {row.get('validation_patches')} "
            f"validation, {row.get('patch_size')} pixels, {row.get('channels')} channels",
        ),
        (
            "steps",
            f"{row.get('steps_measured')} measured after {row.get('warmup_steps')} of "
            "warm-up; the first epoch's surplus is not in the rates",
        ),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items()) or "unknown"),
        ("commit", str(row.get("commit") or "unknown")),
        ("first seed, order of points", str(header["seed"])),
    ]
    return Table(
        "Conditions", "Of the first measured point; all were checked.", ("", ""), tuple(rows)
    )
