"""The same scene in the oblique view: a longer path through the air, and clouds out of place.

SLSTR looks back along its track at some 55 degrees from the zenith (ESA, Sentinel-3 SLSTR user
guide). A thin cloud is 1.7 times as deep on such a path. A high cloud hides ground that lies
further away: the two views see it at different pixels, the more so the higher it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cloudmask.data.synthetic.fractal import Field
from cloudmask.data.synthetic.nature import Layer, Surface

ZENITH_DEGREES = 55.0
PATH = 1 / math.cos(math.radians(ZENITH_DEGREES))
"""length of the path through a layer, vertical = 1"""
LAPSE_KELVIN_PER_KM = 6.5
"""of the standard atmosphere: how a cloud's top tells its height"""


def oblique_view(surface: Surface, layers: Sequence[Layer]) -> tuple[Surface, list[Layer]]:
    """What lies before the oblique view, on the pixels of the nadir view, which are 1 km wide."""
    return replace(surface, vapour=PATH * surface.vapour), [
        _seen_from_aside(layer, surface.air) for layer in layers
    ]


def _seen_from_aside(layer: Layer, air: Field) -> Layer:
    """A layer moved by the parallax of its mean height, as deep as along the slant path."""
    rows = round(cloud_height_km(layer, air) * math.tan(math.radians(ZENITH_DEGREES)))
    depth, top = (np.roll(field, rows, axis=0) for field in (layer.depth, layer.top))
    return replace(layer, depth=PATH * depth, top=top)


def cloud_height_km(layer: Layer, air: Field) -> float:
    """Mean height of a layer's top above the ground, each pixel weighed by its optical depth."""
    height = (air - layer.top) / LAPSE_KELVIN_PER_KM
    total = float(layer.depth.sum())
    return max(float((height * layer.depth).sum()) / total, 0.0) if total else 0.0
