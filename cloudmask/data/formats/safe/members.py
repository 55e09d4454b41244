"""A product opened: whatever form it arrives in, what is needed of it lies in one folder.

satpy reads files, and finds a product by the name of its folder. So every form is brought to this
one: a folder that bears the product's name and holds the members that are needed. One that lies
here unpacked is that already; of the others the members are copied to a scratch folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudmask.data.acquisition import times_of
from cloudmask.data.formats.eopf import Store, open_store
from cloudmask.data.formats.safe.manifest import (
    AGAIN,
    MANIFEST,
    Manifest,
    baseline_collection,
    parse_manifest,
)
from cloudmask.data.formats.safe.sources import (
    DAMAGED,
    LARGEST_MEMBER,
    Folder,
    Source,
    source_of,
)
from cloudmask.data.formats.scratch import scratch_folder, writing_scratch
from cloudmask.data.place import Place
from cloudmask.data.scene import SceneError

_CHUNK = 2**20


@dataclass(frozen=True)
class Product:
    """A product that can be read."""

    folder: Path
    """bears the product's name"""
    files: tuple[str, ...]
    """the needed ones: all are there, and checked"""
    collection: int
    start: str | None
    stop: str | None
    """when it was acquired, UTC as ISO 8601"""

    @property
    def name(self) -> str:
        return self.folder.stem


@contextmanager
def open_product(
    place: Place, needed: Callable[[Collection[str]], Sequence[str]], *, verify: bool
) -> Iterator[Product]:
    """The product at a place, with all members that are needed, in a folder.

    `needed` tells which, from the names of those that the product holds. SceneError names `place`
    for everything that is wrong, in the block too; `verify` compares the members with the sizes and
    MD5s of the manifest. What was copied is gone after the block. ScratchError if it cannot be.
    """
    folder: Path | None = None
    try:
        with ExitStack() as stack:
            source: Source | Store
            if place.name.lower().endswith(".zarr"):
                source = stack.enter_context(open_store(place))
            else:
                source = stack.enter_context(source_of(place))
            collection = baseline_collection(place, source.name)
            files = tuple(needed(source.held))
            absent = [file for file in files if file not in source.held]
            if absent:
                problem = f"{len(absent)} of {len(files)} needed files are missing"
                advice = "download the whole product"
                raise SceneError(place, f"{problem}: {', '.join(absent)}", advice)
            if isinstance(source, Folder):
                folder = source.folder
            else:
                folder = stack.enter_context(scratch_folder()) / source.name
                with writing_scratch():
                    folder.mkdir()
            if isinstance(source, Store):
                source.write(files, folder)
                start, stop = source.start, source.stop
            else:
                manifest = _manifest(place, source, verify=verify)
                for file in files if isinstance(source, Folder) else ():
                    with _reading(place, file):
                        source.size(file)
                if verify or not isinstance(source, Folder):
                    copy = None if isinstance(source, Folder) else folder
                    _take(place, source, files, manifest if verify else None, copy)
                start, stop = (manifest.start, manifest.stop) if manifest else (None, None)
            named = times_of(source.name)
            yield Product(folder, files, collection, start or named[0], stop or named[1])
    except SceneError as error:
        problem = error.problem if folder is None else error.problem.replace(f"{folder}/", "")
        raise SceneError(place, problem, error.advice) from None


def _manifest(place: Place, source: Source, *, verify: bool) -> Manifest | None:
    """None if nothing is to be checked and it is missing or unusable."""
    if MANIFEST in source.held:
        try:
            with _reading(place, MANIFEST), source.open(MANIFEST) as stream:
                content = stream.read(LARGEST_MEMBER)
            return parse_manifest(place, content)
        except SceneError:
            if verify:
                raise
    elif verify:
        raise SceneError(place, f"{MANIFEST} is missing, so nothing can be checked", AGAIN)
    return None


def _take(
    place: Place,
    source: Source,
    files: Sequence[str],
    manifest: Manifest | None,
    folder: Path | None,
) -> None:
    """Hold the members against the manifest, if it is given, and copy them, if there is a folder.

    All sizes are looked at before any content.
    """
    for file in files if manifest else ():
        assert manifest is not None
        if file not in manifest.files:
            raise SceneError(place, f"{MANIFEST} does not list {file}", AGAIN)
        with _reading(place, file):
            found = source.size(file)
        expected = manifest.files[file][0]
        if found != expected:
            problem = f"{file} has {found} bytes, {expected} by the manifest"
            raise SceneError(place, problem, AGAIN)
    for file in files:
        digest = _stream(place, source, file, folder)
        if manifest and digest != manifest.files[file][1]:
            problem = f"{file} is damaged: its MD5 is not the one in the manifest"
            raise SceneError(place, problem, AGAIN)


def _stream(place: Place, source: Source, file: str, folder: Path | None) -> str:
    """The MD5 of a member, which is copied on the way if there is a folder."""
    md5 = hashlib.md5(usedforsecurity=False)
    total = 0
    with ExitStack() as stack:
        out = None
        if folder is not None:
            with writing_scratch():
                out = stack.enter_context((folder / file).open("xb"))
        with _reading(place, file):
            stream = stack.enter_context(source.open(file))
        while True:
            with _reading(place, file):
                chunk = stream.read(_CHUNK)
            if not chunk:
                break
            total += len(chunk)
            if total > LARGEST_MEMBER:
                raise SceneError(place, f"{file} is larger than {LARGEST_MEMBER} bytes", AGAIN)
            md5.update(chunk)
            if out is not None:
                with writing_scratch():
                    out.write(chunk)
        if out is not None:
            with writing_scratch():
                out.flush()
    return md5.hexdigest()


@contextmanager
def _reading(place: Place, file: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"{file} cannot be read ({error.strerror or error})"
        raise SceneError(place, problem, AGAIN) from None
    except (*DAMAGED, RuntimeError) as error:
        raise SceneError(place, f"{file} is damaged ({error})", AGAIN) from None
