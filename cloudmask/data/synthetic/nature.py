"""What a synthetic scene shows: a surface of sea, land and snow, four cloud layers, the sun.

All is drawn from one generator in a fixed order, so a scene has the same bits whenever it is made.
Numbers without a source are assumptions of ours, chosen to look like the real thing.
"""

import math
from dataclasses import dataclass

import numpy as np

from cloudmask.data.synthetic.fractal import Field, bent_ridge, fractal_field, quantile, vortices

CLOUD_OPTICAL_DEPTH = 0.3  # a pixel with more than this, over all layers, is cloud

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


@dataclass(frozen=True)
class Surface:
    """What lies below the clouds, as (H, W) fields."""

    skin: Field  # temperature, K
    expected: Field  # `skin` as a climatology knows it, K
    expected_bright: Field | float  # reflectance in S1 over land, S3 over sea, likewise
    air: Field  # smooth temperature from which cloud tops are counted, K
    vapour: Field  # column of water vapour, about 1
    land: np.ndarray
    reflectance: list[Field]  # S1..S6, S7; empty at night


@dataclass(frozen=True)
class Layer:
    """A cloud layer: (H, W) fields and the optics of its droplets or crystals."""

    depth: Field  # visible optical depth
    top: Field  # temperature, K
    absorption: tuple[float, float, float]  # optical depth in S7, S8, S9 / visible
    emissivity_s7: float
    brightness: tuple[float, ...]  # one of the tables above


def cosine_of_solar_zenith(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """(H, W) cosine of a solar zenith angle of 20 to 75 degrees that varies slowly."""
    y, x = _coordinates(shape)
    degrees = rng.uniform(25, 70) + rng.uniform(-12, 12) * y + rng.uniform(-12, 12) * x
    return np.cos(np.deg2rad(degrees.clip(20, 75)))


def _coordinates(shape: tuple[int, int]) -> tuple[Field, Field]:
    """Rows (H, 1) and columns (1, W), each from -0.5 to 0.5."""
    rows, columns = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in shape)
    return rows[:, None], columns[None, :]


def draw_surface(rng: np.random.Generator, mu0: Field, night: bool) -> Surface:
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
    return Surface(skin, expected, expected_bright, air, vapour, land, reflectance)


def _glint(rng: np.random.Generator, x: Field) -> Field:
    """(1, W) reflectance of the sun's image on the sea: in half of the scenes, a stripe."""
    strength = rng.uniform(0.05, 0.30) * (rng.random() < 0.5)
    centre, spread = rng.uniform(-0.3, 0.4), rng.uniform(0.04, 0.10)
    return strength * np.exp(-0.5 * ((x - centre) / spread) ** 2)


def draw_clouds(rng: np.random.Generator, air: Field, night: bool) -> list[Layer]:
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
    layers = [Layer(depth, top, water, 0.91, DROPLETS)]

    cells = fractal_field(rng, shape, slope=3, coarsest=rng.uniform(10, 40), finest=3)
    form = 1.3 * fractal_field(rng, shape, slope=3.4, coarsest=0.5 * size)[wind] + cells
    depth = _optical_depth(form, cumulus, sharpness=5, thickest=30)
    top = air - rng.uniform(4, 12) - 5 * np.maximum(form - quantile(form, 1 - cumulus), 0)
    layers.append(Layer(depth, top, water, 0.94, TOWERS))

    rough = fractal_field(rng, shape, slope=2.9, coarsest=0.25 * size)
    band = bent_ridge(rng, origin / size) + 0.5 * rough[wind]
    depth = _optical_depth(band, deep, sharpness=3.5, thickest=60)
    top = air - rng.uniform(18, 30) - 32 * depth / (depth + 8)
    layers.append(Layer(depth, np.maximum(top, 205), (0.45, 0.50, 0.54), 0.98, ANVILS))

    heading = rng.uniform(0, math.pi)
    form = fractal_field(rng, shape, slope=3, coarsest=0.25 * size, stretch=3, angle=heading)[wind]
    top = rng.uniform(213, 238) + 3 * form
    form = form + rng.uniform(0, 0.8) * np.maximum(band, -2)
    depth = _optical_depth(form, cirrus, sharpness=2, thickest=2.5)
    layers.append(Layer(depth, top, (0.38, 0.45, 0.56), 0.98, CRYSTALS))
    return layers


def _optical_depth(form: Field, cover: float, *, sharpness: float, thickest: float) -> Field:
    """Optical depth that grows exponentially with `form`, saturates at `thickest` and exceeds
    `CLOUD_OPTICAL_DEPTH` on `cover` of the scene. A partly filled pixel is one of less depth."""
    depth = CLOUD_OPTICAL_DEPTH * np.exp(sharpness * (form - quantile(form, 1 - cover)))
    return thickest * depth / (thickest - CLOUD_OPTICAL_DEPTH + depth)
