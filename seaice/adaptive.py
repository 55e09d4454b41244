"""How a scene was exposed, estimated from the scene, so that the published rule fits it.

The colour rule is one on absolute brightness: at an exposure of 0.8 snow is no longer above 205.
Brightness alone cannot tell dark snow from bright young ice; colour can, as exposure does not
change it: snow is white, young ice absorbs red and is bluish, water is dark. So the exposure is the
one under which the joint distribution of brightness V and whiteness min / max of (R, G, B) is most
likely, where a scene is a mixture of three classes in unknown shares:

  p(V, w) = sum over classes of share * p(V / exposure) * p(w)

The shares are fitted by expectation maximisation at each exposure of a fixed series. Thick ice that
would lie in shadow alone is none: the exposure is then fitted without that class. A weak prior
keeps a scene that fits several at the published exposure, 1. The class models below are broad, and
assumptions of ours: snow and ice albedos from the literature on the published scale of brightness.

Where one kind of ice is alone, nothing but its whiteness tells snow from young ice, and between
`BLUISH` and `WHITE` both are found. Such a scene is ambiguous, and so is one that exposures of
other classes fit about as well: it is left at exposure 1, and said to be.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from seaice.colour import CLASSES, PAPER, THICK, THIN, brightness, classify

EXPOSURES = tuple(np.round(np.geomspace(0.6, 1.5, 47), 4).tolist())
PRIOR_DEVIATION = 0.25  # of the logarithm of the exposure
EVIDENCE_PIXELS = 2000  # neighbouring pixels are no independent evidence: a scene weighs as many
SAMPLED = 512  # rows and columns looked at
WHITENESS_BINS = 32
EM_STEPS = 12
OUTLIERS = 1e-3
SATURATED = 245
DARK = 8  # below this V, whiteness is noise
APART = 0.1  # share of the pixels that other classes are told from
ALONE = 0.05  # share of the ice below which a kind of it is none
BLUISH, WHITE = 0.88, 0.975  # between them both kinds of ice are found
LEAST = 0.02  # share of the pixels from which on a class that becomes another is one
SUNLIT = 0.1  # share of thick ice that lies in the sun, at least
TIE = 0.1  # difference in log likelihood, per pixel

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
    """The estimate, and how far it can be trusted."""

    value: float
    """what to take out: the most likely exposure, or 1 where that is ambiguous"""
    shares: tuple[float, ...]
    """of the classes under the most likely one"""
    likeliest: float = 1.0
    limit_reached: bool = False
    """the most likely one is an end of the series: a likelier one may lie beyond"""
    ambiguous: str = ""
    """why other classes are about as likely; empty if they are not"""
    by_whiteness: bool = False
    """there is one kind of ice alone, and nothing but its whiteness says which"""

    def record(self) -> dict[str, Any]:
        """What is told of it in the types that JSON has."""
        return {
            "value": self.value,
            "likeliest": self.likeliest,
            "shares": list(self.shares),
            "limit_reached": self.limit_reached,
            "ambiguous": bool(self.ambiguous),
            "by_whiteness_alone": self.by_whiteness,
        }

    def told(self) -> tuple[str, ...]:
        """Lines for people."""
        lines = []
        if self.ambiguous:
            lines.append(
                f"exposure: {self.likeliest:.2f} is likeliest, but ambiguous ({self.ambiguous}): "
                "taken as 1"
            )
        if self.limit_reached:
            lines.append(
                f"exposure: {self.likeliest:.2f} is the end of what is searched "
                f"({EXPOSURES[0]:g} to {EXPOSURES[-1]:g}); labels may be wrong"
            )
        if self.by_whiteness:
            lines.append(
                f"exposure: {self.likeliest:.2f} by the whiteness of the only kind of ice there is"
            )
        return tuple(lines)


def estimate(image: np.ndarray, known: np.ndarray) -> Exposure:
    """(H, W, 3) uint8, (H, W) bool -> the exposure; 1 where nothing is known."""
    pixels = _sample(image, known)
    counts = _histogram(pixels)
    if not counts.sum():
        return Exposure(1.0, (0.0,) * len(CLASSES))
    weight = counts / counts.sum()
    fits = [_fit(weight, exposure) for exposure in EXPOSURES]
    likelihood = np.array([found for found, _ in fits])
    prior = -0.5 * (np.log(EXPOSURES) / PRIOR_DEVIATION) ** 2
    best = int(np.argmax(EVIDENCE_PIXELS * likelihood + prior))
    shares, exposure = fits[best][1], EXPOSURES[best]
    of_value = weight.sum(axis=1)
    labels = np.stack([classify(_table(one)) for one in EXPOSURES])
    apart = _apart(labels, best, of_value)
    why, one_kind = "", False
    if apart.any():
        tie = float(likelihood[best] - likelihood[apart].max())
        whiteness = _whiteness_of_ice(pixels, exposure)
        one_kind = min(shares[THICK], shares[THIN]) < ALONE * (shares[THICK] + shares[THIN])
        if one_kind and BLUISH < whiteness < WHITE:
            why = f"one kind of ice alone, of whiteness {whiteness:.2f}, as both kinds can have"
        elif tie < TIE:
            why = "exposures that give other classes fit as well"
    return Exposure(
        value=1.0 if why else exposure,
        shares=tuple(np.round(shares, 4).tolist()),
        likeliest=exposure,
        limit_reached=best in (0, len(EXPOSURES) - 1),
        ambiguous=why,
        by_whiteness=bool(one_kind and not why),
    )


def _apart(labels: np.ndarray, best: int, of_value: np.ndarray) -> np.ndarray:
    """(E, 256) classes by exposure and brightness, (256,) shares -> (E,) bool: other classes?

    Other than those of the best are so many pixels, or most of a class of the one or the other.
    """
    differ = labels != labels[best]
    found = (differ * of_value).sum(axis=1) > APART
    for kind in range(len(CLASSES)):
        for held in (labels[best] == kind, labels == kind):
            share = (held * of_value).sum(axis=-1)
            found |= ((differ & held) * of_value).sum(axis=1) > 0.5 * np.maximum(share, LEAST)
    return found


def _fit(weight: np.ndarray, exposure: float) -> tuple[float, np.ndarray]:
    """(256, WHITENESS_BINS) shares of pixels -> mean log likelihood, shares of the classes."""
    models = _models(exposure)
    shares, of_value = _shares(weight, models, np.ones(len(models)))
    in_sun = float((of_value[THICK] * _in_sun(exposure)).sum())
    if in_sun < SUNLIT * shares[THICK]:
        shares, _ = _shares(weight, models, np.arange(len(models)) != THICK)
    mixture = np.tensordot(shares, models, 1) + OUTLIERS / weight.size
    return float((weight * np.log(mixture)).sum()), shares


def _shares(
    weight: np.ndarray, models: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest shares of the classes that are there; (K, 256) their pixels by brightness."""
    shares = there / there.sum()
    for _ in range(EM_STEPS):
        parts = shares[:, None, None] * models
        parts = parts / (parts.sum(axis=0) + OUTLIERS / weight.size) * weight
        shares = parts.sum(axis=(1, 2))
        shares = shares / shares.sum()
    return shares, parts.sum(axis=2)


