"""Every figure that follows from the counts of all scenes: added first, divided once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cloudmask import metrics
from cloudmask.evaluate import agreement, calibration, intervals
from cloudmask.evaluate.counts import MEMBERS, REFERENCES, Count, Tally
from cloudmask.evaluate.regions import REGIONS

BEST_FIRST = ("truth", "label", "summary")
LEGACY = (
    "as the published programs count: the mean over scenes of the share of all pixels of the frame "
    "that agree with the label, borders included (where both say clear), and pixels without a "
    "computed label taken as cloud"
)


def derive(counts: Sequence[Count], tally: Tally) -> dict[str, Any]:
    """The figures of evaluation.json but for those of single scenes."""
    classes = tally.classes
    total = sum((count.joint for count in counts), np.zeros_like(counts[0].joint))
    legacy = [count.legacy for count in counts if count.legacy is not None]
    titles = {"summary": "summary mask", "label": min(count.label_title for count in counts)}
    return {
        "classes": list(classes),
        "members": {member: titles.get(member, member) for member, _ in _known(total)},
        "num_scenes": len(counts),
        "redated": sum(count.redated for count in counts),
        "pooled": _against(total, classes),
        "regions": {
            name: _against(joint, classes)
            for name, joint in sorted(zip(REGIONS, tally.parts, strict=True), key=lambda p: p[0])
            if joint.any()
        },
        "pairs": [
            {"of": member, "against": reference, **figures}
            for of, member in enumerate(MEMBERS)
            for reference, figures in _against(total, classes, of=of).items()
        ],
        "comparisons": list(_comparisons(counts, total, classes)),
        "legacy": {"accuracy": sum(legacy) / len(legacy), "meaning": LEGACY} if legacy else None,
        "calibration": {
            reference: {
                name: calibration.figures(table)
                for name, table in zip(classes[-len(tables) :], tables, strict=True)
            }
            for reference, tables in zip(REFERENCES, tally.histograms, strict=True)
            if tables.any()
        },
    }


def of_scenes(counts: Sequence[Count], classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The figures of each scene, one after the other."""
    return (_of_scene(count, classes) for count in counts)


def _known(joint: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Every mask that knows anything, with the (K,) pixels of each class."""
    for axis, member in enumerate(MEMBERS):
        pixels = agreement.known(joint, axis)
        if pixels.any():
            yield member, pixels


def _against(joint: np.ndarray, classes: Sequence[str], *, of: int = 0) -> dict[str, Any]:
    """One mask, the network if no other is named, against each behind it that knows anything.

    With the name of the commonest class, whose share is the majority.
    """
    return {
        MEMBERS[against]: metrics.derive(table, classes).as_dict()
        | {"commonest": classes[int(table.sum(axis=1).argmax())]}
        for against in range(of + 1, len(MEMBERS))
        if (table := agreement.known(joint, against, of)).any()
    }


def _comparisons(
    counts: Sequence[Count], total: np.ndarray, classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The network and every other mask, against each mask that is neither."""
    groups, unit = agreement.groups_of([count.name for count in counts])
    for reference in range(len(MEMBERS) - 1, 1, -1):
        for other in range(1, reference):
            axes = {"a": 0, "b": other, "reference": reference}
            pooled = agreement.duel(total, **axes)
            if not pooled.pixels:
                continue
            table = agreement.known(total, 0, other, reference)
            duels = [agreement.duel(count.joint, **axes) for count in counts]
            units = agreement.units_of(duels, groups)
            sides = {"a": table.sum(axis=1).T, "b": table.sum(axis=0).T}
            derived = {side: metrics.derive(right, classes) for side, right in sides.items()}
            chi2, p = agreement.mcnemar(pooled.a_only, pooled.b_only) or (None, None)
            clustered_chi2, clustered_p = agreement.clustered_mcnemar(units) or (None, None)
            yield {
                "reference": MEMBERS[reference],
                "a": MEMBERS[0],
                "b": MEMBERS[other],
                "pixels": pooled.pixels,
                **{
                    f"{figure}_{side}": getattr(found, figure)
                    for figure in ("accuracy", "mean_iou", "iou")
                    for side, found in derived.items()
                },
                **asdict(pooled),
                "chi2": chi2,
                "p": p,
                "clustered_chi2": clustered_chi2,
                "clustered_p": clustered_p,
                "difference": (pooled.a_only - pooled.b_only) / pooled.pixels,
                "interval": agreement.difference_interval(units),
                "unit": unit,
                "units": len(units),
                "least_units": intervals.LEAST_UNITS,
                "scenes": sum(1 for duel in duels if duel.pixels),
                "scenes_a_better": sum(1 for duel in duels if duel.a_only > duel.b_only),
                "scenes_b_better": sum(1 for duel in duels if duel.b_only > duel.a_only),
            }


def worst(counts: Sequence[Count], most: int) -> list[Count]:
    """So many scenes, those that agree least with the best reference there is first.

    All of them, as they come, if they are no more.
    """
    if len(counts) <= most:
        return list(counts)
    total = sum((count.joint for count in counts), np.zeros_like(counts[0].joint))
    known = [name for name, _ in _known(total) if name in BEST_FIRST]
    axis = MEMBERS.index(min(known, key=BEST_FIRST.index))

    def agreed(count: Count) -> float:
        table = agreement.known(count.joint, axis, 0)
        return float(np.trace(table) / table.sum()) if table.any() else 2.0

    return sorted(counts, key=agreed)[:most]


def _of_scene(count: Count, classes: Sequence[str]) -> dict[str, Any]:
    lit = sum(count.hours)
    return {
        "name": count.name,
        "scene": count.scene,
        "mask": count.mask,
        "pixels": count.measured,
        "missing": count.missing,
        "day": count.hours[0] / lit if lit else None,
        "fraction": {
            member: dict(zip(classes, (pixels / pixels.sum()).tolist(), strict=True))
            for member, pixels in _known(count.joint)
        },
        "against": _against(count.joint, classes),
        "legacy_accuracy": count.legacy,
    }
