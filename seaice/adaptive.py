"""How a scene was exposed, estimated from the scene, so that the published rule fits it.

The colour rule is one on absolute brightness: at an exposure of 0.8 snow is no longer above 205.
Brightness alone cannot tell dark snow from bright young ice; colour can, as exposure does not
change it: snow is white, young ice absorbs red and is bluish, water is dark. So the exposure is the
one under which the joint distribution of brightness V and whiteness min / max of (R, G, B) is most
likely, where a scene is a mixture of three classes in unknown shares:

  p(V, w) = sum over classes of share * p(V / exposure) * p(w)

The shares are fitted by expectation maximisation at each exposure of a fixed series; a weak prior
keeps a scene that fits several at the published exposure, 1. The class models below are broad, and
assumptions of ours: snow and ice albedos from the literature on the published scale of brightness.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from seaice.colour import CLASSES, brightness

EXPOSURES = tuple(np.round(np.geomspace(0.6, 1.5, 47), 4).tolist())
PRIOR_DEVIATION = 0.25  # of the logarithm of the exposure
EVIDENCE_PIXELS = 2000  # neighbouring pixels are no independent evidence: a scene weighs as many
SAMPLED = 512  # rows and columns looked at
WHITENESS_BINS = 32
EM_STEPS = 12
OUTLIERS = 1e-3
SATURATED = 245
DARK = 8  # below this V, whiteness is noise

SNOW = 232.0  # brightness at exposure 1
# Brightness at exposure 1 (mean, deviation), share of the part; whiteness (mean, deviation).
# Thick ice is snow in the sun and, for a lesser part, in shadow.
_MODELS: tuple[tuple[tuple[tuple[float, float, float], ...], tuple[float, float]], ...] = (
    (((SNOW, 13.0, 0.8), (165.0, 25.0, 0.2)), (0.96, 0.03)),
    (((110.0, 38.0, 1.0),), (0.78, 0.07)),
    (((12.0, 8.0, 1.0),), (0.50, 0.20)),
)


@dataclass(frozen=True)
class Exposure:
    """The estimate, and the shares of the classes under it."""

    value: float
    shares: tuple[float, ...]


def estimate(image: np.ndarray, known: np.ndarray) -> Exposure:
    """(H, W, 3) uint8, (H, W) bool -> the exposure; 1 where nothing is known."""
    counts = _histogram(image, known)
    if not counts.sum():
        return Exposure(1.0, (0.0,) * len(CLASSES))
    weight = counts / counts.sum()
    best, found = -np.inf, Exposure(1.0, ())
    for exposure in EXPOSURES:
        models = _models(exposure)
        shares = np.full(len(models), 1 / len(models))
        for _ in range(EM_STEPS):
            parts = shares[:, None, None] * models
            total = parts.sum(axis=0) + OUTLIERS / counts.size
            shares = (parts / total * weight).sum(axis=(1, 2))
            shares = shares / shares.sum()
        mixture = np.tensordot(shares, models, 1) + OUTLIERS / counts.size
        score = EVIDENCE_PIXELS * float((weight * np.log(mixture)).sum())
        score -= 0.5 * (np.log(exposure) / PRIOR_DEVIATION) ** 2
        if score > best:
            best, found = score, Exposure(exposure, tuple(np.round(shares, 4).tolist()))
    return found


def correct(image: np.ndarray, exposure: float) -> np.ndarray:
    """(H, W, 3) uint8 as it were at exposure 1.

    What is near saturation is taken for snow at least: how much brighter it was is not known.
    """
    table = np.clip(np.rint(np.arange(256) / exposure), 0, 255).astype(np.uint8)
    table[SATURATED:] = np.maximum(table[SATURATED:], round(SNOW))
    return table[image]


def _histogram(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(256, WHITENESS_BINS) pixels over brightness and whiteness, from a grid of pixels."""
    step = max(1, -(-max(known.shape) // SAMPLED))
    pixels = image[::step, ::step][known[::step, ::step]]
    value = brightness(pixels[None])[0].astype(np.int64)
    least = pixels.min(axis=1).astype(np.int64)
    bright = np.maximum(value, 1)
    white = np.where(value < DARK, WHITENESS_BINS // 2, least * WHITENESS_BINS // bright)
    white = np.minimum(white, WHITENESS_BINS - 1)
    flat = np.bincount(value * WHITENESS_BINS + white, minlength=256 * WHITENESS_BINS)
    return flat.reshape(256, WHITENESS_BINS)


@functools.cache
def _models(exposure: float) -> np.ndarray:
    """(K, 256, WHITENESS_BINS) probability of each bin, by class, a few outliers included."""
    edges = np.arange(257) - 0.5
    edges[0], edges[-1] = -np.inf, np.inf
    bins = np.linspace(0, 1, WHITENESS_BINS + 1)
    bins[0], bins[-1] = -np.inf, np.inf
    models = []
    for parts, (white, white_deviation) in _MODELS:
        of_value = sum(
            share * np.diff(_normal_below(edges, mean * exposure, deviation * exposure))
            for mean, deviation, share in parts
        )
        of_white = np.diff(_normal_below(bins, white, white_deviation))
        models.append(np.outer(of_value, of_white))
    return np.stack(models) + OUTLIERS / models[0].size


def _normal_below(edges: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """The normal distribution's share below each edge."""
    return np.array([0.5 * (1 + math.erf((x - mean) / (deviation * math.sqrt(2)))) for x in edges])
