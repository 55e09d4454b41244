"""What the views of a product measured, and where: reflectances, temperatures, angles, places.

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

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from cloudmask.data.formats.safe import radiometry
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
from cloudmask.data.scene import SceneError
from cloudmask.data.slstr import THERMAL, Reading, surface_kelvin

View = Literal["n", "o"]
"""nadir or oblique, as file names have it"""


def temperatures(
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


def reflectances(
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
    zenith = solar_zenith(product, (shape[0], fine[1]), file, view, resolution=500)
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


def oblique(
    product: Path, channel: str, shape: tuple[int, int], collection: int, reading: Reading
) -> np.ndarray:
    """`shape` float32: a channel of the oblique view on the nadir grid, NaN outside its strip."""
    own = _oblique_shape(product)
    band = channel.removesuffix("o")
    if band in THERMAL:
        (values,) = temperatures(product, [band], "o", own, reading)
    else:
        gain = radiometry.oblique_gain(collection, band)
        (values,) = reflectances(product, [band], "o", own, [gain], reading)
    return _on_nadir(product, values, shape)


def seen_twice(product: Path, shape: tuple[int, int]) -> np.ndarray:
    """`shape` bool: where the grid of the oblique view lies on that of the nadir view."""
    return ~np.isnan(_on_nadir(product, np.zeros(_oblique_shape(product)), shape))


def _oblique_shape(product: Path) -> tuple[int, int]:
    """Rows and columns of 1 km."""
    shape = read_raw(product, "indices_io.nc", "detector_io").shape
    if len(shape) != 2:
        raise SceneError(product, f"detector_io has shape {shape}, not rows and columns", AGAIN)
    return shape


def _on_nadir(product: Path, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values on the oblique grid of 1 km -> `shape` float32, NaN outside it."""
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


def solar_zenith(
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


def skin_temperature(product: Path, shape: tuple[int, int]) -> np.ndarray:
    """`shape` float32 K: the surface's temperature by the weather model, which the product brings
    along at its tie points, for one time. NaN where it has none."""
    file, name = "met_tx.nc", "skin_temperature_tx"
    own = read_raw(product, file, name).shape
    if own[-2:-1] != shape[:1] or own[:-2] not in ((), (1,)):
        problem = f"{name} has shape {own}, the flags {shape[0]} rows"
        raise SceneError(product, problem, AGAIN)
    kelvin = interpolate_ties(
        surface_kelvin(read_decoded(product, file, name, own).reshape(own[-2:])),
        shape[1],
        resolution=1000,
        track_offset=read_attribute(product, "flags_in.nc", "track_offset"),
        tie_offset=read_attribute(product, file, "track_offset"),
    )
    return kelvin.astype(np.float32)


def places(product: Path, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
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
