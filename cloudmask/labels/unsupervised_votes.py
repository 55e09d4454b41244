"""How far votes are to be believed, found from how they agree: no label is known.

The model is that of Dawid and Skene (1979), Applied Statistics 28: a test votes cloud on a cloud
with a sensitivity, and clear on a clear pixel with a specificity, whatever the others do. Tests are
not that independent, and left to itself the model ends where one class has nearly everything. So it
is held back: a fixed prior, few steps, and bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

PRIOR = 0.6
"""probability of cloud; about the cloud cover of the Earth, for every scene"""
STEPS = 10
BOUNDS = (0.7, 0.97)
"""of sensitivity and specificity: of use, and not certain. Where nearly all is clear, a lower bound
would leave all tests of no use, as the prior then counts a good part of it as missed cloud."""


def log_odds(votes: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """(T, N) int8 votes (1 cloud, -1 clear, 0 none) of T tests -> (N,) float32 log-odds of cloud.

    No vote says nothing. `channels` names one channel of each test: those that share it look at
    the same, and together weigh as one.
    """
    # All that counts of a pixel is its pattern of votes, of which there are few.
    codes = 3 ** np.arange(len(votes)) @ (votes.astype(np.int64) + 1)
    _, first, place, number = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    patterns = votes[:, first]
    shared = Counter(channels)
    weight = np.array([1 / shared[channel] for channel in channels])
    cloud, clear = patterns > 0, patterns < 0
    sensitivity = specificity = np.full(len(votes), 0.8)
    for _ in range(STEPS):
        likely = _posterior(cloud, clear, sensitivity, specificity, weight)
        of_cloud = number / (1 + np.exp(-likely))
        sensitivity = _rate(cloud, clear, of_cloud)
        specificity = _rate(clear, cloud, number - of_cloud)
    found = _posterior(cloud, clear, sensitivity, specificity, weight)
    return found[place.ravel()].astype(np.float32)


def _rate(right: np.ndarray, wrong: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(T,) share of right votes among those of a class; 0.8, the start, where nothing was cast."""
    hits, misses = right @ weight, wrong @ weight
    total = hits + misses
    rate = np.divide(hits, total, out=np.full(len(right), 0.8), where=total > 0)
    return rate.clip(*BOUNDS)


def _posterior(
    cloud: np.ndarray,
    clear: np.ndarray,
    sensitivity: np.ndarray,
    specificity: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """(P,) log-odds of the patterns (T, P)."""
    for_cloud = weight * np.log(sensitivity / (1 - specificity))
    for_clear = weight * np.log(specificity / (1 - sensitivity))
    return np.log(PRIOR / (1 - PRIOR)) + for_cloud @ cloud - for_clear @ clear
