"""Seeded sea-ice scenes with known truth: accuracy against the truth, not against a rule.

A scene is painted from the bottom up: open water, young ice, snow-covered floes, leads; then what
stands between them and the sensor: thin cloud, which adds white and dims, cloud shadow, which dims;
exposure, noise, and the black corners of a swath's edge. Colours and brightness are assumptions of
ours on the published scale; no bound of the colour rule is used.

The family `plain` has one colour of snow, of young ice and of water. adaptive.py assumes nearly the
same, so that family cannot tell where it fails. `varied` draws brightness and whiteness (the least
over the greatest of red, green and blue) of each scene from ranges, and adds what looks otherwise:
see looks.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cloudmask.data.synthetic.fractal import Field, fractal_field, quantile
from cloudmask.metrics import UNKNOWN
from seaice import looks, opencv
from seaice.colour import THICK, THIN, WATER
from seaice.looks import Look

MIN_SIZE = 64
CLOUD_BRIGHTNESS = 225.0
CLOUD_OPACITY = 0.1  # a pixel with more than this is cloudy
SHADOW_LOSS = 0.1  # likewise: in shadow
NOISE = 1.5

Family = Literal["plain", "varied"]
KINDS = ("uniform_snow", "uniform_thin_ice", "one_bright_floe", "all_water", "nodata_corners")


@dataclass(frozen=True, eq=False)
class SyntheticScene:
    """What the sensor delivers, and what was there."""

    image: np.ndarray
    """(H, W, 3) uint8; 0 in every band where nothing was measured"""
    truth: np.ndarray
    """(H, W) uint8 classes of the surface, 255 where nothing was measured"""
    cloud_cover: float
    """share of the measured pixels under thin cloud or in its shadow"""
    exposure: float
    look: Look = looks.PLAIN


def make_scene(
    index: int,
    *,
    height: int = 2048,
    width: int = 2048,
    seed: int = 0,
    exposure: tuple[float, float] = (1.0, 1.0),
    family: Family = "plain",
) -> SyntheticScene:
    """Scene `index` of archive `seed`, its exposure drawn from a range. ValueError if too small.

    A varied scene has the ice and the clouds of the plain one of the same seed and index.
    """
    if min(height, width) < MIN_SIZE:
        raise ValueError(f"{height} x {width} pixels: a scene has {MIN_SIZE} rows and columns")
    if min(index, seed) < 0:
        raise ValueError(f"seed {seed} and index {index} must be 0 or more")
    rng = np.random.default_rng([seed, index])
    shape = (height, width)
    truth, depth = _surface(rng, shape)
    look, own = looks.PLAIN, np.random.default_rng([seed, index, 1])
    if family == "varied":
        look = looks.draw(own, looks.KINDS[index % len(looks.KINDS)])
    light = _paint(rng, truth, depth, look)
    light = looks.add(own, light, truth, look)
    light, cover = _veil(rng, light)
    gain = float(rng.uniform(*exposure))
    missing = _corners(rng, shape) if rng.random() < 0.5 else np.zeros(shape, bool)
    return _expose(rng, light, truth, missing, cover, gain, look)


def degenerate(
    kind: str, *, exposure: float = 1.0, size: int = 512, seed: int = 0
) -> SyntheticScene:
    """A scene of one of KINDS, on which an automatic rule goes wrong."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    shape = (size, size)
    truth = np.full(shape, THICK, np.uint8)
    depth = np.clip(0.5 + 0.12 * _smooth(rng, shape, 4), 0, 1)
    missing = np.zeros(shape, bool)
    if kind in ("uniform_thin_ice", "one_bright_floe"):
        truth[:] = THIN
    if kind == "one_bright_floe":
        rows, columns = np.indices(shape)
        truth[np.hypot(rows - size * 0.4, columns - size * 0.6) < size * 0.06] = THICK
    if kind == "all_water":
        truth[:] = WATER
    if kind == "nodata_corners":
        truth, depth = _surface(rng, shape)
        missing = _corners(rng, shape)
    light = _paint(rng, truth, depth, looks.PLAIN)
    return _expose(rng, light, truth, missing, np.zeros(shape, bool), exposure, looks.PLAIN)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], parts: float) -> Field:
    """A field whose largest features are the scene's size over `parts`."""
    return fractal_field(rng, shape, slope=3.2, coarsest=max(shape) / parts, finest=2.0)


