"""What the metadata of a Sentinel-2 product say: when it was acquired, and what its values mean.

MTD_MSIL1C.xml and MTD_MSIL2A.xml, after the product specification (S2-PDGS-TAS-DI-PSD).
Reflectance is (value + offset) / quantification; from processing baseline 04.00 on there is an
offset, -1000 so far, which each band states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree import ElementTree

LARGEST_BYTES = 8 << 20
"""of metadata that are read; those of real products have some 50 kB"""
_LARGEST = 65535
"""of stored values"""
OFFSETS_SINCE = (4, 0)
_BAND_IDS = {1: "B02", 2: "B03", 3: "B04", 7: "B08", 11: "B11"}


@dataclass(frozen=True)
class Metadata:
    date: str | None
    """UTC as ISO 8601"""
    quantification: float = 10000.0
    offsets: Mapping[str, float] = field(default_factory=dict)
    """by band, such as B04; before baseline 04.00 there are none"""


class _Refused(ValueError):
    """Metadata that no ground segment has written."""


class _NoDoctype(ElementTree.TreeBuilder):
    """Stops at a document type, in which entities are declared that expand or lead elsewhere."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _Refused("it declares a document type")


def parse(content: bytes) -> Metadata:
    """ValueError with what is wrong."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"it has more than {LARGEST_BYTES} bytes")
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDoctype()))
    except ElementTree.ParseError as error:
        raise ValueError(" ".join(str(error).split())) from None
    names = ("QUANTIFICATION_VALUE", "BOA_QUANTIFICATION_VALUE")
    quantification = _number(_text(root, *names), "quantification value")
    if not 1 <= quantification <= _LARGEST:
        raise ValueError(f"its quantification value {quantification:g} is none of 16-bit values")
    offsets = {}
    for name in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"):
        for element in root.iterfind(f".//{{*}}{name}"):
            band = _BAND_IDS.get(int(element.get("band_id", "-1")))
            if band is not None:
                offsets[band] = _number(element.text, f"offset of {band}")
                if not abs(offsets[band]) <= _LARGEST:
                    raise ValueError(f"its offset of {band} {offsets[band]:g} is none of 16 bits")
    baseline = _text(root, "PROCESSING_BASELINE") or ""
    numbers = tuple(int(part) for part in baseline.split("."))
    if numbers >= OFFSETS_SINCE and set(offsets) < set(_BAND_IDS.values()):
        raise ValueError(f"its baseline is {baseline}, and it lacks offsets of bands")
    return Metadata(
        date=utc(_text(root, "PRODUCT_START_TIME", "DATATAKE_SENSING_START")),
        quantification=quantification,
        offsets=offsets,
    )


def _number(text: str | None, what: str) -> float:
    """ValueError for none that is finite."""
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"it states no {what}" if not text else f"its {what} is no number")
    return number


def _text(root: ElementTree.Element, *names: str) -> str | None:
    """Of the first of these elements that is there."""
    for name in names:
        found = root.findtext(f".//{{*}}{name}")
        if found is not None and found.strip():
            return found.strip()
    return None


def utc(text: str | None) -> str | None:
    """A time in UTC as it is written here: 2019-11-03T20:49:21Z. ValueError for none."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")
