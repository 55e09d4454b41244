"""Sentinel-2 products, L1C and L2A: folders `NAME.SAFE` and their zip files, read as they lie.

The picture is the product's own true-colour image (TCI). Where it is not there, or where --stretch
asks for another stretch, it is made of the bands B04, B03, B02 as TCI is made of them: reflectance
from 0 to .3558 (L1C) or .2 (L2A) becomes 1 to 255, and 0 is kept for no data (Sentinel-2 MSI user
guide, definitions).
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seaice.io import metadata, raster
from seaice.io.kinds import PRODUCT
from seaice.io.metadata import Metadata
from seaice.io.opened import Colours, Opened, Rows
from seaice.io.raster import Raster
from seaice.io.reading import BANDS, ImageError, Reading, Stretch
from seaice.io.sources import Source

TCI_STRETCH = {"L1C": (0.0, 0.3558), "L2A": (0.0, 0.2)}
CLOUDS = (3, 8, 9, 10)
"""of the scene classification SCL: cloud shadow, cloud of medium and of high probability, cirrus"""
_NO_DATA = 0
_OF_BAND = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08", "swir": "B11"}
_METRES = {"TCI": 10, "B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "SCL": 20}
_AGAIN = "get the product again"
# Folders above the product may have any name that leads nowhere else.
_ROOT = r"(?P<root>(?:(?!\.\.?/)[^/\\\0]+/)*?)"
_IMAGE = re.compile(
    _ROOT + r"GRANULE/[\w.-]+/IMG_DATA/(?:R\d0m/)?(?:L2A_)?T(?P<tile>\d{2}[A-Z]{3})_\d{8}T\d{6}_"
    r"(?P<image>TCI|SCL|B\d[\dA])(?:_(?P<metres>\d0)m)?\.jp2",
    re.ASCII,
)
_METADATA = re.compile(_ROOT + r"MTD_MSI(?P<level>L1C|L2A)\.xml", re.ASCII)


@contextlib.contextmanager
def opened(source: Source, reading: Reading) -> Iterator[Opened]:
    """The scene of a product. ImageError."""
    with contextlib.ExitStack() as stack:
        files = _files(source, stack)
        yield _opened(_Product(source.place, files, stack), source, reading)


class _Folder:
    def __init__(self, place: str) -> None:
        self.top = Path(place)

    def names(self) -> list[str]:
        found = (path for path in self.top.rglob("*") if path.suffix in (".xml", ".jp2"))
        return [path.relative_to(self.top).as_posix() for path in found]

    def read(self, name: str, most: int) -> bytes:
        with (self.top / name).open("rb") as file:
            return file.read(most)

    def path(self, name: str) -> str:
        """For GDAL."""
        return str((self.top / name).absolute())


class _Zip:
    """A product that stays packed: GDAL reads in it. What it is packed in has checksums."""

    def __init__(self, zipped: zipfile.ZipFile, place: str) -> None:
        self.zipped, self.place = zipped, place

    def names(self) -> list[str]:
        return self.zipped.namelist()

    def read(self, name: str, most: int) -> bytes:
        with self.zipped.open(name) as file:
            return file.read(most)

    def path(self, name: str) -> str:
        with self.zipped.open(name) as file:  # compares the checksum at the end
            while file.read(1 << 20):
                pass
        return f"/vsizip/{self.place}/{name}"


def _files(source: Source, stack: contextlib.ExitStack) -> _Folder | _Zip:
    if source.content is None and Path(source.place).is_dir():
        return _Folder(source.place)
    with _told(source.place):
        if source.content is None:
            zipped = stack.enter_context(zipfile.ZipFile(source.place))
            return _Zip(zipped, str(Path(source.place).absolute()))
        zipped = stack.enter_context(zipfile.ZipFile(io.BytesIO(source.content)))
        return _Zip(zipped, stack.enter_context(raster.in_memory(source.content, ".zip")))


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever reading a damaged archive may end in becomes an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (
        *(OSError, ValueError, LookupError, RuntimeError, EOFError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name} is damaged ({problem}); {_AGAIN}") from None


@dataclass(eq=False)
class _Product:
    """The files of a product, which are opened when they are asked for."""

    name: str
    files: _Folder | _Zip
    stack: contextlib.ExitStack
    images: dict[str, str] = field(default_factory=dict)
    """path of TCI, SCL, B02, ..., each at its own resolution"""
    tile: str | None = None
    level: str | None = None
    metadata_path: str | None = None
    rasters: dict[str, Raster] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with _told(self.name):
            names = sorted(self.files.names())
        for name in names:
            found = _IMAGE.fullmatch(name)
            if found is not None:
                image, metres = found["image"], found["metres"]
                if metres is not None and int(metres) != _METRES.get(image):
                    continue
                if self.images.setdefault(image, name) != name:
                    raise ImageError(
                        f"{self.name} holds more than one {image}: products of several tiles, as "
                        "before December 2016, are not read; split it by tile"
                    )
                self.tile = found["tile"]
            elif known := _METADATA.fullmatch(name):
                self.metadata_path, self.level = name, known["level"]

    def metadata(self) -> Metadata:
        if self.metadata_path is None:
            raise ImageError(f"{self.name} lacks its metadata, MTD_MSIL*.xml; {_AGAIN}")
        with _told(self.name):
            content = self.files.read(self.metadata_path, metadata.LARGEST_BYTES + 1)
        try:
            return metadata.parse(content)
        except ValueError as error:
            raise ImageError(
                f"{self.name} has metadata that cannot be used ({error}); {_AGAIN}"
            ) from None

    def raster(self, image: str) -> Raster:
        if image not in self.rasters:
            if image not in self.images:
                raise ImageError(f"{self.name} lacks {image}; {_AGAIN}")
            with _told(self.name):
                path = self.files.path(self.images[image])
            name = f"{self.name}: {image}"
            self.rasters[image] = self.stack.enter_context(raster.opened(path, name))
        return self.rasters[image]

    def rows(self, image: str, shape: tuple[int, int], rows: slice) -> np.ndarray:
        """(h, W) of the first band, brought to the grid of `shape` pixels by nearest neighbour."""
        found = self.raster(image)
        times = shape[0] // found.shape[0]
        if times < 1 or shape != (found.shape[0] * times, found.shape[1] * times):
            raise ImageError(
                f"{found.name} has {found.shape[0]} x {found.shape[1]} pixels, the picture "
                f"{shape[0]} x {shape[1]}; {_AGAIN}"
            )
        first, last = rows.start // times, -(-rows.stop // times)
        values = found.read([1], slice(first, last))[0]
        if times > 1:
            values = values.repeat(times, axis=0).repeat(times, axis=1)
        return values[rows.start - first * times :][: rows.stop - rows.start]


def _opened(product: _Product, source: Source, reading: Reading) -> Opened:
    known = PRODUCT.fullmatch(Path(source.place).name)
    level = product.level or (known and known["level"])
    told = []
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


def _of_tci(product: _Product, shape: tuple[int, int], level: str) -> Colours:
    image = product.raster("TCI")
    if image.file.count != len(BANDS) or set(image.file.dtypes) != {"uint8"}:
        raise ImageError(f"{image.name} is no 8-bit image of three bands; {_AGAIN}")
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
    product: _Product, shape: tuple[int, int], facts: Metadata, stretch: Stretch
) -> Colours:
    images = [_OF_BAND[band] for band in BANDS]
    for image in images:
        if product.raster(image).file.dtypes != ("uint16",):
            raise ImageError(f"{product.raster(image).name} is no 16-bit image; {_AGAIN}")

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
    product: _Product, image: str, shape: tuple[int, int], facts: Metadata, rows: slice
) -> np.ndarray:
    """(h, W) float32, NaN where there is no data."""
    stored = product.rows(image, shape, rows)
    found = stored.astype(np.float32)
    found += np.float32(facts.offsets.get(image, 0.0))
    found /= np.float32(facts.quantification)
    found[stored == _NO_DATA] = np.nan
    return found


def _clouds(product: _Product, shape: tuple[int, int], rows: slice) -> np.ndarray:
    """(h, W) bool."""
    table = np.zeros(256, bool)
    table[list(CLOUDS)] = True
    classes = product.rows("SCL", shape, rows)
    if classes.dtype != np.uint8:
        raise ImageError(f"{product.name}: SCL is no 8-bit image; {_AGAIN}")
    return table[classes]
