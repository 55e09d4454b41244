"""Sentinel-3 SLSTR level 1 products (`S3A_SL_1_RBT*.SEN3` folders) as scenes on the nadir grid.

satpy reads radiances and brightness temperatures. Done here is what it leaves out: pixels that are
invalid by their exception flags (it knows the fill value only); the solar irradiance of the scene
(it takes that of the last calibration); the cosine of the solar zenith angle; and the way from
500 m to 1 km. Its angles are not used: they need further files, and its spline overshoots between
the tie points, which are jagged.

The gains for the radiances of collections before 005 are handed to satpy, because whether it
applies its own to newer ones depends on its version.

The oblique view has fewer columns of the same plane. Its first pixel stands on the nadir grid where
ground track and start of the orbit fall together: at row `start_offset` (oblique) - `start_offset`
(nadir) and column `track_offset` (nadir) - `track_offset` (oblique), 548 in real products. SNAP's
Sentinel-3 Toolbox places it so (SlstrProductFactory.getOffsets); satpy leaves it where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cloudmask.data import slstr
from cloudmask.data.formats.safe import arrays, radiometry
from cloudmask.data.formats.safe.arrays import (
    AGAIN,
    Bands,
    Kind,
    is_there,
    read_attribute,
    read_decoded,
    read_raw,
)
from cloudmask.data.formats.safe.grid import interpolate_places, interpolate_ties, placed
from cloudmask.data.formats.safe.manifest import MANIFEST
from cloudmask.data.formats.safe.members import Product, open_product
from cloudmask.data.place import Place
from cloudmask.data.scene import LabelChoice, Scene, SceneError, missing_pixels
from cloudmask.data.slstr import CLASSES, SOLAR, THERMAL, Confidence, Reading
from cloudmask.metrics import UNKNOWN
from cloudmask.record import warn

View = Literal["n", "o"]
"""nadir or oblique, as file names have it"""

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
# indices_io.nc tells of the 1 km grid of the view, of S5 as well.
_OBLIQUE_FILES = {
    "S5o": (
        *("S5_radiance_ao.nc", "S5_quality_ao.nc", "indices_ao.nc"),
        *("indices_io.nc", "geometry_to.nc"),
    ),
    "S8o": ("S8_BT_io.nc", "indices_io.nc"),
    "S9o": ("S9_BT_io.nc", "indices_io.nc"),
}


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
    grid, with coordinates and flags; with `reading.oblique` of twelve.

    Reflectance is missing from `reading.max_solar_zenith` on. Coordinates are those of the pixels,
    or interpolated between the tie points where the product has these alone. The label is cloud
    where `bayes_in` has any bit (`any`) or bit 2 (`single_moderate`), where `confidence_in` has
    summary_cloud (`summary`), or where the Bayesian probability is at least 0.5 (`probability`).
    SceneError for everything that is wrong with the product; `verify` compares the files that are
    read with the sizes and MD5s in its manifest.
    """
    with open_product(path, lambda held: _needed(path, held, reading), verify=verify) as product:
        return _read(product, label, need_label, reading)


def _read(product: Product, label: LabelChoice, need_label: bool, reading: Reading) -> Scene:
    path, collection = product.folder, product.collection
    arrays.check_readable(path, product.files)
    thermal = _thermal(path, reading)
    shape = thermal.confidence.shape
    image = np.empty((*shape, len(reading.channels)), np.float32)
    gains = radiometry.gains(collection)
    for index, reflectance in enumerate(_reflectances(path, SOLAR, "n", shape, gains, reading)):
        image[..., index] = reflectance
    nadir = len(slstr.CHANNELS)
    image[..., len(SOLAR) : nadir] = thermal.bt
    for index, channel in enumerate(reading.channels[nadir:], start=nadir):
        image[..., index] = np.nan
        if set(_OBLIQUE_FILES[channel]) <= set(product.files):
            image[..., index] = _oblique(path, channel, shape, collection, reading)
    unknown = missing_pixels(image[..., :nadir]) | _has(thermal.confidence, Confidence.UNFILLED)
    unknown |= thermal.confidence & reading.dropped > 0
    latitude, longitude = _places(path, shape)
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
    for index, kelvin in enumerate(_temperatures(product, THERMAL, "n", shape, reading)):
        bt[..., index] = kelvin
    zenith = _solar_zenith(product, shape, f"{THERMAL[0]}_BT_in.nc", "n", resolution=1000)
    return Thermal(bt, confidence, zenith)


def _needed(place: Place, held: Collection[str], reading: Reading) -> list[str]:
    """All files that this scene is read from, of a product that holds so many."""
    oblique = _oblique_there(place, held, reading)
    files = [*_FILES, *(file for channel in oblique for file in _OBLIQUE_FILES[channel])]
    if "geodetic_in.nc" not in held and "geodetic_tx.nc" in held:
        files[files.index("geodetic_in.nc")] = "geodetic_tx.nc"
    if reading.dropped:
        grids = {file[-5:-3] for file in files if "_radiance_" in file or "_BT_" in file}
        files += sorted(f"flags_{grid}.nc" for grid in grids)
    return list(dict.fromkeys(files))


def _oblique_there(place: Place, held: Collection[str], reading: Reading) -> list[str]:
    """The channels of the oblique view that are asked for and can be read; the others are named."""
    asked = slstr.OBLIQUE if reading.oblique else ()
    absent = {
        channel: [file for file in _OBLIQUE_FILES[channel] if file not in held] for channel in asked
    }
    lacking = [channel for channel in asked if absent[channel]]
    if lacking:
        files = ", ".join(dict.fromkeys(file for channel in lacking for file in absent[channel]))
        warn(f"{place}: nothing in {', '.join(lacking)}, as the product lacks {files}")
    return [channel for channel in asked if channel not in lacking]


