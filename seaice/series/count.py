"""One scene, counted: pixels and km2 of each class in each region, what others count left out.

A pixel on the ground counts once a date. The first scene in sorted order that knows its class
counts it; where none knows it, the first that sees it counts it as unknown. So each scene is
counted by itself, by looking at its neighbours, and scenes can be counted in any order.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np

from cloudmask.metrics import UNKNOWN
from seaice.colour import CLASSES
from seaice.ground import pixel_km2
from seaice.series import overlap, regions
from seaice.series.layers import Layer, Read, Window, reading
from seaice.series.regions import ALL, Region

KINDS = len(CLASSES) + 1
"""the classes, and unknown"""
_CACHE_MEGABYTES = 128
"""of blocks that GDAL keeps: else a share of the host's memory, in each process"""
_ROWS = 512
"""rows that are counted at a time: those of a tile in our files"""


@dataclass(frozen=True)
class Task:
    """A scene, and those of the same date that may lie on the same ground."""

    layer: Layer
    earlier: tuple[Layer, ...]
    later: tuple[Layer, ...]

    @property
    def place(self) -> str:
        """What it goes by in messages."""
        return self.layer.path


@dataclass(frozen=True)
class Tally:
    """What one scene adds."""

    layer: Layer
    pixels: dict[str, tuple[int, ...]]
    """region -> pixels of each class, and at last the unknown ones"""
    km2: dict[str, tuple[float, ...]]
    """the same in square kilometres"""
    elsewhere: int
    """pixels that another scene counts"""


def count(task: Task, places: tuple[Region, ...]) -> Tally:
    """Count one scene, some rows at a time. ValueError: its file, or a neighbour's, is bad."""
    layer = task.layer
    shapes = regions.placed(places, layer)
    pixels = {name: np.zeros(KINDS, np.int64) for name in (ALL, *(x.name for x in shapes))}
    km2 = {name: np.zeros(KINDS) for name in pixels}
    elsewhere = 0
    import rasterio

    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MEGABYTES), contextlib.ExitStack() as stack:
        read = stack.enter_context(reading(layer))
        earlier, later = (
            [(other, stack.enter_context(reading(other))) for other in others]
            for others in (task.earlier, task.later)
        )
        for top in range(0, layer.rows, _ROWS):
            rows = slice(top, min(top + _ROWS, layer.rows))
            window = rows, slice(0, layer.columns)
            label = read(*window)
            counted = ~_taken(label, layer, rows, earlier, later)
            elsewhere += int(np.count_nonzero(~counted))
            kind = np.minimum(label, len(CLASSES))
            size = pixel_km2(layer.grid, rows, layer.columns)
            for name, inside in _within(layer, window, counted, shapes):
                pixels[name] += np.bincount(kind[inside], minlength=KINDS)
                km2[name] += np.bincount(kind[inside], size[inside], KINDS)
    seen = {name: found for name, found in pixels.items() if found.any()}
    return Tally(
        layer,
        {name: tuple(found.tolist()) for name, found in seen.items()},
        {name: tuple(km2[name].tolist()) for name in seen},
        elsewhere,
    )


def _within(
    layer: Layer, window: Window, counted: np.ndarray, shapes: list[regions.Placed]
) -> list[tuple[str, np.ndarray]]:
    """(h, w) bool of what counts, everywhere and in each region."""
    found = [(ALL, counted)]
    for shape in shapes:
        inside = regions.mask(shape, layer.grid, window)
        if inside is not None:
            found.append((shape.name, counted & inside))
    return found


def _taken(
    label: np.ndarray,
    layer: Layer,
    rows: slice,
    earlier: list[tuple[Layer, Read]],
    later: list[tuple[Layer, Read]],
) -> np.ndarray:
    """(h, W) bool: pixels of these rows that another scene counts."""
    unknown = label == UNKNOWN
    taken = np.zeros(label.shape, bool)
    for others, first in ((earlier, True), (later, False)):
        for other, read in others:
            window = overlap.window_of(other, layer, rows)
            if window is None:
                continue
            there = overlap.classes_at(other, read, layer, window)
            here = slice(window[0].start - rows.start, window[0].stop - rows.start), window[1]
            known = there < len(CLASSES)
            if first:
                taken[here] |= known | (unknown[here] & (there == UNKNOWN))
            else:
                taken[here] |= known & unknown[here]
    return taken
