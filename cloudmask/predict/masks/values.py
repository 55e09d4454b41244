"""Masks as values. Probabilities count in steps of 1e-4, as files store them.

So a mask in memory, its file, `--threshold` and the sweep of all thresholds agree to the pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudmask.metrics import UNKNOWN

STEPS = 10_000
"""of a probability, from 0 to 1"""
FILL = -32768
"""the step of a pixel without measurement"""


@dataclass(frozen=True, eq=False)
class Mask:
    """What a model says of an image; of a batch of N images every array has N in front."""

    probability: np.ndarray
    """(H, W) float32, that of the second of two classes, or (H, W, K) of each of K > 2; NaN where
    there is no measurement"""
    mask: np.ndarray
    """(H, W) uint8: i means the model's classes[i], 255 = no measurement"""
    nodata: np.ndarray
    """(H, W) bool: no measurement in any of the model's channels"""
    spread: np.ndarray | None = None
    """like probability: its standard deviation over several networks, None of a single one"""


@dataclass(frozen=True, eq=False)
class SceneMask:
    """The mask of a whole scene as its file holds it, with name, place and time."""

    name: str
    classes: tuple[str, ...]
    probability: np.ndarray
    """(H, W, K) float32, NaN = no measurement; K = 1, the second class, where there are two"""
    spread: np.ndarray | None
    """(H, W, K) standard deviation over several networks"""
    mask: np.ndarray
    """(H, W) uint8 class, 255 = no measurement"""
    latitude: np.ndarray | None = None
    longitude: np.ndarray | None = None
    """(H, W) degrees"""
    attributes: Mapping[str, str] | None = None
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    start: str | None = None
    stop: str | None = None
    """these four as in a Scene"""


@dataclass(frozen=True, eq=False)
class ClassMask:
    """Of the mask of a whole scene the classes, their place and their time."""

    classes: tuple[str, ...]
    mask: np.ndarray
    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    start: str | None
    """these as in a SceneMask"""


def classify(probability: np.ndarray, *, threshold: float) -> np.ndarray:
    """(..., K) probabilities, NaN = missing -> (...) uint8 classes, 255 = missing.

    Of two classes the second one is there from the threshold on, of more the most probable one.
    """
    steps = steps_of(probability)
    if probability.shape[-1] == 1:
        classes = (steps[..., 0] >= step_from(threshold)).astype(np.uint8)
    else:
        classes = np.argmax(steps, axis=-1).astype(np.uint8)
    classes[steps[..., 0] == FILL] = UNKNOWN
    return classes


def steps_of(probability: np.ndarray) -> np.ndarray:
    """Probabilities, NaN = missing -> int16: the nearest of the STEPS + 1 values, or FILL."""
    steps = np.rint(probability * np.float32(STEPS))
    return np.where(np.isnan(steps), FILL, steps).astype(np.int16)


def step_from(threshold: float) -> int:
    """The lowest step that reaches a threshold.

    0.57 * 10000 is a little less than 5700 and 0.07 * 10000 a little more than 700, so a threshold
    counts as the step that it is written as.
    """
    return math.ceil(threshold * STEPS - 1e-6)


def probability_of(steps: np.ndarray) -> np.ndarray:
    """int16 steps -> float32 probabilities, NaN = missing: each the float32 of its decimal."""
    values = (steps / STEPS).astype(np.float32)
    values[steps == FILL] = np.nan
    return values


def check(found: SceneMask, path: Path) -> None:
    """ValueError unless what was read from a file fits together."""
    kinds = 1 if len(found.classes) == 2 else len(found.classes)
    shape = (*found.mask.shape, kinds)
    arrays = {"probability": found.probability, "spread": found.spread}
    wrong = [name for name, a in arrays.items() if a is not None and a.shape != shape]
    for name in ("latitude", "longitude"):
        degrees = getattr(found, name)
        wrong += [name] if degrees is not None and degrees.shape != found.mask.shape else []
    if found.mask.ndim != 2 or found.mask.dtype != np.uint8 or wrong:
        raise ValueError(
            f"{path} is not a mask of this program (its mask is {found.mask.dtype} of shape "
            f"{found.mask.shape}{''.join(f', {name} does not fit' for name in wrong)})"
        )
    check_classes(found, path)
    if (np.isnan(found.probability).any(axis=-1) & (found.mask != UNKNOWN)).any():
        raise ValueError(
            f"{path} is not a mask of this program (it holds classes of no probability)"
        )
    check_range("probability", found.probability, path)
    if found.spread is not None:
        check_range("spread", found.spread, path)


def check_classes(found: SceneMask | ClassMask, path: Path) -> None:
    """ValueError unless every pixel has one of the classes, or none."""
    if found.mask.ndim != 2 or found.mask.dtype != np.uint8:
        problem = f"its mask is {found.mask.dtype} of shape {found.mask.shape}"
        raise ValueError(f"{path} is not a mask of this program ({problem})")
    if found.mask[found.mask != UNKNOWN].max(initial=0) >= len(found.classes):
        raise ValueError(f"{path} is not a mask of this program (it holds classes without a name)")


def check_range(name: str, values: np.ndarray, path: Path) -> None:
    """ValueError unless all that is known is from 0 to 1."""
    low, high = np.nanmin(values, initial=0), np.nanmax(values, initial=0)
    if low < 0 or high > 1:
        wrong = low if low < 0 else high
        raise ValueError(f"{path} holds a {name} of {wrong:g}, which is not from 0 to 1")
