"""Random fields with power-law spectra: the shapes of clouds, coasts and ocean fronts."""

import math

import numpy as np

Field = np.ndarray  # (H, W) float32


def fractal_field(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    slope: float,
    coarsest: float,
    finest: float = 0.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Field:
    """(H, W) float32 with mean 0 and standard deviation 1; its opposite edges fit together.

    White noise is weighted in Fourier space such that power falls as k ** -slope: 8/3 is the
    5/3 law of turbulence for a field of two dimensions, more is smoother. `coarsest` and `finest`
    are wavelengths in pixels: the spectrum is flat above the one, fades out below the other. Shapes
    are `stretch` times longer along `angle` than across (radians from the columns to the rows).
    """
    height, width = shape
    noise = rng.standard_normal((height, width // 2 + 1, 2), dtype=np.float32)
    ky = np.fft.fftfreq(height).astype(np.float32)[:, None]
    kx = np.fft.rfftfreq(width).astype(np.float32)[None, :]
    along = stretch * (math.cos(angle) * kx + math.sin(angle) * ky)
    across = math.cos(angle) * ky - math.sin(angle) * kx
    square = along**2 + across**2
    weight = (square + coarsest**-2) ** (-slope / 4)
    if finest:
        weight *= np.exp(-(finest**2) * square)
    weight[0, 0] = 0  # no mean
    field = np.fft.irfft2(noise.view(np.complex64)[..., 0] * weight, shape)
    return field / field.std()


def vortices(rng: np.random.Generator, shape: tuple[int, int], *, number: int = 3) -> np.ndarray:
    """(H, W) complex64: column + 1j * row that the air over each pixel was carried from.

    That may be outside of the scene; fractal fields, having no edges, simply go on there.
    """
    height, width = shape
    place = (np.arange(width) + 1j * np.arange(height)[:, None]).astype(np.complex64)
    for _ in range(number):
        away = place - complex(width * rng.random(), height * rng.random())
        turn, radius = rng.normal(0, 1.1), rng.uniform(0.15, 0.4) * max(shape)
        near = np.exp(-(away.real**2 + away.imag**2) / radius**2)
        place += away * (np.exp(1j * turn * near) - 1)
    return place


def bent_ridge(rng: np.random.Generator, place: np.ndarray) -> Field:
    """(H, W) height of a ridge at `place` (complex, 0 to 1): 0 on its line, steep on one side."""
    place = place - complex(*rng.uniform(0.25, 0.75, 2))
    place = place * complex(np.exp(1j * rng.uniform(0, 2 * math.pi)))
    ahead = place.imag - rng.uniform(-0.9, 0.9) * place.real**2
    return np.where(ahead > 0, -ahead / 0.2, ahead / 0.08)


def quantile(field: Field, fraction: float) -> np.float32:
    """The value that `fraction` of the field lies below, from a grid of some 256 x 256 pixels."""
    step = max(1, min(field.shape) // 256)
    return np.float32(np.quantile(field[::step, ::step], fraction))
