"""Sentinel-2 products, L1C and L2A: folders `NAME.SAFE` and their zip files, read as they lie.

The picture is the product's own true-colour image (TCI). Where it is not there, or where --stretch
asks for another stretch, it is made of the bands B04, B03, B02 as TCI is made of them: reflectance
from 0 to .3558 (L1C) or .2 (L2A) becomes 1 to 255, and 0 is kept for no data (Sentinel-2 MSI user
guide, definitions).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seaice.io import metadata
from seaice.io.kinds import PRODUCT
from seaice.io.metadata import Metadata
from seaice.io.opened import Colours, Opened, Rows
from seaice.io.product import AGAIN, Product, files_of
from seaice.io.reading import BANDS, ImageError, Reading, Stretch
from seaice.io.sources import Source

TCI_STRETCH = {"L1C": (0.0, 0.3558), "L2A": (0.0, 0.2)}
CLOUDS = (3, 8, 9, 10)
"""of the scene classification SCL: cloud shadow, cloud of medium and of high probability, cirrus"""
_NO_DATA = 0
_OF_BAND = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08", "swir": "B11"}


@contextlib.contextmanager
def opened(source: Source, reading: Reading) -> Iterator[Opened]:
    """The scene of a product. ImageError."""
    with contextlib.ExitStack() as stack:
        files = files_of(source, stack)
        yield _opened(Product(source.place, files, stack), source, reading)


def _opened(product: Product, source: Source, reading: Reading) -> Opened:
    known = PRODUCT.fullmatch(Path(source.place).name)
    level = product.level or (known and known["level"])
    told = [product.told] if product.told else []
    if product.metadata_path is None and known is not None and "TCI" in product.images:
        facts = None
        date = metadata.utc(known["date"])
        told.append("it has no metadata: the date is that of its name")
    else:
        facts = product.metadata()
        date = facts.date or (metadata.utc(known["date"]) if known else None)
    if reading.bands is not None:
        told.append("a product knows its bands: --bands does not count for it")
    own = "TCI" in product.images and reading.stretch is None
    first = product.raster("TCI" if own else "B04")
    shape = first.shape
    if own:
        colours = _of_tci(product, shape, str(level))
    else:
        if facts is None:
            facts = product.metadata()
        stretch = reading.stretch or TCI_STRETCH[str(level)]
        if reading.stretch is None:
            low, high = stretch
            told.append(f"it has no TCI: B04, B03, B02 are taken, reflectance {low:g} to {high:g}")
        colours = _of_bands(product, shape, facts, stretch)
    bands: dict[str, Rows] = {}
    if facts is not None:
        bands = {
            band: functools.partial(_reflectance, product, image, shape, facts)
            for band, image in _OF_BAND.items()
            if image in product.images
        }
    has_scl = level == "L2A" and "SCL" in product.images
    return Opened(
        name=product.name,
        shape=shape,
        grid=first.grid,
        colours=colours,
        reading=reading,
        date=date,
        tile=product.tile or (known and known["tile"]),
        told=tuple(told),
        bands=bands,
        no_bands="the product lacks them",
        cloud=functools.partial(_clouds, product, shape) if has_scl else None,
    )


def _of_tci(product: Product, shape: tuple[int, int], level: str) -> Colours:
    image = product.raster("TCI")
    if image.file.count != len(BANDS) or set(image.file.dtypes) != {"uint8"}:
        raise ImageError(f"{image.name} is no 8-bit image of three bands; {AGAIN}")
    # Over dark water the atmospheric correction leaves 0 in all bands; SCL knows better.
    classified = level == "L2A" and "SCL" in product.images

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        found = image.read([1, 2, 3], rows)
        absent = None
        if classified:
            absent = product.rows("SCL", shape, rows) == _NO_DATA
            absent &= ~found.any(axis=0)
        return np.stack(list(found), axis=-1), absent

    return Colours(
        read=read,
        dtype=np.dtype(np.uint8),
        stretches=None,
        declared=() if level == "L2A" else (float(_NO_DATA),),
        lossy=image.lossy,
        block_rows=int(image.file.block_shapes[0][0]),
    )


def _of_bands(
    product: Product, shape: tuple[int, int], facts: Metadata, stretch: Stretch
) -> Colours:
    images = [_OF_BAND[band] for band in BANDS]
    for image in images:
        if product.raster(image).file.dtypes != ("uint16",):
            raise ImageError(f"{product.raster(image).name} is no 16-bit image; {AGAIN}")

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        found = np.empty((rows.stop - rows.start, shape[1], len(images)), np.uint16)
        for at, image in enumerate(images):
            found[..., at] = product.rows(image, shape, rows)
        return found, None

    return Colours(
        read=read,
        dtype=np.dtype(np.uint16),
        stretches=[_stored(stretch, facts, image) for image in images],
        declared=(float(_NO_DATA),),
        block_rows=int(product.raster(images[0]).file.block_shapes[0][0]),
    )


def _stored(stretch: Stretch, facts: Metadata, image: str) -> Stretch:
    """Reflectances -> the values that they are stored as."""
    offset = facts.offsets.get(image, 0.0)
    low, high = (value * facts.quantification - offset for value in stretch)
    return low, high


def _reflectance(
    product: Product, image: str, shape: tuple[int, int], facts: Metadata, rows: slice
) -> np.ndarray:
    """(h, W) float32, NaN where there is no data."""
    stored = product.rows(image, shape, rows)
    found = stored.astype(np.float32)
    found += np.float32(facts.offsets.get(image, 0.0))
    found /= np.float32(facts.quantification)
    found[stored == _NO_DATA] = np.nan
    return found


def _clouds(product: Product, shape: tuple[int, int], rows: slice) -> np.ndarray:
    """(h, W) bool."""
    table = np.zeros(256, bool)
    table[list(CLOUDS)] = True
    classes = product.rows("SCL", shape, rows)
    if classes.dtype != np.uint8:
        raise ImageError(f"{product.name}: SCL is no 8-bit image; {AGAIN}")
    return table[classes]