def _surface(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, Field]:
    """(H, W) classes, and how thick young ice is there, 0 to 1.

    Pack ice is a pattern of floes: cells around random points, their edges bent by a fractal field.
    Each floe is snow, young ice or gone, neighbours alike; between floes there are gaps.
    """
    water, young = rng.uniform(0.02, 0.16), rng.uniform(0.05, 0.2)
    size = max(shape) / rng.uniform(8, 28)
    cells, centres = _cells(rng, shape, size)
    looseness = _smooth(rng, shape, 3)[centres[:, 0], centres[:, 1]]
    rank = looseness + 0.4 * rng.standard_normal(len(centres))
    low, high = np.quantile(rank, water), np.quantile(rank, water + young)
    kind = np.select([rank < low, rank < high], [WATER, THIN], THICK).astype(np.uint8)
    truth = kind[cells]
    depth = rng.uniform(0.1, 1.0, len(centres)).astype(np.float32)[cells]
    gap = _distance_to_edges(cells)
    width = np.clip(1.0 + 1.5 * _smooth(rng, shape, 6), 0, 6)
    refrozen = _smooth(rng, shape, 5) > 0.3
    truth[(gap < width) & ~refrozen] = WATER
    truth[(gap < 1.5 * width) & refrozen & (truth == THICK)] = THIN
    for number in range(int(rng.integers(1, 4))):
        # A lead is the zero line of a stretched field: open, or refrozen to young ice.
        field = fractal_field(
            rng,
            shape,
            slope=4.5,
            coarsest=max(shape),
            finest=max(shape) / 25,
            stretch=4.0,
            angle=float(rng.uniform(0, math.pi)),
        )
        # |field| over its slope is the distance to the line, in pixels.
        slope = np.hypot(*np.gradient(field)) + 1e-4
        lead = np.abs(field) / slope < rng.uniform(0.001, 0.008) * max(shape)
        truth[lead] = WATER if number % 2 else THIN
        depth[lead] = rng.uniform(0.1, 0.8)
    return truth, depth


