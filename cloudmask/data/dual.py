"""The strip that the oblique view of SLSTR sees too, by the bits of the Bayesian mask.

Two of its bits can be set only where both views looked. They stand in a strip along the track, at
the same columns in all scenes of one width, so many scenes together tell where it is. Plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cloudmask.data.slstr import NOT_COMPUTED, Bayes
from cloudmask.metrics import UNKNOWN

Columns = tuple[int, int]
"""the first column and the last + 1"""
Strips = Mapping[int, Columns]
"""the columns of the strip by the width of a scene, in pixels"""
DUAL = Bayes.DUAL_LOW | Bayes.DUAL_MODERATE


def columns_of(bayes: np.ndarray) -> Columns | None:
    """(H, W) bits -> from the first to the last column in which a pixel has a bit of DUAL."""
    found = (bayes & int(DUAL) > 0) & (bayes != NOT_COMPUTED)
    (columns,) = np.nonzero(found.any(axis=0))
    return (int(columns[0]), int(columns[-1]) + 1) if len(columns) else None


def joined(found: Iterable[tuple[int, Columns | None]]) -> dict[int, Columns]:
    """Width and columns of each scene -> the strip of each width, over all of its scenes."""
    strips: dict[int, Columns] = {}
    for width, columns in found:
        if columns is not None:
            first, end = strips.get(width, columns)
            strips[width] = (min(first, columns[0]), max(end, columns[1]))
    return dict(sorted(strips.items()))


def within(label: np.ndarray, columns: Columns | None) -> np.ndarray:
    """(H, W) uint8 -> the same, unknown outside the columns."""
    first, end = columns or (0, 0)
    kept = np.full_like(label, UNKNOWN)
    kept[:, first:end] = label[:, first:end]
    return kept


def as_json(strips: Strips) -> dict[str, list[int]]:
    """As manifests and evaluations record it: the width is a text there."""
    return {str(width): list(columns) for width, columns in strips.items()}


def from_json(record: Any) -> Strips | None:
    """What `as_json` gave; None for None. ValueError for what it never gives."""
    if record is None:
        return None
    try:
        return {int(width): (int(first), int(end)) for width, (first, end) in record.items()}
    except (TypeError, AttributeError, ValueError):
        raise ValueError(f"{record} is no record of the oblique view's columns") from None
