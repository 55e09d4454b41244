"""What limits a study, and how its figures are to be read, in sentences."""

from __future__ import annotations

from cloudmask.text import listed, plural, significant
from scaling.laws import intervals, ratios
from scaling.laws.intervals import Estimate
from scaling.laws.ratios import Curve
from scaling.record.conditions import other_cores
from scaling.record.store import OK, SUPERSEDED, Study


def shown(estimate: Estimate) -> str:
    """5.42 [5.31, 5.50] for an interval, 5.42 (5.31 - 5.50) for a range of too few repeats."""
    if estimate.coverage == 1:
        return f"{significant(estimate.value)} (base)"
    low, high = significant(estimate.low), significant(estimate.high)
    bounds = f"[{low}, {high}]" if estimate.is_interval else f"({low} - {high})"
    return f"{significant(estimate.value)} {bounds}"


def base_name(study: Study, found: Curve) -> str:
    """1 rank through openmpi: what every ratio of a curve is taken to."""
    base = ratios.base_of(found).ranks
    return f"{plural(base, 'rank')} through {study.header['launcher']}"


def bases(study: Study) -> str:
    """What the ratios of all modes are taken to, each mode named where they differ."""
    found = {mode: base_name(study, ratios.throughput(study, mode)) for mode in study.modes}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{name} ({mode})" for mode, name in found.items())


def warnings(study: Study) -> list[str]:
    """What a reader must know before believing the curves."""
    found = []
    rows = study.measured
    if study.emulated:
        found.append(
            f"{study.emulated.capitalize()}: a wait stands for the computation of a step, so no "
            "figure says how fast anything trains; reading, allreduce, checkpoints and logs are "
            "real. After the wait all gradients are there at once, so no allreduce is hidden."
        )
    if any(row.get("oversubscribed") for row in rows):
        found.append("Oversubscribed: more ranks than cores, several ranks shared a core.")
    for mode in study.modes:
        found += [
            f"Super-linear: {mode} scaling on {point.ranks} ranks is above ideal beyond its "
            "interval; suspect the base case, or a cache that only small shares fit into."
            for point in ratios.efficiency(study, mode)
            if point.estimate.low > 1.0 + 1e-9
        ]
        few = [p.ranks for p in ratios.throughput(study, mode) if not p.estimate.is_interval]
        if few:
            found.append(
                f"Fewer than {intervals.REPEATS_FOR_INTERVAL} repeats ({mode}, "
                f"{listed(few)} ranks): bars there are ranges, not 95 % intervals."
            )
        base = ratios.base_of(ratios.throughput(study, mode)).ranks
        if not study.points(mode, "alone"):
            found.append(
                f"The same code without Horovod was not measured ({mode}); the base is "
                f"{plural(base, 'rank')} through {study.header['launcher']}."
            )
        if base != 1:
            found.append(f"The base of {mode} scaling is {base} ranks; nothing is known of one.")
    disturbed = other_cores(study)
    if disturbed:
        found.append(
            f"Other programs took up to {max(disturbed):.1f} cores while {len(disturbed)} of "
            f"{len(study.latest)} points ran; measure those again (--again POINT)."
        )
    bad = [row for row in study.rows if row["status"] not in (OK, SUPERSEDED)]
    if bad:
        runs = plural(len(study.rows), "run")
        found.append(f"{len(bad)} of {runs} gave no figures; they stay in the table.")
    commits = {row.get("commit") for row in rows}
    if len(commits) > 1:
        found.append("Points come from different commits of the program.")
    if any(str(commit).endswith("+") for commit in commits):
        found.append("The program had changes that its commit does not hold.")
    return found


def bars_note(study: Study) -> str:
    """What the bars of the curves are, for the repeats there are, and what ratios are taken to."""
    rates = [ratios.throughput(study, mode) for mode in study.modes]
    found = {p.estimate.repeats: p.estimate.kind for rate in rates for p in rate}
    bars = ", ".join(f"{kind} ({plural(n, 'run')})" for n, kind in sorted(found.items()))
    return f"Bars: {bars}; of a ratio, what follows from both. Base of every ratio: {bases(study)}."


def coverage_note(found: Curve) -> str:
    """What the brackets mean, for the repeats there are."""
    repeats = sorted({point.estimate.repeats for point in found})
    notes = []
    for count in repeats:
        share = next(p.estimate.coverage for p in found if p.estimate.repeats == count)
        if count >= intervals.REPEATS_FOR_INTERVAL:
            notes.append(
                f"[low, high]: rank interval of the median from {count} runs, {100 * share:.1f} % "
                f"(of a ratio: at least {100 * share**2:.1f} %)."
            )
        else:
            notes.append(
                f"(low - high): range of {plural(count, 'run')}, which holds the true median in "
                f"{100 * share:.1f} %; a 95 % interval needs {intervals.REPEATS_FOR_INTERVAL} runs."
            )
    return " ".join(notes)
