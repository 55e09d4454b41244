"""Folds of a patch set: what a run leaves out, so that its network can judge it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from cloudmask.data.acquisition import fold_of
from cloudmask.data.patchset.model import PatchSet


@dataclass(frozen=True)
class Fold:
    """One of some folds, written K/N, K counted from 0."""

    number: int
    folds: int

    @classmethod
    def of(cls, text: str) -> Fold:
        """ValueError for what is not K/N."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
        number, folds = map(int, found.groups()) if found else (0, 0)
        if folds < 2 or number >= folds:
            raise ValueError(
                f"--fold {text!r} must be K/N, the K-th of N folds from 0 on, such as 0/2 and 1/2"
            )
        return cls(number, folds)

    def __str__(self) -> str:
        return f"{self.number}/{self.folds}"

    def holds(self, name: str) -> bool:
        """Whether the scene of this name is in it."""
        return fold_of(name, self.folds) == self.number


def without(fold: Fold, patchset: PatchSet) -> PatchSet:
    """The same without the training patches of the scenes in a fold. ValueError if none is left."""
    train = patchset.splits["train"].part(lambda entry: not fold.holds(entry.scene_name))
    if not train.patches:
        raise ValueError(
            f"--fold {fold} leaves no training patch: all training scenes of {patchset.folder} are "
            "in this fold; use more folds, or add scenes of other orbits"
        )
    return dataclasses.replace(patchset, splits={**patchset.splits, "train": train})
