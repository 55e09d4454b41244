"""Images through GDAL, which is kept on a short lead: four kinds of files, and no file beside them.

What a file is told by another one (world files, .aux.xml, overviews, masks beside it) is not read,
nothing is fetched, and every failure is an ImageError in one line.
"""

from __future__ import annotations

import contextlib
import re
import struct
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from cloudmask.cli.errors import missing
from seaice.io import grid as grids
from seaice.io.grid import Grid
from seaice.io.reading import ImageError

DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")
CACHE_BYTES = 64 << 20
_AGAIN = "get the file again"
_SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # A JPEG that breaks off would be filled with gray, a PNG with black.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    "GDAL_NUM_THREADS": "1",  # the engines share out the cores
    "GDAL_CACHEMAX": CACHE_BYTES,
}
PHOTOMETRIC, ORIENTATION = 262, 274
"""tags of TIFF: how values mean colours; where the first row and column are meant to be shown"""


@dataclass(frozen=True, eq=False)
class Raster:
    """One image that is open; bands count from 1."""

    name: str
    file: Any
    """the dataset of rasterio"""

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.file.height), int(self.file.width)

    @property
    def grid(self) -> Grid | None:
        with guarded(self.name):
            return grids.of_file(self.file)

    @property
    def lossy(self) -> bool:
        """Whether edges are smeared over the blocks of the compression."""
        with guarded(self.name):
            told = self.file.tags(ns="IMAGE_STRUCTURE")
        return told.get("COMPRESSION_REVERSIBILITY") == "LOSSY" or "JPEG" in told.get(
            "COMPRESSION", ""
        )

    def read(self, bands: Sequence[int], rows: slice) -> np.ndarray:
        """(n, h, W) as stored."""
        with guarded(self.name):
            return self.file.read(list(bands), window=self._window(rows))

    def mask(self, band: int, rows: slice) -> np.ndarray:
        """(h, W) bool: where the file's mask says that nothing was measured."""
        with guarded(self.name):
            return self.file.read_masks(band, window=self._window(rows)) == 0

    def _window(self, rows: slice) -> tuple[tuple[int, int], tuple[int, int]]:
        return (rows.start, rows.stop), (0, int(self.file.width))


@contextlib.contextmanager
def opened(place: str, name: str) -> Iterator[Raster]:
    """A file, or a part of a zip file as `/vsizip/...`, by its path. ImageError names `name`."""
    load()
    from rasterio.io import DatasetReader  # rasterio.open takes one driver, or all of them

    with contextlib.ExitStack() as stack:
        with guarded(name):
            file = stack.enter_context(DatasetReader(place, driver=list(DRIVERS)))
        yield Raster(name, file)


@contextlib.contextmanager
def in_memory(content: bytes, suffix: str = "") -> Iterator[str]:
    """A path by which GDAL reads these bytes."""
    load()
    from rasterio.io import MemoryFile

    with MemoryFile(content, ext=suffix) as file:
        yield file.name


@contextlib.contextmanager
def guarded(name: str) -> Iterator[None]:
    """Whatever is asked of GDAL: under our settings, with its failures told and its warnings not.

    That a picture lies nowhere is no cause for a warning.
    """
    with failures(name), _mute(), load().Env(**_SETTINGS), warnings.catch_warnings():
        from rasterio.errors import NotGeoreferencedWarning

        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextlib.contextmanager
def _mute() -> Iterator[None]:
    """Where GDAL quotes a damaged file, its text may be no UTF-8, over which rasterio's log trips.

    It prints that by both hooks, and goes on.
    """
    unraisable, uncaught = sys.unraisablehook, sys.excepthook
    sys.unraisablehook = lambda told: (
        None if isinstance(told.exc_value, UnicodeDecodeError) else unraisable(told)
    )
    sys.excepthook = lambda kind, *rest: (
        None if issubclass(kind, UnicodeDecodeError) else uncaught(kind, *rest)
    )
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = unraisable, uncaught


@contextlib.contextmanager
def failures(name: str) -> Iterator[None]:
    """Whatever GDAL, rasterio or the disk raise becomes an ImageError in one line."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    try:
        yield
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{name} is larger than the memory there is") from None
    except (
        *(RasterioError, CPLE_BaseError, OSError, ValueError, TypeError, LookupError),
        *(ArithmeticError, AttributeError, RuntimeError),
    ) as error:
        raise ImageError(_line(name, error)) from None


def _line(name: str, error: BaseException) -> str:
    texts = []
    link: BaseException | None = error
    while link is not None:
        texts.append(" ".join(str(link).split()))
        link = link.__cause__ or link.__context__
    codec = next(filter(None, map(_CODEC.search, texts)), None)
    if codec is not None:
        return (
            f"{name} is compressed by {codec['first'] or codec['second']}, which GDAL cannot read "
            "here; convert it: gdal_translate -co COMPRESS=DEFLATE"
        )
    if any("not recognized as being in a supported file format" in text for text in texts):
        return f"{name} is no PNG, JPEG, TIFF, JPEG 2000 or .npz; leave it out or convert it"
    if any("No such file" in text or "does not exist in the file system" in text for text in texts):
        return f"{name} cannot be read (no such file)"
    # The last cause is the first thing that went wrong.
    problem = re.sub(r"\S*[0-9a-f]{8}-[0-9a-f]{4}\S*", "", texts[-1]).strip(" :,")
    return f"{name} is damaged ({problem[:160] or type(error).__name__}); {_AGAIN}"


_CODEC = re.compile(
    r"missing codec (?:of )?(?P<first>code \w+|\w+)|[Cc]ompression scheme (?P<second>\w+) is not"
)


def tags(stream: IO[bytes]) -> dict[int, int]:
    """Orientation and colours of a TIFF, as its first directory tells them in short numbers.

    GDAL does not tell. TIFF 6.0, section 2, and BigTIFF. What is no TIFF has none.
    """
    found: dict[int, int] = {}
    with contextlib.suppress(OSError, struct.error, KeyError, ValueError, OverflowError):
        head = stream.read(16)
        order = {b"II": "<", b"MM": ">"}[head[:2]]
        (version,) = struct.unpack_from(f"{order}H", head, 2)
        offset, number, size = ("Q", "Q", 20) if version == 43 else ("I", "H", 12)
        (start,) = struct.unpack_from(order + offset, head, struct.calcsize(offset))
        stream.seek(start)
        (count,) = struct.unpack(order + number, stream.read(struct.calcsize(order + number)))
        for _ in range(min(count, 4096)):
            entry = stream.read(size)
            (tag,) = struct.unpack_from(f"{order}H", entry)
            if tag in (ORIENTATION, PHOTOMETRIC):
                (found[tag],) = struct.unpack_from(f"{order}H", entry, 12 if version == 43 else 8)
    return found


def load() -> Any:
    """The module `rasterio`. ValueError that says what to install where it is missing."""
    try:
        import rasterio
    except ImportError as error:
        raise ValueError(f"{missing('rasterio', 'seaice')} ({error})") from None
    return rasterio
