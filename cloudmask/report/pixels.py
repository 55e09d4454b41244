"""Arrays of a scene to pictures: false colour, brightness temperature, probability. All pure."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

from cloudmask.report.colours import BACKGROUND

FALSE_COLOUR = (("S5", "S3", "S1"), ("red", "green", "blue"))
"""channels of a picture's red, green and blue, for the sensors whose names are known"""
THERMAL = "S8"
ROBUST = (1.0, 99.0)
"""percentiles that become black and white"""
GAMMA = 1 / 1.6
"""brightens dark surfaces beside bright cloud"""


def colour_channels(channels: Sequence[str]) -> tuple[int, int, int]:
    """Numbers of the channels to show as red, green and blue; by name, else the first three."""
    lower = [name.lower() for name in channels]
    for names in FALSE_COLOUR:
        if all(name.lower() in lower for name in names):
            red, green, blue = (lower.index(name.lower()) for name in names)
            return red, green, blue
    last = len(channels) - 1
    return 0, min(1, last), min(2, last)


def limits(values: np.ndarray) -> tuple[float, float]:
    """(H, W) with NaN -> a low and a higher value; every fourth row and column is looked at."""
    seen = values[::4, ::4]
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        seen = values[np.isfinite(values)]
    if not seen.size:
        return 0.0, 1.0
    low, high = np.percentile(seen, ROBUST)
    return float(low), float(high if high > low else low + 1)


def shrink_factor(shape: tuple[int, ...], longest: int) -> int:
    """By how much a picture must be divided so that no side is longer than `longest` pixels."""
    return max(1, -(-max(shape[:2]) // longest))


def box_mean(values: np.ndarray, factor: int) -> np.ndarray:
    """(H, W) -> (ceil(H / factor), ceil(W / factor)): means of what was measured, NaN where nothing
    was. Blocks at the lower and right border may be smaller."""
    if factor == 1:
        return values
    rows, cols = np.arange(0, values.shape[0], factor), np.arange(0, values.shape[1], factor)

    def total(array: np.ndarray) -> np.ndarray:
        partly = np.add.reduceat(array, rows, axis=0, dtype=np.float64)
        return np.add.reduceat(partly, cols, axis=1)

    there = np.isfinite(values)
    count = total(there)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total(np.where(there, values, 0)) / count).astype(np.float32)


def rgb(planes: Sequence[np.ndarray], ranges: Sequence[tuple[float, float]]) -> np.ndarray:
    """Three (H, W) -> (H, W, 3) uint8, each stretched over its range; background where one is NaN.

    After the stretch values are raised to GAMMA.
    """
    picture = np.empty((*planes[0].shape, 3), np.uint8)
    missing = np.zeros(planes[0].shape, bool)
    for channel, (plane, span) in enumerate(zip(planes, ranges, strict=True)):
        scaled, gone = _scaled(plane, *span)
        missing |= gone
        picture[..., channel] = np.rint(255 * scaled**GAMMA)
    picture[missing] = BACKGROUND
    return picture


def mapped(values: np.ndarray, low: float, high: float, table: np.ndarray) -> np.ndarray:
    """(H, W) and a (256, 3) table of colours -> (H, W, 3) uint8; background where NaN."""
    scaled, gone = _scaled(values, low, high)
    picture = table[np.rint(255 * scaled).astype(np.uint8)]
    picture[gone] = BACKGROUND
    return picture


def _scaled(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) -> 0 to 1 between low and high, and where nothing was measured."""
    gone = ~np.isfinite(values)
    return np.clip((np.where(gone, low, values) - low) / (high - low), 0, 1), gone


def grey_cold_is_bright() -> np.ndarray:
    """(256, 3) uint8: warm dark, cold bright, as infrared pictures have it."""
    return np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)


def cividis() -> np.ndarray:
    """(256, 3) uint8: dark blue to yellow, of evenly rising lightness."""
    import matplotlib

    return matplotlib.colormaps["cividis"](np.arange(256), bytes=True)[:, :3]


def encode(picture: np.ndarray, kind: str = "PNG") -> bytes:
    """(H, W, 3) uint8 -> a PNG, or a JPEG of quality 82. Few colours make a palette PNG."""
    from PIL import Image

    image = Image.fromarray(picture)
    file = io.BytesIO()
    if kind == "JPEG":
        image.save(file, "JPEG", quality=82, optimize=True)
        return file.getvalue()
    few = image.getcolors(64)
    if few is not None:
        image = image.quantize(len(few), dither=Image.Dither.NONE)
    image.save(file, "PNG", compress_level=6 if few is not None else 1)
    return file.getvalue()


def data_address(content: bytes) -> str:
    """A picture's bytes as an address that needs no file."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def decode(address: str) -> np.ndarray:
    """(H, W, 3) uint8 of what `data_address` was made of."""
    from PIL import Image

    content = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
