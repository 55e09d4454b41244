"""What a study says in sentences: its findings, and what limits them."""

from __future__ import annotations

from cloudmask.text import listed, plural, significant
from scaling.laws import intervals, ratios
from scaling.laws.intervals import Estimate
from scaling.laws.ratios import Curve
from scaling.record.conditions import other_cores
from scaling.record.store import OK, Study


def shown(estimate: Estimate) -> str:
    """5.42 [5.31, 5.50] for an interval, 5.42 (5.31 - 5.50) for a range of too few repeats."""
    if estimate.coverage == 1:
        return f"{significant(estimate.value)} (base)"
    low, high = significant(estimate.low), significant(estimate.high)
    bounds = f"[{low}, {high}]" if estimate.is_interval else f"({low} - {high})"
    return f"{significant(estimate.value)} {bounds}"


def headlines(study: Study) -> list[str]:
    """The findings, each with its absolute figure and interval."""
    lines = []
    of, do = (f" of an {study.emulated}", "pass") if study.emulated else ("", "train")
    for mode in study.modes:
        rate, speedup = ratios.throughput(study, mode), ratios.speedup(study, mode)
        if len(rate) < 2:
            continue
        last, ratio = rate[-1], speedup[-1]
        efficiency = ratios.efficiency(study, mode)[-1]
        base = ratios.base_of(rate)
        lines.append(
            f"{mode.capitalize()} scaling{of}: {last.ranks} ranks {do} {shown(last.estimate)} "
            f"patches/s, {shown(ratio.estimate)} times the {significant(base.estimate.value)} of "
            f"{plural(base.ranks, 'rank')}; efficiency "
            f"{shown(efficiency.estimate)}."
        )
        for point in ratios.throughput(study, mode, "alone") if base.ranks == 1 else ():
            share = intervals.ratio(base.estimate, point.estimate)
            lines.append(
                f"One rank through the launcher is {shown(share)} times as fast as the same code "
                f"without Horovod, {shown(point.estimate)} patches/s ({mode} batches)."
            )
        for point in ratios.against_copies(study, mode)[-1:]:
            lines.append(
                f"{point.ranks} ranks reach {shown(point.estimate)} of as many unconnected copies "
                f"({mode} batches), the bound of a perfect allreduce on this machine."
            )
    whole = ratios.solution_speedup(study)
    if len(whole) > 1:
        lines.append(
            f"The whole run (start-up, validation and checkpoints included) is "
            f"{shown(whole[-1].estimate)} times as fast on {whole[-1].ranks} ranks."
        )
    return lines


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
                f"{plural(base, 'rank')} through the launcher."
            )
        if base != 1:
            found.append(f"The base of {mode} scaling is {base} ranks; nothing is known of one.")
    disturbed = other_cores(study)
    if disturbed:
        found.append(
            f"Other programs took up to {max(disturbed):.1f} cores while {len(disturbed)} of "
            f"{len(study.rows)} points ran; repeat the study on an idle machine."
        )
    bad = [row for row in study.rows if row["status"] != OK]
    if bad:
        found.append(f"{len(bad)} of {len(study.rows)} points gave no figures; see the table.")
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
    base = min(ratios.base_of(rate).ranks for rate in rates)
    return (
        f"Bars: {bars}; of a ratio, what follows from both. Base of every ratio: "
        f"{plural(base, 'rank')} through the launcher."
    )


def coverage_note(found: Curve) -> str:
    """What the brackets mean, for the repeats there are."""
    repeats = sorted({point.estimate.repeats for point in found})
    notes = []
    for count in repeats:
        share = next(p.estimate.coverage for p in found if p.estimate.repeats == count)
        if count >= intervals.REPEATS_FOR_INTERVAL:
            notes.append(
                f"[ ]: rank interval of the median from {count} runs, {100 * share:.1f} % "
                f"(of a ratio: at least {100 * share**2:.1f} %)."
            )
        else:
            notes.append(
                f"( ): range of {plural(count, 'run')}, which holds the true median in "
                f"{100 * share:.1f} %; a 95 % interval needs {intervals.REPEATS_FOR_INTERVAL} runs."
            )
    return " ".join(notes)
