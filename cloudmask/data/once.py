"""Each acquisition once: of several processings and wrappings of one the best is taken."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cloudmask.data import kinds
from cloudmask.data.acquisition import Acquisition, acquisition_of, same
from cloudmask.data.entry import Entry
from cloudmask.data.formats.safe.product import NEEDED
from cloudmask.data.formats.safe.sources import source_of
from cloudmask.data.place import Place, Url, printable
from cloudmask.data.scene import SceneError
from cloudmask.text import listed, plural

_SHOWN = 3
"""names that a line tells"""


def each_once(entries: Sequence[Entry]) -> tuple[list[Entry], list[tuple[Place, Place]]]:
    """The scenes to keep, and those to leave out with the one that stands for each."""
    by_name: dict[str, Entry] = {}
    products: list[tuple[Entry, Acquisition]] = []
    for entry in entries:
        whole = kinds.form_of(entry.path) != "product"  # NAME_tile1.npz is a part of it
        if acquisition := acquisition_of(entry.name, whole=whole):
            products.append((entry, acquisition))
            continue
        other = by_name.setdefault(entry.name, entry)
        if not _same_file(other.path, entry.path):
            both = f"{printable(other.path)} and {printable(entry.path)}"
            raise ValueError(f"two scenes are named {entry.name}: {both}; remove or rename one")
    products.sort(key=lambda product: str(product[0].path))
    products.sort(key=lambda product: _rank(*product), reverse=True)
    stands = same([acquisition for _, acquisition in products])
    rivals = Counter(stands)
    if len(rivals) < len(stands):  # only those that have a rival are looked into
        broken = {
            entry
            for (entry, _), at in zip(products, stands, strict=True)
            if rivals[at] > 1 and not _is_whole(entry)
        }
        products.sort(key=lambda product: product[0] in broken)
        stands = same([acquisition for _, acquisition in products])
    kept = [product[0] for index, product in enumerate(products) if stands[index] == index]
    pairs = [
        (one.path, products[at][0].path) for (one, _), at in zip(products, stands, strict=True)
    ]
    doubles = [(place, other) for place, other in pairs if not _same_file(place, other)]
    return [*by_name.values(), *kept], doubles


def _rank(entry: Entry, acquisition: Acquisition) -> tuple[object, ...]:
    """More is better: what is there at all, then of two processings, then of two wrappings."""
    suffix = Path(entry.path.name).suffix.lower()
    known = suffix in kinds.PREFERRED
    return (entry.bytes > 0, *acquisition.rank, -kinds.PREFERRED.index(suffix) if known else -99)


def _is_whole(entry: Entry) -> bool:
    """As far as the names of a product's members tell; of other forms, whether there is a file."""
    place = entry.path
    wrapped = Path(place.name).suffix.lower() in (kinds.PRODUCT_SUFFIX, ".zip")
    if not entry.bytes or isinstance(place, Url) or not wrapped:
        return entry.bytes > 0
    try:
        with source_of(place) as source:
            return source.held >= NEEDED
    except (OSError, SceneError):
        return False


def _same_file(one: Place, other: Place) -> bool:
    if one == other or isinstance(one, Url) or isinstance(other, Url):
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)


def told(pairs: Sequence[tuple[Place, Place]]) -> list[str]:
    if not pairs:
        return []
    lines = (f"{printable(place)} for {_short(other, place)}" for place, other in pairs)
    number = plural(len(pairs), "scene")
    return [f"{number} whose acquisition is there in a better one: {listed(lines, most=_SHOWN)}"]


def _short(place: Place, other: Place) -> str:
    """Its name, or the whole path if the other one has the same."""
    return printable(place if place.name == other.name else place.name)
