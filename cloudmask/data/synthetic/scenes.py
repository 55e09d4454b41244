"""Seeded SLSTR scenes in the layout of the benchmark's files, with the true cloud mask those lack.

A scene is painted from the bottom up: a surface (sea, land, snow), four cloud layers of fractal
optical depth, radiative transfer layer over layer, sensor noise. The Bayesian and the summary mask
are imperfect classifiers of what the sensor saw, so that they fail as the real ones do: they miss
thin and low cloud and raise false alarms at ocean fronts, coasts, glint, deserts and snow.
Numbers without a source are assumptions of ours, chosen to look like the real thing.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import numpy as np

from cloudmask.data.synthetic.fractal import Field, bent_ridge, fractal_field, quantile, vortices
from cloudmask.files import write_whole

MIN_SIZE = 64
NIGHT_FRACTION = 0.4
CLOUD_OPTICAL_DEPTH = 0.3  # a pixel with more than this, over all layers, is cloud
FULL_WIDTH = 1500  # the two pairs below are columns of a scene this wide
MISSING_COLUMNS = (27, 9)  # at the left and at the right: not measured
DUAL_VIEW = (548, 1448)  # first and last + 1 that the oblique view sees too
S7_SATURATION_KELVIN = 312.0
WAVELENGTHS_UM = (3.742, 10.854, 12.023)  # centres of the bands S7, S8, S9
SOLAR_IRRADIANCE = (1858.95, 1538.22, 968.20, 370.08, 248.21, 78.35)  # S1..S6, as in the product
SOLAR_IRRADIANCE_S7 = 10.8  # like the others in mW m-2 nm-1
VAPOUR_ABSORPTION = (0.05, 0.12, 0.20)  # optical depth in S7, S8, S9 of `_Surface.vapour` = 1
VAPOUR_COLDER_KELVIN = 10.0  # than the air at the ground
PLANCK_C1, PLANCK_C2 = 1.191043e8, 14387.77  # W um4 m-2 sr-1 and um K (CODATA)

# Reflectance in S1..S6 and S7. S4 (1.375 um) hardly sees anything below the water vapour.
SEA = (0.050, 0.030, 0.018, 0.0005, 0.008, 0.005, 0.01)
VEGETATION = (0.065, 0.050, 0.340, 0.001, 0.200, 0.100, 0.03)
DESERT = (0.160, 0.250, 0.330, 0.002, 0.430, 0.380, 0.16)
SNOW = (0.850, 0.830, 0.720, 0.004, 0.100, 0.080, 0.02)
GLINT = (1.0, 1.0, 1.0, 0.03, 1.0, 1.0, 0.8)  # relative
# Reflectance relative to a cloud of the same depth that absorbs nothing.
DROPLETS = (1.0, 1.0, 0.98, 0.006, 0.80, 0.55, 0.14)
TOWERS = (1.0, 1.0, 0.98, 0.030, 0.75, 0.50, 0.12)
ANVILS = (1.0, 1.0, 0.97, 0.750, 0.40, 0.28, 0.03)
CRYSTALS = (1.0, 1.0, 0.97, 0.900, 0.50, 0.35, 0.03)


@dataclass(frozen=True, eq=False)
class SyntheticScene:
    """One scene: floats are float32, masks uint8; all are 0 where nothing was measured."""

    name: str
    night: bool
    bts: np.ndarray
    """(H, W, 3) brightness temperature in S7, S8, S9, K"""
    refs: np.ndarray
    """(H, W, 6) reflectance in S1..S6, about 0..1; 0 at night"""
    rads: np.ndarray
    """(H, W, 6) radiance in S1..S6, mW m-2 sr-1 nm-1"""
    bayes: np.ndarray
    """(H, W, 1) bits: 1 single_low, 2 single_moderate, 4 dual_low, 8 dual_moderate; 0 = clear"""
    summary: np.ndarray
    """(H, W, 1) threshold mask, 1 = cloud"""
    truth: np.ndarray
    """(H, W, 1) true mask, 1 = cloud"""


DATASETS = ("bts", "refs", "rads", "bayes", "summary", "truth")


@dataclass(frozen=True)
class _Surface:
    """What lies below the clouds, as (H, W) fields."""

    skin: Field  # temperature, K
    expected: Field  # `skin` as a climatology knows it, K
    expected_bright: Field | float  # reflectance in S1 over land, S3 over sea, likewise
    air: Field  # smooth temperature from which cloud tops are counted, K
    vapour: Field  # column of water vapour, about 1
    land: np.ndarray
    reflectance: list[Field]  # S1..S6, S7; empty at night


@dataclass(frozen=True)
class _Layer:
    """A cloud layer: (H, W) fields and the optics of its droplets or crystals."""

    depth: Field  # visible optical depth
    top: Field  # temperature, K
    absorption: tuple[float, float, float]  # optical depth in S7, S8, S9 / visible
    emissivity_s7: float
    brightness: tuple[float, ...]  # one of the tables above


def make_scene(
    index: int, *, height: int = 1200, width: int = 1500, seed: int = 0
) -> SyntheticScene:
    """Scene `index` of archive `seed`: the same arguments give the same bits on the same machine.

    ValueError if height or width is below 64, or index or seed below 0.
    """
    _check_scene(index, height, width, seed)
    rng = np.random.default_rng([seed, index])
    name, night = _identity(rng, index)
    mu0 = _cosine_of_solar_zenith(rng, (height, width))
    surface = _surface(rng, mu0, night)
    layers = _clouds(rng, surface.air, night)
    depth = sum((layer.depth for layer in layers[1:]), layers[0].depth)
    bts, refs = _observe(rng, surface, layers, mu0)
    seen = _departures(bts, refs, surface)
    arrays = {
        "bts": bts,
        "refs": refs,
        "rads": refs * (mu0 / np.pi)[..., None] * np.array(SOLAR_IRRADIANCE, np.float32),
        "bayes": _bayesian_mask(rng, seen, surface, depth)[..., None],
        "summary": _summary_mask(seen, surface)[..., None].astype(np.uint8),
        "truth": (depth > CLOUD_OPTICAL_DEPTH)[..., None].astype(np.uint8),
    }
    left, right = (max(1, round(n * width / FULL_WIDTH)) for n in MISSING_COLUMNS)
    for array in arrays.values():
        array[:, :left] = 0
        array[:, width - right :] = 0
    return SyntheticScene(name, night, **arrays)


def _identity(rng: np.random.Generator, index: int) -> tuple[str, bool]:
    """Product name, and whether it is night: one scene per orbit of 101 minutes, half night."""
    night = bool(rng.random() < NIGHT_FRACTION)
    minute = rng.uniform(52, 95) if night else rng.uniform(2, 45)
    start = datetime(2019, 10, 1) + timedelta(seconds=round(60 * (101 * index + minute)))
    stop = start + timedelta(seconds=180)
    created = start + timedelta(seconds=int(rng.integers(80_000, 160_000)))
    times = "_".join(f"{time:%Y%m%dT%H%M%S}" for time in (start, stop, created))
    cycle, orbit = divmod(80 + index, 385)
    place = f"{50 + cycle:03d}_{orbit + 1:03d}_{180 * round(minute / 101 * 30):04d}"
    return f"S3A_SL_1_RBT____{times}_0179_{place}_LN2_O_NT_003.hdf", night


def _cosine_of_solar_zenith(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """(H, W) cosine of a solar zenith angle of 20 to 75 degrees that varies slowly."""
    y, x = _coordinates(shape)
    degrees = rng.uniform(25, 70) + rng.uniform(-12, 12) * y + rng.uniform(-12, 12) * x
    return np.cos(np.deg2rad(degrees.clip(20, 75)))


def _coordinates(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Rows (H, 1) and columns (1, W), each from -0.5 to 0.5."""
    rows, columns = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in shape)
    return rows[:, None], columns[None, :]


