"""How several masks of the same pixels agree: one table of counts, from which everything follows.

The masks of a scene (of the network, of the label, ...) are counted jointly: `joint[i, j, ...]` is
the number of pixels that the first mask calls i, the second j, and so on; the last index of every
axis stands for unknown. Such tables add up over scenes and ranks, and hold every confusion matrix
of two masks and every comparison of two against a third.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from cloudmask.data.acquisition import orbit_of
from cloudmask.evaluate import intervals
from cloudmask.metrics import UNKNOWN


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

    def __add__(self, other: Duel) -> Duel:
        return Duel(
            self.both_right + other.both_right,
            self.a_only + other.a_only,
            self.b_only + other.b_only,
            self.both_wrong + other.both_wrong,
        )


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


def groups_of(names: Sequence[str]) -> tuple[list[str], str]:
    """The orbit of each scene, or where its name tells none the scene itself; and what they are."""
    orbits = [orbit_of(name) for name in names]
    groups = [orbit or f"scene {name}" for orbit, name in zip(orbits, names, strict=True)]
    return groups, "orbit" if any(orbits) else "scene"


def units_of(duels: Sequence[Duel], groups: Sequence[Hashable]) -> list[Duel]:
    """Duels of scenes, with the group of each -> those of the groups that hold any pixel.

    Scenes of one orbit go together: neighbours see the same weather and the same sun.
    """
    found: dict[Hashable, Duel] = {}
    for duel, group in zip(duels, groups, strict=True):
        found[group] = found[group] + duel if group in found else duel
    return [duel for duel in found.values() if duel.pixels]


def clustered_mcnemar(units: Sequence[Duel]) -> tuple[float, float] | None:
    """McNemar's test with scenes or orbits as the units, as the pixels of one of them go together.

    Durkalski et al., Statistics in Medicine 22 (2003): (sum d)^2 / sum d^2 where d is the
    difference (a_only - b_only) / pixels of a unit.
    """
    shares = np.array([(d.a_only - d.b_only) / d.pixels for d in units])
    spread = float((shares**2).sum())
    if not spread:
        return None
    chi2 = float(shares.sum()) ** 2 / spread
    return chi2, _tail(chi2)


def difference_interval(units: Sequence[Duel]) -> tuple[float, float] | None:
    """95 % interval of accuracy(a) - accuracy(b), pooled, over independent scenes or orbits.

    None where it would not hold what it says; see intervals.py.
    """
    gained = np.array([d.a_only - d.b_only for d in units], float)
    return intervals.of_pooled(gained, np.array([d.pixels for d in units], float))


def _tail(chi2: float) -> float:
    """P(X > chi2) of the chi-squared distribution with one degree of freedom."""
    return math.erfc(math.sqrt(chi2 / 2))
