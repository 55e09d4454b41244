"""What the figures of a study were measured under, and how many points had each value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cloudmask.text import listed, plural
from scaling.record.store import Row, Study

DISTURBED = 0.1
"""share of the ranks' own cores, on the worst host, from which other programs are told"""
NOT_TOLD = "not told"
MOST_VALUES = 6
"""that are named of one condition; the others are counted"""


def told(rows: Sequence[Row], take: str | Callable[[Row], Any]) -> str:
    """A condition as the points told it: 'mpi (24 of 30), gloo (6)', or 'mpi' where all agree."""
    take = take if callable(take) else _taker(take)
    return counted(as_text(take(row)) for row in rows)


def counted(values: Iterable[str]) -> str:
    """Each value with how many had it, the commonest first; one that all had without a count."""
    found = Counter(values).most_common()
    if len(found) < 2:
        return found[0][0] if found else NOT_TOLD
    total = sum(count for _, count in found)
    words = [f"{value} ({count})" for value, count in found[:MOST_VALUES]]
    words[0] = f"{found[0][0]} ({found[0][1]} of {total})"
    rest = found[MOST_VALUES:]
    words += [f"{len(rest)} others ({sum(count for _, count in rest)})"] if rest else []
    return ", ".join(words)


def as_text(value: Any) -> str:
    """A value of a row for people; a list by its parts."""
    if value is None or value == "" or value == []:
        return NOT_TOLD
    if isinstance(value, list):
        return ", ".join(NOT_TOLD if one is None else str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _taker(name: str) -> Callable[[Row], Any]:
    return lambda row: row.get(name)


def each_told(rows: Sequence[Row], name: str) -> list[tuple[str, str]]:
    """Of an object of settings or versions: each key, and its values as the points told them."""
    keys = dict.fromkeys(key for row in rows for key in row.get(name) or {})

    def value_of(key: str) -> Callable[[Row], Any]:
        return lambda row: (row.get(name) or {}).get(key)

    return [(key, told(rows, value_of(key))) for key in keys]


def pairs_told(rows: Sequence[Row], name: str) -> str:
    """The same in one line: 'A=1; B=2 (24 of 30), 3 (6)'."""
    return "; ".join(f"{key}={values}" for key, values in each_told(rows, name)) or NOT_TOLD


def hosts_told(rows: Sequence[Row]) -> str:
    """Names of all hosts, the middle ones left out where there are many."""
    names = sorted({str(name) for row in rows for name in row.get("hosts") or [] if name})
    if len(names) <= MOST_VALUES:
        return listed(names) or NOT_TOLD
    return f"{names[0]}, {names[1]} ... {names[-1]} ({plural(len(names), 'host')})"


def days(rows: Sequence[Row]) -> str:
    """The day that points ended on, or the first and the last."""
    found = sorted({str(row["ended"])[:10] for row in rows})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def program_name(study: Study) -> str:
    """train_hvd.py: the script of the study's program, else its first word."""
    words = study.header.get("program") or ["unknown program"]
    return Path(next((word for word in words if word.endswith(".py")), words[0])).name


def sentence(study: Study) -> str:
    """What every figure of a study was measured under."""
    rows, header = study.measured, study.header
    ranks = sorted({row["ranks"] for row in rows})
    repeats = sorted({len(found) for mode in study.modes for found in study.points(mode).values()})
    batches = {"strong": "global batch", "weak": "batch per rank"}
    batch = {mode: header.get(batches[mode].replace(" ", "_")) for mode in study.modes}
    parts = [
        program_name(study),
        _hardware(study),
        f"{listed(ranks)} ranks",
        *([f"nodes: {told(rows, 'nodes')}"] if any(row.get("nodes") for row in rows) else []),
        told(rows, "binding"),
        f"threads per rank: {told(rows, threads)}",
        f"launcher {header['launcher']}, controller {told(rows, 'controller')}",
        f"precision {told(rows, 'precision')}",
        f"patches of {told(rows, 'patch_size')} pixels and {told(rows, 'channels')} channels",
        *(f"{mode} scaling: {batches[mode]} {size}" for mode, size in batch.items() if size),
        f"data {told(rows, 'data_mode')}, page cache {page_cache(study)}",
        f"{listed(repeats)} repeats",
        f"commit {told(rows, lambda row: str(row.get('commit') or NOT_TOLD)[:12])}",
        days(rows),
    ]
    if any(row.get("oversubscribed") for row in rows):
        parts.insert(3, "OVERSUBSCRIBED")
    if study.emulated:
        parts.insert(1, study.emulated.upper())
    if disturbed := other_cores(study):
        parts.append(f"DISTURBED by other programs, on up to {max(disturbed):.1f} cores")
    return "; ".join(parts)


def page_cache(study: Study) -> str:
    """What became of it on the hosts of the points, which may have refused what was wished."""
    found = told(study.measured, "page_cache")
    return study.header["page_cache"] if found == NOT_TOLD else found


def threads(row: Row) -> Any:
    return row.get("threads_per_rank") or row.get("cores_per_rank")


def _hardware(study: Study) -> str:
    found = told(study.measured, "hardware")
    return study.header["hardware"]["title"] if found == NOT_TOLD else found


def energy(study: Study) -> str:
    """Which counters the energy comes from, or why there is none."""
    found = [row["energy"] for row in study.measured if row.get("energy")]
    measured = [one for one in found if one["joules"] is not None]
    problems = {text for one in found for text in one.get("problems") or ()}
    reasons = sorted({text.rpartition(": ")[2] for text in problems})
    refused = sorted({name for one in found for name in one.get("refused") or ()})
    if not measured:
        why = listed(reasons, most=3) or "no counter readable"
        text = f"not measured ({why})"
    else:
        sources = sorted({name for one in measured for name in one.get("source") or ()})
        text = f"{listed(sources)}, {len(measured)} of {len(study.measured)} points"
    return text + (f"; {listed(refused)} is for root alone here" if refused else "")


def other_cores(study: Study) -> list[float]:
    """Cores that other programs took, of each point in which they were worth a warning."""
    return [row["other_cores"] for row in study.latest if _other_share(row) > DISTURBED]


def _other_share(row: Row) -> float:
    """On the worst host; older rows know one host alone, and all of its cores."""
    if row.get("other_share") is not None:
        return row["other_share"]
    return (row.get("other_cores") or 0) / ((row.get("cores_per_rank") or 1) * row["ranks"])
