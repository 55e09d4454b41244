"""A picture that stands by itself: full size, with its title and its legend below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudmask.files import write_whole
from cloudmask.report import pixels
from cloudmask.report.looks import Legend, Look, Place

TEXT = 14
"""height of letters, pixels"""
LINE = 24
MARGIN = 8
NARROWEST = 360
"""pixels; a narrower picture is set on white"""
BAR_WIDTH = 256


@dataclass(frozen=True)
class Sheets(Place):
    """A place where every picture gets its own sheet: FOLDER/STEM-KIND.png."""

    name: str = ""
    """of the scene, for the titles"""

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
        """Two (H, W, 3) uint8, of which the full one is written. Raises OSError."""
        path = self.folder / f"{self.stem}-{kind}.png"
        write_whole(path, pixels.encode(sheet(full, f"{self.name}: {title}", legend)))
        return Look(title, caption, kind, file=path.name, legend=legend)


def sheet(picture: np.ndarray, title: str, legend: Legend) -> np.ndarray:
    """(H, W, 3) uint8 -> a larger one, with the picture on top at its own size."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = picture.shape[:2]
    broad = max(width, NARROWEST)
    font = ImageFont.load_default(TEXT)
    lines = _lines(legend, broad, font)
    below = MARGIN + LINE * (1 + len(lines)) + (LINE if legend.bar else 0) + MARGIN
    image = Image.new("RGB", (broad, height + below), "white")
    image.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(image)
    top = height + MARGIN
    draw.text((MARGIN, top), " ".join(title.split()), "black", font)
    for line in lines:
        top += LINE
        for left, swatch, text in line:
            image.paste(Image.fromarray(swatch), (left, top))
            draw.text((left + swatch.shape[1] + 5, top), text, "black", font)
    if legend.bar:
        top += LINE
        bar = Image.fromarray(pixels.decode(legend.bar)).resize((BAR_WIDTH, 12))
        image.paste(bar, (MARGIN, top))
        last = max(1, len(legend.ticks) - 1)
        for number, text in enumerate(legend.ticks):
            place = MARGIN + number * BAR_WIDTH / last, top + 12
            draw.text(place, text, "black", font, anchor=("la", "ma", "ra")[min(number, 2)])
    return np.asarray(image)


def _lines(legend: Legend, broad: int, font: Any) -> list[list[tuple[int, np.ndarray, str]]]:
    """Swatches with their texts, by lines that fit: left edge, (h, w, 3) swatch, text."""
    lines: list[list[tuple[int, np.ndarray, str]]] = []
    left = broad
    for address, text in legend.swatches:
        swatch, text = pixels.decode(address), " ".join(text.split())
        wide = swatch.shape[1] + 5 + int(font.getlength(text)) + 2 * MARGIN
        if left + wide > broad:
            lines.append([])
            left = MARGIN
        lines[-1].append((left, swatch, text))
        left += wide
    return lines
