"""Which scenes go together: those of one orbit see the same weather and the same sun."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

# Satellite, times, duration, cycle and relative orbit of a Sentinel-3 product; of EOPF's names
# start, duration, satellite and relative orbit, which comes back every 27 days.
_SAFE = re.compile(r"(S3[A-D])_SL_1_RBT____(?:\d{8}T\d{6}_){3}\d{4}_(\d{3})_(\d{3})")
_EOPF = re.compile(r"S03SLSRBT_(\d{4})(\d\d)(\d\d)T\d{6}_\d{4}_([A-D])(\d{3})")
_CYCLE_DAYS = 27


def orbit_of(name: str) -> str | None:
    """Satellite, cycle and relative orbit of a scene, as its name tells; None if it does not."""
    if found := _SAFE.match(name):
        return "_".join(found.groups())
    if found := _EOPF.match(name):
        year, month, day = (int(found[place]) for place in (1, 2, 3))
        try:
            cycle = date(year, month, day).toordinal() // _CYCLE_DAYS
        except ValueError:
            return None
        return f"S3{found[4]}_day{_CYCLE_DAYS * cycle}_{found[5]}"
    return None


def groups_of(names: Sequence[str]) -> tuple[list[str], str]:
    """The orbit of each scene, or where its name tells none the scene itself; and what they are."""
    orbits = [orbit_of(name) for name in names]
    groups = [orbit or f"scene {name}" for orbit, name in zip(orbits, names, strict=True)]
    return groups, "orbit" if any(orbits) else "scene"
