"""Is a published figure met? Measured where the same work was done, else projected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.cli.errors import UsageError
from cloudmask.text import listed, significant
from scaling.check.reference import Reference, minutes
from scaling.laws import intervals, projection, ratios
from scaling.record.store import Row, Study

MET, MISSED, NOT_COMPARABLE = 0, 1, 2
WORDS = {MET: "met", MISSED: "missed", NOT_COMPARABLE: "not comparable"}


@dataclass(frozen=True)
class Verdict:
    """met, missed or not comparable, with the reasons and what else is to be said."""

    code: int
    why: str
    lines: tuple[str, ...] = ()


def check(study: Study, reference: Reference, *, ranks: int | None = None) -> Verdict:
    """Hold a study against a reference. Raises UsageError for a rank count it does not have."""
    if study.emulated:
        why = f"{study.emulated}: it waited for what the reference computed; not projected either"
        return Verdict(NOT_COMPARABLE, why)
    if reference.quantity == "speed-up":
        return check_speedup(study, reference)
    measured = sorted({row["ranks"] for row in study.measured})
    if ranks is not None and ranks not in measured:
        raise UsageError(f"--ranks {ranks} was not measured; there are {listed(measured)}")
    return check_time(study, reference, ranks=ranks or max(measured))


def check_time(study: Study, reference: Reference, *, ranks: int) -> Verdict:
    """Time to solution: measured if these runs did the work, else projected."""
    figure = reference.figures[0]
    rows = [row for row in study.measured if row["ranks"] == ranks]
    lines = [quality_line(rows)]
    differences = {text for row in rows for text in other_work(row, reference)}
    if not differences:
        return _measured(rows, reference, lines)
    why = "; ".join(sorted(differences))
    blocked = [text for row in rows for text in other_problem(row, reference)]
    if blocked:
        return Verdict(NOT_COMPARABLE, f"other work: {why}; not projected either", tuple(lines))
    found = projection.project(study, reference.work)
    if found is None:
        return Verdict(NOT_COMPARABLE, f"other work: {why}", tuple(lines))
    if any(row.get("parameters") is None for row in rows):
        lines.append("the network's size is not in summary.json; it is taken to be the reference's")
    if not all(projection.validation_patches(row) for row in rows):
        lines.append(
            "validation was not measured; per patch it is taken to cost a third of training, the "
            "forward one of three such passes"
        )
    lines += projected_lines(found, reference, ranks, figure.value)
    return Verdict(NOT_COMPARABLE, f"projected only, for it did other work: {why}", tuple(lines))


def _measured(rows: Sequence[Row], reference: Reference, lines: list[str]) -> Verdict:
    figure = reference.figures[0]
    total = intervals.median([row["total_seconds"] for row in rows])
    ranks = rows[0]["ranks"]
    text = (
        f"{minutes(total.value)} [{minutes(total.low)}, {minutes(total.high)}] "
        f"({total.kind}, {total.repeats} runs) measured on {ranks} ranks, "
        f"against {minutes(figure.value)} on {reference.devices}"
    )
    lines.append(f"{significant(ranks * total.value / 3600)} rank-hours")
    if figure.holds(total.value) != figure.holds(total.high):
        lines.append(
            "the interval reaches beyond the figure: another run may fall on its other side"
        )
    for name, wanted in reference.quality.items():
        reached = [row.get(f"best_{name}") for row in rows]
        if any(value is None or value < wanted for value in reached):
            return Verdict(
                NOT_COMPARABLE, f"other quality: {name} {wanted} is asked for; {text}", tuple(lines)
            )
    if not figure.holds(total.value):
        return Verdict(MISSED, text, tuple(lines))
    inferences = reference.work.get("inferences", 0)
    if inferences:
        why = f"the reference's time holds {inferences} inferences too, this one does not; {text}"
        return Verdict(NOT_COMPARABLE, f"other work: {why}", tuple(lines))
    return Verdict(MET, text, tuple(lines))


def other_problem(row: Row, reference: Reference) -> list[str]:
    """What makes a patch of this run another amount of work, so that nothing can be projected."""
    found = []
    for name in ("patch_size", "channels", "parameters"):
        wanted, had = reference.work.get(name), row.get(name)
        if wanted is not None and had is not None and had != wanted:
            found.append(f"{had} {name.replace('_', ' ')} instead of {wanted}")
    return found


def other_work(row: Row, reference: Reference) -> list[str]:
    """Every way in which a run did something else than the reference."""
    found = other_problem(row, reference)
    names = {
        "training_patches": "training patches",
        "validation_patches": "validation patches",
        "epochs_run": "epochs",
    }
    for name, words in names.items():
        wanted = reference.work["epochs" if name == "epochs_run" else name]
        had = row.get(name)
        if had != wanted:
            found.append(f"{had} {words} instead of {wanted}")
    epochs, patches = row.get("epochs_run"), row.get("training_patches")
    if not found and epochs and patches and row.get("patches_trained") != epochs * patches:
        found.append(f"{row.get('patches_trained')} patches trained instead of {epochs * patches}")
    return found


def projected_lines(
    found: projection.Projection, reference: Reference, ranks: int, seconds: float
) -> list[str]:
    """What the reference's work would take here, and how many such devices would meet it."""
    work = reference.work
    lines = [
        f"projected for {work['training_patches']} + {work['validation_patches']} patches, "
        f"{work['epochs']} epochs, by {found.law} "
        f"(measured on {listed(found.measured_ranks)} ranks):"
    ]
    one = found.parts
    lines.append(
        f"  of parts measured on {max(found.measured_ranks)} ranks: start-up {one.startup:.1f} s, "
        f"first epoch's surplus {one.surplus:.1f} s, training {one.rate:.2f} patches/s, "
        f"validation {1 / one.validation_patch:.2f} patches/s, a checkpoint "
        f"{one.checkpoint:.2f} s, the rest {one.rest:.1f} s"
    )
    for count in dict.fromkeys((ranks, reference.devices)):
        bounds = found.at(count)
        if bounds:
            low, value, high = map(minutes, bounds)
            kind = "95 %" if found.law != "no law" else f"range of {found.runs} runs"
            lines.append(f"  {count} such devices: {value} [{low}, {high}] ({kind}), projected")
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


