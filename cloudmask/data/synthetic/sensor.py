"""What the sensor sees of the surface and the clouds: radiation, layer over layer, and noise."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from cloudmask.data.synthetic.fractal import Field
from cloudmask.data.synthetic.nature import Layer, Surface

S7_SATURATION_KELVIN = 312.0
WAVELENGTHS_UM = (3.742, 10.854, 12.023)  # centres of the bands S7, S8, S9
SOLAR_IRRADIANCE_S7 = 10.8  # mW m-2 nm-1
VAPOUR_ABSORPTION = (0.05, 0.12, 0.20)  # optical depth in S7, S8, S9 of `Surface.vapour` = 1
VAPOUR_COLDER_KELVIN = 10.0  # than the air at the ground
PLANCK_C1, PLANCK_C2 = 1.191043e8, 14387.77  # W um4 m-2 sr-1 and um K (CODATA)


def observe(
    rng: np.random.Generator, surface: Surface, layers: Sequence[Layer], mu0: Field
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) brightness temperatures in K and (H, W, 6) reflectances, with noise and offsets."""
    bts = np.stack([thermal_radiance(surface, layers, channel) for channel in range(3)], axis=-1)
    refs = np.zeros((*mu0.shape, 6), np.float32)
    for channel, reflectance in enumerate(reflectances(rng, surface, layers)):
        if channel == 6:
            bts[..., 0] += reflectance * mu0 * (SOLAR_IRRADIANCE_S7 / math.pi)
        else:
            noise = 0.002 * rng.standard_normal(mu0.shape, dtype=np.float32)
            refs[..., channel] = np.maximum(rng.normal(1, 0.01) * reflectance + noise, -0.01)
    for channel, wavelength in enumerate(WAVELENGTHS_UM):
        noise = 0.07 * rng.standard_normal(mu0.shape, dtype=np.float32)
        kelvin = brightness_temperature(bts[..., channel], wavelength)
        bts[..., channel] = kelvin + rng.normal(0, 0.1) + noise
    np.minimum(bts[..., 0], S7_SATURATION_KELVIN, out=bts[..., 0])
    return bts, refs


def reflectances(
    rng: np.random.Generator, surface: Surface, layers: Sequence[Layer]
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


def thermal_radiance(surface: Surface, layers: Sequence[Layer], channel: int) -> Field:
    """(H, W) emission in S7, S8 or S9: vapour and clouds dim what lies below and add their own."""
    wavelength = WAVELENGTHS_UM[channel]
    passed = np.exp(-VAPOUR_ABSORPTION[channel] * surface.vapour)
    total = passed * planck(surface.skin, wavelength)
    total += (1 - passed) * planck(surface.air - VAPOUR_COLDER_KELVIN, wavelength)
    for layer in layers:
        passed = np.exp(-layer.absorption[channel] * layer.depth)
        emissivity = layer.emissivity_s7 if channel == 0 else 1.0
        total = passed * total + emissivity * (1 - passed) * planck(layer.top, wavelength)
    return total


def planck(kelvin: Field, wavelength_um: float) -> Field:
    """Radiance of a black body in mW m-2 sr-1 nm-1 (Planck's law)."""
    return PLANCK_C1 / wavelength_um**5 / np.expm1(PLANCK_C2 / wavelength_um / kelvin)


def brightness_temperature(radiance: Field, wavelength_um: float) -> Field:
    """Temperature in K of the black body of this radiance: undoes `planck`."""
    return PLANCK_C2 / wavelength_um / np.log1p(PLANCK_C1 / wavelength_um**5 / radiance)
