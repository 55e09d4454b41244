"""Synthetic scenes on the ground: strips of neighbours that overlap, on several dates."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace

from seaice import ground, synthetic
from seaice.io import grid as grids
from seaice.io.grid import Grid
from seaice.options import SynthConfig
from seaice.synthetic import SyntheticScene

FIRST, DAYS_APART = datetime.date(2019, 11, 4), 10
OVERLAP = 10
"""neighbours share a tenth of their columns, about as tiles of Sentinel-2 do"""


@dataclass(frozen=True)
class Place:
    """Where and when one of the scenes is."""

    date: datetime.date
    day: int
    first_column: int
    """in the strip that all scenes of the day are cut from"""
    grid: Grid

    @property
    def moment(self) -> str:
        """UTC as ISO 8601."""
        return f"{self.date}T00:00:00Z"


def check(config: SynthConfig) -> None:
    """ValueError for what cannot be laid out."""
    if config.crs is None:
        if config.days != 1:
            raise ValueError("--days is for scenes on the ground; add --crs, such as EPSG:32622")
        return
    if config.days < 1 or config.scenes % config.days:
        raise ValueError(
            f"--scenes {config.scenes} cannot be shared out over --days {config.days}; give a "
            "multiple of it"
        )
    ground.check_pixel("--pixel-size", config.pixel_size)
    if not all(math.isfinite(value) for value in config.origin):
        raise ValueError(f"--origin {config.origin} must be two finite numbers")
    grids.placing(place_of(0, config).grid)


def place_of(index: int, config: SynthConfig) -> Place:
    """Of scene `index`: days in their order, and on each day from west to east."""
    day, number = divmod(index, config.scenes // config.days)
    first = number * (config.width - config.width // OVERLAP)
    x, y = config.origin
    size = config.pixel_size
    date = FIRST + datetime.timedelta(days=DAYS_APART * day)
    transform = (size, 0.0, x + size * first, 0.0, -size, y)
    return Place(date, day, first, grids.of_text(str(config.crs), transform))


def make_scene(place: Place, config: SynthConfig) -> SyntheticScene:
    """Cut from the day's strip, of which its cloud cover is, too."""
    last = place_of(config.scenes - 1, config)
    strip = synthetic.make_scene(
        place.day,
        height=config.height,
        width=last.first_column + config.width,
        seed=config.seed,
        exposure=config.exposure,
        family=config.family,
    )
    columns = slice(place.first_column, place.first_column + config.width)
    return replace(
        strip, image=strip.image[:, columns].copy(), truth=strip.truth[:, columns].copy()
    )
