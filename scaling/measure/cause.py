"""Why a point went wrong, in one line: by how it ended, and by what its ranks and launcher said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scaling.measure import watch
from scaling.record import summaries
from scaling.record.summaries import RunError

SYMPTOMS = re.compile(
    r"error|exception|exited on|signal|killed|refus|cannot|not found|no such", re.IGNORECASE
)


def check_ending(outcome: watch.Outcome, limits: watch.Limits, folder: Path) -> None:
    """Raise RunError unless the program ended by itself, and well."""
    last = f"its last step was {outcome.step}" if outcome.step is not None else "it made no step"
    if outcome.ending == "stalled" and outcome.step is None:
        raise RunError(f"no first step within {limits.start_seconds:g} s, so it was ended")
    if outcome.ending == "stalled":
        raise RunError(f"no step for {limits.stall_seconds:g} s, so it was ended; {last}")
    if outcome.ending == "timeout":
        raise RunError(f"not done after {limits.timeout_seconds:g} s, so it was ended; {last}")
    if outcome.exit_code:
        raise RunError(f"exit code {outcome.exit_code}: {cause(folder, outcome.last_lines)}")


def cause(folder: Path, lines: Mapping[str, str]) -> str:
    """The line that most likely says why: the program's own, a rank's, or its launcher's."""
    for summary in sorted(folder.glob("run*/summary.json")):
        try:
            summaries.read_summary(summary.parent)
        except RunError as error:
            return str(error)
    telling = [f"{who}: {line}" for who, line in lines.items() if SYMPTOMS.search(line)]
    launcher = [
        line.strip()
        for line in watch.tail(folder / "launcher.log").splitlines()
        if SYMPTOMS.search(line)
    ]
    every = telling + launcher + [f"{who}: {line}" for who, line in lines.items()]
    return every[0] if every else "it said nothing"
