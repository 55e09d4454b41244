"""One picture of a scene as the page shows it: small inside the page, full size beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np

from cloudmask.files import write_whole
from cloudmask.report import colours, pixels
from cloudmask.report.colours import Style
from cloudmask.text import percent

THUMBNAIL = 320
"""longest side of a small picture, pixels"""


@dataclass(frozen=True)
class Legend:
    """What a picture's colours mean: named swatches, or a bar with values along it."""

    swatches: tuple[tuple[str, str], ...] = ()
    """data address and meaning"""
    bar: str = ""
    """data address of the colour bar"""
    ticks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """One picture, or without an address the reason why there is none."""

    title: str
    caption: str
    kind: str = ""
    """what it shows: colour, temperature, label, truth, network, probability or difference"""
    address: str = ""
    """data address of the small picture"""
    file: str = ""
    """full size, as an address relative to the page"""
    legend: Legend = field(default_factory=Legend)


@dataclass(frozen=True)
class Place:
    """Where the full-size pictures of a scene go."""

    folder: Path
    stem: str

    def look(
        self,
        title: str,
        caption: str,
        kind: str,
        small: np.ndarray,
        full: np.ndarray,
        legend: Legend,
        encoding: str = "PNG",
    ) -> Look:
        """Two (H, W, 3) uint8: one to go into the page, one into a PNG here. Raises OSError."""
        path = self.folder / f"{self.stem}-{kind}.png"
        write_whole(path, pixels.encode(full))
        address = pixels.data_address(pixels.encode(small, encoding))
        file = f"{quote(self.folder.name)}/{path.name}"
        return Look(title, caption, kind, address, file, legend)


def safe_stem(number: int, name: str) -> str:
    """A file name of plain characters, whatever the scene is called; the number keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:100]
    return f"{number:04d}-{plain or 'scene'}"


def channels(
    title: str, caption: str, planes: Sequence[np.ndarray], place: Place, kind: str
) -> Look:
    """Three (H, W) with NaN as red, green and blue, each stretched over its robust range."""
    ranges = [pixels.limits(plane) for plane in planes]
    factor = pixels.shrink_factor(planes[0].shape, THUMBNAIL)
    small = pixels.rgb([pixels.box_mean(plane, factor) for plane in planes], ranges)
    missing = any(bool(np.isnan(plane).any()) for plane in planes)
    legend = Legend(_nothing_measured(missing))
    return place.look(title, caption, kind, small, pixels.rgb(planes, ranges), legend, "JPEG")


def values(
    title: str,
    caption: str,
    array: np.ndarray,
    place: Place,
    kind: str,
    *,
    span: tuple[float, float],
    table: np.ndarray,
    ticks: tuple[str, ...],
) -> Look:
    """(H, W) with NaN through a (256, 3) table of colours, with a colour bar."""
    factor = pixels.shrink_factor(array.shape, THUMBNAIL)
    small = pixels.mapped(pixels.box_mean(array, factor), *span, table)
    bar = pixels.data_address(pixels.encode(np.repeat(table[None], 12, axis=0)))
    legend = Legend(_nothing_measured(bool(np.isnan(array).any())), bar, ticks)
    full = pixels.mapped(array, *span, table)
    return place.look(title, caption, kind, small, full, legend, "JPEG")


def categories(
    title: str,
    caption: str,
    array: np.ndarray,
    place: Place,
    kind: str,
    *,
    styles: Mapping[int, Style],
    names: Mapping[int, str],
    shares: bool = False,
) -> Look:
    """(H, W) categories in their styles; with `shares` of the measured pixels in the legend."""
    factor = pixels.shrink_factor(array.shape, THUMBNAIL)
    small = colours.paint(colours.shrink_categories(array, factor), styles)
    if factor > 1:
        caption = f"{caption} Small: the commonest of each {factor} x {factor} pixels.".strip()
    counts = np.bincount(array.ravel(), minlength=256)
    measured = int(counts.sum() - counts[colours.MISSING])
    full = {**names, colours.UNKNOWN: "unknown", colours.MISSING: "not measured"}
    meanings = []
    for value, text in full.items():
        if counts[value] or value in names:
            share = f", {percent(counts[value] / measured)}" if shares and measured else ""
            meanings.append((styles[value], text + share * (value != colours.MISSING)))
    legend = Legend(tuple((_swatch(style), text) for style, text in meanings))
    return place.look(title, caption, kind, small, colours.paint(array, styles), legend)


def _nothing_measured(missing: bool) -> tuple[tuple[str, str], ...]:
    return ((_swatch(Style(colours.BACKGROUND)), "not measured"),) if missing else ()


def _swatch(style: Style) -> str:
    return pixels.data_address(pixels.encode(colours.swatch(style)))
