"""A scene, whatever the sensor: physical values and a label per pixel. Values alone, no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from cloudmask.data.place import Place, printable

LabelChoice = Literal["any", "single_moderate", "dual", "summary", "probability", "truth"]
"""which mask becomes the label: of SLSTR any bit or one bit of the Bayesian mask, any bit where the
oblique view sees too, the threshold mask, the Bayesian probability; of a synthetic scene its
truth"""

LABEL_TITLES = {
    "any": "Bayesian mask (any bit)",
    "single_moderate": "Bayesian mask (single moderate)",
    "dual": "Bayesian mask (where both views see)",
    "probability": "Bayesian probability",
    "densities": "mask by looks",
    "unsupervised": "mask by images alone",
}
"""what pages call a label by its source; a source that is not here goes by its own name"""


@dataclass(frozen=True, eq=False)
class Scene:
    """One acquisition."""

    name: str
    image: np.ndarray
    """(H, W, C) float32, physical units, NaN = no measurement"""
    channels: tuple[str, ...]
    label: np.ndarray | None
    """(H, W) uint8: i means classes[i], 255 = unknown"""
    classes: tuple[str, ...]
    truth: np.ndarray | None = None
    """like label: the true mask, which only synthetic scenes have"""
    summary: np.ndarray | None = None
    """like label: the operational threshold mask of an SLSTR scene"""
    label_source: str = ""
    latitude: np.ndarray | None = None
    """(H, W) degrees north"""
    longitude: np.ndarray | None = None
    """(H, W) degrees east"""
    crs: str | None = None
    """of a gridded scene, as WKT, `EPSG:n` or `+proj=...`; None for a swath"""
    transform: tuple[float, float, float, float, float, float] | None = None
    """of a gridded scene: x = a * column + b * row + c, y = d * column + e * row + f, with column
    and row 0 at the upper left corner of the first pixel"""
    start: str | None = None
    stop: str | None = None
    """when it was acquired, UTC as ISO 8601"""
    confidence: np.ndarray | None = None
    """(H, W) uint16: flags of an SLSTR product, see slstr.Confidence"""


class Image(Protocol):
    """(H, W, C) physical units, NaN = missing: an array, or what reads its rows where they lie."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, place: tuple[slice, slice], /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class StoredScene:
    """What a Scene tells, with an image that stays where it is; of its masks the label alone."""

    name: str
    image: Image
    channels: tuple[str, ...]
    label: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    latitude: np.ndarray | None = None
    longitude: np.ndarray | None = None
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    start: str | None = None
    stop: str | None = None


class SceneError(ValueError):
    """A scene that cannot be used: which one, what is wrong, what to do. One line."""

    def __init__(self, place: Place, problem: str, advice: str) -> None:
        super().__init__(f"{printable(place)}: {problem}; {advice}")
        self.problem, self.advice = problem, advice


def reason(error: Exception) -> str:
    """What a library says of a file, in one line and without the file's name, which we say."""
    return " ".join(str(error).split()).partition(", filename")[0]


def missing_pixels(image: np.ndarray) -> np.ndarray:
    """(H, W, C) -> (H, W) bool: NaN in every channel."""
    pixels = image.reshape(-1, image.shape[2])
    missing = np.zeros(len(pixels), bool)
    missing[where_all(pixels, np.isnan, range(image.shape[2]))] = True
    return missing.reshape(image.shape[:2])


def where_all(
    pixels: np.ndarray, test: Callable[[np.ndarray], np.ndarray], channels: Sequence[int]
) -> np.ndarray:
    """(N, C) -> numbers of the pixels that pass the test in all channels.

    Usually few pass in the last channel, and only those are looked at in the others: several times
    as fast as `test(pixels).all(axis=1)`.
    """
    last, *others = reversed(channels)
    found = np.flatnonzero(test(pixels[:, last]))
    for channel in others:
        found = found[test(pixels[found, channel])]
    return found
