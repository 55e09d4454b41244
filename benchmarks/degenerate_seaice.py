"""Scenes on which automatic labelling goes wrong: as published, with guards, and adaptive.

Accuracy against the truth of synthetic scenes of 512 x 512, over exposures from 0.7 to 1.3. Nothing
is timed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import bench

EXPOSURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
WAYS = ("published", "guarded", "adaptive")


def main() -> None:
    from cloudmask.metrics import UNKNOWN
    from seaice import synthetic
    from seaice.missing import missing_pixels
    from seaice.rule import Rule, label_scene

    rows: list[dict[str, Any]] = []
    for kind in synthetic.KINDS:
        for exposure in EXPOSURES:
            scene = synthetic.degenerate(kind, exposure=exposure)
            missing = missing_pixels(scene.image)
            labels = (
                label_scene(scene.image, missing, Rule(filter="published")).label,
                label_scene(scene.image, missing, Rule()).label,
                label_scene(scene.image, missing, Rule(adaptive=True)).label,
            )
            known = scene.truth != UNKNOWN
            found = [float(np.mean(label[known] == scene.truth[known])) for label in labels]
            rows.append({"kind": kind, "exposure": exposure, **dict(zip(WAYS, found, strict=True))})
    print(f"accuracy at exposures {EXPOSURES[0]} to {EXPOSURES[-1]}: at 1.0 (least of all)")
    print(f"{'scene':<18}" + "".join(f"{way:>18}" for way in WAYS))
    for kind in synthetic.KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        cells = []
        for way in WAYS:
            at_one = next(row[way] for row in mine if row["exposure"] == 1.0)
            cells.append(f"{at_one:.3f} ({min(row[way] for row in mine):.3f})")
        print(f"{kind:<18}" + "".join(f"{cell:>18}" for cell in cells))
    bench.keep("degenerate_seaice", rows=rows)
