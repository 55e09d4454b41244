"""The events of a run, as rank 0 wrote them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = ("step_seconds", "data_wait_seconds", "compute_seconds", "exposed_communication_seconds")
"""of a step event: its seconds and their parts"""

Event = dict[str, Any]


def read(path: Path) -> Iterator[Event]:
    """The events of a file, each with its seconds since 1970 as `at`; a cut last line is none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                event = json.loads(line)
                event["at"] = datetime.datetime.fromisoformat(event["time"]).timestamp()
                assert isinstance(event["event"], str)
            except (ValueError, KeyError, TypeError, AssertionError):
                raise ValueError(f"{path}, line {number} is no event of a training") from None
            yield event
