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
FRAME = 1
"""width of the line around a picture, which may be white or narrow"""
GREY = (128, 128, 128)


@dataclass(frozen=True)
class Sheets(Place):
    """A place where every picture gets its own sheet: FOLDER/STEM-KIND.png."""

    name: str = ""
    """of the scene, below the titles"""

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
        write_whole(path, pixels.encode(sheet(full, title, self.name, legend)))
        return Look(title, caption, kind, file=path.name, legend=legend)


def sheet(picture: np.ndarray, title: str, name: str, legend: Legend) -> np.ndarray:
    """(H, W, 3) uint8 -> a larger one: the picture in a frame at its own size, and text below.

    The picture begins at pixel (FRAME, FRAME). Text that is too long goes on in the next line.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = (side + 2 * FRAME for side in picture.shape[:2])
    broad = max(width, NARROWEST)
    font = ImageFont.load_default(TEXT)
    room = broad - 2 * MARGIN
    words = [line for text in (title, name) for line in wrapped(text, room, font)]
    lines = [[Item(MARGIN, text)] for text in words] + _lines(legend, broad, font)
    below = MARGIN + LINE * len(lines) + (LINE if legend.bar else 0) + MARGIN
    image = Image.new("RGB", (broad, height + below), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width - 1, height - 1), outline=GREY, width=FRAME)
    image.paste(Image.fromarray(picture), (FRAME, FRAME))
    top = height + MARGIN
    for line in lines:
        for item in line:
            if item.swatch is not None:
                image.paste(Image.fromarray(item.swatch), (item.left, top))
            draw.text((item.text_left, top), item.text, "black", font)
        top += LINE
    if legend.bar:
        bar = Image.fromarray(pixels.decode(legend.bar)).resize((BAR_WIDTH, 12))
        image.paste(bar, (MARGIN, top))
        last = max(1, len(legend.ticks) - 1)
        for number, text in enumerate(legend.ticks):
            place = MARGIN + number * BAR_WIDTH / last, top + 12
            draw.text(place, text, "black", font, anchor=("la", "ma", "ra")[min(number, 2)])
    return np.asarray(image)


@dataclass(frozen=True, eq=False)
class Item:
    """A piece of a line of text."""

    left: int
    text: str
    swatch: np.ndarray | None = None
    """(h, w, 3), to stand before it"""
    indent: int = 0

    @property
    def text_left(self) -> int:
        return self.left + self.indent


def wrapped(text: str, room: int, font: Any) -> list[str]:
    """Lines of `text` that are not wider than `room` pixels; a longer word is cut in pieces."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line]


def _lines(legend: Legend, broad: int, font: Any) -> list[list[Item]]:
    """Swatches with their texts, in lines that are at most `broad` pixels wide."""
    lines: list[list[Item]] = []
    left = broad
    for address, text in legend.swatches:
        swatch = pixels.decode(address)
        indent = swatch.shape[1] + 5
        first, *more = wrapped(text, broad - indent - 2 * MARGIN, font) or [""]
        wide = indent + int(font.getlength(first)) + 2 * MARGIN
        if left + wide > broad + MARGIN or more:
            lines.append([])
            left = MARGIN
        lines[-1].append(Item(left, first, swatch, indent))
        lines += [[Item(MARGIN, line, None, indent)] for line in more]
        left = broad if more else left + wide
    return lines
