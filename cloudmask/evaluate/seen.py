"""Which scenes of an evaluation the masks were calibrated on: there they look better than they are.

Names are compared, and what names tell of an acquisition: a scene that was processed again has the
same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudmask.data.acquisition import acquisition_of, same
from cloudmask.text import listed, plural

_SHOWN = 3
"""names that a line tells"""


def calibrated_on(options: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Those of these scenes that the networks with these options were calibrated on."""
    records = options.get("calibrations") or []
    fitted = {str(name) for record in records if record for name in record.get("scenes") or []}
    known = [found for name in sorted(fitted) if (found := acquisition_of(name))]
    judged = {name: found for name in names if (found := acquisition_of(name))}
    stands = same([*known, *judged.values()])[len(known) :]
    again = {name for name, at in zip(judged, stands, strict=True) if at < len(known)}
    return [name for name in names if name in fitted or name in again]


def warning(names: Sequence[str], scenes: int) -> str:
    """A line on scenes that should not be among those that are judged."""
    return (
        f"the network was calibrated on {len(names)} of the {plural(scenes, 'scene')} "
        f"({listed(names, most=_SHOWN)}), so the figures are too good; leave them out"
    )
