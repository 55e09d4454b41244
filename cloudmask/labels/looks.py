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
from cloudmask.labels.units import EXPECTED, thermal, without_fill

WIDE = 20.0
"""pixels, standard deviation of the blur that makes a background"""
FEW_CLEAR = 50


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
    image = without_fill(scene.image)
    kelvin = thermal(image, scene.channels)
    names: list[str] = []
    values: list[np.ndarray] = []
    channels = {name: image[..., i] for i, name in enumerate(scene.channels)}
    warm = [name for i, name in enumerate(scene.channels) if kelvin[i] and name != EXPECTED]
    if warm:
        main = warm[len(warm) // 2]
        names += [f"background-{main}", f"roughness of {main}"]
        background = background_of(channels[main], clear, coldest=False)
        values += [background - channels[main], roughness(channels[main])]
        for one, other in itertools.pairwise(warm):
            names.append(f"{one}-{other}")
            values.append(channels[one] - channels[other])
        if EXPECTED in channels:
            names.append(f"{EXPECTED}-{main}")
            values.append(channels[EXPECTED] - channels[main])
    for i, name in enumerate(scene.channels):
        if not kelvin[i]:
            names.append(f"root of {name}")
            values.append(np.sqrt(np.maximum(channels[name], 0)))
    if not warm:
        names.append(f"roughness of {scene.channels[0]}")
        values.append(roughness(np.sqrt(np.maximum(image[..., 0], 0)), least=0.002))
    return Looks(tuple(names), np.stack(values, axis=-1).astype(np.float32))


def background_of(values: np.ndarray, clear: np.ndarray, *, coldest: bool) -> np.ndarray:
    """(H, W) float32: what the clear ground around a pixel has; smooth, and everywhere.

    The clear pixels blurred; far from any it tends to their mean. With fewer than FEW_CLEAR the
    tenth of the scene that is most like ground: the warmest, or the darkest with `coldest`.
    """
    from scipy.ndimage import gaussian_filter

    there = np.isfinite(values)
    known = clear & there
    if known.sum() < FEW_CLEAR and there.any():
        edge = np.quantile(values[there], 0.1 if coldest else 0.9)
        known = there & ((values <= edge) if coldest else (values >= edge))
    if not known.any():
        return np.full(values.shape, np.nan, np.float32)
    mean = values[known].mean(dtype=np.float64)
    weight = gaussian_filter(known.astype(np.float32), WIDE)
    excess = gaussian_filter(np.where(known, values - mean, 0).astype(np.float32), WIDE)
    return (mean + excess / (weight + 0.01)).astype(np.float32)


def roughness(values: np.ndarray, *, least: float = 0.05) -> np.ndarray:
    """(H, W) log of the standard deviation in 3 x 3 pixels; NaN where the pixel has no value."""
    from scipy.ndimage import uniform_filter

    there = np.isfinite(values)
    if not there.any():
        return np.full(values.shape, np.nan, np.float32)
    centred = np.where(there, values - values[there].mean(), 0).astype(np.float32)
    share = np.maximum(uniform_filter(there.astype(np.float32), 3), 1e-6)
    mean = uniform_filter(centred, 3) / share
    square = uniform_filter(centred**2, 3) / share
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return np.where(there, np.log(deviation + least), np.nan).astype(np.float32)
