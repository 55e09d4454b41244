"""The infrared rule: classes from reflectance in green, red, near infrared and at 1.6 micrometres.

Snow and ice are bright in green and dark at 1.6 micrometres; clouds are bright in both; water is
dark in the near infrared. A pixel counts on its own:

- ice where the normalised difference snow index, (green - swir) / (green + swir), is above 0.4
  (Hall, Riggs and Salomonson, Remote Sensing of Environment 54, 1995) and the near infrared above
  0.11 (Riggs, Hall and Ackerman, Remote Sensing of Environment 68, 1999, for sea ice from MODIS).
  Both are what IceMap and IceMap250 use, with the surface's temperature, which Sentinel-2 does not
  tell (Gignac et al., Remote Sensing 9 (1), 70, 2017, and espace.inrs.ca/id/eprint/4310, which says
  that 0.11 was found by trial);
- water where the near infrared is at most 0.11, and 1.6 micrometres is no brighter than that;
- cloud, or land, hence unknown, where it is neither, or above 0.2 at 1.6 micrometres, which is
  more than what snow and ice reflect there (a bound of ours);
- thick ice where the mean of green and red is 0.5 or more, else thin. Albedos of the Antarctic
  sea-ice zone over all wavelengths are .14 for nilas, .25 and .32 for bare young ice up to 30 cm,
  .49 for bare first-year ice above 70 cm, .64 or more for all under snow but nilas and grey ice
  (Brandt et al., Journal of Climate 18, 2005, table 1, clear sky in spring). Visible ones are
  somewhat higher. The bound between is ours.

Hence young ice under snow is thick to this rule, bare first-year ice of 30 to 70 cm (.41) and melt
ponds may be thin, and the darkest nilas is water. Reflectance at the top of the atmosphere will do
where it is clear; it adds some hundredths in green. Reflectance, as products have it, is divided
by the cosine of the sun's zenith angle, so the bounds do not move with the height of the sun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cloudmask.metrics import UNKNOWN
from seaice.colour import THICK, THIN, WATER

BANDS = ("green", "red", "nir", "swir")
BLOCK_PIXELS = 2**21
"""that are worked on at once: 32 MiB of reflectance, and as much again"""


@dataclass(frozen=True)
class Bounds:
    """Of the snow index, and of reflectance from 0 to 1."""

    ndsi_min: float = 0.4
    """ice is above"""
    nir_min: float = 0.11
    """ice is above; water is at or below, there and at 1.6 micrometres"""
    swir_max: float = 0.2
    """snow, ice and water are at or below"""
    thick_min: float = 0.5
    """mean of green and red; thick ice is at or above"""


BOUNDS = Bounds()


def infrared(
    green: np.ndarray,
    red: np.ndarray,
    nir: np.ndarray,
    swir: np.ndarray,
    *,
    bounds: Bounds = BOUNDS,
) -> np.ndarray:
    """(...) reflectance of four bands, not finite where missing -> (...) uint8 classes.

    A pixel that lacks a band is unknown, 255.
    """
    whole = np.isfinite(green) & np.isfinite(red) & np.isfinite(nir) & np.isfinite(swir)
    green, swir = np.where(whole, green, 0), np.where(whole, swir, 0)
    # Some sensors tell reflectance slightly below 0 over water: there the index says nothing.
    total = green + swir
    index = np.divide(green - swir, total, out=np.zeros_like(total), where=total > 0)
    dark = swir <= bounds.swir_max
    ice = whole & dark & (index > bounds.ndsi_min) & (nir > bounds.nir_min)
    water = whole & dark & (nir <= bounds.nir_min) & (swir <= bounds.nir_min)
    thick = (green + np.where(whole, red, 0)) / 2 >= bounds.thick_min
    label = np.full(np.shape(green), UNKNOWN, np.uint8)
    label[ice] = THIN
    label[ice & thick] = THICK
    label[water] = WATER
    return label


def by_rows(
    reflectance: Callable[[slice], np.ndarray], shape: tuple[int, int], bounds: Bounds = BOUNDS
) -> np.ndarray:
    """Rows of a scene -> (h, W, 4) reflectance of BANDS; the scene's shape -> its classes."""
    label = np.empty(shape, np.uint8)
    step = max(1, BLOCK_PIXELS // max(1, shape[1]))
    for top in range(0, shape[0], step):
        rows = slice(top, min(top + step, shape[0]))
        bands = np.moveaxis(reflectance(rows), -1, 0)
        label[rows] = infrared(*bands, bounds=bounds)
    return label
