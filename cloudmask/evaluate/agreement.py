"""How several masks of the same pixels agree: one table of counts, from which everything follows.

The masks of a scene (of the network, of the label, ...) are counted jointly: `joint[i, j, ...]` is
the number of pixels that the first mask calls i, the second j, and so on; the last index of every
axis stands for unknown. Such tables add up over scenes and ranks, and hold every confusion matrix
of two masks and every comparison of two against a third.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloudmask.metrics import UNKNOWN

RESAMPLES = 4000
LEAST_SCENES = 6
"""fewer scenes give no interval: their resamples are too few to speak of a spread"""


def joint_counts(
    masks: Sequence[np.ndarray | None], *, num_classes: int, where: np.ndarray | None = None
) -> np.ndarray:
    """M masks (H, W) of classes 0..K-1 or 255, None = unknown everywhere -> (K + 1,) * M int64.

    `where` (H, W) bool limits the count. ValueError for masks of different shapes or a class
    beyond K - 1.
    """
    shape = next(mask.shape for mask in masks if mask is not None)
    codes = np.zeros(shape, np.int32)
    for mask in masks:
        codes *= num_classes + 1
        if mask is None:
            codes += num_classes
            continue
        if mask.shape != shape:
            raise ValueError(f"masks of {shape} and {mask.shape} pixels do not lie on each other")
        if ((mask >= num_classes) & (mask != UNKNOWN)).any():
            raise ValueError(f"a mask holds a class beyond the {num_classes} that are known")
        codes += np.where(mask == UNKNOWN, num_classes, mask)
    picked = codes.ravel() if where is None else codes[where]
    sizes = (num_classes + 1,) * len(masks)
    return np.bincount(picked, minlength=math.prod(sizes)).reshape(sizes)


def known(joint: np.ndarray, *masks: int) -> np.ndarray:
    """(K,) * len(masks) counts, an axis for each in their order, of the pixels that all know."""
    table = np.einsum(joint, range(joint.ndim), masks)
    return table[(slice(-1),) * len(masks)]


@dataclass(frozen=True)
class Duel:
    """Two masks against a third, over the pixels that all three know."""

    both_right: int
    a_only: int
    b_only: int
    both_wrong: int

    @property
    def pixels(self) -> int:
        return self.both_right + self.a_only + self.b_only + self.both_wrong


def duel(joint: np.ndarray, *, a: int, b: int, reference: int) -> Duel:
    """How often a and b are right where the reference is known."""
    table = known(joint, a, b, reference)
    every, a_right, b_right, both = (
        int(np.einsum(right, table)) for right in ("abr->", "kbk->", "akk->", "kkk->")
    )
    return Duel(both, a_right - both, b_right - both, every - a_right - b_right + both)


def mcnemar(a_only: int, b_only: int) -> tuple[float, float] | None:
    """Chi-squared of one degree of freedom with continuity correction, and its p-value.

    McNemar, Psychometrika 12 (1947), with the correction of Edwards (1948). It takes every pixel
    for a draw of its own. None where the two masks never differ in being right.
    """
    if not a_only + b_only:
        return None
    chi2 = max(abs(a_only - b_only) - 1, 0) ** 2 / (a_only + b_only)
    return chi2, _tail(chi2)


def clustered_mcnemar(duels: Sequence[Duel]) -> tuple[float, float] | None:
    """McNemar's test with the scenes as the units, as the pixels of one scene go together.

    Durkalski et al., Statistics in Medicine 22 (2003): (sum d)^2 / sum d^2 where d is the
    difference (a_only - b_only) / pixels of a scene.
    """
    shares = np.array([(d.a_only - d.b_only) / d.pixels for d in duels if d.pixels])
    spread = float((shares**2).sum())
    if not spread:
        return None
    chi2 = float(shares.sum()) ** 2 / spread
    return chi2, _tail(chi2)


def difference_interval(duels: Sequence[Duel], *, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of accuracy(a) - accuracy(b), pooled: scenes drawn anew with replacement.

    Percentile bootstrap (Efron and Tibshirani, 1993). None for fewer than `LEAST_SCENES` scenes.
    """
    held = [d for d in duels if d.pixels]
    if len(held) < LEAST_SCENES:
        return None
    gained = np.array([d.a_only - d.b_only for d in held], float)
    pixels = np.array([d.pixels for d in held], float)
    draws = np.random.default_rng(seed).integers(len(held), size=(RESAMPLES, len(held)))
    differences = gained[draws].sum(axis=1) / pixels[draws].sum(axis=1)
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def _tail(chi2: float) -> float:
    """P(X > chi2) of the chi-squared distribution with one degree of freedom."""
    return math.erfc(math.sqrt(chi2 / 2))
