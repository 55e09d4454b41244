"""The laws of scaling, and what of them is physical.

Every law is a function of the number of ranks (and of bytes, for the allreduce). Its parameters
have limits: a law with a negative coherency has a pole, beyond which rates are below zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST = 1e-300
"""of a figure whose logarithm is taken"""

ENDLESS = 230.0
"""logarithm of what is taken for infinite"""

Array = np.ndarray[Any, np.dtype[np.float64]]


class FitError(ValueError):
    """Too few points for a law, or points that do not determine it; the message says which."""


POSITIVE = None
SHARE = (0.0, 1.0)
NOT_NEGATIVE = (0.0, math.inf)


@dataclass(frozen=True)
class Law:
    """A formula, its parameters and where it comes from."""

    name: str
    formula: str
    source: str
    function: Callable[..., Array]
    guess: Callable[..., tuple[float, ...]]
    """parameters to begin a fit with, from its columns; FitError for those that tell nothing"""
    parameters: tuple[str, ...]
    units: tuple[str, ...]
    limits: tuple[tuple[float, float] | None, ...]
    """what is physical; POSITIVE ones may span decades, so their logarithms are fitted"""
    told_by_ranks: int
    """parameters, the first ones but for their order, that only different rank counts determine"""

    @property
    def positive(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(parameters,)"""
        return np.array([limit is POSITIVE for limit in self.limits])

    @property
    def bounds(self) -> Array:
        """(2, parameters), of the logarithm where that is fitted"""
        return np.array([limit or (-ENDLESS, ENDLESS) for limit in self.limits]).T

    def at(self, free: Array, *x: Any) -> Array:
        """(..., parameters) as fitted, points (n,) -> (..., n)"""
        natural = self.natural(free)
        each = (natural[..., place, None] for place in range(natural.shape[-1]))
        return self.function(*(np.asarray(one, np.float64) for one in x), *each)

    def natural(self, free: Array) -> Array:
        """Parameters as fitted -> as the formula has them."""
        positive = np.where(free < ENDLESS, np.exp(np.clip(free, -ENDLESS, ENDLESS)), np.inf)
        return np.where(self.positive, positive, free)


def amdahl(ranks: Array, one_rank_seconds: Array, serial: Array) -> Array:
    """Seconds for a fixed piece of work on `ranks` ranks."""
    return one_rank_seconds * (serial + (1 - serial) / ranks)


def gustafson(ranks: Array, one_rank_rate: Array, serial: Array) -> Array:
    """Work per second when the work grows with the ranks."""
    return one_rank_rate * (serial + (1 - serial) * ranks)


def usl(ranks: Array, one_rank_rate: Array, contention: Array, coherency: Array) -> Array:
    """Work per second with a queue (contention) and pairwise agreement (coherency)."""
    return one_rank_rate * ranks / (1 + contention * (ranks - 1) + coherency * ranks * (ranks - 1))


def allreduce(
    ranks: Array, num_bytes: Array, constant: Array, latency: Array, bandwidth: Array
) -> Array:
    """Seconds to sum `num_bytes` over `ranks` ranks in a ring, once all of them take part.

    The constant is what does not grow with the ring: waiting for the cycle in which ranks agree on
    what they sum, and the call itself.
    """
    hops = 2 * (ranks - 1)
    return constant + hops * latency + hops / ranks * num_bytes / bandwidth


def _guess_allreduce(ranks: Array, num_bytes: Array, seconds: Array) -> tuple[float, ...]:
    if any(ranks < 2):
        raise FitError("one rank has nothing to reduce; measure the allreduce from 2 ranks on")
    if len(set(num_bytes)) < 2:
        raise FitError("allreduce: one message size cannot tell latency from bandwidth; use two")
    constant = float(np.min(seconds)) / 2
    latency = float(np.min(seconds / (2 * (ranks - 1)))) / 2
    bandwidth = float(np.max(2 * (ranks - 1) / ranks * num_bytes / seconds))
    return constant, latency, bandwidth


AMDAHL = Law(
    "Amdahl",
    "T(N) = T1 (s + (1 - s) / N)",
    "G. M. Amdahl, AFIPS 1967",
    amdahl,
    lambda ranks, seconds: (float(np.max(seconds, initial=LEAST)), 0.1),
    ("one_rank_seconds", "serial"),
    ("s", ""),
    (POSITIVE, SHARE),
    told_by_ranks=2,
)
GUSTAFSON = Law(
    "Gustafson",
    "X(N) = X1 (s + (1 - s) N)",
    "J. L. Gustafson, CACM 31 (1988) 532",
    gustafson,
    lambda ranks, rates: (float(np.min(rates, initial=np.inf)), 0.1),
    ("one_rank_rate", "serial"),
    ("1/s", ""),
    (POSITIVE, SHARE),
    told_by_ranks=2,
)
USL = Law(
    "USL",
    "X(N) = g N / (1 + a (N - 1) + b N (N - 1))",
    "N. J. Gunther, Guerrilla Capacity Planning, 2007",
    usl,
    lambda ranks, rates: (float(np.max(rates / ranks, initial=LEAST)), 0.05, 0.001),
    ("one_rank_rate", "contention", "coherency"),
    ("1/s", "", ""),
    (POSITIVE, NOT_NEGATIVE, NOT_NEGATIVE),
    told_by_ranks=3,
)
ALLREDUCE = Law(
    "allreduce",
    "T(N, m) = c + 2 (N - 1) l + 2 (N - 1) / N m / B",
    "ring allreduce: R. Rabenseifner, ICCS 2004; P. Patarasuk & X. Yuan, JPDC 69 (2009) 117; the "
    "constant is ours",
    allreduce,
    _guess_allreduce,
    ("constant", "latency", "bandwidth"),
    ("s", "s", "B/s"),
    (NOT_NEGATIVE, NOT_NEGATIVE, POSITIVE),
    told_by_ranks=2,
)
