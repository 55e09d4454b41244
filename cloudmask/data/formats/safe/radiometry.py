"""What a Sentinel-3 SLSTR product's numbers mean: reflectance, and which pixels count.

Plain arithmetic on arrays, wherever they were read from. The grids are those of grid.py.
"""

from __future__ import annotations

import numpy as np

from cloudmask.data.formats.safe.grid import block_means

# S1 to S6: EUMETSAT, product notice S3.PN-SLSTR-L1.08.
GAINS = (0.97, 0.98, 0.98, 1.0, 1.11, 1.13)
OBLIQUE_GAINS = {"S5": 1.04}
CORRECTED_COLLECTION = 5
"""from here on the radiances are right as they are"""

INVALID = 16 | 32 | 128
"""exception flags: saturation, invalid_radiance, unfilled_pixel"""


def gains(collection: int) -> tuple[float, ...]:
    """That the radiances of S1 to S6 are multiplied by, in the nadir view."""
    return GAINS if collection < CORRECTED_COLLECTION else (1.0,) * len(GAINS)


def oblique_gain(collection: int, band: str) -> float:
    """The same in the oblique view."""
    return OBLIQUE_GAINS[band] if collection < CORRECTED_COLLECTION else 1.0


def left_out(exceptions: np.ndarray, confidence: np.ndarray | None, *, dropped: int) -> np.ndarray:
    """(H, W) bool: pixels that do not count, by their exception flags and by confidence bits."""
    invalid = exceptions & INVALID > 0
    return invalid if confidence is None else invalid | (confidence & dropped > 0)


def irradiances(of_detectors: np.ndarray) -> np.ndarray | None:
    """Solar irradiance of each detector -> (256,) by detector number, the mean where a pixel has
    none; None if there is none at all."""
    values = of_detectors.ravel()
    good = values > 0  # and not NaN
    if not good.any():
        return None
    table = np.full(256, values[good].mean())
    table[: len(values)][good] = values[good]
    return table


def cosines(zenith: np.ndarray, *, largest: float) -> np.ndarray:
    """(H, 2W) solar zenith in degrees, on 500 m -> (2H, 2W) its cosine, NaN from `largest` on."""
    lit = np.where(zenith < largest, zenith, np.nan)
    return np.cos(np.radians(lit)).repeat(2, axis=0)


def reflectance(
    radiance: np.ndarray,
    *,
    irradiance: np.ndarray,
    detector: np.ndarray,
    cosine: np.ndarray,
    invalid: np.ndarray,
) -> np.ndarray:
    """(2H, 2W) mW m-2 sr-1 nm-1 -> (H, W): pi L / (E0 cos z), each 500 m pixel with its own angle.

    pi L / E0 undoes the processor's own conversion (ESA, SLSTR technical guide, "Conversion to
    radiances"), with the solar irradiance E0 of the season that it used; cos z is in neither.
    """
    fine = radiance * np.pi
    fine /= irradiance[detector]
    fine /= cosine
    fine[invalid] = np.nan
    return block_means(fine)