def _surface(rng: np.random.Generator, mu0: Field, night: bool) -> _Surface:
    """Sea with fronts along the contours of a smooth field, land above the sea level of a relief,
    snow where it is cold; and what a climatology, which knows the coasts only, expects of them."""
    shape, size = mu0.shape, max(mu0.shape)
    y, x = _coordinates(shape)
    weather = fractal_field(rng, shape, slope=4, coarsest=0.7 * size)
    air = rng.uniform(275, 301) + rng.uniform(-8, 8) * y + weather
    vapour = rng.uniform(0.7, 1.3) * np.exp((air - 288) / 16)

    currents = fractal_field(rng, shape, slope=3.7, coarsest=0.5 * size)
    fronts = rng.uniform(1, 2) * np.tanh(12 * currents) + 0.4 * currents
    relief = fractal_field(rng, shape, slope=3.5, coarsest=size)
    land_fraction = 0.0 if rng.random() < 0.3 else rng.uniform(0.05, 0.7)
    altitude = np.maximum(relief - quantile(relief, 1 - land_fraction), 0)  # km
    land = altitude > 0
    ground = fractal_field(rng, shape, slope=2.4, coarsest=0.3 * size)
    dry = 1 / (1 + np.exp(-2 * ground - rng.uniform(-2, 2)))
    lapse = 3.0 if night else 6.5  # K / km
    warming = -rng.uniform(3, 9) - 3 * dry if night else mu0 * (6 + 18 * dry)
    usual_warming = -7.0 if night else mu0 * 14
    skin = air + np.where(land, warming - lapse * altitude, fronts)
    error = fractal_field(rng, shape, slope=4, coarsest=0.6 * size)
    usual = usual_warming - lapse * altitude + 2 * error
    expected = air + np.where(land, usual, error)

    cold = air - 6.5 * altitude + 3 * weather + 2 * ground
    snow = cold < 270
    skin = np.where(snow, np.minimum(skin, 267 + 0.4 * (cold - 270)), skin)
    reflectance: list[Field] = []
    expected_bright: Field | float = 0.0
    if not night:
        glint = _glint(rng, x)
        expected_bright = np.where(land, 0.12, 0.03 + 0.6 * glint)
        glint = glint * (1 + 0.2 * currents).clip(0)
        for sea, green, sand, white, sun in zip(SEA, VEGETATION, DESERT, SNOW, GLINT, strict=True):
            soil = (green + (sand - green) * dry) * (1 + 0.1 * ground)
            bare = np.where(land, soil, sea + sun * glint)
            reflectance.append(np.where(snow, np.float32(white), bare))
    return _Surface(skin, expected, expected_bright, air, vapour, land, reflectance)


