"""What a pixel looks like: few numbers in which cloud differs from the ground, by channel names.

Of thermal channels: how much colder than the clear ground around it, the differences of
neighbouring bands, and how it varies from pixel to pixel. Of reflectances: their square root, as
they are skewed. Pixels by day and by night have other looks, and are kept apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloudmask.data.scene import Scene
from cloudmask.data.slstr import SKIN
from cloudmask.labels.surroundings import deviation, smooth_background
from cloudmask.labels.units import thermal, without_fill
from cloudmask.labels.unsupervised_roles import roles_of

MOST_CHANNELS = 60
"""of an image: which looks a pixel has is held in the bits of one number"""


@dataclass(frozen=True, eq=False)
class Looks:
    """Of one scene."""

    names: tuple[str, ...]
    values: np.ndarray
    """(H, W, F) float32, NaN where one is not measured"""

    @property
    def shape(self) -> tuple[int, int]:
        height, width, _ = self.values.shape
        return height, width

    def kinds(self) -> Iterator[tuple[tuple[str, ...], np.ndarray, np.ndarray]]:
        """For each set of looks that some pixels have: names, (H, W) where, (N, F') values."""
        there = np.isfinite(self.values)
        code = there @ (1 << np.arange(len(self.names)))
        for kind in np.unique(code[code > 0]).tolist():
            chosen = [i for i in range(len(self.names)) if kind >> i & 1]
            where = code == kind
            yield tuple(self.names[i] for i in chosen), where, self.values[where][:, chosen]


def looks_of(scene: Scene, clear: np.ndarray) -> Looks:
    """The looks of a scene, given (H, W) bool where it is thought to be clear.

    ValueError, in one line, for a channel that is neither reflectance nor kelvin.
    """
    if len(scene.channels) > MOST_CHANNELS:
        raise ValueError(
            f"has {len(scene.channels)} channels, and looks are told apart of at most "
            f"{MOST_CHANNELS}; choose fewer"
        )
    image = without_fill(scene.image)
    kelvin = thermal(image, scene.channels)
    names: list[str] = []
    values: list[np.ndarray] = []
    channels = {name: image[..., i] for i, name in enumerate(scene.channels)}
    # Nothing has measured the skin temperature, which a forecast expects.
    warm = [name for i, name in enumerate(scene.channels) if kelvin[i] and name != SKIN]
    if warm:
        main = warm[len(warm) // 2]
        window = roles_of(scene.channels, kelvin).get("tir11")
        if window is not None and kelvin[window]:
            main = scene.channels[window]
        names += [f"background-{main}", f"roughness of {main}"]
        background = smooth_background(channels[main], clear)
        values += [background - channels[main], roughness(channels[main])]
        for one, other in itertools.pairwise(warm):
            names.append(f"{one}-{other}")
            values.append(channels[one] - channels[other])
        if SKIN in channels:
            names.append(f"{SKIN}-{main}")
            values.append(channels[SKIN] - channels[main])
    for i, name in enumerate(scene.channels):
        if not kelvin[i]:
            names.append(f"root of {name}")
            values.append(np.sqrt(np.maximum(channels[name], 0)))
    if not warm:
        names.append(f"roughness of {scene.channels[0]}")
        values.append(roughness(np.sqrt(np.maximum(image[..., 0], 0)), least=0.002))
    return Looks(tuple(names), np.stack(values, axis=-1).astype(np.float32))


def roughness(values: np.ndarray, *, least: float = 0.05) -> np.ndarray:
    """(H, W) log of the standard deviation in 3 x 3 pixels; NaN where the pixel has no value."""
    return np.log(deviation(values) + least).astype(np.float32)