def _cells(
    rng: np.random.Generator, shape: tuple[int, int], size: float
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) numbers of cells of about this size in pixels, and (N, 2) their centres."""
    cv2 = opencv.load()
    number = max(8, round(shape[0] * shape[1] / size**2))
    # Denser here and there: large floes beside broken ones.
    tries = rng.integers(0, shape, (4 * number, 2))
    chance = np.exp(1.2 * _smooth(rng, shape, 3)[tries[:, 0], tries[:, 1]])
    centres = tries[rng.random(len(tries)) < np.minimum(chance / 4, 1)]
    centres = np.unique(centres, axis=0)
    empty = np.ones(shape, np.uint8)
    empty[centres[:, 0], centres[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    at_centre = np.zeros(int(labels.max()) + 1, np.int64)
    at_centre[labels[centres[:, 0], centres[:, 1]]] = np.arange(len(centres))
    rows, columns = np.indices(shape, np.float32)
    bends = [
        np.float32(0.2 * size) * fractal_field(rng, shape, slope=4.0, coarsest=size, finest=3.0)
        for _ in range(2)
    ]
    rows = np.clip(rows + bends[0], 0, shape[0] - 1).astype(np.int64)
    columns = np.clip(columns + bends[1], 0, shape[1] - 1).astype(np.int64)
    return at_centre[labels][rows, columns], centres


def _distance_to_edges(cells: np.ndarray) -> Field:
    """(H, W) cell numbers -> pixels to the nearest pixel of another cell, about."""
    inside = np.ones(cells.shape, np.uint8)
    inside[:, 1:][cells[:, 1:] != cells[:, :-1]] = 0
    inside[1:][cells[1:] != cells[:-1]] = 0
    cv2 = opencv.load()
    return cv2.distanceTransform(inside, cv2.DIST_L2, 5)


def _paint(rng: np.random.Generator, truth: np.ndarray, depth: Field, look: Look) -> np.ndarray:
    """(H, W) classes -> (H, W, 3) float32 light at exposure 1."""
    shape = (truth.shape[0], truth.shape[1])
    rough = fractal_field(rng, shape, slope=2.0, coarsest=max(shape) / 8)
    thinnest, thickest = look.young
    snow = np.clip(look.snow + 5 * rough, look.snow - 18, look.snow + 20)
    young = thinnest + (thickest - thinnest) * depth + 4 * rough
    young = np.clip(young, thinnest - 16, thickest + 14)
    sea = np.clip(look.sea + 2.5 * rough, look.sea - 7, look.sea + 13)
    light = np.empty((*shape, 3), np.float32)
    for band in range(3):
        tints = look.snow_tint[band], look.young_tint[band], look.sea_tint[band]
        surfaces = [tint * value for tint, value in zip(tints, (snow, young, sea), strict=True)]
        light[..., band] = np.choose(truth, surfaces)
    return light


def _veil(rng: np.random.Generator, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thin cloud and its shadow over the surface, and (H, W) bool where either is."""
    shape = (light.shape[0], light.shape[1])
    share = float(rng.choice([rng.uniform(0, 0.05), rng.uniform(0.1, 0.35)]))
    cloud = _layer(rng, shape, share)
    opacity = (rng.uniform(0.15, 0.4) * cloud)[..., None]
    away = tuple(int(n) for n in rng.integers(max(shape) // 16, max(shape) // 5, 2))
    loss = (rng.uniform(0.25, 0.38) * np.roll(cloud, away, axis=(0, 1)))[..., None]
    veiled = light * (1 - loss) * (1 - opacity) + CLOUD_BRIGHTNESS * opacity
    return veiled, ((opacity > CLOUD_OPACITY) | (loss > SHADOW_LOSS))[..., 0]


def _layer(rng: np.random.Generator, shape: tuple[int, int], share: float) -> Field:
    """(H, W) 0 to 1: smooth-edged patches over so much of the scene."""
    field = fractal_field(
        rng, shape, slope=3.6, coarsest=max(shape) / 3, finest=max(shape) / 60, stretch=2.0
    )
    edge = quantile(field, 1 - share)
    return np.clip((field - edge) / np.float32(0.4), 0, 1)


def _corners(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: beyond the edges of a swath that crosses the scene at a slant."""
    rows, columns = np.indices(shape) / max(shape)
    slant, width = rng.uniform(0.15, 0.35), rng.uniform(0.75, 0.9)
    across = columns + slant * rows
    left = rng.uniform(0.05, 0.2)
    return (across < left) | (across > left + width + slant)


def _expose(
    rng: np.random.Generator,
    light: np.ndarray,
    truth: np.ndarray,
    missing: np.ndarray,
    veiled: np.ndarray,
    exposure: float,
    look: Look,
) -> SyntheticScene:
    noisy = light * exposure + NOISE * rng.standard_normal(light.shape, dtype=np.float32)
    image = np.clip(np.rint(noisy), 1, 255).astype(np.uint8)
    image[missing] = 0
    label = np.where(missing, np.uint8(UNKNOWN), truth)
    measured = max(1, int(np.count_nonzero(~missing)))
    cover = int(np.count_nonzero(veiled & ~missing)) / measured
    return SyntheticScene(image, label, cover, exposure, look)
