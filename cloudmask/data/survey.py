"""A look at one small mask of every scene of an archive, before its scenes are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloudmask.cli.errors import AgreedError
from cloudmask.data import dual, parallel
from cloudmask.data.entry import Entry
from cloudmask.data.kinds import form_of
from cloudmask.data.read import read_strip
from cloudmask.text import plural


def strips_of(
    scenes: Sequence[Entry], world: parallel.World, *, option: str = "--label"
) -> dict[int, dual.Columns]:
    """Where the oblique view sees, by the width of a scene. Collective; the same on every rank.

    Of the benchmark's files the dataset `bayes` alone is read, shared out over the ranks. Products
    are not looked at: each tells by itself what its oblique view covers. A file that cannot be read
    is told of when the scene is. AgreedError where no scene can tell; it names the `option` that
    asked for the strip.
    """
    places = [scene.path for scene in scenes]
    forms = [form_of(place) for place in places]
    files = [
        p for p, form in zip(places, forms, strict=True) if form == "hdf" and isinstance(p, Path)
    ]
    if not files and "product" not in forms:
        raise AgreedError(
            f"none of the {plural(len(scenes), 'scene')} is one of SLSTR, and {option} dual is the "
            f"strip that its oblique view sees; choose another {option}, such as any"
        )
    outcomes = parallel.map_items(read_strip, files, world=world, progress="masks", tell=False)
    found = [outcome.value for outcome in outcomes if outcome and outcome.value]
    strips = dual.joined(found)
    if found and not strips and "product" not in forms:
        raise AgreedError(
            f"no pixel of {plural(len(found), 'scene')} has bit 4 or 8 in 'bayes', which tell what "
            f"the oblique view sees, and {option} dual needs them; choose another {option}"
        )
    return strips
