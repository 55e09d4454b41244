"""Sentinel-3 SLSTR level 1 products (`S3A_SL_1_RBT*.SEN3` folders) as scenes, nadir view.

satpy reads radiances and brightness temperatures. Done here is what it leaves out: pixels that are
invalid by their exception flags (it knows the fill value only); the solar irradiance of the scene
(it takes that of the last calibration); the cosine of the solar zenith angle; and the way from
500 m to 1 km. Its angles are not used: they need further files, and its spline overshoots between
the tie points, which are jagged.

The gains for the radiances of collections before 005 are handed to satpy, because whether it
applies its own to newer ones depends on its version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudmask.data import slstr
from cloudmask.data.formats.safe import arrays
from cloudmask.data.formats.safe.arrays import AGAIN, Bands, read_attribute, read_decoded, read_raw
from cloudmask.data.formats.safe.grid import block_means, interpolate_ties
from cloudmask.data.formats.safe.manifest import MANIFEST
from cloudmask.data.formats.safe.members import Product, open_product
from cloudmask.data.place import Place
from cloudmask.data.scene import LabelChoice, Scene, SceneError, missing_pixels
from cloudmask.data.slstr import CHANNELS, CLASSES, SOLAR, THERMAL, Confidence
from cloudmask.metrics import UNKNOWN

# Of the nadir view, S1 to S6: EUMETSAT, product notice S3.PN-SLSTR-L1.08.
GAINS = (0.97, 0.98, 0.98, 1.0, 1.11, 1.13)
_CORRECTED_COLLECTION = 5  # from here on the radiances are right as they are

_INVALID = 16 | 32 | 128  # of the exception flags: saturation, invalid_radiance, unfilled_pixel

# satpy opens viscal.nc and indices_*.nc beside every channel.
_THERMAL_FILES = (
    *(f"{band}_BT_in.nc" for band in THERMAL),
    *("flags_in.nc", "geometry_tn.nc", "indices_in.nc", "viscal.nc"),
)
_FILES = (
    *(f"{band}_radiance_an.nc" for band in SOLAR),
    *(f"{band}_quality_an.nc" for band in SOLAR),
    *("indices_an.nc", "geodetic_in.nc"),
    *_THERMAL_FILES,
)
MEMBERS = (MANIFEST, *_FILES)
"""what tells whether a product has changed"""


@dataclass(frozen=True, eq=False)
class Thermal:
    """What a product holds of H rows and W columns of 1 km."""

    bt: np.ndarray
    """(H, W, 3) float32: S7, S8, S9 in K, NaN = missing or invalid"""
    confidence: np.ndarray
    """(H, W) uint16: see Confidence"""
    solar_zenith: np.ndarray
    """(H, W) float64, degrees"""


def read_safe(
    path: Place, *, label: LabelChoice = "any", need_label: bool = True, verify: bool = True
) -> Scene:
    """A product as a scene of nine channels, S1..S6 as reflectance and S7..S9 in K, on the 1 km
    grid, with coordinates and flags.

    Reflectance is missing where the sun is not above the horizon. The label is cloud where
    `bayes_in` has any bit (`any`) or bit 2 (`single_moderate`), where `confidence_in` has
    summary_cloud (`summary`), or where the Bayesian probability is at least 0.5 (`probability`).
    SceneError for everything that is wrong with the product; `verify` compares the files that are
    read with the sizes and MD5s in its manifest.
    """
    with open_product(path, lambda _: _FILES, verify=verify) as product:
        return _read(product, label, need_label)


def _read(product: Product, label: LabelChoice, need_label: bool) -> Scene:
    path = product.folder
    arrays.check_readable(path, product.files)
    thermal = _thermal(path)
    shape = thermal.confidence.shape
    image = np.empty((*shape, len(CHANNELS)), np.float32)
    gains = GAINS if product.collection < _CORRECTED_COLLECTION else (1.0,) * len(GAINS)
    for index, reflectance in enumerate(_reflectances(path, shape, gains)):
        image[..., index] = reflectance
    image[..., len(SOLAR) :] = thermal.bt
    unknown = missing_pixels(image) | _has(thermal.confidence, Confidence.UNFILLED)
    latitude, longitude = (
        read_decoded(path, "geodetic_in.nc", f"{name}_in", shape).astype(np.float32)
        for name in ("latitude", "longitude")
    )
    try:
        chosen = _label(path, label, thermal, unknown)
    except SceneError:
        if need_label:
            raise
        chosen = None
    return Scene(
        name=product.name,
        image=image,
        channels=CHANNELS,
        label=chosen,
        classes=CLASSES,
        summary=_mask(_has(thermal.confidence, Confidence.SUMMARY_CLOUD), unknown),
        label_source=label,
        latitude=latitude,
        longitude=longitude,
        start=product.start,
        stop=product.stop,
        confidence=thermal.confidence,
    )


def read_thermal(path: Place, *, verify: bool = True) -> Thermal:
    """The 1 km part of a product, which may lack everything else. SceneError."""
    with open_product(path, lambda _: _THERMAL_FILES, verify=verify) as product:
        arrays.check_readable(product.folder, product.files)
        return _thermal(product.folder)


def _thermal(product: Path) -> Thermal:
    confidence = read_raw(product, "flags_in.nc", "confidence_in")
    shape = confidence.shape
    bands = Bands(product, THERMAL, kind="BT_in")
    bt = np.empty((*shape, len(THERMAL)), np.float32)
    for index, band in enumerate(THERMAL):
        bt[..., index] = bands.read(band, shape)
        invalid = _invalid(product, f"{band}_BT_in.nc", f"{band}_exception_in", shape)
        bt[invalid, index] = np.nan
    zenith = _solar_zenith(product, shape, f"{THERMAL[0]}_BT_in.nc", resolution=1000)
    return Thermal(bt, confidence, zenith)


def _reflectances(
    product: Path, shape: tuple[int, int], gains: Sequence[float]
) -> Iterator[np.ndarray]:
    """(H, W) for each of S1 to S6: pi L / (E0 cos z), each 500 m pixel with its own zenith angle z.

    pi L / E0 undoes the processor's own conversion (ESA, SLSTR technical guide, "Conversion to
    radiances"), with the solar irradiance E0 of the season that it used; cos z is in neither.
    """
    fine = (2 * shape[0], 2 * shape[1])
    bands = Bands(product, SOLAR, kind="radiance_an", gains=dict(zip(SOLAR, gains, strict=True)))
    detector = read_raw(product, "indices_an.nc", "detector_an", fine).astype(np.uint8)
    zenith = _solar_zenith(
        product, (shape[0], fine[1]), f"{SOLAR[0]}_radiance_an.nc", resolution=500
    )
    lit = np.where(zenith < 90, zenith, np.nan)
    cosine = np.cos(np.radians(lit)).repeat(2, axis=0)
    for band in SOLAR:
        reflectance = bands.read(band, fine) * np.pi
        reflectance /= _irradiance(product, band)[detector]
        reflectance /= cosine
        invalid = _invalid(product, f"{band}_radiance_an.nc", f"{band}_exception_an", fine)
        reflectance[invalid] = np.nan
        yield block_means(reflectance)


def _irradiance(product: Path, band: str) -> np.ndarray:
    """(256,): solar irradiance by detector number; the mean where the pixel has no detector."""
    file = f"{band}_quality_an.nc"
    values = read_raw(product, file, f"{band}_solar_irradiance_an").ravel()
    good = values > 0  # and not NaN
    if not good.any():
        raise SceneError(product, f"{file} holds no solar irradiance", AGAIN)
    table = np.full(256, values[good].mean())
    table[: len(values)][good] = values[good]
    return table


def _invalid(product: Path, file: str, name: str, shape: tuple[int, int]) -> np.ndarray:
    return read_raw(product, file, name, shape) & _INVALID > 0


def _solar_zenith(
    product: Path, shape: tuple[int, int], file: str, *, resolution: int
) -> np.ndarray:
    """(H, columns) degrees for the columns of `file`."""
    ties = read_raw(product, "geometry_tn.nc", "solar_zenith_tn")
    if ties.ndim != 2 or len(ties) != shape[0]:
        problem = f"solar_zenith_tn has shape {ties.shape}, the flags {shape[0]} rows"
        raise SceneError(product, problem, AGAIN)
    return interpolate_ties(
        ties,
        shape[1],
        resolution=resolution,
        track_offset=read_attribute(product, file, "track_offset"),
        tie_offset=read_attribute(product, "geometry_tn.nc", "track_offset"),
    )


def _label(product: Path, choice: LabelChoice, thermal: Thermal, unknown: np.ndarray) -> np.ndarray:
    """(H, W) uint8: 0 clear, 1 cloud, 255 unknown."""
    instead = "choose --label summary or leave this product out"
    if choice == "truth":
        raise SceneError(product, "a product knows no truth", instead)
    if choice == "summary":
        return _mask(_has(thermal.confidence, Confidence.SUMMARY_CLOUD), unknown)
    name = "probability_cloud_single_in" if choice == "probability" else "bayes_in"
    if not arrays.holds(product, "flags_in.nc", name):
        raise SceneError(product, f"flags_in.nc holds no {name}: it was not computed", instead)
    if choice == "probability":
        probability = read_decoded(product, "flags_in.nc", name, unknown.shape)
        cloud, known = probability >= 0.5, ~np.isnan(probability)
    else:
        bayes = read_raw(product, "flags_in.nc", name, unknown.shape)
        cloud, known = slstr.bayes_cloud(bayes, choice), bayes != slstr.NOT_COMPUTED
    if not unknown.all() and not known[~unknown].any():
        problem = f"{name} was not computed: it is the fill value wherever something was measured"
        raise SceneError(product, problem, instead)
    return _mask(cloud, unknown | ~known)


def _mask(cloud: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    return np.where(unknown, UNKNOWN, cloud).astype(np.uint8)


def _has(flags: np.ndarray, bit: Confidence) -> np.ndarray:
    return flags & int(bit) > 0
