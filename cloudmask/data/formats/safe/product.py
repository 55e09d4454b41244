"""Sentinel-3 SLSTR level 1 products (`S3A_SL_1_RBT*.SEN3`) as scenes on the nadir grid.

Which files it takes, and what becomes of them: image, label, flags and places. What a view measured
is read in views.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudmask.data import slstr
from cloudmask.data.formats.safe import arrays, radiometry, views
from cloudmask.data.formats.safe.arrays import read_decoded, read_raw
from cloudmask.data.formats.safe.manifest import MANIFEST
from cloudmask.data.formats.safe.members import Product, open_product
from cloudmask.data.place import Place
from cloudmask.data.scene import LabelChoice, Scene, SceneError, missing_pixels
from cloudmask.data.slstr import CLASSES, SOLAR, THERMAL, Confidence, Reading
from cloudmask.metrics import UNKNOWN
from cloudmask.record import warn

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
# indices_io.nc tells of the 1 km grid of the view, of S5 as well.
_OBLIQUE_FILES = {
    "S5o": (
        *("S5_radiance_ao.nc", "S5_quality_ao.nc", "indices_ao.nc"),
        *("indices_io.nc", "geometry_to.nc"),
    ),
    "S8o": ("S8_BT_io.nc", "indices_io.nc"),
    "S9o": ("S9_BT_io.nc", "indices_io.nc"),
}
NEEDED = frozenset((MANIFEST, *_FILES)) - {"geodetic_in.nc"}
"""what no whole product lacks"""
MEMBERS = tuple(
    dict.fromkeys(
        (
            *(MANIFEST, *_FILES, "geodetic_tx.nc"),
            *(file for files in _OBLIQUE_FILES.values() for file in files),
            *("flags_an.nc", "flags_ao.nc", "flags_io.nc"),
        )
    )
)
"""what tells whether a product has changed: all that any way of reading takes, but for met_tx.nc,
which came later, changes with no other file, and has its MD5 in the manifest"""


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
    path: Place,
    *,
    label: LabelChoice = "any",
    need_label: bool = True,
    verify: bool = True,
    reading: Reading = Reading(),  # noqa: B008 (a frozen value)
) -> Scene:
    """A product as a scene of nine channels, S1..S6 as reflectance and S7..S9 in K, on the 1 km
    grid, with coordinates and flags; with `reading.oblique` of three more, and with
    `reading.skin_temperature` of one more, in K.

    Reflectance is missing from `reading.max_solar_zenith` on. Coordinates are those of the pixels,
    or interpolated between the tie points where the product has these alone. The label is cloud
    where `bayes_in` has any bit (`any`) or bit 2 (`single_moderate`), where `confidence_in` has
    summary_cloud (`summary`), or where the Bayesian probability is at least 0.5 (`probability`);
    `dual` is like `any` where the grid of the oblique view lies, and unknown elsewhere.
    SceneError for everything that is wrong with the product; `verify` compares the files that are
    read with the sizes and MD5s in its manifest.
    """
    more = ("indices_io.nc",) if label == "dual" else ()
    with open_product(
        path, lambda held: _needed(path, held, reading, more), verify=verify
    ) as product:
        return _read(product, label, need_label, reading)


def _read(product: Product, label: LabelChoice, need_label: bool, reading: Reading) -> Scene:
    path, collection = product.folder, product.collection
    arrays.check_readable(path, product.files)
    thermal = _thermal(path, reading)
    oblique = _oblique_of(product.files, reading)
    shape = thermal.confidence.shape
    image = np.empty((*shape, len(reading.channels)), np.float32)
    gains = radiometry.gains(collection)
    for index, reflectance in enumerate(
        views.reflectances(path, SOLAR, "n", shape, gains, reading)
    ):
        image[..., index] = reflectance
    nadir = len(slstr.CHANNELS)
    image[..., len(SOLAR) : nadir] = thermal.bt
    for index, channel in enumerate(reading.channels[nadir:], start=nadir):
        image[..., index] = np.nan
        if channel in oblique:
            image[..., index] = views.oblique(path, channel, shape, collection, reading)
    if reading.skin_temperature:
        # Where nothing was measured it alone must not make a pixel of the scene.
        nothing = missing_pixels(image[..., :-1])
        image[..., -1] = views.skin_temperature(path, shape)
        image[nothing, -1] = np.nan
    unknown = missing_pixels(image[..., :nadir]) | _has(thermal.confidence, Confidence.UNFILLED)
    unknown |= thermal.confidence & reading.dropped > 0
    latitude, longitude = views.places(path, shape)
    try:
        chosen = _label(path, label, thermal, unknown)
    except SceneError:
        if need_label:
            raise
        chosen = None
    return Scene(
        name=product.name,
        image=image,
        channels=reading.channels,
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


def read_thermal(
    path: Place,
    *,
    verify: bool = True,
    reading: Reading = Reading(),  # noqa: B008 (a frozen value)
) -> Thermal:
    """The 1 km part of a product, which may lack everything else. SceneError."""
    with open_product(path, lambda _: _THERMAL_FILES, verify=verify) as product:
        arrays.check_readable(product.folder, product.files)
        return _thermal(product.folder, reading)


def _thermal(product: Path, reading: Reading) -> Thermal:
    confidence = read_raw(product, "flags_in.nc", "confidence_in")
    shape = confidence.shape
    bt = np.empty((*shape, len(THERMAL)), np.float32)
    for index, kelvin in enumerate(views.temperatures(product, THERMAL, "n", shape, reading)):
        bt[..., index] = kelvin
    zenith = views.solar_zenith(product, shape, f"{THERMAL[0]}_BT_in.nc", "n", resolution=1000)
    return Thermal(bt, confidence, zenith)


def _needed(
    place: Place, held: Collection[str], reading: Reading, more: Sequence[str]
) -> list[str]:
    """All files that this scene is read from, of those that the product holds, and `more`."""
    oblique = _oblique_of(held, reading)
    _tell_of_missing(place, held, reading, oblique)
    files = [*_FILES, *more]
    files += (file for channel in oblique for file in _OBLIQUE_FILES[channel])
    if "geodetic_in.nc" not in held and "geodetic_tx.nc" in held:
        files[files.index("geodetic_in.nc")] = "geodetic_tx.nc"
    if reading.skin_temperature:
        files.append("met_tx.nc")
    if reading.dropped:
        grids = {file[-5:-3] for file in files if "_radiance_" in file or "_BT_" in file}
        files += sorted(f"flags_{grid}.nc" for grid in grids)
    return list(dict.fromkeys(files))


def _oblique_of(held: Collection[str], reading: Reading) -> tuple[str, ...]:
    """The channels of the oblique view that are asked for and can be read."""
    asked = slstr.OBLIQUE if reading.oblique else ()
    return tuple(c for c in asked if all(file in held for file in _OBLIQUE_FILES[c]))


def _tell_of_missing(
    place: Place, held: Collection[str], reading: Reading, oblique: Sequence[str]
) -> None:
    lacking = [c for c in slstr.OBLIQUE if reading.oblique and c not in oblique]
    absent = dict.fromkeys(f for c in lacking for f in _OBLIQUE_FILES[c] if f not in held)
    if lacking:
        files = ", ".join(absent)
        warn(f"{place}: nothing in {', '.join(lacking)}, as the product lacks {files}")


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
    if choice == "dual":
        known &= views.seen_twice(product, unknown.shape)
    return _mask(cloud, unknown | ~known)


def _mask(cloud: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    return np.where(unknown, UNKNOWN, cloud).astype(np.uint8)


def _has(flags: np.ndarray, bit: Confidence) -> np.ndarray:
    return flags & int(bit) > 0
