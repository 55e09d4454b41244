"""A product opened: whatever form it arrives in, what is needed of it lies in one folder.

satpy reads files, and finds a product by the name of its folder. So every form is brought to this
one: a folder that bears the product's name and holds the members that are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudmask.data.formats.safe.manifest import baseline_collection, check_files
from cloudmask.data.place import Place
from cloudmask.data.scene import SceneError


@dataclass(frozen=True)
class Product:
    """A product that can be read."""

    folder: Path
    """bears the product's name; errors that name it are told of the place it came from"""
    files: tuple[str, ...]
    """those of the needed and optional members that are there, complete and checked"""
    collection: int

    @property
    def name(self) -> str:
        return self.folder.stem


@contextmanager
def open_product(
    place: Place, needed: Sequence[str], *, optional: Sequence[str] = (), verify: bool
) -> Iterator[Product]:
    """The product at a place, with all members that are needed, and the optional ones it has.

    SceneError names `place` for everything that is wrong, in the block too; `verify` compares the
    members with the sizes and MD5s of the manifest. What was copied is gone after the block.
    """
    try:
        assert isinstance(place, Path)
        collection = baseline_collection(place)
        files = (*needed, *(file for file in optional if (place / file).is_file()))
        check_files(place, files, verify=verify)
        yield Product(place, files, collection)
    except SceneError as error:
        raise SceneError(place, error.problem, error.advice) from None
