"""The parameters that points leave possible, within what is physical.

A profile likelihood interval of a figure holds every value that some possible law gives it, where a
law is possible if its sum of squares exceeds the least one by no more than Student's t squared
times the variance (Bates & Watts, Nonlinear Regression Analysis, 6.1; with a parameter on its
bound such an interval holds the truth at least as often: Self & Liang, JASA 82 (1987) 605). So one
set of laws, on the surface of what is possible, gives every interval as the range of the figure
over it: no figure leaves what is physical, since no law of the set does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from scaling.laws.laws import ENDLESS

Array = np.ndarray[Any, np.dtype[np.float64]]
DIRECTIONS = 8
"""a power of two of them is searched"""
DOUBLINGS, HALVINGS = 12, 16


def surface(
    excess: Callable[[Array], Array], best: Array, curvature: Array, bounds: Array, reach: float
) -> Array:
    """(M, p): the best parameters, and laws as far from it as is possible, in all directions.

    `excess`: (M, p) -> (M,) sums of squares above the least one; `curvature`: (p, p), that of half
    of it at the best; `bounds`: (2, p). A way that meets a bound goes on along it. Extremes of
    figures that grow or fall with each parameter lie on the surface.
    """
    if reach <= 0:
        return best[None]
    root = _root(curvature)
    axes = root / np.linalg.norm(root, axis=1, keepdims=True)
    ways = np.concatenate([_directions(len(best)), axes, -axes]) @ root.T * np.sqrt(reach)

    def at(length: Array) -> Array:
        return np.clip(best + length[:, None] * ways, *bounds)

    low, high = np.zeros(len(ways)), np.ones(len(ways))
    for _ in range(DOUBLINGS):
        inside = excess(at(high)) < reach
        if not inside.any():
            break
        low, high = np.where(inside, high, low), np.where(inside, 2 * high, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = excess(at(middle)) < reach
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.concatenate([best[None], at(low)])


def _root(curvature: Array) -> Array:
    """(p, p) lower triangle L: L L^T is the covariance, be it of fewer than p dimensions.

    Cholesky's root, by an eigendecomposition: where points tell hardly more than a sum of two
    parameters, rounding leaves a covariance that is not positive. A parameter that they tell
    nothing of is searched as far as a logarithm goes.
    """
    whole = curvature + np.eye(len(curvature)) / ENDLESS**2
    scale = np.sqrt(np.diag(whole))
    values, vectors = np.linalg.eigh(np.linalg.pinv(whole / np.outer(scale, scale), hermitian=True))
    root = np.linalg.qr((vectors * np.sqrt(np.clip(values, 0, None))).T)[1].T
    found: Array = root * np.where(np.diag(root) < 0, -1.0, 1.0) / scale[:, None]
    return found


@functools.lru_cache
def _directions(count: int) -> Array:
    """(2**DIRECTIONS, count) unit vectors, evenly spread."""
    points = stats.qmc.MultivariateNormalQMC(np.zeros(count), seed=0).random(2**DIRECTIONS)
    unit: Array = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit
