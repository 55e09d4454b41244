"""What the name of a Sentinel-3 SLSTR level 1 product says, and when two are of the same pixels.

Names after the PDGS file naming convention: satellite, product, start, stop, creation, duration,
cycle, relative orbit, frame, centre, and a class of platform, timeliness and baseline collection.
"""

from __future__ import annotations

import bisect
import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_TIME = r"\d{8}T\d{6}"
_SAFE = re.compile(
    rf"(?P<satellite>S3[A-D])_SL_1_RBT____(?P<start>{_TIME})_(?P<stop>{_TIME})_(?P<created>{_TIME})"
    r"(?:_\d{4}_\d{3}_\d{3}_.{4}_.{3}_._(?P<timeliness>.{2})_(?P<collection>\d{3}))?(?![^_.])"
)
_EOPF = re.compile(
    rf"S03SLSRBT_(?P<start>{_TIME})_(?P<duration>\d{{4}})_(?P<satellite>[A-D])\d{{3}}"
)
_REST = r"(_\d{4}(_\d{3}(_\d{3}(_.{4}(_.{3})?)?)?)?|_[ST][0-9A-Z]{3})?"
"""what of a name the two leave: of a SAFE name cut short, and the end of EOPF's"""
# Start, satellite and relative orbit. SAFE names tell the cycle too, those of EOPF do not.
_SAFE_ORBIT = re.compile(
    rf"(?P<satellite>S3[A-D])_SL_1_RBT____(?P<start>{_TIME})(?:_{_TIME}){{2}}"
    r"_\d{4}_\d{3}_(?P<orbit>\d{3})"
)
_EOPF_ORBIT = re.compile(
    rf"S03SLSRBT_(?P<start>{_TIME})_\d{{4}}_(?P<satellite>[A-D])(?P<orbit>\d{{3}})"
)
_CYCLE, _ORBITS = timedelta(days=27), 385
"""until a relative orbit comes back, and how many there are"""
_FIRST_CYCLE = {
    "S3A": datetime(2016, 2, 14, 21, 57, 30),
    "S3B": datetime(2017, 7, 21, 21, 59, 40),
}
"""when orbit 1 of cycle 1 began, or would have; names of 2016 to 2026 fit to a minute"""
_BEST_LAST = ("NR", "ST", "NT")
"""near real time (3 hours), short time critical (2 days), not time critical (with the best orbit
and calibration)"""


@dataclass(frozen=True)
class Acquisition:
    """As far as the name tells: to the second, and without timeliness if it is cut short."""

    satellite: str
    start: datetime
    stop: datetime
    created: datetime | None = None
    timeliness: str = ""
    collection: int | None = None

    @property
    def rank(self) -> tuple[int, datetime, int]:
        """More is better: first by timeliness, then by the date of processing."""
        known = self.timeliness in _BEST_LAST
        timeliness = _BEST_LAST.index(self.timeliness) if known else -1
        return timeliness, self.created or datetime.min, self.collection or 0


def acquisition_of(name: str, *, whole: bool = False) -> Acquisition | None:
    """Of a scene's name; None if it is not named like a product, or is with more behind the name
    and asked for as a whole."""
    found = _SAFE.match(name) or _EOPF.match(name)
    if found and whole and not re.fullmatch(_REST, name[found.end() :]):
        return None
    if found is None:
        return None
    part = found.groupdict()
    try:
        start = _time(part["start"])
        if "stop" not in part:
            stop = start + timedelta(seconds=int(part["duration"]))
            return Acquisition(f"S3{part['satellite']}", start, stop)
        stop, created = _time(part["stop"]), _time(part["created"])
    except ValueError:
        return None
    collection = part["collection"] and int(part["collection"])
    return Acquisition(
        part["satellite"], start, stop, created, part["timeliness"] or "", collection or None
    )


def times_of(name: str) -> tuple[str | None, str | None]:
    """Start and stop by a scene's name, to the second, UTC as ISO 8601; None if it tells none."""
    found = acquisition_of(name)
    if found is None:
        return None, None
    return f"{found.start:%Y-%m-%dT%H:%M:%SZ}", f"{found.stop:%Y-%m-%dT%H:%M:%SZ}"


def orbit_of(name: str) -> str | None:
    """Satellite, cycle and relative orbit of a scene, as its name tells; None if it does not.

    The cycle is that of the start, the same for every form of name. Of satellites whose first cycle
    is not known it is counted from that of S3A.
    """
    found = _SAFE_ORBIT.match(name) or _EOPF_ORBIT.match(name)
    if found is None:
        return None
    satellite, orbit = f"S3{found['satellite'][-1]}", int(found["orbit"])
    try:
        since = _time(found["start"]) - _FIRST_CYCLE.get(satellite, _FIRST_CYCLE["S3A"])
    except ValueError:
        return None
    cycle = 1 + round(since / _CYCLE - (orbit - 1) / _ORBITS)
    return f"{satellite}_{cycle:03d}_{orbit:03d}"


def fold_of(name: str, folds: int) -> int:
    """In which of so many folds, counted from 0, a scene is, by its name alone.

    That of its orbit, so that neighbours stay together, or of the name where it tells none: in any
    patch set, made in any way, a scene is in the same fold.
    """
    key = orbit_of(name) or name
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest) % folds


def same(acquisitions: Sequence[Acquisition]) -> list[int]:
    """For each acquisition, given the best ones first, the index of the one that stands for it.

    Two of one satellite are the same if they share more than half of the shorter one's time: the
    frames of two processings may begin some seconds apart, and neighbours in an orbit share at most
    a moment.
    """
    stands = []
    kept: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    longest: dict[str, timedelta] = defaultdict(timedelta)
    for index, one in enumerate(acquisitions):
        near = kept[one.satellite]
        first = bisect.bisect_left(near, (one.start - longest[one.satellite], -1))
        last = bisect.bisect_right(near, (max(one.start, one.stop), len(acquisitions)))
        others = (other for _, other in near[first:last] if _share(one, acquisitions[other]))
        found = next(others, None)
        if found is None:
            bisect.insort(near, (one.start, index))
            longest[one.satellite] = max(longest[one.satellite], one.stop - one.start)
        stands.append(index if found is None else found)
    return stands


def _share(one: Acquisition, other: Acquisition) -> bool:
    if one.start == other.start:
        return True
    shared = min(one.stop, other.stop) - max(one.start, other.start)
    return 2 * shared > min(one.stop - one.start, other.stop - other.start)


def _time(text: str) -> datetime:
    """`20191001T113221`; ValueError for what is no time."""
    return datetime.fromisoformat(text)
