"""Cloud labels from an image alone: no mask, no climatology, no map was ever seen.

A scene's clear pixels tell what its surface looks like; tests of the departure from that vote; how
far each can be believed follows from how they agree; neighbours smooth the result. As clear pixels
count at first the warmest part of the scene, or the least hazy where nothing is thermal; then, once
more, those that were found so. A mask from elsewhere can stand in for the first guess.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from cloudmask.labels.surroundings import background
from cloudmask.labels.units import check, roles_in, without_fill
from cloudmask.labels.unsupervised_roles import KELVIN, Role
from cloudmask.labels.unsupervised_tests import TESTS, Departure, Test
from cloudmask.labels.unsupervised_votes import log_odds
from cloudmask.metrics import UNKNOWN

VERSION = 2
"""grows when the same image gives other labels"""
CONFIDENT = 1.2
"""log-odds beyond which a pixel is labelled: odds of 3.3 to 1"""
FIRST_GUESS = 0.4
"""share of a scene that is taken for clear at first: the warmest, or the least hazy"""
LEAST_CLEAR = 0.15
"""share of a scene that tells of the surface at least, however cloudy it is"""
LEAST_PART = 0.02
"""of a scene, that water or the rest must make up to be looked at by itself"""
FOG_KELVIN = 1.0
CLEAR_LOG_ODDS = -1.0
ROUNDS = 2
SMOOTH_PIXELS = 1.0


def unsupervised_log_odds(
    image: np.ndarray, channels: Sequence[str], *, clear: np.ndarray | None = None
) -> np.ndarray:
    """(H, W) float32 log-odds of cloud, NaN where too little was measured to tell.

    `image` is (H, W, C) float32 with NaN where nothing was measured: reflectance from 0 to 1,
    brightness temperature in K. `channels` says what is what (see roles_of). `clear` (H, W) bool is
    a better guess at the clear pixels, such as a network's. ValueError, in one line, for channels
    by which fewer than two tests can vote, and for reflectances that are none.
    """
    image = without_fill(image)
    fields = {
        role: image[..., index]
        for role, index in roles_in(image, channels).items()
        if np.isfinite(image[..., index]).any()
    }
    tests = tests_for(fields, channels)
    for role in sorted(fields, key=lambda role: role not in KELVIN):
        check(fields[role], role, kelvin=role in KELVIN)
    there = np.isfinite(fields["tir11" if "tir11" in fields else "green"])
    rounds = 1
    if clear is None or not (clear & there).any():
        clear, rounds = first_guess(fields), ROUNDS
    day = np.isfinite(fields["green"]) if "green" in fields else np.zeros_like(there)
    found = np.full(there.shape, np.nan, np.float32)
    for _ in range(rounds):
        votes = _votes(tests, fields, clear)
        found = np.full(there.shape, np.nan, np.float32)
        for part in (there & day, there & ~day):
            if part.any():
                found[part] = log_odds(votes[:, part], [test.channel for test in tests])
        found = _smooth(found)
        clear = found <= _limit(found)
    return found


def confident_label(log_odds: np.ndarray, *, beyond: float = CONFIDENT) -> np.ndarray:
    """(H, W) log-odds -> uint8: 1 cloud, 0 clear, 255 where they are not `beyond`, or NaN."""
    label = np.full(log_odds.shape, UNKNOWN, np.uint8)
    label[log_odds > beyond] = 1
    label[log_odds < -beyond] = 0
    return label


def tests_for(roles: Collection[Role], channels: Sequence[str]) -> list[Test]:
    """The tests that can be made of what was measured. ValueError if there are fewer than two."""
    tests = [test for test in TESTS if set(test.needs) <= set(roles)]
    if len(tests) < 2 or not {"tir11", "green"} & set(roles):
        raise ValueError(
            f"no two tests for cloud can be made of what was measured in the channels "
            f"{', '.join(channels)}; name them as SLSTR, Sentinel-2 or Landsat do, or blue, green, "
            "red, nir, swir16, swir22, lwir11"
        )
    return tests


def first_guess(fields: dict[Role, np.ndarray]) -> np.ndarray:
    """(H, W) bool: the warmest of the water and the warmest of the rest, as a desert beside a sea
    is far warmer; where nothing is thermal the least hazy by blue - red / 2 (Zhang et al., 2002),
    or the darkest.

    As water counts by day what is darker at 0.86 um than at 0.56. By night what is colder at 3.7 um
    than at 11 by more than 1 K is left out: fog, which may be warmer than the ground (Saunders and
    Kriebel, 1988).
    """
    if "tir11" in fields:
        value = fields["tir11"]
    elif "blue" in fields and "red" in fields:
        value = 0.5 * fields["red"] - fields["blue"]
    else:
        value = -fields["green"]
    if "tir11" in fields and "mir37" in fields:
        fog = fields["tir11"] - fields["mir37"] > FOG_KELVIN
        night = np.isnan(fields["green"]) if "green" in fields else True
        value = np.where(fog & night, np.nan, value)
    there = np.isfinite(value)
    water = np.zeros_like(there)
    if "green" in fields and "nir" in fields:
        water = fields["nir"] < fields["green"]
    guess = np.zeros_like(there)
    for part in (there & water, there & ~water):
        if part.mean() >= LEAST_PART:
            guess[part] = value[part] >= np.quantile(value[part], 1 - FIRST_GUESS)
    return guess


def _votes(tests: Sequence[Test], fields: dict[Role, np.ndarray], clear: np.ndarray) -> np.ndarray:
    """(T, H, W) int8"""

    def departure(field: np.ndarray) -> np.ndarray:
        return field - background(field, clear)

    of_clear: Departure = departure
    return np.stack([test.votes(fields, of_clear) for test in tests])


def _smooth(found: np.ndarray) -> np.ndarray:
    """Neighbours are mostly alike: the mean of the log-odds around."""
    there = np.isfinite(found)
    weight = gaussian_filter(there.astype(np.float32), SMOOTH_PIXELS)
    total = gaussian_filter(np.where(there, found, 0), SMOOTH_PIXELS)
    return np.where(there, total / np.maximum(weight, 1e-6), np.nan).astype(np.float32)


def _limit(found: np.ndarray) -> float:
    """Log-odds below which pixels tell of the surface in the next round."""
    return max(CLEAR_LOG_ODDS, float(np.nanquantile(found, LEAST_CLEAR)))
