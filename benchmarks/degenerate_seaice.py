"""Scenes on which automatic labelling goes wrong: without a filter, published, guarded, adaptive.

Accuracy against the truth of synthetic scenes: degenerate ones of 512 x 512, over exposures from
0.7 to 1.3; wide thin ice beside snow, by its brightness and whiteness; and 60 scenes of 768 x 768
of each family, by kind, at exposure 1 and at exposures drawn from 0.7 to 1.3. `adaptive` is the
guarded filter after the exposure; how often that is ambiguous or at the end of its search is
counted. The varied scenes are made of assumptions other than those of adaptive.py. Nothing is timed
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import bench
from cloudmask.evaluate import intervals
from cloudmask.metrics import UNKNOWN
from seaice import looks, synthetic
from seaice.colour import THIN
from seaice.rule import Labelled, Rule, label_scene
from seaice.synthetic import SyntheticScene

EXPOSURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
RANGE = (0.7, 1.3)
WAYS = {
    "none": Rule(filter="none"),
    "published": Rule(filter="published"),
    "guarded": Rule(),
    "adaptive": Rule(adaptive=True),
}
SCENES, SIZE, SEED = 60, 768, 8
BRIGHTNESS = (110, 125, 140, 160, 180, 198)
APART = 0.05
"""of accuracies, for one to be counted as better"""
POOR = 0.6
"""accuracy of a scene that is all but lost"""
WHITENESS = (0.75, 0.82, 0.87, 0.9, 0.95, 1.0)


def main() -> None:
    degenerate = of_degenerate()
    beside = beside_snow()
    families = [
        row
        for family in ("plain", "varied")
        for exposure in ((1.0, 1.0), RANGE)
        for row in of_family(family, exposure)
    ]
    kinds = by_kind(families)
    bench.keep("degenerate_seaice", rows=degenerate, beside_snow=beside, kinds=kinds)


def labelled(scene: SyntheticScene) -> tuple[dict[str, float], dict[str, Labelled]]:
    """Accuracy by each way, and what each has made."""
    known = scene.truth != UNKNOWN
    made = {name: label_scene(scene.image, ~known, rule) for name, rule in WAYS.items()}
    found = {
        name: float(np.mean(one.label[known] == scene.truth[known])) for name, one in made.items()
    }
    return found, made


def of_degenerate() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for kind in synthetic.KINDS:
        for exposure in EXPOSURES:
            found, _ = labelled(synthetic.degenerate(kind, exposure=exposure))
            rows.append({"kind": kind, "exposure": exposure, **found})
    print(f"accuracy at exposure 1 (least from {EXPOSURES[0]} to {EXPOSURES[-1]})")
    print(f"{'scene':<18}" + "".join(f"{way:>18}" for way in WAYS))
    for kind in synthetic.KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        cells = []
        for way in WAYS:
            at_one = next(row[way] for row in mine if row["exposure"] == 1.0)
            cells.append(f"{at_one:.3f} ({min(row[way] for row in mine):.3f})")
        print(f"{kind:<18}" + "".join(f"{cell:>18}" for cell in cells))
    return rows


def beside_snow() -> list[dict[str, Any]]:
    """The share of wide thin ice beside snow that stays thin."""
    rows = []
    print("share of wide thin ice beside snow that stays thin, by the guarded filter")
    print(f"{'whiteness':<12}" + "".join(f"{f'V {value}':>10}" for value in BRIGHTNESS))
    for white in WHITENESS:
        for value in BRIGHTNESS:
            rng = np.random.default_rng([value, round(100 * white)])
            light = np.full((600, 600, 3), 235.0)
            light[:, :290] = value * np.array((white, (1 + white) / 2, 1))
            noisy = light + synthetic.NOISE * rng.standard_normal(light.shape)
            image = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
            label = label_scene(image, np.zeros((600, 600), bool), Rule()).label
            row = {"whiteness": white, "brightness": value}
            rows.append(row | {"thin": float(np.mean(label[:, :200] == THIN))})
        cells = [row["thin"] for row in rows[-len(BRIGHTNESS) :]]
        print(f"{white:<12g}" + "".join(f"{cell:>10.3f}" for cell in cells))
    return rows


def of_family(family: synthetic.Family, exposure: tuple[float, float]) -> list[dict[str, Any]]:
    rows = []
    for index in range(SCENES):
        scene = synthetic.make_scene(
            index, height=SIZE, width=SIZE, seed=SEED, exposure=exposure, family=family
        )
        found, made = labelled(scene)
        of_exposure = made["adaptive"].done["exposure"]
        rows.append(
            {
                "family": family,
                "kind": scene.look.kind,
                "exposures": list(exposure),
                "pixels": int(np.sum(scene.truth != UNKNOWN)),
                **found,
                "estimated": of_exposure,
                "told": bool(made["adaptive"].told),
            }
        )
    return rows


def by_kind(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pooled accuracy of each kind of scene; of whole families with an interval over scenes."""
    groups = [("plain", "plain"), *(("varied", kind) for kind in (*looks.KINDS, "all"))]
    found = []
    print(
        f"{'family, kind, exposure':<32}{'scenes':>7}" + "".join(f"{w:>11}" for w in WAYS), end=""
    )
    print(f"{'ambiguous':>11}{'at limit':>10}")
    for exposures in ([1.0, 1.0], list(RANGE)):
        for family, kind in groups:
            mine = [
                row
                for row in rows
                if row["family"] == family
                and row["exposures"] == exposures
                and kind in ("all", row["kind"])
            ]
            pixels = np.array([row["pixels"] for row in mine])
            correct = {way: np.array([row[way] for row in mine]) * pixels for way in WAYS}
            gained = correct["adaptive"] - correct["guarded"]
            summed = {
                "family": family,
                "kind": kind,
                "exposures": exposures,
                "scenes": len(mine),
                **{way: float(part.sum() / pixels.sum()) for way, part in correct.items()},
                "adaptive_less_guarded": intervals.of_pooled(gained, pixels),
                "worst_adaptive": min(row["adaptive"] for row in mine),
                "ambiguous": sum(row["estimated"]["ambiguous"] for row in mine),
                "limit_reached": sum(row["estimated"]["limit_reached"] for row in mine),
                "told": sum(row["told"] for row in mine),
                "poor": sum(row["adaptive"] < POOR for row in mine),
                "poor_untold": sum(row["adaptive"] < POOR and not row["told"] for row in mine),
                "guarded_worse_than_published": sum(
                    row["guarded"] < row["published"] - APART for row in mine
                ),
                "guarded_better_than_published": sum(
                    row["guarded"] > row["published"] + APART for row in mine
                ),
            }
            found.append(summed)
            name = f"{family}, {kind}, {exposures[0]:g} to {exposures[1]:g}"
            cells = "".join(f"{summed[way]:>11.3f}" for way in WAYS)
            ends = f"{summed['ambiguous']:>11}{summed['limit_reached']:>10}"
            print(f"{name:<32}{len(mine):>7}{cells}{ends}")
    return found
