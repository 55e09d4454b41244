"""All scenes of an evaluation as CSV, a line each, failed ones included.

A column is a path into what evaluation.json holds of a scene: `against.truth.accuracy`,
`fraction.network.cloud`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudmask.files import write_whole

FACTS = ("name", "scene", "mask", "pixels", "missing", "day", "legacy_accuracy")
FIGURES = ("pixels", "accuracy", "majority", "commonest", "balanced_accuracy", "mean_iou", "kappa")


def write(
    path: Path,
    scenes: Iterator[Mapping[str, Any]],
    failed: Mapping[str, str],
    *,
    members: Sequence[str],
    classes: Sequence[str],
) -> None:
    """Write the file whole or not at all. OSError."""
    references = [member for member in members if member != "network"]
    against = [(member, figure) for member in references for figure in FIGURES]
    shares = [(member, name) for member in members for name in classes]
    content = io.StringIO(newline="")
    lines = csv.writer(content, lineterminator="\n")
    lines.writerow(
        [
            *FACTS,
            *(f"against.{member}.{figure}" for member, figure in against),
            *(f"fraction.{member}.{name}" for member, name in shares),
            "error",
        ]
    )
    for scene in scenes:
        lines.writerow(
            [
                *(scene[fact] for fact in FACTS),
                *(scene["against"].get(member, {}).get(figure) for member, figure in against),
                *(scene["fraction"].get(member, {}).get(name) for member, name in shares),
                "",
            ]
        )
    empty = [""] * (len(FACTS) - 2 + len(against) + len(shares))
    for scene_path, reason in failed.items():
        lines.writerow([Path(scene_path).name, scene_path, *empty, reason])
    write_whole(path, content.getvalue().encode(errors="surrogateescape"))
