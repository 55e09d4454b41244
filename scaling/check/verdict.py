"""Is a published figure met? Measured where the same work was done, else projected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.cli.errors import UsageError
from cloudmask.text import listed, plural
from scaling.check import work
from scaling.check.outcome import (
    MET,
    MISSED,
    NOT_COMPARABLE,
    UNDECIDED,
    among_failures,
    decide,
    needed,
    worst,
)
from scaling.check.reference import Reference, minutes
from scaling.laws import cost, intervals, projection, ratios, run_time
from scaling.laws.cost import Rate
from scaling.record.store import Row, Study
from scaling.record.summaries import solution_seconds


@dataclass(frozen=True)
class Verdict:
    """One of the four outcomes, with the reasons and what else is to be said."""

    code: int
    why: str
    lines: tuple[str, ...] = ()


def check(
    study: Study,
    reference: Reference,
    *,
    ranks: int | None = None,
    mode: str | None = None,
    rate: Rate | None = None,
) -> Verdict:
    """Hold a study against a reference. Raises UsageError for a rank count it does not have.

    `mode` picks strong or weak rows; without it both are held against a time, each for itself.
    """
    if study.emulated:
        why = f"{study.emulated}: it waited for what the reference computed; not projected either"
        return Verdict(NOT_COMPARABLE, why)
    if mode is not None and not study.points(mode):
        raise UsageError(f"--mode {mode} was not measured; there is {listed(study.modes)}")
    if reference.quantity == "speed-up":
        return check_speedup(study, reference, mode=mode)
    rows = [row for row in study.measured if mode in (None, row["mode"])]
    measured = sorted({row["ranks"] for row in rows})
    if ranks is not None and ranks not in measured:
        raise UsageError(f"--ranks {ranks} was not measured; there are {listed(measured)}")
    ranks = ranks or max(measured)
    here = [row for row in rows if row["ranks"] == ranks]
    return check_time(study, here, reference, mode=mode, rate=rate)


def check_time(
    study: Study,
    rows: Sequence[Row],
    reference: Reference,
    *,
    mode: str | None = None,
    rate: Rate | None = None,
) -> Verdict:
    """Time to solution of runs on one number of ranks: measured if they did the work.

    Else it is projected, by the runs of `mode` where that is given. Runs of another mode, batch or
    precision are never pooled: each kind has its own outcome, and the worst of them is that of all.
    """
    kinds = work.groups(rows)
    judged = {name: _judge(study, some, reference, rate) for name, some in kinds.items()}
    # Kinds that fare alike are told of once.
    names: dict[str, list[str]] = {}
    for name, verdict in judged.items():
        names.setdefault(verdict.why, []).append(name)
    single = len(names) == 1
    why = "; ".join(text if single else f"{' and '.join(n)}: {text}" for text, n in names.items())
    code = worst(verdict.code for verdict in judged.values())
    lines = [
        f"{name}: {line}" if len(judged) > 1 else line
        for name, verdict in judged.items()
        for line in verdict.lines
    ]
    if not any(work.other_work(row, reference.stated) for row in rows):
        return Verdict(code, why, tuple(lines))
    if any(work.other_problem(row, reference.stated) for row in rows):
        return Verdict(code, f"{why}; not projected either", tuple(lines))
    found = projection.project(study, reference.work, mode=mode)
    if found is None:
        lines.append("nothing is projected: no run tells what its time was made of")
        return Verdict(code, why, tuple(lines))
    if any(row.get("parameters") is None for row in rows):
        lines.append("the network's size is not in summary.json; it is taken to be the reference's")
    if not all(run_time.validation_patches(row) for row in rows):
        lines.append(
            "validation was not measured; per patch it is taken to cost a third of training, the "
            "forward one of three such passes"
        )
    lines += projected_lines(found, reference, rows[0]["ranks"], reference.figures[0].value)
    if single:
        why = f"projected only, for it did {why}"
    return Verdict(code, why, tuple(lines))


def _judge(study: Study, rows: Sequence[Row], reference: Reference, rate: Rate | None) -> Verdict:
    """Runs of one kind against a time."""
    middle = sorted(rows, key=solution_seconds)[len(rows) // 2]
    missing = work.not_counted(rows)
    least = "at least " if missing else ""
    lines: tuple[str, ...] = (
        quality_line(rows),
        f"a run took {least}{cost.hours(middle, study).words(rate)}",
    )
    if failed := work.failed(study, rows[0]["mode"], rows[0]["ranks"]):
        lines += (f"{plural(failed, 'more run')} failed; their time is not in this",)
    differences = sorted({text for row in rows for text in work.other_work(row, reference.stated)})
    if differences:
        return Verdict(NOT_COMPARABLE, f"other work: {'; '.join(differences)}", lines)
    figure = reference.figures[0]
    total = intervals.median([solution_seconds(row) for row in rows])
    text = (
        f"{minutes(total.value)} [{minutes(total.low)}, {minutes(total.high)}] "
        f"({total.kind}, {plural(total.repeats, 'run')}) measured on {rows[0]['ranks']} ranks, "
        f"against {minutes(figure.value)} on {reference.devices}"
    )
    if any(row.get("wall_seconds") is None for row in rows):
        text += "; this clock starts inside rank 0, the launch is not in it"
    for name, wanted in reference.quality.items():
        reached = [row.get(f"best_{name}") for row in rows]
        if any(value is None or value < wanted for value in reached):
            why = f"other quality: {name} {wanted} is asked for; {text}"
            return Verdict(NOT_COMPARABLE, why, lines)
    low, high = figure.bounds
    code = decide(total, low, high)
    if inferences := reference.work.get("inferences"):
        missing.append(f"the reference's time holds {inferences} inferences too, this one does not")
    if missing and not (code == MISSED and total.low > high):  # even the part is too long
        return Verdict(NOT_COMPARABLE, f"{'; '.join(missing)}; at least {text}", lines)
    if code == UNDECIDED:
        text += f"; {needed(total, low, high)}"
    if among_failures(code, failed, len(rows)) != code:
        code, text = UNDECIDED, f"{text}; as many runs failed, or more"
    return Verdict(code, text, lines)


def projected_lines(
    found: projection.Projection, reference: Reference, ranks: int, seconds: float
) -> list[str]:
    """What the reference's work would take here, and how many such devices would meet it."""
    task = reference.work
    lines = [
        f"projected for {task['training_patches']} + {task['validation_patches']} patches, "
        f"{task['epochs']} epochs, {plural(run_time.validations_of(task), 'validation')}, "
        f"by {found.law} (measured on {listed(found.measured_ranks)} ranks):"
    ]
    one = found.parts
    lines.append(
        f"  of parts measured on {found.parts_ranks} ranks: start-up {one.startup:.1f} s, "
        f"first epoch's surplus {one.surplus:.1f} s, training {one.rate:.2f} patches/s, "
        f"validation {1 / one.validation_patch:.2f} patches/s, a checkpoint "
        f"{one.checkpoint:.2f} s, the rest {one.rest:.1f} s"
    )
    if found.doubt:
        lines.append(f"  no 95 % interval: {found.doubt}")
    for count in dict.fromkeys((ranks, reference.devices)):
        bounds = found.at(count)
        if bounds:
            low, value, high = map(minutes, bounds)
            lines.append(
                f"  {count} such devices: {value} [{low}, {high}] ({found.kind}), projected"
            )
    middle, safe = found.reached(seconds)
    goal = f"{minutes(seconds)} would be met"
    if found.law == "no law":
        lines.append("  how many devices would meet it is open")
    elif middle is None:
        lines.append(
            f"  {goal} by no number up to {int(found.ranks[-1])} of such devices, projected"
        )
    else:
        surely = f"at the interval's upper end by {safe}" if safe else "at its upper end by none"
        lines.append(f"  {goal} by {middle} such devices ({surely}), projected")
    if found.refusal:
        lines.append(f"  not projected further: {found.refusal}")
    if reference.work.get("inferences"):
        lines.append(f"  without the reference's {reference.work['inferences']} inferences")
    return lines