def check_speedup(study: Study, reference: Reference) -> Verdict:
    """Speed-ups of steady steps at the rank counts that both measured."""
    modes = [reference.mode] if reference.mode != "any" else ["weak", "strong"]
    mode = next((mode for mode in modes if study.points(mode)), None)
    if mode is None:
        return Verdict(NOT_COMPARABLE, f"no {' or '.join(modes)} scaling was measured")
    speedup = {point.ranks: point.estimate for point in ratios.speedup(study, mode)}
    base = min(speedup)
    lines = []
    held = []
    for figure in reference.figures:
        mine = speedup.get(figure.ranks or 0)
        if mine is None or base != 1:
            continue
        held.append(figure.holds(mine.value))
        lines.append(
            f"{figure.ranks} ranks: {mine.value:.2f} [{mine.low:.2f}, {mine.high:.2f}] "
            f"({mine.kind}) in {mode} scaling, the reference {figure.value:g}"
        )
    if not held:
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
    if all(held):
        return Verdict(MET, f"at every rank count that both measured ({tolerance})", tuple(lines))
    return Verdict(MISSED, f"at {held.count(False)} of {len(held)} ({tolerance})", tuple(lines))


def quality_line(rows: Sequence[Row]) -> str:
    """The accuracy these runs reached, beside the majority baseline."""
    reached = [row["best_accuracy"] for row in rows if row.get("best_accuracy") is not None]
    if not reached:
        return "accuracy of these runs: not measured"
    majority = rows[0].get("majority")
    beside = f" (always the commoner class: {majority:.3f})" if majority is not None else ""
    low, high = min(reached), max(reached)
    return f"accuracy of these runs: {low:.3f} to {high:.3f}{beside}"
