"""Unconnected copies of a program as one point: what they reach while all of them train."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudmask.ledger import events
from scaling.record.summaries import PER_RANK


@dataclasses.dataclass(frozen=True)
class Step:
    """When a copy made it, in seconds since 1970, and its patches."""

    began: float
    ended: float
    patches: float


def together(parts: Sequence[dict[str, Any]], outs: Sequence[Path]) -> dict[str, Any]:
    """The measures of copies as one row: `parts` as `summaries.measures` gives them, with the
    folder of each. Patches add up, times are those of the slowest; see `common_rate` for the rate.
    """
    row = dict(parts[0])
    pairs = zip(outs, parts, strict=True)
    rate, share = common_rate([steady_steps(out, part["warmup_steps"]) for out, part in pairs])
    row["patches_per_second"] = rate or _sum([part["patches_per_second"] for part in parts])
    row["patches_trained"] = _sum([part["patches_trained"] for part in parts])
    row["common_share"] = share
    for name in ("startup", "staging", "total", "validation", "checkpoints"):
        times = [part[f"{name}_seconds"] for part in parts]
        row[f"{name}_seconds"] = max((time for time in times if time is not None), default=None)
    for name in PER_RANK:
        values = [part[name] for part in parts]
        row[name] = statistics.fmean(values) if None not in values else None
    for name in ("median", "p05", "p95"):
        row[f"patches_per_second_{name}"] = None
    row["per_rank"] = None
    return row


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def steady_steps(out: Path, warmup: int | None) -> list[Step]:
    """The steps of a run after its warm-up; none of a program that does not tell of each."""
    try:
        told = [event for event in events.read(out / "events.jsonl") if event["event"] == "step"]
        return [
            Step(step["at"] - step["seconds"], step["at"], step["patches"])
            for step in told[warmup or 0 :]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def common_rate(copies: Sequence[Sequence[Step]]) -> tuple[float | None, float | None]:
    """Patches per second of all copies, and the least share of a copy's steps that it rests on.

    Nothing makes copies begin and end together, and one that trains alone is faster. So only the
    time counts from the last copy's first step to the first copy's last one: the rate of each is
    its patches over its seconds in there, a step that lies there in part counting for that part.
    No rate where there is no such time, or a copy does not tell of its steps (then no share).
    """
    if not all(copies):
        return None, None
    begin = max(steps[0].began for steps in copies)
    end = min(steps[-1].ended for steps in copies)
    rate, share = 0.0, 1.0
    for steps in copies:
        inside = patches = 0.0
        for step in steps:
            seconds = max(0.0, min(step.ended, end) - max(step.began, begin))
            inside += seconds
            patches += step.patches * seconds / (step.ended - step.began) if seconds else 0.0
        if not inside:
            return None, 0.0
        rate += patches / inside
        share = min(share, inside / sum(step.ended - step.began for step in steps))
    return rate, share
