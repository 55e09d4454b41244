"""Colours and patterns of class maps, so that they can be told apart without colour.

Each style has a lightness of its own and, where it marks an error, a pattern that is drawn at the
resolution of the picture, so that it is the same in a thumbnail and at full size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[int, int, int]
Pattern = Literal["plain", "stripes", "dots", "hatching"]

PERIOD = 8
"""pixels after which a pattern repeats"""
CORRECT_CLEAR, HIT, MISS, FALSE_ALARM = 0, 1, 2, 3
AGREE, DIFFER = 0, 1
UNKNOWN, MISSING = 254, 255


@dataclass(frozen=True)
class Style:
    """How one category of a map is drawn."""

    colour: Colour
    pattern: Pattern = "plain"
    ink: Colour = (0, 0, 0)


BACKGROUND: Colour = (172, 184, 200)
"""where nothing was measured"""
_HATCHED = Style((153, 153, 153), "hatching", (240, 240, 240))
_NOTHING = Style(BACKGROUND)

DIFFERENCE: Mapping[int, Style] = {
    CORRECT_CLEAR: Style((36, 62, 96)),
    HIT: Style((250, 250, 250)),
    MISS: Style((196, 80, 24), "stripes", (255, 200, 130)),
    FALSE_ALARM: Style((250, 214, 70), "dots", (0, 0, 0)),
    UNKNOWN: _HATCHED,
    MISSING: _NOTHING,
}
AGREEMENT: Mapping[int, Style] = {
    AGREE: Style((250, 250, 250)),
    DIFFER: Style((196, 80, 24), "stripes", (255, 200, 130)),
    UNKNOWN: _HATCHED,
    MISSING: _NOTHING,
}


def class_styles(count: int) -> dict[int, Style]:
    """Styles of class 0 to count - 1, dark to light, and of unknown and missing pixels.

    More than two take their colours from cividis, whose lightness rises evenly (Nunez, Anderton and
    Renslow, 2018).
    """
    if count <= 2:
        styles = {0: Style((36, 62, 96)), 1: Style((250, 250, 250))}
    else:
        import matplotlib

        table = matplotlib.colormaps["cividis"](np.linspace(0, 1, count), bytes=True)
        styles = {i: Style((int(r), int(g), int(b))) for i, (r, g, b, _) in enumerate(table)}
    return {**styles, UNKNOWN: _HATCHED, MISSING: _NOTHING}


def difference(predicted: np.ndarray, reference: np.ndarray, *, num_classes: int) -> np.ndarray:
    """(H, W) classes, 255 = none, of network and reference -> (H, W) uint8 categories.

    Two classes: HIT, CORRECT_CLEAR, MISS, FALSE_ALARM; more: AGREE, DIFFER. Where the network has
    no class nothing was measured (MISSING); where only the reference has none it is UNKNOWN.
    """
    predicted, reference = np.asarray(predicted), np.asarray(reference)
    if num_classes == 2:
        found = np.where(
            reference == 1,
            np.where(predicted == 1, HIT, MISS),
            np.where(predicted == 1, FALSE_ALARM, CORRECT_CLEAR),
        ).astype(np.uint8)
    else:
        found = np.where(predicted == reference, AGREE, DIFFER).astype(np.uint8)
    found[reference == 255] = UNKNOWN
    found[predicted == 255] = MISSING
    return found


def classes_of(labels: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """(H, W) classes, 255 = unknown -> categories, with what was not measured apart from that."""
    found = np.where(labels == 255, UNKNOWN, labels).astype(np.uint8)
    found[missing] = MISSING
    return found


def shrink_categories(categories: np.ndarray, factor: int) -> np.ndarray:
    """(H, W) -> the commonest category of each block of factor x factor pixels; ties: the lowest.

    Blocks at the lower and right border may be smaller.
    """
    if factor == 1:
        return categories
    height, width = categories.shape
    values = np.unique(categories)
    rows, cols = np.arange(0, height, factor), np.arange(0, width, factor)
    best = np.full((len(rows), len(cols)), -1, np.int64)
    found = np.full(best.shape, values[0], np.uint8)
    for value in values:
        hits = np.add.reduceat(categories == value, rows, axis=0, dtype=np.int64)
        count = np.add.reduceat(hits, cols, axis=1)
        found[count > best] = value
        best = np.maximum(best, count)
    return found


def paint(categories: np.ndarray, styles: Mapping[int, Style]) -> np.ndarray:
    """(H, W) categories -> (H, W, 3) uint8, patterns in place."""
    colours = np.zeros((256, 3), np.uint8)
    for value, style in styles.items():
        colours[value] = style.colour
    picture = colours[categories]
    for value, style in styles.items():
        if style.pattern != "plain":
            mark = _pattern(style.pattern, categories.shape) & (categories == value)
            picture[mark] = style.ink
    return picture


def swatch(style: Style, size: tuple[int, int] = (18, 30)) -> np.ndarray:
    """(rows, columns, 3) uint8: a piece of a style with a thin dark edge, for a legend."""
    picture = paint(np.zeros(size, np.uint8), {0: style})
    picture[[0, -1]] = picture[:, [0, -1]] = (90, 90, 90)
    return picture


def _pattern(kind: Pattern, shape: Sequence[int]) -> np.ndarray:
    """(H, W) bool: where the ink is. Three pixels of ink and five of colour at most."""
    row, col = np.ogrid[: shape[0], : shape[1]]
    if kind == "stripes":
        return (row + col) % PERIOD < 3
    if kind == "dots":
        return (row % PERIOD < 3) & ((col + PERIOD // 2 * (row // PERIOD % 2)) % PERIOD < 3)
    return ((row + col) % PERIOD == 0) | ((row - col) % PERIOD == 0)
