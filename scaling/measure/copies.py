"""Unconnected copies of a program as one point: what they reach while all of them compute."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudmask.ledger import events
from cloudmask.text import is_number
from scaling.record.summaries import LEAST_SHARE, PER_RANK

Span = tuple[float, float]
"""begin and end, seconds since 1970"""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """When a copy made it, in seconds since 1970, and its patches."""

    began: float
    ended: float
    patches: float


def together(parts: Sequence[dict[str, Any]], outs: Sequence[Path]) -> dict[str, Any]:
    """The measures of copies as one row: `parts` as `summaries.measures` gives them, with the
    folder of each. Patches add up, times are those of the slowest; the rate is `common_rate`, or
    the sum of all rates where there is none.
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
    """The steps of a run after its warm-up; none where one of them cannot be understood."""
    try:
        told = (event for event in events.read(out / "events.jsonl") if event["event"] == "step")
        return [_step(event) for event in itertools.islice(told, warmup or 0, None)]
    except (OSError, ValueError, KeyError, OverflowError):
        return []


def _step(event: events.Event) -> Step:
    """ValueError or KeyError for what is none."""
    seconds, patches = event["seconds"], event["patches"]
    for value in (seconds, patches):
        if not is_number(value) or value <= 0:
            raise ValueError("no step")
    return Step(event["at"] - seconds, event["at"], patches)


def common_rate(copies: Sequence[Sequence[Step]]) -> tuple[float | None, float | None]:
    """Patches per second of all copies, and the least share of a copy's steps that it rests on.

    Nothing makes copies begin, pause and end together, and one that computes alone is faster. So
    only the time counts in which all of them are in a step: patches in it over its seconds, a step
    that lies there in part counting for that part. No rate where that is less than LEAST_SHARE of a
    copy's steps, and no share either where a copy does not tell of its steps.
    """
    if not all(copies):
        return None, None
    common = functools.reduce(_both, ([(s.began, s.ended) for s in steps] for steps in copies))
    seconds = sum(end - begin for begin, end in common)
    share = min(seconds / sum(step.ended - step.began for step in steps) for steps in copies)
    if share < LEAST_SHARE:
        return None, share
    return sum(_patches(steps, common) for steps in copies) / seconds, min(share, 1.0)


def _both(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """The time that lies in spans of both; those of each follow one another."""
    found, left, right = [], 0, 0
    while left < len(one) and right < len(other):
        begin = max(one[left][0], other[right][0])
        end = min(one[left][1], other[right][1])
        if begin < end:
            found.append((begin, end))
        if one[left][1] < other[right][1]:
            left += 1
        else:
            right += 1
    return found


def _patches(steps: Sequence[Step], spans: Sequence[Span]) -> float:
    """Patches of the steps, each for the part of it that lies in the spans."""
    total, first = 0.0, 0
    for step in steps:
        while first < len(spans) and spans[first][1] <= step.began:
            first += 1
        inside, here = 0.0, first
        while here < len(spans) and spans[here][0] < step.ended:
            begin, end = spans[here]
            inside += min(end, step.ended) - max(begin, step.began)
            here += 1
        total += step.patches * inside / (step.ended - step.began)
    return total
