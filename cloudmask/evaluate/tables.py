"""Figures as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudmask.text import number, p_value, plural


def of_patches(record: dict[str, Any]) -> list[str]:
    """What evaluation-SPLIT.json says."""
    lines = [
        f"{record['split']}: {record['patches']} patches, {record['pixels']} labelled pixels",
        f"  accuracy           {_cell(record['accuracy'])}   "
        f"(majority {_cell(record['majority'])})",
        f"  balanced accuracy  {_cell(record['balanced_accuracy'])}",
        f"  mean IoU           {_cell(record['mean_iou'])}",
        f"  kappa              {_cell(record['kappa'])}",
        f"  cross-entropy      {_cell(record['cross_entropy'])}",
    ]
    if record["weighted_cross_entropy"] is not None:
        weighted = _cell(record["weighted_cross_entropy"])
        lines.append(f"  weighted (x {record['pos_weight']})   {weighted}")
    width = max(len("class"), *map(len, record["classes"]))
    lines.append(f"  {'class':<{width}}  IoU     F1      precision  recall")
    for name in record["classes"]:
        iou, f1, precision, recall = (
            _cell(record[figure][name]) for figure in ("iou", "f1", "precision", "recall")
        )
        lines.append(f"  {name:<{width}}  {iou}  {f1}  {precision}     {recall}")
    return lines


MOST_FAILURES = 20


def failures(failed: Mapping[str, str], listing: Path) -> list[str]:
    """Scenes that could not be compared, and why: the first ones, and how many more there are."""
    lines = [f"left out: {_named(scene, why)}" for scene, why in failed.items()]
    more = len(lines) - MOST_FAILURES
    return [
        *lines[:MOST_FAILURES],
        *([f"left out: {more:,} more; all are in {listing}"] if more > 0 else []),
    ]


def _named(scene: str, why: str) -> str:
    return why if scene in why else f"{scene}: {why}"


def of_scenes(record: dict[str, Any]) -> list[str]:
    """What evaluation.json says: what was compared, and how it came out."""
    titles = record["members"]
    rows: list[tuple[str, dict[str, Any]]] = [
        (f"{titles[pair['of']]} against {titles[pair['against']]}", pair)
        for pair in record["pairs"]
    ]
    for region, against in record["regions"].items():
        for reference, figures in against.items():
            rows.append((f"  {region}: network against {titles[reference]}", figures))
    legacy = "legacy accuracy (whole frames, mean of scenes)"
    width = max(len(name) for name in (legacy, *(name for name, _ in rows)))
    failed = f", {record['num_failed']} failed" if record["num_failed"] else ""
    scenes = plural(record["num_scenes"], "scene")
    lines = [
        f"{scenes}{failed}; classes {', '.join(record['classes'])}",
        f"  {'':<{width}}  accuracy  majority  mean IoU  kappa     pixels",
    ]
    for name, figures in rows:
        keys = ("accuracy", "majority", "mean_iou", "kappa")
        values = "    ".join(_cell(figures[key]) for key in keys)
        lines.append(f"  {name:<{width}}  {values}    {figures['pixels']}")
    if not rows:
        lines.append("  no pixel is known to a mask and to what it is held against")
    if record["legacy"]:
        lines.append(f"  {legacy:<{width}}  {_cell(record['legacy']['accuracy'])}")
    if record["redated"]:
        lines.append(
            f"  {plural(record['redated'], 'scene')} with another date than when the masks were "
            "made: if more than the date has changed, predict again"
        )
    return lines + [line for duel in record["comparisons"] for line in _verdict(duel, titles)]


def _verdict(duel: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    a, b, reference = (titles[duel[key]] for key in ("a", "b", "reference"))
    interval = duel["interval"]
    units = plural(duel["units"], duel["unit"])
    spread = f"{units}: no interval that would hold"
    if interval:
        spread = f"95 % interval over {units} {interval[0]:+.4f} to {interval[1]:+.4f}"
    yield (
        f"  against {reference}: {a} {number(duel['accuracy_a'])}, {b} "
        f"{number(duel['accuracy_b'])}, difference {duel['difference']:+.4f} ({spread})"
    )
    yield (
        f"    alone right: {a} {duel['a_only']}, {b} {duel['b_only']} pixels; better in "
        f"{duel['scenes_a_better']} and {duel['scenes_b_better']} of {duel['scenes']} scenes; "
        f"McNemar by {duel['unit']}s, p-value {p_value(duel['clustered_p'])}"
    )


def _cell(value: float | None) -> str:
    """Six columns wide."""
    return f"{number(value):>6}"
