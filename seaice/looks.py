"""What a synthetic scene's surfaces look like: one look for all, or drawn from ranges.

Ranges, on the published scale of brightness: snow 190 to 250 with a whiteness of .9 to 1; young ice
40 to 190 with .6 to .97, the lower end of a scene's young ice being its thinnest. Snow lacks red,
as young ice does, or blue, as under a low sun. Each varied scene is of one kind:

- `ranges`: nothing more.
- `ponds`: melt ponds on a tenth to a third of the snow, blue, as bright as young ice. What lies
  below is thick ice, and so the truth says.
- `dirty`: sediment on a tenth to a third of the snow, which dims it and takes its blue: thick ice.
- `low_sun`: less light, with less red, and shadows of ridges that lie in one direction.
- `turbid`: green or brown water, up to six times as bright as clear water: open water.

All are assumptions of ours, wider than those of adaptive.py on purpose. They say where a rule fails
that assumes less, and nothing of how often nature looks so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cloudmask.data.synthetic.fractal import fractal_field, quantile
from seaice.colour import THICK

Tint = tuple[float, float, float]
"""red, green and blue at brightness 1"""

KINDS = ("ranges", "ponds", "dirty", "low_sun", "turbid")


@dataclass(frozen=True)
class Look:
    """Brightness and colours of a scene's surfaces at exposure 1."""

    kind: str = "plain"
    snow: float = 232
    snow_tint: Tint = (0.985, 0.995, 1.0)
    young: tuple[float, float] = (58, 158)
    """brightness of the thinnest and of the thickest young ice"""
    young_tint: Tint = (0.78, 0.89, 1.0)
    sea: float = 11
    sea_tint: Tint = (0.45, 0.70, 1.0)
    share: float = 0.0
    """of the snow that is ponded, dirty or in the shadow of ridges"""
    light: Tint = (1.0, 1.0, 1.0)
    """what is left of red, green and blue of all surfaces (low sun), or of ponds and dirt"""

    @property
    def snow_whiteness(self) -> float:
        return min(self.snow_tint) / max(self.snow_tint)

    @property
    def young_whiteness(self) -> float:
        return min(self.young_tint) / max(self.young_tint)


PLAIN = Look()


def draw(rng: np.random.Generator, kind: str) -> Look:
    """The look of a varied scene of one of KINDS."""
    snow_white, young_white = rng.uniform(0.9, 1.0), rng.uniform(0.6, 0.97)
    middle = (1 + snow_white) / 2
    yellow = rng.random() < 0.25
    snow_tint = (1.0, middle, snow_white) if yellow else (snow_white, middle, 1.0)
    thinnest = rng.uniform(40, 120)
    thickest = rng.uniform(thinnest + 20, 190)
    sea, sea_tint = rng.uniform(8, 16), PLAIN.sea_tint
    share, light = 0.0, PLAIN.light
    if kind == "ponds":
        share, depth = rng.uniform(0.1, 0.35), rng.uniform(0.45, 0.85)
        light = (depth * rng.uniform(0.5, 0.8), depth * rng.uniform(0.8, 0.95), depth)
    if kind == "dirty":
        share, depth = rng.uniform(0.1, 0.35), rng.uniform(0.5, 0.85)
        light = (depth, depth * rng.uniform(0.9, 0.97), depth * rng.uniform(0.75, 0.9))
    if kind == "low_sun":
        share, dim = rng.uniform(0.1, 0.3), rng.uniform(0.55, 0.9)
        light = (dim * rng.uniform(0.9, 1.0), dim * rng.uniform(0.96, 1.0), dim)
    if kind == "turbid":
        sea, red, blue = rng.uniform(20, 70), rng.uniform(0.4, 0.9), rng.uniform(0.6, 0.9)
        sea_tint = (red, 1.0, blue)
    return Look(
        kind=kind,
        snow=float(rng.uniform(190, 250)),
        snow_tint=_floats(snow_tint),
        young=(float(thinnest), float(thickest)),
        young_tint=_floats((young_white, (1 + young_white) / 2, 1.0)),
        sea=float(sea),
        sea_tint=_floats(sea_tint),
        share=float(share),
        light=_floats(light),
    )


def add(rng: np.random.Generator, light: np.ndarray, truth: np.ndarray, look: Look) -> np.ndarray:
    """(H, W, 3) light and (H, W) classes -> the light with ponds, dirt, or a low sun."""
    shape = (truth.shape[0], truth.shape[1])
    tint = np.array(look.light, np.float32)
    if look.kind in ("ponds", "dirty"):
        size = max(shape) / (60 if look.kind == "ponds" else 8)
        field = fractal_field(rng, shape, slope=3.0, coarsest=size, finest=2.0)
        there = (field > quantile(field, 1 - look.share)) & (truth == THICK)
        return np.where(there[..., None], light * tint, light)
    if look.kind == "low_sun":
        ridges = fractal_field(
            *(rng, shape),
            slope=3.0,
            coarsest=max(shape) / 20,
            finest=2.0,
            stretch=4.0,
            angle=float(rng.uniform(0, math.pi)),
        )
        shadow = (ridges > quantile(ridges, 1 - look.share)) & (truth == THICK)
        loss = np.where(shadow, np.float32(rng.uniform(0.3, 0.5)), np.float32(0))
        return light * tint * (1 - loss[..., None])
    return light


def _floats(tint: tuple[float, float, float]) -> Tint:
    red, green, blue = map(float, tint)
    return red, green, blue
