"""Where a scene lies: a path of this machine, or a URL, which a Path would garble."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

_SCHEME = re.compile(r"[A-Za-z][\w+.-]*(::[\w+.-]+)*://")


@dataclass(frozen=True, repr=False)
class Url:
    """A place elsewhere, such as `s3://bucket/NAME.zarr`, that can be asked what a Path can.

    As text it is without what may be secret: a user, a password, the signature in a query.
    """

    text: str
    """all of it, to open"""

    def __str__(self) -> str:
        return re.sub(r"://[^/@]*@", "://", self.text.partition("?")[0])

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(str(self).rstrip("/")).name

    @property
    def parent(self) -> Url:
        base, mark, query = self.text.partition("?")
        return Url(f"{base.rstrip('/').rpartition('/')[0]}{mark}{query}")

    def __truediv__(self, name: str) -> Url:
        base, mark, query = self.text.partition("?")
        return Url(f"{base.rstrip('/')}/{name}{mark}{query}")


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
