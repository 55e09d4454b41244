"""Where the members of a product come from: a folder here, a zip, or a folder at a URL.

Each source tells the product's name and what it holds, and opens a member to be read once. Every
error of it is one of the input: OSError, or SceneError that says more.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from cloudmask.data.formats.remote import open_url, size_and_date
from cloudmask.data.formats.safe.manifest import MANIFEST, is_product_name, parse_manifest
from cloudmask.data.kinds import spelled_out
from cloudmask.data.place import Place, Url
from cloudmask.data.scene import SceneError

LARGEST_MEMBER = 2**30
"""bytes; the largest members of real products have some 25 million"""
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError)
"""what else reading a member of a zip raises"""
_WHOLE = "download the whole product"


class Source(Protocol):
    name: str
    """of the product's folder"""
    held: frozenset[str]
    """names of members"""

    def size(self, member: str) -> int: ...

    def open(self, member: str) -> AbstractContextManager[BinaryIO]: ...


class Folder:
    """A product that lies here unpacked, perhaps in a folder of the same name once more."""

    def __init__(self, folder: Path) -> None:
        held = _names(folder)
        if MANIFEST not in held:
            inner = [name for name in held if name.lower().endswith(".sen3")]
            if len(inner) == 1 and (folder / inner[0]).is_dir():
                folder /= inner[0]
                held = _names(folder)
        self.folder, self.name, self.held = folder, folder.name, held

    def size(self, member: str) -> int:
        found = os.stat(self.folder / member)  # noqa: PTH116 (counted by a test)
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is no file", str(self.folder / member))
        return found.st_size

    def open(self, member: str) -> AbstractContextManager[BinaryIO]:
        self.size(member)
        return (self.folder / member).open("rb")


def _names(folder: Path) -> frozenset[str]:
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries)


class Zipped:
    """A zip that holds one product, at most two folders deep.

    Members are read one by one and never unpacked by name, so none can climb out. A zip in which a
    name tries to is refused all the same, and so is one whose members are links or encrypted.
    """

    def __init__(self, place: Place, stream: BinaryIO) -> None:
        self._place = place
        try:
            self._zip = zipfile.ZipFile(stream)
            found = self._zip.infolist()
        except SceneError:
            raise
        except (*DAMAGED, ValueError) as error:
            problem = f"is no whole zip ({error})"
            raise SceneError(place, problem, "download the product again") from None
        members: dict[str, dict[str, zipfile.ZipInfo]] = {}
        for info in found:
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts or set(info.filename) & set(":\\"):
                raise self._refused(f"holds the path {info.filename!r}, which leads out of it")
            if not info.is_dir() and len(path.parts) <= 3:
                folder = members.setdefault(str(path.parent), {})
                if path.name in folder:
                    raise self._refused(f"holds {info.filename} twice")
                folder[path.name] = info
        products = [name for name in members if MANIFEST in members[name]]
        if not products:  # damaged, or cut out by hand; the checks tell
            products = [name for name in members if "flags_in.nc" in members[name]]
        if len(products) != 1:
            problem = f"holds {len(products) or 'no'} products, not one"
            raise SceneError(place, problem, "give the zip of one product, NAME.SEN3.zip")
        self._members = members[products[0]]
        self.held = frozenset(self._members)
        inner, own = PurePosixPath(products[0]).name, _bare(place)
        unnamed = not inner or (is_product_name(own) and not inner.startswith("S3"))
        self.name = own if unnamed else inner

    def size(self, member: str) -> int:
        return self._members[member].file_size

    @contextmanager
    def open(self, member: str) -> Iterator[BinaryIO]:
        info = self._members[member]
        if info.flag_bits & 1:
            raise SceneError(self._place, f"{member} in it is encrypted", "give it unpacked")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise self._refused(f"{member} in it is a link")
        if info.file_size > LARGEST_MEMBER:
            raise self._refused(f"{member} in it would be {info.file_size} bytes large")
        with self._zip.open(info) as stream:
            yield stream  # type: ignore[misc]

    def _refused(self, problem: str) -> SceneError:
        return SceneError(self._place, problem, "no product is packed so; get it again")


class Elsewhere:
    """The folder of a product at a URL. It cannot always be listed, so its manifest tells."""

    def __init__(self, url: Url) -> None:
        self._url = url.parent if url.name == MANIFEST else url
        self.name = self._url.name
        try:
            with open_url(self._url / MANIFEST) as stream:
                content = stream.read(LARGEST_MEMBER)
        except FileNotFoundError:
            raise SceneError(url, f"holds no {MANIFEST}", _WHOLE) from None
        self.held = frozenset(parse_manifest(url, content).files) | {MANIFEST}

    def size(self, member: str) -> int:
        return size_and_date(self._url / member)[0]

    def open(self, member: str) -> AbstractContextManager[BinaryIO]:
        return open_url(self._url / member)


@contextmanager
def source_of(place: Place) -> Iterator[Source]:
    """The source at a place, going by its name. SceneError, OSError."""
    with ExitStack() as stack:
        place = spelled_out(place)
        if isinstance(place, Path):
            if place.suffix.lower() != ".zip":
                if not place.is_dir():
                    advice = "give the folder of a product, S3A_SL_1_RBT*.SEN3"
                    raise SceneError(place, "is no folder", advice)
                yield Folder(place)
                return
            yield Zipped(place, stack.enter_context(place.open("rb")))
        elif place.name.lower().endswith(".zip"):
            yield Zipped(place, stack.enter_context(open_url(place)))
        else:
            yield Elsewhere(place)


def _bare(place: Place) -> str:
    """The name that a zip itself tells."""
    name = place.name[: -len(".zip")]
    return name if is_product_name(name) else f"{name}.SEN3"
