"""What lies at a place, going by its name alone: a scene in one of its forms, or something else."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Literal

from cloudmask.data.place import Place, Url, printable

HDF_SUFFIXES = (".hdf", ".h5", ".hdf5")
PRODUCT_SUFFIX = ".sen3"  # of a folder, in any case
MANIFEST_NAME = "xfdumanifest.xml"

Form = Literal["product", "hdf", "npz"]
"""a product in any wrapping (.SEN3, .SEN3.zip, .zarr, its manifest), a benchmark file, an .npz"""
PREFERRED = (PRODUCT_SUFFIX, ".zip", *HDF_SUFFIXES, ".npz", ".zarr")
"""wrappings of one and the same product, the best first: what is read fastest and holds most"""

Group = Literal["mission", "instrument", "level", "mask", "file"]
GROUPS: dict[Group, tuple[str, str]] = {
    "mission": ("product of another mission", "products of other missions"),
    "instrument": ("product of another instrument", "products of other instruments"),
    "level": ("product of another level", "products of other levels"),
    "mask": ("mask", "masks"),
    "file": ("file of another kind", "files of other kinds"),
}
"""what a search leaves out, one and several of it"""

_SAFE = re.compile(r"S3[A-Z_]_([A-Z]{2})_(\d)_(.{6})_")
_EOPF = re.compile(r"S0(\d)([A-Z0-9]{3})([A-Z0-9_]{3})_\d{8}T")
_WRAPPINGS = (PRODUCT_SUFFIX, ".zarr", ".zip", ".tar", ".tgz", ".gz")
_DATA = (
    *(*HDF_SUFFIXES, ".nc", ".tif", ".tiff", ".jp2", ".zip", ".tar", ".tgz", ".gz"),
    *(".he5", ".safe", ".part", ".partial", ".tmp", ".crdownload", PRODUCT_SUFFIX, ".zarr"),
)
"""suffixes of what might be taken for a scene, and is worth a word where it is none"""


def form_of(place: Place | PurePath) -> Form | None:
    """How to read what is named so; None for what cannot be a scene."""
    name = place.name.lower()
    suffix = PurePath(name).suffix
    if suffix in HDF_SUFFIXES:
        return "hdf"
    if suffix == ".npz":
        return "npz"
    return "product" if suffix in (PRODUCT_SUFFIX, ".zip", ".zarr") or is_manifest(place) else None


def is_manifest(place: Place | PurePath) -> bool:
    return place.name == MANIFEST_NAME


def spelled_out(place: Place) -> Place:
    """The same place under the name of its scene: of a manifest its folder, of `.` the folder that
    it is, and of a link with another name the product that it leads to."""
    if is_manifest(place):
        place = place.parent
    if isinstance(place, Url):
        return place
    if place.name in ("", ".."):
        place = Path(os.path.abspath(place))  # noqa: PTH100 (Path keeps the ..)
    if _kind(place.name) is None and os.path.islink(place):  # noqa: PTH114 (raises nothing)
        target = Path(os.path.realpath(place))
        if _kind(target.name):
            return target
    return place


def scene_name(place: Place | PurePath) -> str:
    """What the scene at a place is called, in whatever form it is there."""
    if is_manifest(place):
        place = place.parent
    name = PurePath(place.name)
    if name.suffix.lower() == ".zip" and name.with_suffix("").suffix.lower() == PRODUCT_SUFFIX:
        name = name.with_suffix("")
    return printable(name.stem)


def is_scene(name: str, *, folder: bool) -> bool:
    """Whether a search takes what is named so."""
    suffix = PurePath(name).suffix.lower()
    if suffix in HDF_SUFFIXES:
        return not folder and bool(re.match("S3[A-D]", name)) and _other(name) is None
    if suffix == ".npz":
        return not folder
    ours = _kind(name) in (("S3", "SL", "1", "RBT"), ("S3", "SLS", "", "RBT"))
    if suffix == ".zip":
        return not folder and ours
    return ours and suffix in (PRODUCT_SUFFIX, ".zarr")


def is_product_folder(name: str) -> bool:
    """Whether a folder of this name is a product of any kind, which no search looks into."""
    suffix = PurePath(name).suffix.lower()
    return suffix == ".zarr" or (suffix == PRODUCT_SUFFIX and _kind(name) is not None)


def stranger(name: str) -> tuple[Group, str] | None:
    """What is named so if it is no scene, as a group and a detail; None if it needs no word."""
    suffix = PurePath(name).suffix.lower()
    if suffix in (*_WRAPPINGS, *HDF_SUFFIXES) and (other := _other(name)):
        return other
    return ("file", suffix) if suffix in _DATA else None


def _other(name: str) -> tuple[Group, str] | None:
    """Group and detail of a product that is no SLSTR level 1 product."""
    kind = _kind(name)
    if kind is None:
        return None
    mission, instrument, level, what = kind
    if mission != "S3":
        return "mission", mission
    if not instrument.startswith("SL"):
        return "instrument", instrument[:2]
    if what != "RBT":
        return "level", f"{level} {what}".strip()
    return None


def _kind(name: str) -> tuple[str, str, str, str] | None:
    """Mission, instrument, level and kind of what is named like a product of Sentinel."""
    if found := _SAFE.match(name):
        return "S3", found[1], found[2], found[3].strip("_")
    if found := _EOPF.match(name):
        return f"S{found[1]}", found[2], "", found[3].strip("_")
    return None