def _temperatures(
    product: Path, bands: Sequence[str], view: View, shape: tuple[int, int], reading: Reading
) -> Iterator[np.ndarray]:
    """(H, W) K for each of the bands, NaN = missing or invalid."""
    kind: Kind = "BT_in" if view == "n" else "BT_io"
    source = Bands(product, bands, kind=kind)
    confidence = _dropping(product, f"i{view}", shape, reading)
    for band in bands:
        kelvin = source.read(band, shape)
        exceptions = read_raw(product, f"{band}_{kind}.nc", f"{band}_exception_i{view}", shape)
        out = radiometry.left_out(exceptions, confidence, dropped=reading.dropped)
        kelvin[out] = np.nan
        yield kelvin


def _reflectances(
    product: Path,
    bands: Sequence[str],
    view: View,
    shape: tuple[int, int],
    gains: Sequence[float],
    reading: Reading,
) -> Iterator[np.ndarray]:
    """(H, W) for each of the bands, on the 1 km grid of the view."""
    fine = (2 * shape[0], 2 * shape[1])
    kind: Kind = "radiance_an" if view == "n" else "radiance_ao"
    source = Bands(product, bands, kind=kind, gains=dict(zip(bands, gains, strict=True)))
    numbers = read_raw(product, f"indices_a{view}.nc", f"detector_a{view}", fine)
    file = f"{bands[0]}_{kind}.nc"
    zenith = _solar_zenith(product, (shape[0], fine[1]), file, view, resolution=500)
    cosine = radiometry.cosines(zenith, largest=reading.max_solar_zenith)
    confidence = _dropping(product, f"a{view}", fine, reading)
    for band in bands:
        radiance = source.read(band, fine)
        exceptions = read_raw(product, f"{band}_{kind}.nc", f"{band}_exception_a{view}", fine)
        yield radiometry.reflectance(
            radiance,
            irradiance=_irradiance(product, band, view),
            detector=numbers.astype(np.uint8),
            cosine=cosine,
            invalid=radiometry.left_out(exceptions, confidence, dropped=reading.dropped),
        )


def _dropping(
    product: Path, grid: str, shape: tuple[int, int], reading: Reading
) -> np.ndarray | None:
    """The confidence word of a grid, where pixels are dropped by it."""
    if not reading.dropped:
        return None
    return read_raw(product, f"flags_{grid}.nc", f"confidence_{grid}", shape)


def _oblique(
    product: Path, channel: str, shape: tuple[int, int], collection: int, reading: Reading
) -> np.ndarray:
    """`shape` float32: a channel of the oblique view on the nadir grid, NaN outside its strip."""
    own = read_raw(product, "indices_io.nc", "detector_io").shape
    if len(own) != 2:
        raise SceneError(product, f"detector_io has shape {own}, not rows and columns", AGAIN)
    band = channel.removesuffix("o")
    if band in THERMAL:
        (values,) = _temperatures(product, [band], "o", own, reading)
    else:
        gain = radiometry.oblique_gain(collection, band)
        (values,) = _reflectances(product, [band], "o", own, [gain], reading)
    row, column = (
        sign
        * (
            read_attribute(product, "indices_io.nc", name)
            - read_attribute(product, "flags_in.nc", name)
        )
        for name, sign in (("start_offset", 1), ("track_offset", -1))
    )
    return placed(values, shape, row=round(row), column=round(column))


def _irradiance(product: Path, band: str, view: View) -> np.ndarray:
    """(256,): solar irradiance by detector number; the mean where the pixel has no detector."""
    file = f"{band}_quality_a{view}.nc"
    name = f"{band}_solar_irradiance_a{view}"
    table = radiometry.irradiances(read_raw(product, file, name))
    if table is None:
        raise SceneError(product, f"{file} holds no solar irradiance", AGAIN)
    return table


def _solar_zenith(
    product: Path, shape: tuple[int, int], file: str, view: View, *, resolution: int
) -> np.ndarray:
    """(H, columns) degrees for the columns of `file`."""
    return interpolate_ties(
        _ties(product, f"geometry_t{view}.nc", f"solar_zenith_t{view}", shape[0]),
        shape[1],
        resolution=resolution,
        track_offset=read_attribute(product, file, "track_offset"),
        tie_offset=read_attribute(product, f"geometry_t{view}.nc", "track_offset"),
    )


def _places(product: Path, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude, `shape` float32 each."""
    if _from_ties(product):
        latitude, longitude = interpolate_places(
            _ties(product, "geodetic_tx.nc", "latitude_tx", shape[0]),
            _ties(product, "geodetic_tx.nc", "longitude_tx", shape[0]),
            shape[1],
            resolution=1000,
            track_offset=read_attribute(product, "flags_in.nc", "track_offset"),
            tie_offset=read_attribute(product, "geodetic_tx.nc", "track_offset"),
        )
    else:
        latitude, longitude = (
            read_decoded(product, "geodetic_in.nc", f"{name}_in", shape)
            for name in ("latitude", "longitude")
        )
    return latitude.astype(np.float32), longitude.astype(np.float32)


def _from_ties(product: Path) -> bool:
    return not is_there(product, "geodetic_in.nc") and is_there(product, "geodetic_tx.nc")


def _ties(product: Path, file: str, name: str, rows: int) -> np.ndarray:
    ties = read_raw(product, file, name)
    if ties.ndim != 2 or len(ties) != rows:
        raise SceneError(product, f"{name} has shape {ties.shape}, the flags {rows} rows", AGAIN)
    return ties


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
