"""The series as rows: what the scenes count, added up by period, region and tile, and divided once.

Of a month, areas are the mean of its dates, and the concentration is what all its dates hold.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seaice.colour import CLASSES, THICK, THIN, WATER
from seaice.series.count import KINDS, Tally
from seaice.series.regions import Region

VERSION = 1
ALL_TILES = "all"
By = Literal["date", "month"]

COLUMNS = {
    "period": "date (YYYY-MM-DD) or month (YYYY-MM), UTC",
    "region": "name of the region; all: everything that was seen",
    "tile": "MGRS tile; none: scenes that are no tile; all: the tiles together",
    "concentration": "ice / (ice + water) of the area whose class is known, 0 to 1",
    "ice_km2": "thick and thin ice, km2",
    "thick_ice_km2": "km2",
    "thin_ice_km2": "km2",
    "open_water_km2": "km2",
    "known_km2": "ice and water, km2",
    "unknown_km2": "seen, of no class (no data, cloud, land), km2",
    "coverage": "known / (known + unknown), 0 to 1",
    "region_km2": "the whole region on the ellipsoid, km2; empty for all",
    "region_coverage": "known / whole region; empty for all",
    "quality": "good, none (nothing known) or low: below --min-coverage; of a region with all "
    "tiles it is region_coverage that counts, else coverage",
    "known_pixels": "pixels of a class; each place on the ground counts once a date",
    "unknown_pixels": "pixels of no class",
    "scenes": "class maps that saw it",
    "dates": "days with such class maps; areas are the mean over them",
}
"""column -> what it holds; of no value: empty"""


@dataclass(frozen=True)
class Row:
    """See COLUMNS."""

    period: str
    region: str
    tile: str
    concentration: float | None
    ice_km2: float
    thick_ice_km2: float
    thin_ice_km2: float
    open_water_km2: float
    known_km2: float
    unknown_km2: float
    coverage: float | None
    region_km2: float | None
    region_coverage: float | None
    quality: str
    known_pixels: int
    unknown_pixels: int
    scenes: int
    dates: int

    @property
    def share(self) -> float:
        """What the quality is judged by: of a region, how much of all of it is known.

        A tile alone holds a part of a region, and is judged by what it saw of it.
        """
        whole = self.region_km2 is not None and self.tile == ALL_TILES
        return (self.region_coverage if whole else self.coverage) or 0.0


def rows(
    tallies: Iterable[Tally], regions: Sequence[Region], *, by: By, min_coverage: float
) -> list[Row]:
    """Sorted by period, region and tile, with `all` first. ValueError for a share that is none.

    Each region has a row of the tiles together in each period, whether it was seen or not.
    """
    if not 0 <= min_coverage <= 1:
        raise ValueError(f"--min-coverage {min_coverage} must be between 0 and 1")
    groups: dict[tuple[str, str, str], list[Tally]] = {}
    for tally in tallies:
        period = tally.layer.date[: 10 if by == "date" else 7]
        for region in tally.pixels:
            for tile in (ALL_TILES, tally.layer.tile):
                groups.setdefault((period, region, tile), []).append(tally)
    for period, place in itertools.product({key[0] for key in groups}, regions):
        groups.setdefault((period, place.name, ALL_TILES), [])
    sizes = {region.name: region.km2 for region in regions}
    order = sorted(groups, key=lambda k: (k[0], k[1] != "all", k[1], k[2] != ALL_TILES, k[2]))
    return [_row(key, groups[key], sizes.get(key[1]), min_coverage) for key in order]


def _row(
    key: tuple[str, str, str], tallies: list[Tally], region_km2: float | None, least: float
) -> Row:
    period, region, tile = key
    dates = len({tally.layer.date for tally in tallies})
    pixels, areas = np.zeros(KINDS, np.int64), np.zeros(KINDS)
    for tally in tallies:
        pixels += tally.pixels[region]
        areas += tally.km2[region]
    km2 = (areas / max(1, dates)).tolist()
    ice, known = km2[THICK] + km2[THIN], sum(km2[:-1])
    seen = known + km2[-1]
    coverage = known / seen if seen else None
    row = Row(
        period=period,
        region=region,
        tile=tile,
        concentration=ice / known if known else None,
        ice_km2=ice,
        thick_ice_km2=km2[THICK],
        thin_ice_km2=km2[THIN],
        open_water_km2=km2[WATER],
        known_km2=known,
        unknown_km2=km2[-1],
        coverage=coverage,
        region_km2=region_km2,
        region_coverage=known / region_km2 if region_km2 else None,
        quality="none",
        known_pixels=int(pixels[:-1].sum()),
        unknown_pixels=int(pixels[-1]),
        scenes=len(tallies),
        dates=dates,
    )
    if not known:
        return row
    return dataclasses.replace(row, quality="good" if row.share >= least else "low")


def to_csv(found: Sequence[Row]) -> bytes:
    """A head of COLUMNS and a line per row; figures to seven digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in found:
        values = dataclasses.astuple(row)
        writer.writerow([f"{v:.7g}" if isinstance(v, float) else v for v in values])
    return stream.getvalue().encode()


assert tuple(field.name for field in dataclasses.fields(Row)) == tuple(COLUMNS)
assert tuple(range(len(CLASSES))) == (THICK, THIN, WATER)
