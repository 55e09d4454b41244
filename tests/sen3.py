"""Miniature Sentinel-3 SLSTR L1 RBT products, for the tests of their reader.

Files, variables, packing and attributes are those of real products, as far as they matter to a
reader. The values come from a real scene where there is one, packed into the integers that a real
product holds: what a test expects is computed from those integers, not from the values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

NAME = "S3A_SL_1_RBT____20170313T110000_20170313T110300_20170313T130000_0179_015_208_2520_SVL_O_NR_"
SCALES = (0.01785, 0.0145, 0.009, 0.003452, 0.002258, 0.000742)
BT_SCALE, BT_OFFSET = 0.01, 283.73
FILL = -32768
IRRADIANCES = (1858.95, 1538.22, 968.20, 370.08, 248.21, 78.35)
TRACK_OFFSET_AN, TRACK_OFFSET_TIE = 28, 64  # on the 1 km grid: half of it
START_OFFSET = 4081
OBLIQUE_GRID = (24, 16, 6)  # rows, columns, track offset at 1 km: its first column is nadir's 8th

MANIFEST = """<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1">
<metadataSection><metadataObject ID="acquisitionPeriod"><metadataWrap><xmlData>
<safe:acquisitionPeriod xmlns:safe="http://www.esa.int/safe/sentinel/1.1">
<safe:startTime>2017-03-13T11:00:00.250000Z</safe:startTime>
<safe:stopTime>2017-03-13T11:03:00.250000Z</safe:stopTime>
</safe:acquisitionPeriod></xmlData></metadataWrap></metadataObject></metadataSection>
<dataObjectSection>
{objects}
</dataObjectSection>
</xfdu:XFDU>
"""
DATA_OBJECT = """<dataObject ID="{name}"><byteStream mimeType="application/x-netcdf" size="{size}">
<fileLocation locatorType="URL" href="./{name}"/>
<checksum checksumName="MD5">{md5}</checksum>
</byteStream></dataObject>"""


@dataclass
class Oblique:
    """The oblique view of h rows and w columns of 1 km, as the integers in its files."""

    s5: np.ndarray
    """(2h, 2w) int16 radiance"""
    exception_ao: np.ndarray
    """(2h, 2w) uint8"""
    irradiance: np.ndarray
    """(4,) per detector"""
    detector: np.ndarray
    """(2h, 2w) uint8"""
    bt: list[np.ndarray]
    """S8, S9: (h, w) int16"""
    exception_io: list[np.ndarray]
    """S8, S9: (h, w) uint8"""
    confidence: np.ndarray
    """(h, w) uint16"""
    solar_zenith: np.ndarray
    """(h, 130) float64, degrees"""
    track_offset: int
    start_offset: int = START_OFFSET


def make_oblique(*, seed: int = 5) -> Oblique:
    """A seeded view whose every pixel differs; the sun of its own goes down in the last rows."""
    rng = np.random.default_rng(seed)
    rows, columns, track_offset = OBLIQUE_GRID
    down = np.linspace(30, 89.5, rows)[:, None]
    return Oblique(
        s5=rng.integers(1000, 20000, (2 * rows, 2 * columns)).astype(np.int16),
        exception_ao=np.zeros((2 * rows, 2 * columns), np.uint8),
        irradiance=IRRADIANCES[4] * np.array([0.9, 1.1, 1.0, 1.2]),
        detector=rng.integers(0, 4, (2 * rows, 2 * columns)).astype(np.uint8),
        bt=[rng.integers(-9000, 3000, (rows, columns)).astype(np.int16) for _ in range(2)],
        exception_io=[np.zeros((rows, columns), np.uint8) for _ in range(2)],
        confidence=np.full((rows, columns), 1032, np.uint16),
        solar_zenith=down + 0.02 * np.arange(130),
        track_offset=track_offset,
    )


@dataclass
class Values:
    """What a miniature product holds, as the integers in its files; change them, then write."""

    radiance: list[np.ndarray]
    """S1..S6: (2H, 2W) int16"""
    exception_an: list[np.ndarray]
    """S1..S6: (2H, 2W) uint8"""
    bt: list[np.ndarray]
    """S7..S9: (H, W) int16"""
    exception_in: list[np.ndarray]
    """S7..S9: (H, W) uint8"""
    irradiance: list[np.ndarray]
    """S1..S6: (4,) per detector"""
    detector: np.ndarray
    """(2H, 2W) uint8"""
    confidence: np.ndarray
    """(H, W) uint16"""
    bayes: np.ndarray | None
    """(H, W) uint8"""
    solar_zenith: np.ndarray
    """(H, 130) float64, degrees"""
    latitude: np.ndarray
    """(H, W) int32, millionths of a degree"""
    longitude: np.ndarray
    """(H, W) int32, millionths of a degree"""
    tie_latitude: np.ndarray
    """(H, 130) float64, degrees; the longitude likewise"""
    tie_longitude: np.ndarray
    probability: np.ndarray | None = None
    """(H, W) int16, .005 per step from .5"""
    oblique: Oblique | None = None
    skin: np.ndarray | None = None
    """(H, 130) float32, K"""
    leave_out: set[str] = field(default_factory=set)
    """files that are not written, though the manifest lists them"""


def make_values(real_data: Path | None = None, *, repeat: int = 1) -> Values:
    """The real scene of 24 x 30 pixels, or a seeded one like it, `repeat` times down and across.

    The 500 m pixels of a block differ, and so do the detectors; the sun goes down in the last rows.
    """
    scene = _real_scene(real_data) if real_data else _seeded_scene()
    scene = {
        name: np.tile(array, (repeat, repeat, 1)[: array.ndim]) for name, array in scene.items()
    }
    height, width = scene["sza"].shape
    fine = np.kron(np.ones((height, width), int), np.array([[0, 3], [-5, 9]]))  # within a block
    radiance, exception_an = [], []
    for values, scale in zip(np.moveaxis(scene["radiance"], -1, 0), SCALES, strict=True):
        packed = _pack(np.kron(values, np.ones((2, 2))), scale, 0)
        radiance.append(np.where(packed == FILL, FILL, packed + fine).astype(np.int16))
        exception_an.append(np.where(packed == FILL, 128, 0).astype(np.uint8))
    bt = [_pack(values, BT_SCALE, BT_OFFSET) for values in np.moveaxis(scene["bt"], -1, 0)]
    down = np.linspace(scene["sza"].min(), 94, height)
    across = np.arange(130) - TRACK_OFFSET_TIE
    solar_zenith = down[:, None] + 0.8 * across + 0.3 * across**2
    solar_zenith[:, 112:] = np.nan
    return Values(
        radiance=radiance,
        exception_an=exception_an,
        bt=bt,
        exception_in=[np.where(packed == FILL, 16, 0).astype(np.uint8) for packed in bt],
        irradiance=[value * np.array([1, 1.01, 0.98, 1.03]) for value in IRRADIANCES],
        detector=(np.arange(2 * height)[:, None] + np.zeros(2 * width, int)).astype(np.uint8) % 4,
        confidence=scene["confidence"].astype(np.uint16),
        bayes=np.where(scene["confidence"] & 16384, 2, 0).astype(np.uint8),
        solar_zenith=solar_zenith,
        latitude=np.rint(scene["lat"] * 1e6).astype(np.int32),
        longitude=np.rint(scene["lon"] * 1e6).astype(np.int32),
        tie_latitude=31 - 0.5 * np.arange(height)[:, None] + 0.01 * across,
        tie_longitude=-23 + 0.15 * across + np.zeros((height, 1)),
    )


def write_product(parent: Path, values: Values, *, collection: str = "004") -> Path:
    """Write the product into `parent`; its folder."""
    folder = parent / f"{NAME}{collection}.SEN3"
    folder.mkdir(parents=True)
    write_files(folder, values, list(_files(values)))
    write_manifest(folder)
    for file in values.leave_out:
        (folder / file).unlink()
    return folder


def write_files(
    folder: Path, values: Values, names: Sequence[str], *, offset: int = TRACK_OFFSET_AN
) -> None:
    """Write some of the files; `offset` is the column of the ground track on the 500 m grid."""
    files = _files(values)
    tracks = {"an": offset, "in": offset // 2}
    if values.oblique:
        tracks |= {"ao": 2 * values.oblique.track_offset, "io": values.oblique.track_offset}
    for name in names:
        track = tracks.get(name[-5:-3], TRACK_OFFSET_TIE)
        view = name.endswith(("_io.nc", "_ao.nc")) and values.oblique
        start = view.start_offset if view else START_OFFSET
        attributes = {"track_offset": np.int32(track), "start_offset": np.int32(start)}
        _write(folder / name, files[name], **attributes)


def write_manifest(folder: Path) -> None:
    """Size and MD5 of every NetCDF file that is there."""
    objects = [
        DATA_OBJECT.format(
            name=path.name,
            size=path.stat().st_size,
            md5=hashlib.md5(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.glob("*.nc"))
    ]
    (folder / "xfdumanifest.xml").write_text(MANIFEST.format(objects="\n".join(objects)))


Variable = tuple[np.ndarray, Mapping[str, Any]]


def _files(values: Values) -> dict[str, dict[str, Variable]]:
    """All files of the product: variables with their attributes."""
    files: dict[str, dict[str, Variable]] = {}
    viscal: dict[str, Variable] = {}
    for index in range(6):
        band = f"S{index + 1}"
        packing = {"_FillValue": np.int16(FILL), "scale_factor": SCALES[index]}
        files[f"{band}_radiance_an.nc"] = {
            f"{band}_radiance_an": (
                values.radiance[index],
                {**packing, "add_offset": 0.0, "units": "mW.m-2.sr-1.nm-1"},
            ),
            f"{band}_exception_an": (values.exception_an[index], {}),
        }
        irradiance = values.irradiance[index]
        attributes = {"_FillValue": np.nan, "units": "mW m^-2 nm^-1"}
        files[f"{band}_quality_an.nc"] = {f"{band}_solar_irradiance_an": (irradiance, attributes)}
        viscal[f"{band}_solar_irradiances"] = (irradiance[:, None] * np.ones(2), {})
    for index in range(3):
        band = f"S{index + 7}"
        packing = {"_FillValue": np.int16(FILL), "scale_factor": BT_SCALE, "add_offset": BT_OFFSET}
        files[f"{band}_BT_in.nc"] = {
            f"{band}_BT_in": (values.bt[index], {**packing, "units": "K"}),
            f"{band}_exception_in": (values.exception_in[index], {}),
        }
    flags: dict[str, Variable] = {"confidence_in": (values.confidence, {})}
    if values.bayes is not None:
        flags["bayes_in"] = (values.bayes, {})
    if values.probability is not None:
        packing = {"_FillValue": np.int16(FILL), "scale_factor": 0.005, "add_offset": 0.5}
        flags["probability_cloud_single_in"] = (values.probability, packing)
    if values.oblique:
        files |= _oblique_files(values.oblique)
    if values.skin is not None:
        attributes = {"_FillValue": np.float32(-9999), "units": "K"}
        times = {"units": "hours since 2017-03-13 11:00:00"}
        files["met_tx.nc"] = {
            "skin_temperature_tx": (values.skin[None], attributes),
            "t_single": (np.zeros(1), times),
        }
    fine = {"confidence_an": (np.kron(values.confidence, np.ones((2, 2), np.uint16)), {})}
    degrees = {"_FillValue": np.int32(-(2**31)), "scale_factor": 1e-6, "add_offset": 0.0}
    byte_fill = {"_FillValue": np.uint8(255)}
    return files | {
        "flags_in.nc": flags,
        "flags_an.nc": fine,
        "geodetic_tx.nc": {
            "latitude_tx": (values.tie_latitude, {"_FillValue": np.nan}),
            "longitude_tx": (values.tie_longitude, {"_FillValue": np.nan}),
        },
        "indices_an.nc": {"detector_an": (values.detector, byte_fill)},
        "indices_in.nc": {"detector_in": (values.detector[::2, ::2] % 2, byte_fill)},
        "geodetic_in.nc": {
            "latitude_in": (values.latitude, {**degrees, "units": "degrees_north"}),
            "longitude_in": (values.longitude, {**degrees, "units": "degrees_east"}),
        },
        "geometry_tn.nc": {"solar_zenith_tn": (values.solar_zenith, {"_FillValue": np.nan})},
        "viscal.nc": viscal,
    }


def _oblique_files(view: Oblique) -> dict[str, dict[str, Variable]]:
    radiance = {"_FillValue": np.int16(FILL), "scale_factor": SCALES[4], "add_offset": 0.0}
    kelvin = {"_FillValue": np.int16(FILL), "scale_factor": BT_SCALE, "add_offset": BT_OFFSET}
    flux = {"_FillValue": np.nan, "units": "mW m^-2 nm^-1"}
    detector = {"_FillValue": np.uint8(255)}
    files: dict[str, dict[str, Variable]] = {
        "S5_radiance_ao.nc": {
            "S5_radiance_ao": (view.s5, {**radiance, "units": "mW.m-2.sr-1.nm-1"}),
            "S5_exception_ao": (view.exception_ao, {}),
        },
        "S5_quality_ao.nc": {"S5_solar_irradiance_ao": (view.irradiance, flux)},
        "indices_ao.nc": {"detector_ao": (view.detector, detector)},
        "indices_io.nc": {"detector_io": (view.detector[::2, ::2] % 2, detector)},
        "geometry_to.nc": {"solar_zenith_to": (view.solar_zenith, {"_FillValue": np.nan})},
        "flags_io.nc": {"confidence_io": (view.confidence, {})},
        "flags_ao.nc": {
            "confidence_ao": (np.kron(view.confidence, np.ones((2, 2), np.uint16)), {})
        },
    }
    for band, bt, exception in zip(("S8", "S9"), view.bt, view.exception_io, strict=True):
        files[f"{band}_BT_io.nc"] = {
            f"{band}_BT_io": (bt, {**kelvin, "units": "K"}),
            f"{band}_exception_io": (exception, {}),
        }
    return files


def _write(path: Path, variables: Mapping[str, Variable], **attributes: Any) -> None:
    import netCDF4

    times = {
        "start_time": "2017-03-13T11:00:00.000000Z",
        "stop_time": "2017-03-13T11:03:00.000000Z",
    }
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({**times, **attributes})
        for name, (array, settings) in variables.items():
            dimensions = ["rows", "columns"] if path.name != "viscal.nc" else ["detectors", "views"]
            if array.ndim != 2:
                dimensions = ["t_single", *dimensions] if array.ndim == 3 else ["detectors"]
            if name == "t_single":
                dimensions = [name]
            for dimension, size in zip(dimensions, array.shape, strict=True):
                if dimension not in file.dimensions:
                    file.createDimension(dimension, size)
            rest = dict(settings)
            variable = file.createVariable(
                name, array.dtype, dimensions, zlib=True, fill_value=rest.pop("_FillValue", None)
            )
            variable.setncatts(rest)
            variable.set_auto_maskandscale(False)
            variable[:] = array


def _pack(values: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Numbers to int16 as the product holds them, NaN to the fill value."""
    missing = np.isnan(values)
    packed = np.rint((np.where(missing, offset, values) - offset) / scale)
    return np.where(missing, FILL, packed).astype(np.int16)


