"""What the name and the manifest of a Sentinel-3 product say, and the order to trust them in.

A product is a folder whose name tells the satellite, the instrument and the processing, and which
holds NetCDF files and `xfdumanifest.xml`, the list of them with the size and MD5 of each. MD5 finds
damage on the way, not forgery: whoever can change a file can change the manifest as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from xml.etree import ElementTree

from cloudmask.data.place import Place
from cloudmask.data.scene import SceneError, reason

MANIFEST = "xfdumanifest.xml"
AGAIN = "download the product again, or skip this check with --no-verify"

# Instrument, level, kind of a product.
_KIND = re.compile(r"S3[A-Z_]_([A-Z]{2})_(\d)_(\w{6})_", re.ASCII)
_NAME = re.compile(
    r"S3[A-D]_SL_1_RBT___(_\d{8}T\d{6}){3}_\d{4}_\d{3}_\d{3}_\w{4}_\w{3}_\w_\w{2}_"
    r"(?P<collection>\d{3})\.SEN3",
    re.ASCII,  # it becomes the name of a folder
)


@dataclass(frozen=True)
class Manifest:
    """The list of a product's files, and when it was acquired."""

    files: dict[str, tuple[int, str]]
    """size in bytes and MD5, by name"""
    start: str | None
    stop: str | None
    """UTC as ISO 8601"""


def baseline_collection(place: Place, name: str) -> int:
    """The collection of the SLSTR level 1 product at this place, from its name. SceneError."""
    kind = _KIND.match(name)
    if kind is None:
        problem = "is not named like a Sentinel-3 product"
        raise SceneError(place, problem, "give it its original name again")
    wanted = "give SLSTR level 1 products, S3A_SL_1_RBT*.SEN3"
    instrument, level, what = kind.groups()
    if instrument != "SL":
        problem = f"is of the wrong instrument: {instrument}, not SL (SLSTR)"
        raise SceneError(place, problem, wanted)
    if (level, what) != ("1", "RBT___"):
        problem = f"is SLSTR data of the wrong level: level {level} {what.strip('_')}"
        raise SceneError(place, f"{problem}, not level 1 RBT", wanted)
    found = _NAME.fullmatch(name)
    if found is None:  # satpy finds its files by the name of their folder
        problem = "has a shortened or changed name"
        raise SceneError(place, problem, "give the folder its original name again")
    return int(found["collection"])


def is_product_name(name: str) -> bool:
    """Whether a folder of this name is a whole SLSTR level 1 product, as satpy wants it."""
    return _NAME.fullmatch(name) is not None


class _Refused(Exception):
    """A manifest that no ground segment has written."""


class _NoDoctype(ElementTree.TreeBuilder):
    """Stops at a document type, in which entities are declared that expand or lead elsewhere."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _Refused("it declares a document type")


def parse_manifest(place: Place, content: bytes) -> Manifest:
    """A manifest that the place holds. SceneError."""
    files = {}
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDoctype()))
        for stream in root.findall(".//{*}byteStream"):
            location, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
            if location is None or checksum is None or checksum.get("checksumName") != "MD5":
                raise _Refused("a file in it has no location or no MD5")
            name = _name_inside(location.get("href", ""))
            files[name] = int(stream.get("size", "")), (checksum.text or "").strip().lower()
        start, stop = (
            _utc(root.findtext(f".//{{*}}acquisitionPeriod/{{*}}{name}"))
            for name in ("startTime", "stopTime")
        )
    except (_Refused, ElementTree.ParseError, ValueError, LookupError) as error:
        raise SceneError(place, f"{MANIFEST} cannot be used ({reason(error)})", AGAIN) from None
    return Manifest(files, start, stop)


def _utc(text: str | None) -> str | None:
    """ISO 8601 with the zone, which the manifest may leave out. ValueError for anything else."""
    if text is None:
        return None
    text = text.strip()
    datetime.fromisoformat(text)
    return text if text.endswith("Z") else f"{text}Z"


def _name_inside(href: str) -> str:
    """'./S7_BT_in.nc' -> 'S7_BT_in.nc'; refused if it leads out of the product's folder."""
    path = PurePosixPath(href)
    if not path.parts or path.is_absolute() or ".." in path.parts or set(href) & set(":\\"):
        raise _Refused(f"the path {href!r} in it does not stay in the folder")
    return str(path)
