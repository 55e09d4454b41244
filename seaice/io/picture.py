"""Scenes as they are delivered: PNG, JPEG, TIFF of any layout, JPEG 2000, Sentinel-2 products, and
`.npz` scenes. What comes out is always 8-bit red, green, blue, with what is missing and where it
lies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from seaice.io import arrays, image_file, raster, safe
from seaice.io.kinds import PRODUCT
from seaice.io.opened import Opened, Picture
from seaice.io.reading import BANDS, INFRARED, ImageError, Reading
from seaice.io.sources import Source

__all__ = ["BANDS", "INFRARED", "ImageError", "Opened", "Picture", "Reading", "open_scene"]
_ZIP = b"PK\x03\x04"
_AGAIN = "get the file again"


@contextlib.contextmanager
def open_scene(source: Source, reading: Reading) -> Iterator[Opened]:
    """A scene to read from while the block lasts. ImageError, in one line, whatever is wrong.

    Where the block itself runs out of memory, that is the scene's fault, too.
    """
    try:
        with _opened(source, reading) as scene:
            yield scene
    except MemoryError:
        raise ImageError(
            f"{source.place} is larger than the memory there is; cut it into parts"
        ) from None


@contextlib.contextmanager
def _opened(source: Source, reading: Reading) -> Iterator[Opened]:
    path = Path(source.place)
    if (source.content is None and path.is_dir()) or PRODUCT.fullmatch(path.name):
        with safe.opened(source, reading) as scene:
            yield scene
        return
    head = _head(source)
    if not head:
        raise ImageError(f"{source.place} is empty; {_AGAIN}")
    if head.startswith(_ZIP):
        yield arrays.opened(source, reading)
        return
    with image_file.opened(source, reading) as scene:
        yield scene


def _head(source: Source) -> bytes:
    if source.content is not None:
        return source.content[:4]
    with raster.failures(source.place):
        try:
            with Path(source.place).open("rb") as file:
                return file.read(4)
        except OSError as error:
            raise ImageError(f"{source.place} cannot be read ({error.strerror})") from None
