"""One scene, counted: pixels and km2 of each class in each region, what others count left out.

A pixel on the ground counts once a date. The first scene in sorted order that knows its class
counts it; where none knows it, the first that sees it counts it as unknown. So each scene is
counted by itself, by looking at its neighbours, and scenes can be counted in any order.

A scene that cannot be counted has given no ground away, and may take none: its neighbours are
counted again without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cloudmask.metrics import UNKNOWN
from seaice.colour import CLASSES
from seaice.ground import pixel_km2
from seaice.series import overlap, regions
from seaice.series.layers import Layer, LayerError, Read, Window, reading
from seaice.series.regions import ALL, Region

KINDS = len(CLASSES) + 1
"""the classes, and unknown"""
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

    def without(self, paths: Mapping[str, str]) -> Task:
        """As if the class maps of these paths were not there."""
        earlier, later = (
            tuple(other for other in others if other.path not in paths)
            for others in (self.earlier, self.later)
        )
        return replace(self, earlier=earlier, later=later)


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
    lost: dict[str, str]
    """neighbours that could not be read, by path: this tally is not to be used with them"""


def count(task: Task, places: tuple[Region, ...]) -> Tally:
    """Count one scene, some rows at a time. ValueError: its file is bad."""
    layer = task.layer
    shapes = regions.placed(places, layer)
    pixels = {name: np.zeros(KINDS, np.int64) for name in (ALL, *(x.name for x in shapes))}
    km2 = {name: np.zeros(KINDS) for name in pixels}
    elsewhere = 0
    with contextlib.ExitStack() as stack:
        read = stack.enter_context(reading(layer))
        beside = _Neighbours(task, stack)
        for top in range(0, layer.rows, _ROWS):
            rows = slice(top, min(top + _ROWS, layer.rows))
            window = rows, slice(0, layer.columns)
            label = read(*window)
            counted = ~beside.taken(label, rows)
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
        beside.lost,
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


class _Neighbours:
    """The scenes that may lie on the same ground. One that cannot be read is as if not there."""

    def __init__(self, task: Task, stack: contextlib.ExitStack) -> None:
        self.layer = task.layer
        self.lost: dict[str, str] = {}
        self.earlier = self._opened(task.earlier, stack)
        self.later = self._opened(task.later, stack)

    def _opened(
        self, others: Sequence[Layer], stack: contextlib.ExitStack
    ) -> list[tuple[Layer, Read]]:
        found = []
        for other in others:
            try:
                found.append((other, stack.enter_context(reading(other))))
            except LayerError as error:
                self.lost[other.path] = str(error)
        return found

    def taken(self, label: np.ndarray, rows: slice) -> np.ndarray:
        """(h, W) bool: pixels of these rows that another scene counts."""
        unknown = label == UNKNOWN
        taken = np.zeros(label.shape, bool)
        for others, first in ((self.earlier, True), (self.later, False)):
            for other, read in others:
                window = overlap.window_of(other, self.layer, rows)
                if window is None or other.path in self.lost:
                    continue
                try:
                    there = overlap.classes_at(other, read, self.layer, window)
                except LayerError as error:
                    self.lost[other.path] = str(error)
                    continue
                here = slice(window[0].start - rows.start, window[0].stop - rows.start), window[1]
                known = there < len(CLASSES)
                if first:
                    taken[here] |= known | (unknown[here] & (there == UNKNOWN))
                else:
                    taken[here] |= known & unknown[here]
        return taken