def _real_scene(real_data: Path) -> dict[str, np.ndarray]:
    with np.load(real_data / "slstr/slstr_20170313_24x30.npz") as file:
        scene = {name: file[name] for name in ("radiance", "bt", "sza", "lat", "lon")}
        return scene | {"confidence": file["confidence_in"]}


def _seeded_scene() -> dict[str, np.ndarray]:
    """Desert under the noon sun, with cloud over a quarter of it."""
    rng = np.random.default_rng(0)
    shape = (24, 30)
    cloud = rng.random(shape) < 0.25
    bright = np.where(cloud, 1.8, 1.0)[..., None] + rng.normal(0, 0.1, (*shape, 6))
    radiance = bright * (120, 130, 90, 0.5, 30, 8)
    radiance[rng.random(radiance.shape) < 0.03] = np.nan
    bt = np.where(cloud, 260.0, 305.0)[..., None] + rng.normal(0, 3, (*shape, 3))
    bt[rng.random(bt.shape) < 0.1] = np.nan
    rows, columns = np.indices(shape)
    return {
        "radiance": radiance,
        "bt": bt,
        "sza": 32 + 0.5 * rows + 0.1 * columns,
        "lat": 31 - 0.5 * rows,
        "lon": -23 + 0.5 * columns,
        "confidence": np.where(cloud, 1032 | 16384, 1032),
    }
