"""What a label is worth where a network that never saw it says otherwise. Values alone, no files.

A label is taken for one observer of the true class y, whose errors depend on a group of pixels g,
and the network's p = P(y = 1 | x) for what is known without it. Then, by Bayes' rule,
logit q = logit p + log(eta[1, label] / eta[0, label]), with eta[a, b] = P(label = b | y = a, g).
This is Raykar et al., "Learning from crowds", JMLR 11:1297, 2010, for one observer: its two
equations for eta and q, once each, with p out of fold.

None of the constants was fitted. No p is believed beyond a logit of 6 (0.9975), and no label to be
wrong, or right, in fewer than 2 of 100 cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudmask.metrics import SOFT_STEPS, UNKNOWN

MOST_LOGIT = 6.0
"""p is cut to plus or minus this"""
LEAST_ETA, MOST_ETA = 0.02, 0.98
"""eta is cut to these"""

Strip = tuple[int, int]
"""first column of a scene and the one after the last"""


def group_names(strip: Strip | None) -> tuple[str, ...]:
    """Of the groups, in the order of their numbers."""
    measured = ("all channels", "some missing")
    if strip is None:
        return measured
    return tuple(f"{name}, {side}" for side in ("in the strip", "beside it") for name in measured)


def group_of(complete: np.ndarray, column: np.ndarray, strip: Strip | None) -> np.ndarray:
    """Number of each pixel's group: (n, S, S) bool, whether all channels are measured, as by day,
    and (n, S) its column in the scene -> (n, S, S) uint8."""
    group = (~complete).astype(np.uint8)
    if strip is not None:
        beside = (column < strip[0]) | (column >= strip[1])
        group += 2 * beside[:, None, :].astype(np.uint8)
    return group


def sums_of(
    probability: np.ndarray, label: np.ndarray, group: np.ndarray, groups: int
) -> np.ndarray:
    """Arrays of equal shape -> (G, 2, 2) float64 [g, a, b]: the sum of P(y = a) labelled b.

    Pixels labelled 255, or with a probability that is not finite, do not count. The others are cut
    here too: so eta is known of each group with a pixel, where the network is sure of all of them.
    """
    known = (label != UNKNOWN) & np.isfinite(probability)
    second = _cut(probability[known])
    place = 2 * group[known].astype(np.int64) + label[known]
    parts = [np.bincount(place, weight, 2 * groups) for weight in (1 - second, second)]
    return np.stack(parts, axis=-1).reshape(groups, 2, 2).transpose(0, 2, 1)


def _cut(probability: np.ndarray) -> np.ndarray:
    """As float64, within MOST_LOGIT."""
    limit = 1 / (1 + np.exp(-MOST_LOGIT))
    return np.clip(probability.astype(np.float64), 1 - limit, limit)


def eta_of(sums: np.ndarray) -> np.ndarray:
    """(G, 2, 2) sums over all pixels -> (G, 2, 2) P(label = b | y = a, g), cut; NaN for a group
    without any."""
    of_class = sums.sum(axis=2, keepdims=True)
    share = np.divide(sums, of_class, out=np.full_like(sums, np.nan), where=of_class > 0)
    return np.clip(share, LEAST_ETA, MOST_ETA)


@dataclass(frozen=True, eq=False)
class Refurbished:
    """New targets, and per group (G,) what became of its pixels."""

    soft: np.ndarray
    """uint8: 254 q, or 255 where it does not count"""
    labelled: np.ndarray
    """pixels with a label and a probability"""
    changed: np.ndarray
    """those of them that count as the other class"""
    left_out: np.ndarray
    """those of them that are too uncertain to count"""
    filled: np.ndarray
    """pixels without a label that count"""


def refurbish(
    probability: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    eta: np.ndarray,
    *,
    least_logit: float,
    fill: bool,
) -> Refurbished:
    """Arrays of equal shape -> q as soft targets.

    A pixel with |logit q| below `least_logit` does not count, nor does one without a finite
    probability, or with a label of a group whose eta is unknown.
    One without a label does with `fill`, and its q is p.
    """
    predicted = np.isfinite(probability)
    known = predicted & (label != UNKNOWN)
    second = _cut(np.where(predicted, probability, 0.5))
    logit = np.log(second) - np.log1p(-second)
    observed = np.log(eta[:, 1]) - np.log(eta[:, 0])
    vote = np.where(known, label, 0)
    logit += np.where(known, observed[group, vote], 0.0)
    counts = (known | (predicted & fill)) & (np.abs(logit) >= least_logit)
    steps = np.rint(SOFT_STEPS / (1 + np.exp(-logit)))
    soft = np.where(counts, steps, UNKNOWN).astype(np.uint8)

    def per_group(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(group[chosen], minlength=len(eta))

    return Refurbished(
        soft=soft,
        labelled=per_group(known),
        changed=per_group(known & counts & ((logit >= 0) != (vote == 1))),
        left_out=per_group(known & ~counts),
        filled=per_group(counts & ~known),
    )


def line_of(group: dict[str, Any], classes: Sequence[str]) -> str:
    """What became of a group of pixels, for people."""
    if not group["labelled"]:
        return f"{group['name']}: no labelled pixel"
    rows = [
        f"{name} labelled {' '.join(f'{share:.3f}' for share in row)}"
        for name, row in zip(classes, group["eta"] or (), strict=False)
    ]
    shares = [f"{group[what] / group['labelled']:.1%}" for what in ("changed", "left_out")]
    filled = f", {group['filled']} without a label filled" if group["filled"] else ""
    return (
        f"{group['name']}: eta {', '.join(rows) or 'unknown'}; of {group['labelled']} labelled "
        f"pixels {shares[0]} changed, {shares[1]} left out{filled}"
    )
