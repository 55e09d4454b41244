"""The files of a Sentinel-2 product, in a folder `NAME.SAFE` or packed in a zip file.

Nothing is unpacked, and no path is made of a name that leads out of the product.
"""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seaice.io import metadata, raster
from seaice.io.metadata import Metadata
from seaice.io.raster import Raster
from seaice.io.reading import ImageError
from seaice.io.sources import Source

AGAIN = "get the product again"
_METRES = {"TCI": 10, "B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "SCL": 20}
# Folders above the product may have any name that leads nowhere else.
_ROOT = r"(?P<root>(?:(?!\.\.?/)[^/\\\0]+/)*?)"
_IMAGE = re.compile(
    _ROOT + r"GRANULE/[\w.-]+/IMG_DATA/(?:R\d0m/)?(?:L2A_)?T(?P<tile>\d{2}[A-Z]{3})_\d{8}T\d{6}_"
    r"(?P<image>TCI|SCL|B\d[\dA])(?:_(?P<metres>\d0)m)?\.jp2",
    re.ASCII,
)
_METADATA = re.compile(_ROOT + r"MTD_MSI(?P<level>L1C|L2A)\.xml", re.ASCII)


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


def files_of(source: Source, stack: contextlib.ExitStack) -> _Folder | _Zip:
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
        raise ImageError(f"{name} is damaged ({problem}); {AGAIN}") from None


@dataclass(eq=False)
class Product:
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
            raise ImageError(f"{self.name} lacks its metadata, MTD_MSIL*.xml; {AGAIN}")
        with _told(self.name):
            content = self.files.read(self.metadata_path, metadata.LARGEST_BYTES + 1)
        try:
            return metadata.parse(content)
        except ValueError as error:
            raise ImageError(
                f"{self.name} has metadata that cannot be used ({error}); {AGAIN}"
            ) from None

    def raster(self, image: str) -> Raster:
        if image not in self.rasters:
            if image not in self.images:
                raise ImageError(f"{self.name} lacks {image}; {AGAIN}")
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
                f"{shape[0]} x {shape[1]}; {AGAIN}"
            )
        first, last = rows.start // times, -(-rows.stop // times)
        values = found.read([1], slice(first, last))[0]
        if times > 1:
            values = values.repeat(times, axis=0).repeat(times, axis=1)
        return values[rows.start - first * times :][: rows.stop - rows.start]
