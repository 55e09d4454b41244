"""A mask from what cloud and clear sky look like in all scenes together: two mixtures of Gaussians.

The strategy: a teacher's mask says which pixels are cloud, with errors. Of each class a mixture of
few Gaussians is fitted to the pixels that the teacher calls so. It cannot follow the teacher into
every error, as it knows neither the place of a pixel nor the teacher's tests, only how the bulk of
each class looks. A pixel is then what it looks like more, and the prior of the classes counts too.
The fit takes the pixels where the teacher is at its best, such as those that both views see; what
follows holds for all. (Fisher's and Bayes' old rule; mixtures as in Hastie and Tibshirani, JRSS B
58, 1996.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloudmask.labels.looks import Looks

COMPONENTS = {"clear": 3, "cloud": 4}
STARTS = 3
"""fits from other pixels, whose log-odds are averaged: each ends at another of many optima"""
STEPS = 40
RIDGE = 1e-3
"""added to each variance, that of all pixels being 1, so that no component shrinks to a point"""
FEWEST = 1000
"""pixels of a class from which on it can be fitted"""
_CHUNK = 2**16
FARTHEST = 8.0
"""log-odds beyond which none is sure: the tails of the mixtures are not measured"""


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians in F dimensions."""

    weights: np.ndarray
    """(K,), their sum is 1"""
    means: np.ndarray
    """(K, F)"""
    whiteners: np.ndarray
    """(K, F, F) W with W' W the inverse of the covariance"""

    def log_density(self, pixels: np.ndarray) -> np.ndarray:
        """(N, F) -> (N,)"""
        return _log_sum(self.log_parts(pixels))

    def log_parts(self, pixels: np.ndarray) -> np.ndarray:
        """(N, F) -> (N, K): log of weight times density of each Gaussian."""
        found = np.empty((len(pixels), len(self.weights)))
        for k, (weight, mean, whitener) in enumerate(
            zip(self.weights, self.means, self.whiteners, strict=True)
        ):
            white = (pixels - mean) @ whitener.T
            size = math.log(weight) + np.log(np.diag(whitener)).sum()
            size -= 0.5 * pixels.shape[1] * math.log(2 * math.pi)
            found[:, k] = size - 0.5 * np.einsum("nf,nf->n", white, white)
        return found


def fit_mixture(pixels: np.ndarray, components: int, *, seed: int = 0) -> Mixture:
    """(N, F) -> the mixture by STEPS steps of expectation and maximisation (Dempster et al. 1977).

    It begins at pixels that are drawn, with the covariance of all.
    """
    rng = np.random.default_rng(seed)
    number, size = pixels.shape
    spread = np.atleast_2d(np.cov(pixels.T))
    ridge = RIDGE * np.eye(size)
    mixture = Mixture(
        np.full(components, 1 / components),
        pixels[rng.choice(number, components, replace=False)],
        np.stack([_whitener(spread + ridge)] * components),
    )
    for _ in range(STEPS):
        parts = mixture.log_parts(pixels)
        share = np.exp(parts - _log_sum(parts)[:, None])
        total = share.sum(axis=0) + 1e-6
        means = (share.T @ pixels) / total[:, None]
        whiteners = np.empty_like(mixture.whiteners)
        for k in range(components):
            away = pixels - means[k]
            whiteners[k] = _whitener((share[:, k, None] * away).T @ away / total[k] + ridge)
        mixture = Mixture(total / total.sum(), means, whiteners)
    return mixture


def _whitener(covariance: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.linalg.cholesky(covariance))


def _log_sum(parts: np.ndarray) -> np.ndarray:
    """(N, K) -> (N,) log of the sum of exponentials."""
    most = parts.max(axis=1)
    return most + np.log(np.exp(parts - most[:, None]).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Densities:
    """What cloud and clear sky look like, where certain looks are measured."""

    mean: np.ndarray
    std: np.ndarray
    """(F,) of the pixels it was fitted to, by which looks are scaled"""
    clear: tuple[Mixture, ...]
    cloud: tuple[Mixture, ...]
    """one of each start"""
    prior: float
    """log-odds of cloud before a pixel is looked at"""

    def log_odds(self, looks: np.ndarray) -> np.ndarray:
        """(N, F) -> (N,) float32 log-odds of cloud, at most FARTHEST from zero."""
        found = np.empty(len(looks), np.float32)
        for first in range(0, len(looks), _CHUNK):
            part = slice(first, first + _CHUNK)
            scaled = (looks[part].astype(np.float64) - self.mean) / self.std
            odds = [
                cloud.log_density(scaled) - clear.log_density(scaled)
                for clear, cloud in zip(self.clear, self.cloud, strict=True)
            ]
            found[part] = (np.mean(odds, axis=0) + self.prior).clip(-FARTHEST, FARTHEST)
        return found


def fit(looks: np.ndarray, cloud: np.ndarray, *, prior: float | None = None) -> Densities | None:
    """(N, F) looks and (N,) bool, what the teacher says -> the densities.

    `prior` are the log-odds of cloud before a pixel is looked at (default: the teacher's). None
    if either class has fewer than FEWEST pixels.
    """
    if min(cloud.sum(), (~cloud).sum()) < FEWEST:
        return None
    looks = looks.astype(np.float64)
    mean, std = looks.mean(axis=0), np.maximum(looks.std(axis=0), 1e-6)
    scaled = (looks - mean) / std
    return Densities(
        mean=mean,
        std=std,
        clear=_starts(scaled[~cloud], COMPONENTS["clear"]),
        cloud=_starts(scaled[cloud], COMPONENTS["cloud"]),
        prior=math.log(cloud.sum() / (~cloud).sum()) if prior is None else prior,
    )


def _starts(pixels: np.ndarray, components: int) -> tuple[Mixture, ...]:
    return tuple(fit_mixture(pixels, components, seed=seed) for seed in range(STARTS))


Samples = dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]]
"""names of the looks that are measured -> (N, F) looks of pixels, (N,) bool whether cloud"""
Fitted = dict[tuple[str, ...], Densities]
"""names of the looks that are measured, as by day or by night -> their densities"""


def fit_all(samples: Sequence[Samples], *, prior: float | None = None) -> Fitted:
    """Samples of scenes, as `sample` gives them -> densities of each kind of looks they hold."""
    found = {}
    for names in sorted({names for one in samples for names in one}):
        parts = [one[names] for one in samples if names in one]
        looks, cloud = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        fitted = fit(looks, cloud, prior=prior)
        if fitted is not None:
            found[names] = fitted
    return found


def sample(looks: Looks, label: np.ndarray, *, pixels: int, seed: int) -> Samples:
    """Up to `pixels` labelled pixels of each kind of looks: their looks, and whether cloud."""
    rng = np.random.default_rng(seed)
    found = {}
    for names, where, values in looks.kinds():
        known = np.flatnonzero(label[where] <= 1)
        if known.size:
            chosen = rng.choice(known, min(pixels, known.size), replace=False)
            found[names] = values[chosen], label[where][chosen] == 1
    return found


def log_odds(looks: Looks, fitted: Fitted) -> np.ndarray:
    """(H, W) float32 log-odds of cloud; NaN where nothing was measured or nothing fitted."""
    found = np.full(looks.shape, np.nan, np.float32)
    for names, where, values in looks.kinds():
        if names in fitted:
            found[where] = fitted[names].log_odds(values)
    return found