def _whiteness_of_ice(pixels: np.ndarray, exposure: float) -> float:
    """(N, 3) uint8 -> whiteness of the mean colour of what is no water: noise falls out of it."""
    ice = pixels[brightness(pixels) > PAPER.water_max * exposure]
    mean = ice.mean(axis=0) if len(ice) else np.zeros(3)
    return float(mean.min() / max(mean.max(), 1.0))


def correct(image: np.ndarray, exposure: float) -> np.ndarray:
    """(H, W, 3) uint8 as it were at exposure 1.

    What is near saturation is taken for snow at least: how much brighter it was is not known.
    """
    return _table(exposure)[image]


def _table(exposure: float) -> np.ndarray:
    """(256,) uint8: what becomes of each value."""
    table = np.clip(np.rint(np.arange(256) / exposure), 0, 255).astype(np.uint8)
    table[SATURATED:] = np.maximum(table[SATURATED:], round(SNOW))
    return table


def _sample(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N, 3) known pixels of a grid of SAMPLED rows and columns."""
    step = max(1, -(-max(known.shape) // SAMPLED))
    return image[::step, ::step][known[::step, ::step]]


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 -> (256, WHITENESS_BINS) pixels over brightness and whiteness."""
    value = brightness(pixels).astype(np.int64)
    least = pixels.min(axis=1).astype(np.int64)
    bright = np.maximum(value, 1)
    white = np.where(value < DARK, WHITENESS_BINS // 2, least * WHITENESS_BINS // bright)
    white = np.minimum(white, WHITENESS_BINS - 1)
    flat = np.bincount(value * WHITENESS_BINS + white, minlength=256 * WHITENESS_BINS)
    return flat.reshape(256, WHITENESS_BINS)


@functools.cache
def _in_sun(exposure: float) -> np.ndarray:
    """(256,) how much of what is thick ice of a brightness lies in the sun."""
    parts = [
        share * np.diff(_normal_below(_value_edges(), mean * exposure, deviation * exposure))
        for mean, deviation, share in _MODELS[THICK][0]
    ]
    in_sun, in_shadow = parts
    return in_sun / np.maximum(in_sun + in_shadow, np.finfo(float).tiny)


def _value_edges() -> np.ndarray:
    edges = np.arange(257) - 0.5
    edges[0], edges[-1] = -np.inf, np.inf
    return edges


@functools.cache
def _models(exposure: float) -> np.ndarray:
    """(K, 256, WHITENESS_BINS) probability of each bin, by class, a few outliers included."""
    edges = _value_edges()
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
