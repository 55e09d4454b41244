"""What runs cost: rank-, core-, GPU- and node-hours from launch to end, and money at a stated rate.

Nothing here knows a price: without a rate that the user states there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cloudmask.cli.errors import UsageError
from cloudmask.text import significant
from scaling.record.store import Row, Study


@dataclass(frozen=True)
class Rate:
    """Money for an hour of a whole node, or of one GPU; one of both is None."""

    per_node_hour: float | None
    per_gpu_hour: float | None
    currency: str

    def price(self, hours: Hours) -> float | None:
        """In `currency`; None where the nodes are not known."""
        if self.per_gpu_hour is not None:
            return self.per_gpu_hour * hours.gpu
        if self.per_node_hour is not None and hours.node is not None:
            return self.per_node_hour * hours.node
        return None

    def __str__(self) -> str:
        if self.per_gpu_hour is not None:
            return f"{self.per_gpu_hour:g} {self.currency} per GPU-hour"
        return f"{self.per_node_hour:g} {self.currency} per node-hour"


@dataclass(frozen=True)
class Hours:
    """What was held, of one run or of many together."""

    rank: float
    core: float
    gpu: float
    node: float | None
    """None where a run does not tell how many nodes it was on"""

    def words(self, rate: Rate | None) -> str:
        """0.13 rank-hours, 0.26 core-hours, ... and the price if there is a rate."""
        parts = [f"{significant(self.rank)} rank-hours", f"{significant(self.core)} core-hours"]
        parts += [f"{significant(self.gpu)} GPU-hours"] if self.gpu else []
        parts += [f"{significant(self.node)} node-hours"] if self.node is not None else []
        if rate:
            price = rate.price(self)
            known = f"{significant(price)} {rate.currency}" if price is not None else "no price"
            parts.append(f"{known} at {rate}{'' if price is not None else ', of unknown nodes'}")
        return ", ".join(parts)


def rate(per_node_hour: float | None, per_gpu_hour: float | None, currency: str) -> Rate | None:
    """As stated by options; None if none is. Raises UsageError."""
    given = [value for value in (per_node_hour, per_gpu_hour) if value is not None]
    if len(given) > 1:
        raise UsageError("--price-per-node-hour and --price-per-gpu-hour: state one of them")
    if not given:
        if currency:
            raise UsageError(f"--currency {currency}: state --price-per-node-hour too, or per GPU")
        return None
    if not (math.isfinite(given[0]) and given[0] >= 0):
        raise UsageError(f"a price of {given[0]} per hour must be 0 or more")
    if not currency:
        raise UsageError("a price needs its --currency, as in --currency EUR")
    return Rate(per_node_hour, per_gpu_hour, currency)


def hours(row: Row, study: Study) -> Hours:
    """Of one row, good or failed: everything is held from the launch to the end, and was before a
    resume, as far as that is known. A row that does not tell its nodes was on as many as all others
    of the study on as many ranks, where these agree."""
    last = row.get("wall_seconds") or row.get("total_seconds") or 0.0
    held = (last + (row.get("before_resume_seconds") or 0.0)) / 3600
    ranks, nodes = row["ranks"], _nodes(row)
    if nodes is None:
        others = {_nodes(one) for one in study.rows if one["ranks"] == ranks} - {None}
        nodes = others.pop() if len(others) == 1 else None
    return Hours(
        ranks * held,
        ranks * (row.get("cores_per_rank") or 1) * held,
        ranks * (study.header.get("gpus_per_rank") or 0) * held,
        nodes * held if nodes else None,
    )


def _nodes(row: Row) -> int | None:
    return row.get("nodes") or len(set(row.get("hosts") or ())) or None


def together(parts: Sequence[Hours]) -> Hours:
    """Sums; the node-hours only where every part has them."""
    nodes = [part.node for part in parts if part.node is not None]
    return Hours(
        math.fsum(part.rank for part in parts),
        math.fsum(part.core for part in parts),
        math.fsum(part.gpu for part in parts),
        math.fsum(nodes) if len(nodes) == len(parts) else None,
    )
