"""What study.json and a row of results.jsonl may hold: whoever reads a study can rely on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

_TEXTS = {
    *("point", "mode", "kind", "status", "error", "ended", "folder", "launcher", "binding"),
    *("dataset", "page_cache", "precision", "data_mode", "commit", "date", "device", "controller"),
    "other_host",
}
_ALWAYS = ("point", "mode", "kind", "status", "ranks", "repeat")
_MEASURED = (
    *("patches_per_second", "total_seconds", "rank_hours", "wall_seconds", "ended"),
    *("cores", "hardware", "target"),
)
"""of a run of the program that came to its end; some may be null"""
_POSITIVE = ("patches_per_second", "total_seconds", "wall_seconds", "global_batch")
"""of the same: what ratios divide by and laws take the logarithm of"""


def check_header(header: dict[str, Any]) -> None:
    """ValueError, in a few words, for what `scaling run` does not write."""
    for name, fits in _HEADER.items():
        if not fits(header.get(name)):
            raise ValueError(f"holds something else than a study's '{name}'")


def check_row(row: Any) -> None:
    """ValueError, in a few words, for what `scaling run` does not write."""
    if not isinstance(row, dict):
        raise ValueError("is no object")
    for name, value in row.items():
        if value is None and name not in _ALWAYS:
            continue
        if not (_KINDS.get(name) or (_is_text if name in _TEXTS else _is_number))(value):
            raise ValueError(f"holds something else than a study's '{name}'")
    measured = row.get("status") == "ok" and row.get("kind") != "allreduce"
    for name in (*_ALWAYS, *(_MEASURED if measured else ())):
        if name not in row:
            raise ValueError(f"has no '{name}'")
    for name in _POSITIVE if measured else ():
        if not row.get(name):
            raise ValueError(f"has no '{name}'")
        if row[name] < 0:
            raise ValueError(f"holds something else than a study's '{name}'")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e18 and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**31


def _list_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(kind, value))


def _dict_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(kind, value.values()))


def _or_none(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or kind(value)


def _is_timing(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(_is_number(value.get(name)) for name in ("bytes", "seconds"))
        and min(value["bytes"], value["seconds"]) > 0
    )


def _is_target(value: Any) -> bool:
    names = ("epoch", "seconds")
    return isinstance(value, dict) and all(_is_number(value.get(name)) for name in names)


def _is_noise_scale(value: Any) -> bool:
    """Of summary.json; its curve has [epoch, scale, low, high], scales null where they are lost."""
    if not isinstance(value, dict) or not isinstance(value.get("biased"), bool):
        return False
    numbers = all(_is_number(value.get(name)) for name in ("s", "g2", "steps", "ranks"))
    points = _list_of(_list_of(_or_none(_is_number)))
    return numbers and _or_none(_is_number)(value.get("b_noise")) and points(value.get("curve"))


def _is_energy(value: Any) -> bool:
    numbers = ("joules", "idle_watts", "slurm_joules", "seconds", "samples", "hosts")
    return (
        isinstance(value, dict)
        and "joules" in value
        and all(_or_none(_is_number)(value.get(name)) for name in numbers)
        and _dict_of(_is_number)(value.get("by", {}))
        and all(_list_of(_is_text)(value.get(n, [])) for n in ("covered", "problems", "refused"))
    )


_KINDS: dict[str, Callable[[Any], bool]] = {
    "ranks": _is_count,
    "repeat": _is_count,
    "attempt": _is_count,
    "cores": _list_of(_or_none(_list_of(_is_number))),
    "hardware": _list_of(_is_text),
    "hosts": _list_of(_or_none(_is_text)),
    "last_lines": _dict_of(_is_text),
    "allreduce": _list_of(_is_timing),
    "gradient_messages": _list_of(_is_number),
    "energy": _is_energy,
    "ledger": _dict_of(_is_number),
    "per_rank": _dict_of(_list_of(_is_number)),
    "target": _is_target,
    "nodes": _is_count,
    "usage": _dict_of(_dict_of(_is_number)),
    "noise_scale": _is_noise_scale,
    "versions": _dict_of(_or_none(_is_text)),
    "settings": _dict_of(_is_text),
    "environment": _dict_of(_is_text),
}


def _is_plan(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _list_of(_is_count)(value.get("ranks"))
        and _list_of(_is_text)(value.get("modes"))
        and _is_count(value.get("repeats"))
    )


_HEADER: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("created", "launcher", "dataset", "page_cache"), _is_text),
    **dict.fromkeys(("cores_per_rank", "gpus_per_rank", "seed"), _is_number),
    "program": _list_of(_is_text),
    "environment": _dict_of(_is_text),
    "hardware": lambda value: isinstance(value, dict) and _is_text(value.get("title")),
    "alone": _or_none(_list_of(_is_text)),
    "plan": _or_none(_is_plan),
}