def check_speedup(study: Study, reference: Reference, *, mode: str | None = None) -> Verdict:
    """Speed-ups of steady steps at the rank counts that both measured."""
    wanted = [reference.mode] if reference.mode != "any" else ["weak", "strong"]
    modes = [one for one in wanted if mode in (None, one)]
    mode = next((one for one in modes if study.points(one)), None)
    if mode is None:
        return Verdict(NOT_COMPARABLE, f"no {' or '.join(wanted)} scaling was measured")
    rows = [row for some in study.points(mode).values() for row in some]
    if mixed := work.mixed(rows, mode):
        return Verdict(NOT_COMPARABLE, f"its rows of {mode} scaling differ in {mixed}")
    differences = sorted({t for row in rows for t in work.other_recipe(row, reference.stated)})
    if differences:
        return Verdict(NOT_COMPARABLE, f"other work: {'; '.join(differences)}")
    speedup = {point.ranks: point.estimate for point in ratios.speedup(study, mode)}
    lines, codes = [], []
    for figure in reference.figures:
        count = figure.ranks or 0
        mine = speedup.get(count)
        if mine is None or min(speedup) != 1:
            continue
        code = decide(mine, *figure.bounds)
        why = f"; {needed(mine, *figure.bounds)}" if code == UNDECIDED else ""
        runs = len(study.points(mode)[count])
        failed = work.failed(study, mode, count)
        why += f"; {plural(failed, 'more run')} failed" if failed else ""
        codes.append(among_failures(code, failed, runs))
        lines.append(
            f"{figure.ranks} ranks: {mine.value:.2f} [{mine.low:.2f}, {mine.high:.2f}] "
            f"({mine.kind}) in {mode} scaling, the reference {figure.value:g}{why}"
        )
    if not codes:
        counts = listed([figure.ranks or 0 for figure in reference.figures])
        measured = listed(list(speedup))
        return Verdict(
            NOT_COMPARABLE, f"the reference gives {counts} devices over 1, this measured {measured}"
        )
    device = str(study.measured[0].get("device") or "unknown")
    if reference.device == "GPU" and device.upper() in ("CPU", "UNKNOWN"):
        why = f"the reference ran on GPUs, this on {device}; side by side only"
        return Verdict(NOT_COMPARABLE, why, tuple(lines))
    tolerance = f"{100 * abs(reference.figures[0].lower or 0):g} % below it are allowed"
    code = worst(codes)
    if code == MET:
        return Verdict(MET, f"at every rank count that both measured ({tolerance})", tuple(lines))
    return Verdict(code, f"at {codes.count(code)} of {len(codes)} ({tolerance})", tuple(lines))


def quality_line(rows: Sequence[Row]) -> str:
    """The accuracy these runs reached, beside the majority baseline."""
    reached = [row["best_accuracy"] for row in rows if row.get("best_accuracy") is not None]
    if not reached:
        return "accuracy of these runs: not measured"
    majority = rows[0].get("majority")
    beside = f" (always the commoner class: {majority:.3f})" if majority is not None else ""
    low, high = min(reached), max(reached)
    return f"accuracy of these runs: {low:.3f} to {high:.3f}{beside}"
