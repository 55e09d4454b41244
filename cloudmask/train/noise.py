"""The gradient noise scale: at which batch a larger one stops to save steps.

Rank i of n has m_i labelled pixels of M in a step, and the gradient g_i of its own pixels' mean
loss. What is applied is g = sum_i w_i g_i with w_i = m_i / M. From two scalars,

    L = sum_i w_i |g_i|^2    of the gradients before they are summed,    T = |g|^2    after,

follow G2 = (n T - L) / (n - 1), the squared length of the true gradient, and
S = B (L - T) / (n - 1), the trace of the gradient's covariance over patches, where B is the global
batch. Their ratio is the noise scale S / G2 in patches (McCandlish et al., arXiv 1812.06162,
appendix A, where all w_i are equal and B = b n).

Both stay unbiased for unequal w_i as long as labelled pixels are alike, so that the covariance of
g_i is C / m_i: then E L = G2 + sum_i w_i tr C / m_i = G2 + n tr C / M, and E T = G2 + tr C / M.
That is why L is weighted, and why the last step of an epoch, a small one, counts like others.
If instead a patch is as noisy with few labelled pixels as with many, G2 comes out too high by
c^2 / (n - 1) S / b, where c is the relative spread of the m_i: by a hundredth of S / b for a tenth.

One rank alone takes two successive steps for two ranks (AdaptDL, of Pollux, OSDI 2021). The weights
have moved in between, so that is biased.

Each estimate by itself is wild, and a ratio of them worse. So both are added up over steps and
divided once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

CONFIDENCE = 0.95
LEAST_STEPS = 30
"""that an interval is told for: with fewer, a quantile of the normal distribution is too small"""

Sums = Sequence[float]
"""over steps: their number, how many were of one rank, S, G2, S S, S G2, G2 G2; empty: of none"""


def of_step(local: float, mean: float, sharing: float, patches: int) -> tuple[float, float] | None:
    """S, in patches, and G2 of one step: from L, T, and the ranks that had labelled pixels in it.

    `patches` are those of the global batch, of two steps where these stand for ranks. None where
    fewer than two shared, or a number is not finite (float16 overflows now and then).
    """
    if sharing < 2 or not (math.isfinite(local) and math.isfinite(mean)):
        return None
    others = sharing - 1
    return patches * (local - mean) / others, (sharing * mean - local) / others


def add(sums: Sums, s: float, g2: float, *, biased: bool) -> list[float]:
    """The sums with one more step."""
    return together(sums, (1, biased, s, g2, s * s, s * g2, g2 * g2))


def together(sums: Sums, others: Sums) -> list[float]:
    """The sums over the steps of both."""
    both = [list(each) for each in (sums, others) if each]
    return [float(value) for value in np.sum(both, axis=0)] if both else []


def estimate(sums: Sums) -> dict[str, Any] | None:
    """The noise scale over these steps, for records; of S and G2, their means. None of no step.

    `b_noise` is None where G2 comes out below zero: nothing can be said but that it is large.
    `low` and `high` are those of `interval`.
    """
    if not sums:
        return None
    steps, of_one_rank, s, g2, *_ = sums
    low, high = interval(sums)
    return {
        "b_noise": max(s, 0.0) / g2 if g2 > 0 else None,
        "low": low,
        "high": high,
        "s": s / steps,
        "g2": g2 / steps,
        "steps": int(steps),
        "biased": of_one_rank > 0,
    }


def line(estimate: dict[str, Any]) -> str:
    """What an estimate says to people."""
    scale, low, high = (estimate[name] for name in ("b_noise", "low", "high"))
    if scale is None:
        return "critical batch by the gradient noise scale: lost in noise; train for more steps"
    ends = (
        f" [{low:.0f}, {'no bound' if high is None else f'{high:.0f}'}]" if low is not None else ""
    )
    biased = ", biased: of successive steps of one rank" if estimate["biased"] else ""
    return f"critical batch by the gradient noise scale: {scale:.0f}{ends} patches{biased}"


def interval(sums: Sums) -> tuple[float | None, float | None]:
    """A 95 % interval of S / G2 by Fieller's theorem (J. R. Stat. Soc. B 16, 1954), each None where
    there is no such bound: above where G2 may as well be zero; and at both ends where the steps are
    fewer than 30, or of one rank, so that they are neither independent nor unbiased.

    The steps of ranks are independent but for the gradient, which moves: that widens the interval.
    """
    steps, of_one_rank, *rest = sums
    if steps < LEAST_STEPS or of_one_rank:
        return None, None
    s, g2, ss, sg, gg = (value / steps for value in rest)
    z2 = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2 / (steps - 1)
    # S / G2 = r is held where a r^2 - 2 b r + c <= 0.
    a, b, c = g2**2 - z2 * (gg - g2**2), s * g2 - z2 * (sg - s * g2), s**2 - z2 * (ss - s**2)
    root = math.sqrt(max(0.0, b * b - a * c))
    if a > 0:
        return max(0.0, (b - root) / a), max(0.0, (b + root) / a)
    return ((b - root) / a if a < 0 < c else None), None


def of_history(history: Sequence[dict[str, Any]]) -> list[tuple[int, list[float]]]:
    """Each epoch with steps that were measured, and its sums."""
    found = [(record["epoch"], record.get("noise_scale")) for record in history]
    return [(epoch, one["sums"]) for epoch, one in found if one]


def curve(history: Sequence[dict[str, Any]]) -> list[list[float | None]]:
    """[epoch, b_noise, low, high] up to and with that epoch, since the one before in the curve.

    Short epochs are put together until they have 30 steps, the last ones with those before them.
    """
    windows: list[tuple[int, list[float]]] = []
    for epoch, sums in of_history(history):
        if windows and windows[-1][1][0] < LEAST_STEPS:
            sums = together(windows.pop()[1], sums)
        windows.append((epoch, sums))
    if len(windows) > 1 and windows[-1][1][0] < LEAST_STEPS:
        (_, before), (epoch, sums) = windows.pop(-2), windows.pop()
        windows.append((epoch, together(before, sums)))
    told = [(epoch, estimate(sums) or {}) for epoch, sums in windows]
    return [[epoch, one["b_noise"], one["low"], one["high"]] for epoch, one in told]
