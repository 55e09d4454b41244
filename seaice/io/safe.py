from __future__ import annotations

import contextlib
from collections.abc import Iterator

from seaice.io.opened import Opened
from seaice.io.reading import ImageError, Reading
from seaice.io.sources import Source


@contextlib.contextmanager
def opened(source: Source, reading: Reading) -> Iterator[Opened]:
    """The scene. ImageError."""
    raise ImageError(f"{source.place} is a product")
    yield