def _glint(rng: np.random.Generator, x: Field) -> Field:
    """(1, W) reflectance of the sun's image on the sea: in half of the scenes, a stripe."""
    strength = rng.uniform(0.05, 0.30) * (rng.random() < 0.5)
    centre, spread = rng.uniform(-0.3, 0.4), rng.uniform(0.04, 0.10)
    return strength * np.exp(-0.5 * ((x - centre) / spread) ** 2)


def _clouds(rng: np.random.Generator, air: Field, night: bool) -> list[_Layer]:
    """Stratus, cumulus, a frontal band and cirrus: from the lowest layer to the highest.

    The cover c of the scene is shared out by weights w that add up to 1. A layer covers
    1 - (1 - c) ** w of the scene: layers that know nothing of each other then cover c together.
    """
    shape, size = air.shape, max(air.shape)
    cover = 0.14 + 0.8 * rng.beta(2, 1.1)
    stratus, cumulus, deep, cirrus = 1 - (1 - cover) ** rng.dirichlet((1.0, 0.8, 0.7, 1.2))
    origin = vortices(rng, shape)
    wind = origin.imag.astype(np.int32) % shape[0], origin.real.astype(np.int32) % shape[1]
    water = (0.42, 0.50, 0.58)

    billows = np.abs(fractal_field(rng, shape, slope=8 / 3, coarsest=30, finest=6))
    form = fractal_field(rng, shape, slope=3.2, coarsest=0.4 * size)[wind] - 0.4 * billows
    depth = _optical_depth(form, stratus, sharpness=5, thickest=25)
    top = air - (rng.uniform(1.5, 5) - night * rng.uniform(0, 3)) - 0.4 * form
    layers = [_Layer(depth, top, water, 0.91, DROPLETS)]

    cells = fractal_field(rng, shape, slope=3, coarsest=rng.uniform(10, 40), finest=3)
    form = 1.3 * fractal_field(rng, shape, slope=3.4, coarsest=0.5 * size)[wind] + cells
    depth = _optical_depth(form, cumulus, sharpness=5, thickest=30)
    top = air - rng.uniform(4, 12) - 5 * np.maximum(form - quantile(form, 1 - cumulus), 0)
    layers.append(_Layer(depth, top, water, 0.94, TOWERS))

    rough = fractal_field(rng, shape, slope=2.9, coarsest=0.25 * size)
    band = bent_ridge(rng, origin / size) + 0.5 * rough[wind]
    depth = _optical_depth(band, deep, sharpness=3.5, thickest=60)
    top = air - rng.uniform(18, 30) - 32 * depth / (depth + 8)
    layers.append(_Layer(depth, np.maximum(top, 205), (0.45, 0.50, 0.54), 0.98, ANVILS))

    heading = rng.uniform(0, math.pi)
    form = fractal_field(rng, shape, slope=3, coarsest=0.25 * size, stretch=3, angle=heading)[wind]
    top = rng.uniform(213, 238) + 3 * form
    form = form + rng.uniform(0, 0.8) * np.maximum(band, -2)
    depth = _optical_depth(form, cirrus, sharpness=2, thickest=2.5)
    layers.append(_Layer(depth, top, (0.38, 0.45, 0.56), 0.98, CRYSTALS))
    return layers


