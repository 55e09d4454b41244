"""The scenes of an evaluation that are too many for its JSON file: evaluation.csv, a line each."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = ("name", "scene", "mask")
WORD_AGAINST = "commonest"
"""of the figures against a reference the one that is no number"""


def read(path: Path) -> list[dict[str, Any]]:
    """All scenes that were compared, in the shape that evaluation.json has. ValueError; OSError."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [_nested(line.items()) for line in csv.DictReader(file) if not line.get("error")]
    except (csv.Error, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); run `cloudmask evaluate` again") from None


def _nested(cells: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """`against.truth.accuracy` -> one of the figures under `truth` under `against`."""
    found: dict[str, Any] = {}
    for column, text in cells:
        if not text:
            continue
        top, _, rest = column.partition(".")
        if not rest:
            found[top] = text if top in WORDS else _number(text)
            continue
        middle, _, last = rest.partition(".")  # the name of a class may hold dots
        word = top == "against" and last == WORD_AGAINST
        found.setdefault(top, {}).setdefault(middle, {})[last] = text if word else _number(text)
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
