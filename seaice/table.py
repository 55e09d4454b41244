"""The table that `evaluate` prints, and how its page writes figures."""

from __future__ import annotations

from typing import Any

from cloudmask.text import number, plural
from seaice.scores import FIGURES


def lines_of(record: dict[str, Any]) -> list[str]:
    """Lines for people: one row per prediction, reference and kind of scenes."""
    head = ["prediction", "against", "scenes", "accuracy", "mean IoU", "kappa", "SSIM"]
    rows = [[*head, "coverage", "of all", "(majority)"]]
    for row in record["scores"]:
        rows.append(
            [
                row["prediction"],
                row["against"],
                f"{row['scenes']} {row['scenes_of']}",
                *(with_interval(row, name) for name in FIGURES),
                number(row["ssim"]),
                number(row["coverage"]),
                number(row["with_abstentions_wrong"]["accuracy"]),
                f"({number(row['majority'])})",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    for row in record["differences"]:
        told = (f"{name.replace('_', ' ')} {with_interval(row, name)}" for name in FIGURES)
        lines.append(
            f"{row['prediction']} less {row['less']} against {row['against']}: " + ", ".join(told)
        )
    return [*lines, *notes(record)]


def with_interval(row: dict[str, Any], name: str) -> str:
    """A figure, and its interval where there is one."""
    found = row["intervals"][name]
    bounds = f" [{number(found[0])}, {number(found[1])}]" if found else ""
    return f"{number(row[name])}{bounds}"


def notes(record: dict[str, Any]) -> list[str]:
    """What a reader of the table must know."""
    lines = []
    if any(row["coverage"] != 1 for row in record["scores"]):
        lines.append(
            "coverage: share of the reference's pixels that the prediction knows; of all: accuracy "
            "over all of them, what is not predicted taken as wrong"
        )
    told = plural(record["units"], record["unit"])
    if record["units"] < record["least_units"]:
        lines.append(f"no intervals: {told}, and {record['least_units']} are needed")
    else:
        lines.append(f"[...]: 95 % intervals over {told}")
    return lines
