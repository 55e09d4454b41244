"""Where a scene lies: a path of this machine, or a URL, which a Path would garble."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

_SCHEME = re.compile(r"[A-Za-z][\w+.-]*(::[\w+.-]+)*://")


@dataclass(frozen=True)
class Url:
    """A place elsewhere, such as `s3://bucket/NAME.zarr`, that can be asked what a Path can."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def _path(self) -> PurePosixPath:
        return PurePosixPath(self.text.split("?", 1)[0].rstrip("/"))

    @property
    def name(self) -> str:
        """The last part, without a query."""
        return self._path.name

    @property
    def parent(self) -> Url:
        return Url(self.text.split("?", 1)[0].rstrip("/").rsplit("/", 1)[0])

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text.rstrip('/')}/{name}")


Place = Path | Url


def place_of(text: str | os.PathLike[str] | Url) -> Place:
    """A URL where there is a scheme, else a path; `file:///data` is the path /data."""
    if isinstance(text, Url):
        return text
    if isinstance(text, str) and _SCHEME.match(text):
        parts = urlsplit(text)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" else Url(text)
    return Path(text)


def printable(place: object) -> str:
    """As text that can be written anywhere: bytes of a name that are no UTF-8 as \\udcXX."""
    return str(place).encode("utf-8", "backslashreplace").decode()
