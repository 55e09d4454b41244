"""Classes matched by their names: the same names in another order mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cloudmask.data.scene import Scene


def numbers_of(names: Sequence[str], *, among: Sequence[str]) -> np.ndarray:
    """(256,) uint8: the number among `among` of each class of `names`; 255 and others stay.

    ValueError where the names are others, or one comes twice.
    """
    if sorted(names) != sorted(among) or len(set(names)) != len(names):
        raise ValueError(f"classes {', '.join(names)} instead of {', '.join(among)}")
    table = np.arange(256, dtype=np.uint8)
    table[: len(names)] = [among.index(name) for name in names]
    return table


def with_classes(scene: Scene, classes: Sequence[str]) -> Scene:
    """The same scene with its classes in this order. ValueError where they are others."""
    classes = tuple(classes)
    if scene.classes == classes:
        return scene
    table = numbers_of(scene.classes, among=classes)
    label, truth, summary = (
        None if found is None else table[found]
        for found in (scene.label, scene.truth, scene.summary)
    )
    return replace(scene, classes=classes, label=label, truth=truth, summary=summary)
