"""Logistic regression by Newton's method, over pixels that lie on many ranks.

The objective is the mean log loss of the pixels, and RIDGE / 2 times the squared distance of the
weights, the constant's too, from those that change nothing. So the ridge weighs as much for any
number of pixels: neighbours say nearly the same, and a million of one scene are no million
witnesses. And where nothing can be gained the network's probability stays what it is. A constant
that is free learns how cloudy the few scenes are, and harms all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RIDGE = 0.03
STEPS = 15
_CHUNK = 2**16
"""pixels of which features are widened to float64 at once"""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Those of one kind of one scene."""

    features: np.ndarray
    """(F, n) float32; the constant is not among them"""
    label: np.ndarray
    """(n,) bool: of the second class"""


def sums(pixels: Pixels, weights: np.ndarray) -> np.ndarray:
    """(1 + d + d * d,) float64, d = F + 1: log loss, gradient and Hessian, summed over pixels."""
    size = len(weights)
    total = np.zeros(1 + size + size * size)
    for first in range(0, len(pixels.label), _CHUNK):
        label = pixels.label[first : first + _CHUNK]
        rows = np.ones((size, len(label)))
        rows[:-1] = pixels.features[:, first : first + _CHUNK]
        odds = weights @ rows
        p = np.exp(-np.logaddexp(0, -odds))
        loss = np.logaddexp(0, np.where(label, -odds, odds)).sum()
        hessian = (rows * (p * (1 - p))) @ rows.T
        total += np.concatenate([[loss], rows @ (p - label), hessian.ravel()])
    return total


def newton(
    total: Callable[[np.ndarray], np.ndarray], count: int, towards: np.ndarray
) -> np.ndarray:
    """The best weights of STEPS steps from zero; `towards` is what the ridge draws to.

    From zero, where every pixel counts alike, and not from `towards`: where a network is sure and
    wrong the first step would be far too long. A step that makes it worse is halved.
    `total` gives `sums` over all `count` pixels, and is called as often whatever comes of it: it
    may be collective.
    """
    size = len(towards)
    weights = best = step = np.zeros(size)
    least = np.inf
    for _ in range(STEPS + 1):
        found = total(weights) / count
        away = weights - towards
        loss = found[0] + RIDGE * away @ away / 2
        if loss <= least:
            best, least = weights, loss
            gradient = found[1 : 1 + size] + RIDGE * away
            hessian = found[1 + size :].reshape(size, size) + RIDGE * np.eye(size)
            step = -np.linalg.solve(hessian, gradient)
        else:
            step = step / 2
        weights = best + step
    return best


def right(pixels: Pixels, weights: np.ndarray) -> int:
    """Pixels whose class is that of the label, the second one from a probability of .5 on."""
    odds = np.full(len(pixels.label), weights[-1])
    for weight, row in zip(weights, pixels.features, strict=False):
        odds += weight * row
    return int(np.count_nonzero((odds >= 0) == pixels.label))