def _optical_depth(form: Field, cover: float, *, sharpness: float, thickest: float) -> Field:
    """Optical depth that grows exponentially with `form`, saturates at `thickest` and exceeds
    `CLOUD_OPTICAL_DEPTH` on `cover` of the scene. A partly filled pixel is one of less depth."""
    depth = CLOUD_OPTICAL_DEPTH * np.exp(sharpness * (form - quantile(form, 1 - cover)))
    return thickest * depth / (thickest - CLOUD_OPTICAL_DEPTH + depth)


def _observe(
    rng: np.random.Generator, surface: _Surface, layers: Sequence[_Layer], mu0: Field
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) brightness temperatures in K and (H, W, 6) reflectances, with noise and offsets."""
    bts = np.stack([_thermal_radiance(surface, layers, channel) for channel in range(3)], axis=-1)
    refs = np.zeros((*mu0.shape, 6), np.float32)
    for channel, reflectance in enumerate(_reflectances(rng, surface, layers)):
        if channel == 6:
            bts[..., 0] += reflectance * mu0 * (SOLAR_IRRADIANCE_S7 / math.pi)
        else:
            noise = 0.002 * rng.standard_normal(mu0.shape, dtype=np.float32)
            refs[..., channel] = np.maximum(rng.normal(1, 0.01) * reflectance + noise, -0.01)
    for channel, wavelength in enumerate(WAVELENGTHS_UM):
        noise = 0.07 * rng.standard_normal(mu0.shape, dtype=np.float32)
        kelvin = _brightness_temperature(bts[..., channel], wavelength)
        bts[..., channel] = kelvin + rng.normal(0, 0.1) + noise
    np.minimum(bts[..., 0], S7_SATURATION_KELVIN, out=bts[..., 0])
    return bts, refs


def _reflectances(
    rng: np.random.Generator, surface: _Surface, layers: Sequence[_Layer]
) -> Iterator[Field]:
    """(H, W) reflectance of everything, in S1..S6 and S7 in turn; nothing at night.

    A layer that absorbs nothing reflects r = s / (2 + s), s = sqrt(3) (1 - g) depth: two-stream
    solution of Lacis and Hansen (1974), with an asymmetry g of 0.85. Light thrown to and fro
    between a layer and what lies below adds up to a geometric series. Absorption just scales r.
    """
    slants = [math.sqrt(3) * (1 - 0.85) * layer.depth for layer in layers]
    whites = [slant / (2 + slant) for slant in slants]
    offset = rng.integers(2, 8, 2) * rng.choice([-1, 1], 2)
    opaque = np.roll(layers[1].depth + layers[2].depth, tuple(offset), axis=(0, 1))
    shadow = 0.4 + 0.6 * np.exp(-0.5 * opaque)
    for channel, ground in enumerate(surface.reflectance):
        total = ground * shadow
        for layer, white in zip(layers, whites, strict=True):
            passed = (1 - white) ** 2 * total / (1 - white * total)
            total = layer.brightness[channel] * white + passed
        yield total


def _thermal_radiance(surface: _Surface, layers: Sequence[_Layer], channel: int) -> Field:
    """(H, W) emission in S7, S8 or S9: vapour and clouds dim what lies below and add their own."""
    wavelength = WAVELENGTHS_UM[channel]
    passed = np.exp(-VAPOUR_ABSORPTION[channel] * surface.vapour)
    total = passed * _planck(surface.skin, wavelength)
    total += (1 - passed) * _planck(surface.air - VAPOUR_COLDER_KELVIN, wavelength)
    for layer in layers:
        passed = np.exp(-layer.absorption[channel] * layer.depth)
        emissivity = layer.emissivity_s7 if channel == 0 else 1.0
        total = passed * total + emissivity * (1 - passed) * _planck(layer.top, wavelength)
    return total


def _planck(kelvin: Field, wavelength_um: float) -> Field:
    """Radiance of a black body in mW m-2 sr-1 nm-1 (Planck's law)."""
    return PLANCK_C1 / wavelength_um**5 / np.expm1(PLANCK_C2 / wavelength_um / kelvin)


def _brightness_temperature(radiance: Field, wavelength_um: float) -> Field:
    """Temperature in K of the black body of this radiance: undoes `_planck`."""
    return PLANCK_C2 / wavelength_um / np.log1p(PLANCK_C1 / wavelength_um**5 / radiance)


@dataclass(frozen=True)
class _Departures:
    """How far the pixels are from what is expected of clear ones, as (H, W) fields."""

    cold: Field  # S8 below the climatology, K
    split: Field  # S8 - S9, large for thin ice, K
    low: Field  # S8 - S7, large for droplets at night, K
    rough: Field  # S8 against its neighbours, K
    bright: Field  # reflectance in S1 over land, in S3 over sea


def _departures(bts: np.ndarray, refs: np.ndarray, surface: _Surface) -> _Departures:
    dimmed = [VAPOUR_COLDER_KELVIN * (1 - np.exp(-k * surface.vapour)) for k in VAPOUR_ABSORPTION]
    s7, s8, s9 = (bts[..., channel] + dimmed[channel] for channel in range(3))
    bright = np.where(surface.land, refs[..., 0], refs[..., 2]) - surface.expected_bright
    rough = [np.abs(bts[..., 1] - np.roll(bts[..., 1], 1, axis)) for axis in (0, 1)]
    return _Departures(surface.expected - s8, s8 - s9, s8 - s7, np.maximum(*rough), bright)


def _bayesian_mask(
    rng: np.random.Generator, seen: _Departures, surface: _Surface, depth: Field
) -> np.ndarray:
    """(H, W) uint8 bits of a probabilistic mask that knows the climatology.

    Each test makes a probability of clear sky out of a departure, and their product is that of the
    pixel: any test can raise the alarm. With the oblique view there is one test more. That view is
    not simulated: its test is the true optical depth, two rows off, against a limit that varies.
    """
    land = surface.land
    single = _probability_clear(seen.cold, np.where(land, 9, 7), 1.5)
    single *= _probability_clear(seen.split, 2.4, 0.3)
    single *= _probability_clear(seen.rough, np.where(land, 9, 8), 0.7)
    if surface.reflectance:
        single *= _probability_clear(seen.bright, np.where(land, 0.11, 0.06), 0.02)
    else:
        single *= _probability_clear(seen.low, np.where(land, 1.3, 0.85), 0.2)
    error = fractal_field(rng, depth.shape, slope=3, coarsest=0.3 * max(depth.shape))
    dual = single * _probability_clear(np.roll(depth, 2, axis=0), np.exp(0.5 * error), 0.2)
    first, end = (round(column * depth.shape[1] / FULL_WIDTH) for column in DUAL_VIEW)
    dual[:, :first] = 1
    dual[:, end:] = 1
    tests = single < 0.5, single < 0.2, dual < 0.5, dual < 0.2
    return np.packbits(np.stack(tests, axis=-1), axis=-1, bitorder="little")[..., 0]


def _probability_clear(departure: Field, limit: np.ndarray | float, width: float) -> Field:
    """(H, W) logistic function of a departure: 1/2 at its limit, less beyond it."""
    return 0.5 - 0.5 * np.tanh((departure - np.asarray(limit, np.float32)) / (2 * width))


def _summary_mask(seen: _Departures, surface: _Surface) -> np.ndarray:
    """(H, W) bool: any of a few tests beyond its threshold, as in the operational mask."""
    cloud = (seen.cold > 13) | (seen.split > 3) | (seen.rough > 2.5)
    return cloud | (seen.bright > 0.3 if surface.reflectance else seen.low > 1.4)


def scene_name(index: int, *, seed: int = 0) -> str:
    """File name of `make_scene(index, seed=seed)`, which it does not make."""
    return _identity(np.random.default_rng([seed, index]), index)[0]


def write_scene(scene: SyntheticScene, folder: Path) -> Path:
    """Write `folder / scene.name` as HDF5, complete or not at all, over one that is there."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in DATASETS:
            file[name] = getattr(scene, name)
    path = folder / scene.name
    write_whole(path, stream.getbuffer())
    return path


def synthesize(
    out: Path,
    *,
    num_scenes: int,
    height: int = 1200,
    width: int = 1500,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the scenes 0 .. num_scenes - 1 that `out` does not hold yet; return the paths of all.

    `progress` is told after every scene how many of how many are there. ValueError for numbers that
    are too small, an `out` that is a file, and a scene in `out` of another size.
    """
    _check_least("num_scenes", num_scenes, 1)
    _check_scene(0, height, width, seed)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, but scenes are written into a folder; choose another")
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(num_scenes):
        path = out / scene_name(index, seed=seed)
        if path.exists():
            _check_same_size(path, height, width)
        else:
            write_scene(make_scene(index, height=height, width=width, seed=seed), out)
        paths.append(path)
        if progress is not None:
            progress(index + 1, num_scenes)
    return paths


def _check_same_size(path: Path, height: int, width: int) -> None:
    way_out = "delete it or write to another folder"
    try:
        with h5py.File(path) as file:
            found = file["bts"].shape[:2]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a scene that can be read; {way_out}") from error
    if found != (height, width):
        raise ValueError(f"{path} is {found[0]} x {found[1]}, not {height} x {width}; {way_out}")


def _check_scene(index: int, height: int, width: int, seed: int) -> None:
    _check_least("index", index, 0)
    _check_least("height", height, MIN_SIZE)
    _check_least("width", width, MIN_SIZE)
    _check_least("seed", seed, 0)


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} {value} is too small for synthetic scenes; use {least} or more")
