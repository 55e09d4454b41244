"""Every point of a study in a table, failed ones too, and the conditions they were run under."""

from __future__ import annotations

from itertools import pairwise

from cloudmask.text import plural, significant
from scaling.record import conditions
from scaling.record.conditions import told
from scaling.record.store import OK, Row, Study
from scaling.report.tables import Table

MOST_RANKS = 3
"""of which a cell tells cores, or last lines; the others are counted"""
LONGEST_LINE = 100


def points_table(study: Study) -> Table:
    """Every row, failed ones too."""
    nodes = any(row.get("nodes") for row in study.rows)
    rows = []
    for row in study.rows:
        rate = f"{row['patches_per_second']:.2f}" if row.get("patches_per_second") else "-"
        wall = row.get("wall_seconds")
        rows.append(
            (
                *(row["point"], str(row.get("attempt", 1)), row["status"], rate),
                *("-" if wall is None else f"{wall:.1f}", significant(rank_hours(row))),
                *([str(row.get("nodes") or "-")] if nodes else []),
                *(cores(row), str(row.get("seed", "-")), str(row.get("ended", "-"))[:19]),
                what_happened(row),
            )
        )
    return Table(
        "Every point",
        "In the order they were run; times from launch to end, dates in UTC. Points without "
        "figures stay.",
        (
            *("point", "attempt", "status", "patches/s", "whole run, s", "rank-hours"),
            *(["nodes"] if nodes else []),
            *("cores of each rank", "seed", "ended", "what happened"),
        ),
        tuple(rows),
        "points",
    )


def rank_hours(row: Row) -> float:
    """Ranks times the time from launch to end."""
    return row["ranks"] * (row.get("wall_seconds") or 0) / 3600


def cores(row: Row) -> str:
    """0-7 | 8-15: the cores of each rank; of many ranks the first ones."""
    places = row.get("cores") or []
    words = [_span(here) if here else "?" for here in places[:MOST_RANKS]]
    if len(places) > MOST_RANKS:
        words.append(f"... ({plural(len(places), 'rank')})")
    return " | ".join(words)


def _span(numbers: list[int]) -> str:
    """0-3+8: runs of neighbours, joined."""
    ordered = sorted(numbers)
    ends = [i for i, (one, other) in enumerate(pairwise(ordered)) if other != one + 1]
    starts = [0, *(i + 1 for i in ends)]
    pairs = zip(starts, [*ends, len(ordered) - 1], strict=True)
    return "+".join(f"{ordered[a]}" if a == b else f"{ordered[a]}-{ordered[b]}" for a, b in pairs)


def what_happened(row: Row) -> str:
    if row["status"] == OK:
        return ""
    lines = row.get("last_lines") or {}
    words = [f"{who}: {line[:LONGEST_LINE]}" for who, line in list(lines.items())[:MOST_RANKS]]
    if len(lines) > MOST_RANKS:
        words.append(f"... ({len(lines)} logs)")
    lines_of_ranks = f" [{'; '.join(words)}]" if words else ""
    return f"{row['error']}{lines_of_ranks}"


def conditions_table(study: Study) -> Table:
    """What the points told; where they differ, each value with how many had it."""
    rows, header = study.measured, study.header
    patches = ("training_patches", "validation_patches", "patch_size", "channels")
    training, validation, size, channels = (told(rows, name) for name in patches)
    hardware = told(rows, "hardware")
    table = [
        ("hardware", header["hardware"]["title"] if hardware == conditions.NOT_TOLD else hardware),
        ("study started", str(header["created"])),
        ("hosts", conditions.hosts_told(rows)),
        *([("nodes", told(rows, "nodes"))] if any(row.get("nodes") for row in rows) else []),
        ("device", told(rows, "device")),
        ("launcher", header["launcher"]),
        ("controller", told(rows, "controller")),
        ("binding", told(rows, "binding")),
        ("threads per rank", told(rows, conditions.threads)),
        ("environment", " ".join(f"{k}={v}" for k, v in header["environment"].items())),
        ("settings found", conditions.pairs_told(rows, "settings")),
        ("program", " ".join(header["program"])),
        ("precision", told(rows, "precision")),
        ("learning rate", told(rows, "learning_rate")),
        ("data", f"{told(rows, 'data_mode')}; page cache {conditions.page_cache(study)}"),
        ("energy", conditions.energy(study)),
        ("training patches", training),
        ("validation patches", validation),
        ("a patch", f"{size} pixels, {channels} channels"),
        ("steps measured", told(rows, "steps_measured")),
        ("steps of warm-up", f"{told(rows, 'warmup_steps')}; they are in no rate"),
        ("versions", conditions.pairs_told(rows, "versions")),
        ("commit", told(rows, "commit")),
        ("first seed, order of points", str(header["seed"])),
    ]
    return Table(
        "Conditions",
        f"As the {plural(len(rows), 'measured point')} of ranks told them. Where they differ, each "
        "value stands with how many points had it. Checked of every point before it counts: the "
        f"number of cores{_and_threads(study)} of each rank{_and_shared(study)}"
        f"{_and_hardware(rows)}. The rest is told, not checked.",
        ("", ""),
        tuple(table),
        "conditions",
    )


def _and_threads(study: Study) -> str:
    told_all = all(row.get("threads_per_rank") is not None for row in study.measured)
    return " and threads" if told_all else ""


def _and_shared(study: Study) -> str:
    shared = any(row.get("oversubscribed") for row in study.measured)
    return "" if shared else ", that no two ranks share one"


def _and_hardware(rows: list[Row]) -> str:
    kinds = {tuple(row.get("hardware") or ()) for row in rows}
    return ", that the hardware is the same" if len(kinds) == 1 and () not in kinds else ""
