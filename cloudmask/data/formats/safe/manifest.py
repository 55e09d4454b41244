"""Whether the folder of a Sentinel-3 product is the right kind, complete and undamaged.

A product is a folder whose name tells the satellite, the instrument and the processing, and which
holds NetCDF files and `xfdumanifest.xml`, the list of them with the size and MD5 of each. MD5 finds
damage on the way, not forgery: whoever can change a file can change the manifest as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from cloudmask.data.scene import SceneError, reason

MANIFEST = "xfdumanifest.xml"

# Instrument, level, kind of a product.
_KIND = re.compile(r"S3[A-Z_]_([A-Z]{2})_(\d)_(.{6})_")
_NAME = re.compile(
    r"S3[A-D]_SL_1_RBT___(_\d{8}T\d{6}){3}_\d{4}_\d{3}_\d{3}_.{4}_.{3}_._.{2}_(?P<collection>\d{3})"
    r"\.SEN3"
)
_AGAIN = "download the product again, or skip this check with --no-verify"


def baseline_collection(product: Path) -> int:
    """The collection that a SLSTR level 1 product belongs to, from its name. SceneError."""
    if not product.is_dir():
        advice = "give the folder of a product, S3A_SL_1_RBT*.SEN3"
        raise SceneError(product, "is no folder", advice)
    kind = _KIND.match(product.name)
    if kind is None:
        problem = "is not named like a Sentinel-3 product"
        raise SceneError(product, problem, "give it its original name again")
    wanted = "give SLSTR level 1 products, S3A_SL_1_RBT*.SEN3"
    instrument, level, what = kind.groups()
    if instrument != "SL":
        problem = f"is of the wrong instrument: {instrument}, not SL (SLSTR)"
        raise SceneError(product, problem, wanted)
    if (level, what) != ("1", "RBT___"):
        problem = f"is SLSTR data of the wrong level: level {level} {what.strip('_')}"
        raise SceneError(product, f"{problem}, not level 1 RBT", wanted)
    name = _NAME.fullmatch(product.name)
    if name is None:  # satpy finds its files by the name of their folder
        problem = "has a shortened or changed name"
        raise SceneError(product, problem, "give the folder its original name again")
    return int(name["collection"])


def check_files(product: Path, files: Sequence[str], *, verify: bool) -> None:
    """SceneError unless all `files` are there and, with `verify`, are those of the manifest."""
    missing = [file for file in files if not (product / file).is_file()]
    if missing:
        problem = f"{len(missing)} of {len(files)} needed files are missing: {', '.join(missing)}"
        raise SceneError(product, problem, "download the whole product")
    if verify:
        listed = _read_manifest(product)
        for file in files:
            if file not in listed:
                raise SceneError(product, f"{MANIFEST} does not list {file}", _AGAIN)
            found, expected = (product / file).stat().st_size, listed[file][0]
            if found != expected:
                problem = f"{file} has {found} bytes, {expected} by the manifest"
                raise SceneError(product, problem, _AGAIN)
        for file in files:  # all sizes before any content
            _check_md5(product, file, listed[file][1])


def _check_md5(product: Path, file: str, md5: str) -> None:
    try:
        with (product / file).open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise SceneError(product, f"{file} cannot be read ({error.strerror})", _AGAIN) from None
    if found.hexdigest() != md5:
        problem = f"{file} is damaged: its MD5 is not the one in the manifest"
        raise SceneError(product, problem, _AGAIN)


class _Refused(Exception):
    """A manifest that no ground segment has written."""


class _NoDoctype(ElementTree.TreeBuilder):
    """Stops at a document type, in which entities are declared that expand or lead elsewhere."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _Refused("it declares a document type")


def _read_manifest(product: Path) -> dict[str, tuple[int, str]]:
    """Size and MD5 by file name. SceneError."""
    path = product / MANIFEST
    if not path.is_file():
        raise SceneError(product, f"{MANIFEST} is missing, so nothing can be checked", _AGAIN)
    listed = {}
    try:
        root = ElementTree.parse(path, ElementTree.XMLParser(target=_NoDoctype())).getroot()
        for stream in root.findall(".//{*}byteStream"):
            location, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
            if location is None or checksum is None or checksum.get("checksumName") != "MD5":
                raise _Refused("a file in it has no location or no MD5")
            name = _name_inside(location.get("href", ""))
            listed[name] = int(stream.get("size", "")), (checksum.text or "").strip().lower()
    except (_Refused, OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise SceneError(product, f"{MANIFEST} cannot be used ({reason(error)})", _AGAIN) from None
    return listed


def _name_inside(href: str) -> str:
    """'./S7_BT_in.nc' -> 'S7_BT_in.nc'; refused if it leads out of the product's folder."""
    path = PurePosixPath(href)
    if not path.parts or path.is_absolute() or ".." in path.parts or set(href) & set(":\\"):
        raise _Refused(f"the path {href!r} in it does not stay in the folder")
    return str(path)
