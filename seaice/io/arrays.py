"""A scene of numbers: `.npz` with `image`, `channels`, perhaps its place and time."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import IO

import numpy as np

from cloudmask.data.formats import georeference, npz
from cloudmask.data.scene import reason
from seaice.io.grid import Grid
from seaice.io.image_file import stretches
from seaice.io.opened import Colours, Opened, Rows
from seaice.io.reading import BANDS, INFRARED, ImageError, Reading
from seaice.io.sources import Source


def opened(source: Source, reading: Reading) -> Opened:
    """The scene, all of which is read at once. ImageError."""
    name = source.place
    arrays = _arrays(source)
    image = arrays.get("image")
    if image is None or image.ndim != 3 or 0 in image.shape or image.dtype.kind not in "uif":
        raise ImageError(f"{name} holds no 'image' of numbers, (rows, columns, channels)")
    missing = arrays.get("missing")
    if missing is not None and (missing.dtype != np.bool_ or missing.shape != image.shape[:2]):
        raise ImageError(f"{name} holds a 'missing' that is not bool of (rows, columns)")
    channels = _channels(name, arrays, image.shape[2], reading)
    lacking = [band for band in BANDS if band not in channels]
    if lacking:
        raise ImageError(f"{name} lacks the channels {', '.join(lacking)}; it has {list(channels)}")
    chosen = [channels[band] for band in BANDS]
    plain = chosen == [0, 1, 2] and image.shape[2] == len(BANDS)
    floating = image.dtype.kind == "f"
    places = georeference.places(Path(name), arrays, image.shape[:2])
    crs, transform = places.get("crs"), places.get("transform")
    bands: dict[str, Rows] = {}
    if floating:
        wanted = [band for band in BANDS + INFRARED if band in channels]
        bands = {
            band: functools.partial(_finite, image, missing, channels[band]) for band in wanted
        }

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        values = image[rows] if plain else image[rows][..., chosen]
        return values, None if missing is None else missing[rows]

    return Opened(
        name=name,
        shape=image.shape[:2],
        grid=Grid(crs, transform) if crs and transform else None,
        colours=Colours(
            read=read,
            dtype=image.dtype,
            stretches=stretches(name, image.dtype, reading.stretch),
        ),
        reading=reading,
        date=places.get("start"),
        bands=bands,
        no_bands="its channels hold none" if floating else "its values are whole numbers",
    )


def _arrays(source: Source) -> dict[str, np.ndarray]:
    def read(stream: IO[bytes]) -> dict[str, np.ndarray]:
        arrays, _, _ = npz.load_arrays(stream, ("image", "channels", "missing"), georeference.KEYS)
        return arrays

    try:
        if source.content is not None:
            return read(io.BytesIO(source.content))
        with Path(source.place).open("rb") as stream:
            return read(stream)
    except npz.DAMAGED as error:
        problem = reason(error) or type(error).__name__
        raise ImageError(f"{source.place} cannot be read ({problem}); get the file again") from None


def _channels(
    name: str, arrays: dict[str, np.ndarray], count: int, reading: Reading
) -> dict[str, int]:
    """Where each channel lies, by its name; or by --bands, counted from 1."""
    held = [str(channel) for channel in arrays.get("channels", BANDS[:count])]
    if len(held) != count:
        raise ImageError(f"{name} has {count} channels but {len(held)} names of them; name each")
    if reading.bands is None:
        return {channel: at for at, channel in enumerate(held)}
    chosen = {}
    for band, word in zip(BANDS + INFRARED, reading.bands, strict=False):
        if word in held:
            chosen[band] = held.index(word)
        elif word.isdecimal() and 1 <= int(word) <= count:
            chosen[band] = int(word) - 1
        else:
            raise ImageError(f"{name} has the channels {held}, not {word!r}, which --bands names")
    return chosen


def _finite(image: np.ndarray, missing: np.ndarray | None, channel: int, rows: slice) -> np.ndarray:
    """(h, W) float32 of one channel, NaN where it is no number or nothing was measured."""
    found = image[rows, :, channel].astype(np.float32)
    found[~np.isfinite(found)] = np.nan
    if missing is not None:
        found[missing[rows]] = np.nan
    return found
