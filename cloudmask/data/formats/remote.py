"""Files at URLs, through fsspec: the only place that knows it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from cloudmask.cli.errors import missing
from cloudmask.data.place import Url
from cloudmask.data.scene import SceneError


def open_url(url: Url) -> contextlib.AbstractContextManager[BinaryIO]:
    """A file to read from, and to seek in where the server can. OSError, SceneError."""
    return _open(url)


@contextlib.contextmanager
def _open(url: Url) -> Iterator[BinaryIO]:
    with asking(url):
        system, path = _system(url)
        stream = system.open(path, "rb")
    with stream:
        yield _Stream(url, stream)  # type: ignore[misc]


def size_and_date(url: Url) -> tuple[int, int]:
    """Bytes of a file, and nanoseconds of its last change; 0 for what the server does not tell.

    OSError, SceneError.
    """
    with asking(url):
        system, path = _system(url)
        size = system.info(path).get("size")
        try:
            changed = int(system.modified(path).timestamp() * 1e9)
        except NotImplementedError:
            changed = 0
    return int(size or 0), changed


@contextlib.contextmanager
def asking(url: Url) -> Iterator[None]:
    """Each kind of server has errors of its own; here they become an OSError."""
    try:
        yield
    except SceneError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(url)) from None
    except ImportError as error:
        library = error.name or "the library for such URLs"
        advice = f"it takes a package more ({' '.join(str(error).split())})"
        raise SceneError(url, f"{library} is not installed", advice) from None
    except Exception as error:
        told = getattr(error, "strerror", None) or f"{type(error).__name__} {error}"
        told = " ".join(str(told).split()).replace(url.text, str(url))
        raise OSError(getattr(error, "errno", None) or errno.EIO, told, str(url)) from None


def _system(url: Url) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        problem = "is a URL, which needs fsspec"
        raise SceneError(url, problem, missing("fsspec", "zarr")) from None
    return fsspec.core.url_to_fs(url.text)


class _Stream:
    """A stream whose errors are SceneErrors: a zip's reader would swallow an OSError."""

    def __init__(self, url: Url, stream: Any) -> None:
        self._url, self._stream = url, stream

    def read(self, size: int = -1) -> bytes:
        return self._ask(self._stream.read, size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._ask(self._stream.seek, offset, whence)

    def _ask(self, ask: Callable[..., Any], *words: int) -> Any:
        try:
            with asking(self._url):
                return ask(*words)
        except OSError as error:
            problem = f"{self._url.name} cannot be read from there ({error.strerror or error})"
            raise SceneError(self._url, problem, "download it first") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
