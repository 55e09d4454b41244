"""The files of a Sentinel-2 product, in a folder `NAME.SAFE` or packed in a zip file.

Nothing is unpacked, and no path is made of a name that leads out of the product.
"""

from __future__ import annotations

import contextlib
import io
import os
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
LARGEST_BYTES = 1 << 30
"""of an image that is read; those of real products have some 130 MB, and their pixels 360 MB"""
_ENCRYPTED = 1  # a flag of a file in a zip file
_METRES = {"TCI": 10, "B02": 10, "B03": 10, "B04": 10, "B08": 10, "B11": 20, "SCL": 20}
# Folders above the product may have any name that leads nowhere else.
_ROOT = r"(?P<root>(?:(?!\.\.?/)[^/\\\0]+/)*?)"
_PART = re.compile(
    _ROOT + r"(?:MTD_MSI(?P<level>L1C|L2A)\.xml|"
    r"GRANULE/[\w.-]+/IMG_DATA/(?:R\d0m/)?(?:L2A_)?T(?P<tile>\d{2}[A-Z]{3})_\d{8}T\d{6}_"
    r"(?P<image>TCI|SCL|B\d[\dA])(?:_(?P<metres>\d0)m)?\.jp2)",
    re.ASCII,
)


class _Folder:
    def __init__(self, place: str) -> None:
        self.top = Path(place)

    def names(self) -> list[str]:
        """Of plain files; links are followed. OSError where a folder cannot be listed."""

        def unreadable(error: OSError) -> None:
            raise error

        found, been = [], set[str]()
        for folder, subfolders, files in os.walk(self.top, followlinks=True, onerror=unreadable):
            been.add(os.path.realpath(folder))
            subfolders[:] = [
                name for name in subfolders if os.path.realpath(Path(folder, name)) not in been
            ]
            wanted = (Path(folder, name) for name in files if name.endswith((".xml", ".jp2")))
            found += [path.relative_to(self.top).as_posix() for path in wanted if path.is_file()]
        return found

    def read(self, name: str, most: int) -> bytes:
        with (self.top / name).open("rb") as file:
            return file.read(most)

    def path(self, name: str) -> str:
        """For GDAL, which does not tell why a file cannot be read. OSError."""
        with (self.top / name).open("rb"):
            return str((self.top / name).absolute())


class _Zip:
    """A product that stays packed: GDAL reads in it. What it is packed in has checksums."""

    def __init__(self, zipped: zipfile.ZipFile, name: str, place: str) -> None:
        """`place` is where GDAL finds it, `name` what people call it."""
        self.zipped, self.name, self.place = zipped, name, place

    def names(self) -> list[str]:
        """ImageError for what is packed in a way that nothing here unpacks."""
        if any(info.flag_bits & _ENCRYPTED for info in self.zipped.infolist()):
            raise ImageError(f"{self.name} is encrypted; unpack it")
        return self.zipped.namelist()

    def read(self, name: str, most: int) -> bytes:
        with self.zipped.open(name) as file:
            return file.read(most)

    def path(self, name: str) -> str:
        if self.zipped.getinfo(name).file_size > LARGEST_BYTES:
            raise ImageError(f"{self.name}: {name} is larger than any image of a product; {AGAIN}")
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
            return _Zip(zipped, source.place, str(Path(source.place).absolute()))
        zipped = stack.enter_context(zipfile.ZipFile(io.BytesIO(source.content)))
        place = stack.enter_context(raster.in_memory(source.content, ".zip"))
        return _Zip(zipped, source.place, place)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever reading a damaged archive may end in becomes an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        where = f"{error.filename}: " if error.filename and error.filename != name else ""
        raise ImageError(f"{name} cannot be read ({where}{error.strerror})") from None
    except NotImplementedError as error:
        problem = " ".join(str(error).split())
        raise ImageError(f"{name} cannot be unpacked here ({problem}); unpack it") from None
    except (
        *(OSError, ValueError, LookupError, RuntimeError, EOFError),
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
    told: str | None = None
    """what was passed over"""
    rasters: dict[str, Raster] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with _told(self.name):
            names = sorted(self.files.names())
        parts = [found for name in names if (found := _PART.fullmatch(name)) is not None]
        roots = sorted({found["root"] for found in parts}, key=lambda root: (len(root), root))
        for root in roots[1:]:
            if not root.startswith(roots[0]):
                one, other = (root.rstrip("/") or "its top" for root in (roots[0], root))
                raise ImageError(
                    f"{self.name} holds more than one product, in {one} and in {other}; give each "
                    "by itself"
                )
        for found in parts:
            if found["root"] != roots[0]:
                self.told = "another product lies in its folder, which is not read"
            elif found["level"] is not None:
                self._once("metadata", self.metadata_path, found[0])
                self.metadata_path, self.level = found[0], found["level"]
            else:
                image, metres = found["image"], found["metres"]
                if metres is not None and int(metres) != _METRES.get(image):
                    continue
                self._once(image, self.images.get(image), found[0])
                self.images[image], self.tile = found[0], found["tile"]

    def _once(self, what: str, before: str | None, name: str) -> None:
        """ImageError where something else is known of it."""
        if before == name:
            raise ImageError(f"{self.name} holds {what} twice under one name; {AGAIN}")
        if before is not None and what == "metadata":
            raise ImageError(f"{self.name} holds metadata of two levels; {AGAIN}")
        if before is not None:
            raise ImageError(
                f"{self.name} holds more than one {what}: products of several tiles, as "
                "before December 2016, are not read; split it by tile"
            )

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
