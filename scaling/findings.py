"""What a study says in sentences: its conditions, its findings, and what limits them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scaling import curves, intervals
from scaling.intervals import Estimate
from scaling.results import OK, Study

DISTURBED = 0.1
"""share of a point's cores from which other programs are worth a warning"""


def number(value: float) -> str:
    """Three or four significant digits, without an exponent for what people count."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
        return f"{value:.{digits}f}" if abs(value) >= 1 else f"{value:.3f}"
    return f"{value:.3g}"


def shown(estimate: Estimate) -> str:
    """5.42 [5.31, 5.50] for an interval, 5.42 (5.31 - 5.50) for a range of too few repeats."""
    if estimate.coverage == 1:
        return f"{number(estimate.value)} (base)"
    low, high = number(estimate.low), number(estimate.high)
    bounds = f"[{low}, {high}]" if estimate.is_interval else f"({low} - {high})"
    return f"{number(estimate.value)} {bounds}"


def conditions(study: Study) -> str:
    """What every figure of a study was measured under, in one sentence."""
    row, header = study.measured[0], study.header
    ranks = sorted({r["ranks"] for r in study.measured})
    repeats = sorted({len(rows) for mode in study.modes for rows in study.points(mode).values()})
    batches = {
        f"{mode} scaling: {name}": key
        for mode, name, key in (
            ("strong", "global batch", "global_batch"),
            ("weak", "batch per rank", "batch_per_rank"),
        )
        if mode in study.modes
    }
    words = header.get("program") or ["unknown program"]
    parts = [
        Path(next((word for word in words if word.endswith(".py")), words[0])).name,
        ", ".join(row.get("hardware") or [header["hardware"]["title"]]),
        f"{_listed(ranks)} ranks",
        str(row.get("binding")),
        f"threads per rank: {row.get('threads_per_rank') or row['cores_per_rank']}",
        f"launcher {header['launcher']}",
        str(row.get("precision") or "unknown precision"),
        f"patches of {row.get('patch_size')} pixels and {row.get('channels')} channels",
        *(f"{name} {header[key]}" for name, key in batches.items() if header.get(key)),
        f"data {row.get('data_mode') or 'mode unknown'}, page cache {header['page_cache']}",
        f"{_listed(repeats)} repeats",
        f"commit {str(row.get('commit') or 'unknown')[:12]}",
        str(row["ended"])[:10],
    ]
    if any(r.get("oversubscribed") for r in study.measured):
        parts.insert(3, "OVERSUBSCRIBED")
    if study.emulated:
        parts.insert(1, study.emulated.upper())
    if disturbed := _other_cores(study):
        parts.append(f"DISTURBED by other programs, on up to {max(disturbed):.1f} cores")
    return "; ".join(parts)


def _other_cores(study: Study) -> list[float]:
    """Cores that other programs took, of each point in which they were worth a warning."""
    return [
        row["other_cores"]
        for row in study.rows
        if (row.get("other_cores") or 0) > DISTURBED * row.get("cores_per_rank", 1) * row["ranks"]
    ]


def headlines(study: Study) -> list[str]:
    """The findings, each with its absolute figure and interval."""
    lines = []
    of, do = (f" of an {study.emulated}", "pass") if study.emulated else ("", "train")
    for mode in study.modes:
        rate, speedup = curves.throughput(study, mode), curves.speedup(study, mode)
        if len(rate) < 2:
            continue
        last, ratio = rate[-1], speedup[-1]
        efficiency = curves.efficiency(study, mode)[-1]
        base = curves.base_of(rate)
        lines.append(
            f"{mode.capitalize()} scaling{of}: {last.ranks} ranks {do} {shown(last.estimate)} "
            f"patches/s, {shown(ratio.estimate)} times the {number(base.estimate.value)} of "
            f"{base.ranks} rank{'s' if base.ranks > 1 else ''}; efficiency "
            f"{shown(efficiency.estimate)}."
        )
        for point in curves.throughput(study, mode, "alone") if base.ranks == 1 else ():
            share = intervals.ratio(base.estimate, point.estimate)
            lines.append(
                f"One rank through the launcher is {shown(share)} times as fast as the same code "
                f"without Horovod, {shown(point.estimate)} patches/s ({mode} batches)."
            )
        for point in curves.against_copies(study, mode)[-1:]:
            lines.append(
                f"{point.ranks} ranks reach {shown(point.estimate)} of as many unconnected copies "
                f"({mode} batches), the bound of a perfect allreduce on this machine."
            )
    whole = curves.solution_speedup(study)
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
            for point in curves.efficiency(study, mode)
            if point.estimate.low > 1.0 + 1e-9
        ]
        few = [p.ranks for p in curves.throughput(study, mode) if not p.estimate.is_interval]
        if few:
            found.append(
                f"Fewer than {intervals.REPEATS_FOR_INTERVAL} repeats ({mode}, "
                f"{_listed(few)} ranks): bars there are ranges, not 95 % intervals."
            )
        base = curves.base_of(curves.throughput(study, mode)).ranks
        if not study.points(mode, "alone"):
            found.append(
                f"The same code without Horovod was not measured ({mode}); the base is "
                f"{base} rank{'s' if base > 1 else ''} through the launcher."
            )
        if base != 1:
            found.append(f"The base of {mode} scaling is {base} ranks; nothing is known of one.")
    disturbed = _other_cores(study)
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


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
