"""The command `compare`: two studies side by side, say of two machines, with their ratio."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from cloudmask.cli.errors import UsageError
from cloudmask.files import write_whole
from cloudmask.text import listed
from scaling.check import sides, work
from scaling.check.outcome import NOT_COMPARABLE
from scaling.laws import against, intervals, ratios
from scaling.laws.intervals import Estimate
from scaling.options import CompareConfig
from scaling.record import conditions, store
from scaling.record.store import Study, StudyError
from scaling.record.summaries import solution_seconds
from scaling.report.sentences import shown

HEADER = ("scaling", "ranks", "figure", "A", "B", "B / A", "runs")
TASK = ("training_patches", "epochs_run", "validations", "validation_patches", "patches_trained")
"""what must be equal before two times are divided"""
METHOD = (
    "A and B: medians of runs, [ ] their 95 % rank intervals, ( ) the range of fewer than 6. "
    "B / A: Hodges and Lehmann's ratio of all pairs, with the interval of Mann and Whitney's test, "
    "and what the median of either side leaves open"
)
Cells = tuple[str, ...]


def compare(config: CompareConfig) -> int:
    """Print the table; returns 0, or 2 where both have no rank count in common. UsageError."""
    if config.out and config.out.suffix not in (".md", ".csv"):
        raise UsageError(f"--out {config.out}: end it with .md or .csv")
    try:
        a, b = (store.read(folder, mixed=config.mixed) for folder in (config.a, config.b))
    except (StudyError, OSError) as error:
        raise UsageError(str(error)) from None
    for name, study in (("A", a), ("B", b)):
        print(f"{name}: {study.folder}: {conditions.sentence(study)}")
    if not sides.shared(a, b):
        print("not comparable: both have no rank count of the same scaling in common")
        return NOT_COMPARABLE
    differing = told(a, b)
    print("differing conditions, A against B:" if differing else "no condition differs")
    for line in differing:
        print(f"  {line}")
    rows, coverages = table(a, b)
    print("\n".join(as_text([HEADER, *rows])))
    shares = sorted({f"{100 * coverage:.1f}" for coverage in coverages}, key=float)
    note = f"{METHOD} ({listed(shares)} %)" if shares else f"{METHOD}; no ratio has one here"
    print(note)
    if config.out:
        write_whole(config.out, written(config.out.suffix, differing, rows, note).encode())
        print(f"table: {config.out}")
    return 0


def told(a: Study, b: Study) -> list[str]:
    """Each difference once, with where it holds if that is not everywhere."""
    places = sides.shared(a, b)
    found: dict[sides.Difference, list[str]] = {}
    for mode, ranks in places:
        for one in sides.differences(a, b, mode, ranks):
            found.setdefault(one, []).append(f"{mode} {ranks}")
    return [
        f"{one}{'' if len(where) == len(places) else f' ({listed(where)} ranks)'}"
        for one, where in found.items()
    ]


def table(a: Study, b: Study) -> tuple[list[Cells], list[float]]:
    """Rows of HEADER, and the coverages of the ratios. Raises UsageError for runs of one point
    that may not be pooled."""
    rows, coverages = [], []
    for mode, ranks in sides.shared(a, b):
        points = [study.points(mode)[ranks] for study in (a, b)]
        for study, here in zip((a, b), points, strict=True):
            if mixed := work.mixed(here, mode):
                raise UsageError(
                    f"{study.folder}: its {mode} runs on {ranks} ranks differ in {mixed}"
                )
        kinds = [one for one in sides.differences(a, b, mode, ranks) if one.known]
        patch = any(one.kind == sides.PATCH for one in kinds)
        task = any(one.kind == sides.PATCH or one.name == "training patches" for one in kinds)
        task |= len({tuple(row.get(name) for name in TASK) for some in points for row in some}) > 1
        rates = [[row["patches_per_second"] for row in some] for some in points]
        times = [[solution_seconds(row) for row in some] for some in points]
        for name, values, other in (
            ("patches/s", rates, patch),
            ("run from launch, s", times, task),
        ):
            ratio = "other work"
            if not other:
                estimate = against.ratio(values[1], values[0])
                coverages.append(estimate.coverage)
                ratio = shown(estimate)
            middle = [shown(intervals.median(some)) for some in values]
            runs = f"{len(values[0])}, {len(values[1])}"
            rows.append((mode, str(ranks), name, *middle, ratio, runs))
        cells = [_efficiency(study, mode, ranks) for study in (a, b)]
        rows.append((mode, str(ranks), "efficiency", *cells, "", ""))
    return rows, coverages


def _efficiency(study: Study, mode: str, ranks: int) -> str:
    found = ratios.efficiency(study, mode)
    estimate: Estimate = next(point.estimate for point in found if point.ranks == ranks)
    base = found[0].ranks
    return shown(estimate) + (f", base {base} ranks" if base != 1 else "")


def as_text(rows: Sequence[Cells]) -> list[str]:
    """Columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def written(suffix: str, differing: Sequence[str], rows: Sequence[Cells], note: str) -> str:
    """The table as Markdown with its differences, or as CSV."""
    if suffix == ".csv":
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
        return file.getvalue()
    lines = [f"- differs: {line}" for line in differing]
    lines += ["", *(f"| {' | '.join(row)} |" for row in (HEADER, ("---",) * len(HEADER), *rows))]
    return "\n".join([*lines, "", note, ""]).lstrip()
