"""One picture of a scene as the page shows it: small inside the page, full size beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cloudmask.files import write_whole
from cloudmask.report import patterns, quicklook
from cloudmask.report.patterns import Style
from cloudmask.text import percent

THUMBNAIL = 480
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
class Quicklook:
    """One picture, or without an address the reason why there is none."""

    title: str
    caption: str
    address: str = ""
    """data address of the small picture"""
    file: str = ""
    """full size, as a path relative to the page"""
    legend: Legend = field(default_factory=Legend)


@dataclass(frozen=True)
class Place:
    """Where the full-size pictures of a scene go."""

    folder: Path
    stem: str

    def write(self, name: str, picture: np.ndarray) -> str:
        """Write a PNG, whole or not at all; its path relative to the page. Raises OSError."""
        path = self.folder / f"{self.stem}-{name}.png"
        write_whole(path, quicklook.encode(picture))
        return f"{self.folder.name}/{path.name}"


def safe_stem(number: int, name: str) -> str:
    """A file name of plain characters, whatever the scene is called; the number keeps it unique."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:100]
    return f"{number:04d}-{plain or 'scene'}"


def colours(
    title: str, caption: str, planes: Sequence[np.ndarray], place: Place, name: str
) -> Quicklook:
    """Three (H, W) with NaN as red, green and blue, each stretched over its robust range."""
    ranges = [quicklook.limits(plane) for plane in planes]
    factor = quicklook.shrink_factor(planes[0].shape, THUMBNAIL)
    small = quicklook.rgb([quicklook.box_mean(plane, factor) for plane in planes], ranges)
    missing = any(bool(np.isnan(plane).any()) for plane in planes)
    return Quicklook(
        title,
        caption,
        quicklook.data_address(quicklook.encode(small, "JPEG")),
        place.write(name, quicklook.rgb(planes, ranges)),
        Legend(_nothing_measured(missing)),
    )


def values(
    title: str,
    caption: str,
    array: np.ndarray,
    place: Place,
    name: str,
    *,
    span: tuple[float, float],
    table: np.ndarray,
    ticks: tuple[str, ...],
) -> Quicklook:
    """(H, W) with NaN through a (256, 3) table of colours, with a colour bar."""
    factor = quicklook.shrink_factor(array.shape, THUMBNAIL)
    small = quicklook.mapped(quicklook.box_mean(array, factor), *span, table)
    bar = quicklook.data_address(quicklook.encode(quicklook.bar(table)))
    return Quicklook(
        title,
        caption,
        quicklook.data_address(quicklook.encode(small, "JPEG")),
        place.write(name, quicklook.mapped(array, *span, table)),
        Legend(_nothing_measured(bool(np.isnan(array).any())), bar, ticks),
    )


def categories(
    title: str,
    caption: str,
    array: np.ndarray,
    place: Place,
    name: str,
    *,
    styles: Mapping[int, Style],
    names: Mapping[int, str],
    shares: bool = False,
) -> Quicklook:
    """(H, W) categories in their styles; with `shares` of the measured pixels in the legend."""
    factor = quicklook.shrink_factor(array.shape, THUMBNAIL)
    small = patterns.paint(patterns.shrink_categories(array, factor), styles)
    if factor > 1:
        caption = f"{caption} Small: the commonest of each {factor} x {factor} pixels.".strip()
    counts = np.bincount(array.ravel(), minlength=256)
    measured = int(counts.sum() - counts[patterns.MISSING])
    full = {**names, patterns.UNKNOWN: "unknown", patterns.MISSING: "not measured"}
    meanings = []
    for value, text in full.items():
        if counts[value] or value in names:
            share = f", {percent(counts[value] / measured)}" if shares and measured else ""
            meanings.append((styles[value], text + share * (value != patterns.MISSING)))
    return Quicklook(
        title,
        caption,
        quicklook.data_address(quicklook.encode(small)),
        place.write(name, patterns.paint(array, styles)),
        Legend(tuple((_swatch(style), text) for style, text in meanings)),
    )


def _nothing_measured(missing: bool) -> tuple[tuple[str, str], ...]:
    return ((_swatch(Style(patterns.BACKGROUND)), "not measured"),) if missing else ()


def _swatch(style: Style) -> str:
    return quicklook.data_address(quicklook.encode(patterns.swatch(style)))
