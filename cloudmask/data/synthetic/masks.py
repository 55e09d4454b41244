"""The Bayesian and the summary mask of a synthetic scene: imperfect classifiers of what was seen.

They fail as the real ones do: they miss thin and low cloud and raise false alarms at ocean fronts,
coasts, glint, deserts and snow.
"""

from dataclasses import dataclass

import numpy as np

from cloudmask.data.slstr import Bayes
from cloudmask.data.synthetic.fractal import Field
from cloudmask.data.synthetic.nature import Surface
from cloudmask.data.synthetic.sensor import VAPOUR_ABSORPTION, VAPOUR_COLDER_KELVIN

FULL_WIDTH = 1500
"""columns of a whole scene"""
DUAL_VIEW = (548, 1448)
"""of these columns the first and the last + 1 that the oblique view sees too"""
WITH_A_WITNESS, AS_A_WITNESS = 0.7, 1.3
"""limits of the nadir and of the oblique view where both must find a cloud, in usual limits: a high
cloud stands elsewhere in the oblique view, which alone would raise false alarms beside it"""


@dataclass(frozen=True)
class Departures:
    """How far the pixels are from what is expected of clear ones, as (H, W) fields."""

    cold: Field  # S8 below the climatology, K
    split: Field  # S8 - S9, large for thin ice, K
    low: Field  # S8 - S7, large for droplets at night, K
    rough: Field  # S8 against its neighbours, K
    bright: Field  # reflectance in S1 over land, in S3 over sea


def departures(bts: np.ndarray, refs: np.ndarray, surface: Surface) -> Departures:
    """Of (H, W, 3) brightness temperatures in K and (H, W, 6) reflectances as they were seen."""
    dimmed = [VAPOUR_COLDER_KELVIN * (1 - np.exp(-k * surface.vapour)) for k in VAPOUR_ABSORPTION]
    s7, s8, s9 = (bts[..., channel] + dimmed[channel] for channel in range(3))
    bright = np.where(surface.land, refs[..., 0], refs[..., 2]) - surface.expected_bright
    rough = [np.abs(bts[..., 1] - np.roll(bts[..., 1], 1, axis)) for axis in (0, 1)]
    return Departures(surface.expected - s8, s8 - s9, s8 - s7, np.maximum(*rough), bright)


def bayesian_mask(seen: Departures, oblique: Departures, surface: Surface) -> np.ndarray:
    """(H, W) uint8 bits of a probabilistic mask that knows the climatology.

    Each test makes a probability of clear sky out of a departure, and their product is that of the
    pixel: any test can raise the alarm. Where the oblique view is there, a pixel is cloud as well
    if both views find it, each by limits of its own: `oblique` are the departures in that view.
    """
    single = _clear_sky(seen, surface)
    both = (1 - _clear_sky(seen, surface, limits=WITH_A_WITNESS)) * (
        1 - _clear_sky(oblique, surface, limits=AS_A_WITNESS)
    )
    dual = single * (1 - both)
    first, end = (round(column * single.shape[1] / FULL_WIDTH) for column in DUAL_VIEW)
    dual[:, :first] = 1
    dual[:, end:] = 1
    tests = {
        Bayes.SINGLE_LOW: single < 0.5,
        Bayes.SINGLE_MODERATE: single < 0.2,
        Bayes.DUAL_LOW: dual < 0.5,
        Bayes.DUAL_MODERATE: dual < 0.2,
    }
    return sum(np.uint8(bit) * found for bit, found in tests.items())


def _clear_sky(seen: Departures, surface: Surface, *, limits: float = 1.0) -> Field:
    """(H, W) probability of clear sky in one view, by so many times the usual limits."""
    land = surface.land
    clear = _probability_clear(seen.cold, limits * np.where(land, 9, 7), 1.5)
    clear *= _probability_clear(seen.split, limits * 2.4, 0.3)
    clear *= _probability_clear(seen.rough, limits * np.where(land, 9, 8), 0.7)
    if surface.reflectance:
        return clear * _probability_clear(seen.bright, limits * np.where(land, 0.11, 0.06), 0.02)
    return clear * _probability_clear(seen.low, limits * np.where(land, 1.3, 0.85), 0.2)


def _probability_clear(departure: Field, limit: np.ndarray | float, width: float) -> Field:
    """(H, W) logistic function of a departure: 1/2 at its limit, less beyond it."""
    return 0.5 - 0.5 * np.tanh((departure - np.asarray(limit, np.float32)) / (2 * width))


def summary_mask(seen: Departures, surface: Surface) -> np.ndarray:
    """(H, W) bool: any of a few tests beyond its threshold, as in the operational mask."""
    cloud = (seen.cold > 13) | (seen.split > 3) | (seen.rough > 2.5)
    return cloud | (seen.bright > 0.3 if surface.reflectance else seen.low > 1.4)
