"""Logistic regression by Newton's method, over pixels that lie on many ranks.

The objective is the mean log loss of the pixels, and RIDGE / (2 * PIXELS) times the squared
distance of the weights from those that change nothing; the constant is free. So the ridge weighs
as much as one of .1 on a sum over a thousand pixels, however many there are: neighbours say nearly
the same, and a million of them are no million witnesses. Where nothing can be gained the network's
probability stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RIDGE, PIXELS = 0.1, 1000
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


def newton(total: Callable[[np.ndarray], np.ndarray], count: int, start: np.ndarray) -> np.ndarray:
    """The best weights of STEPS steps from `start`, which is also what the ridge draws to.

    `total` gives `sums` over all `count` pixels, and is called as often whatever comes of it: it
    may be collective. A step that makes it worse is halved instead.
    """
    size = len(start)
    ridge = np.full(size, RIDGE / PIXELS)
    ridge[-1] = 0
    best, least, step = start, np.inf, np.zeros(size)
    weights = start
    for _ in range(STEPS + 1):
        found = total(weights) / count
        away = weights - start
        loss = found[0] + ridge @ away**2 / 2
        if loss <= least:
            best, least = weights, loss
            gradient = found[1 : 1 + size] + ridge * away
            hessian = found[1 + size :].reshape(size, size) + np.diag(ridge)
            # Where all pixels are as sure the constant's own entry is all but zero.
            step = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
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
