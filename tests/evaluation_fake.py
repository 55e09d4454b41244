"""An evaluation of scenes as `cloudmask evaluate` writes it, put together from masks and scenes.

It is here so that the report can be tested by itself, with names that no program would choose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask import metrics
from cloudmask.data.read import read_scene
from cloudmask.predict.masks import read_netcdf

ORDER = ("network", "label", "summary", "truth")
TITLES = {
    "network": "network",
    "label": "Bayesian mask (any bit)",
    "summary": "summary mask",
    "truth": "truth",
}


def write(masks: Path, scenes: list[Path], **changes: Any) -> Path:
    """Write MASKS/evaluation.json; `changes` replace what stands at its top."""
    path = masks / "evaluation.json"
    path.write_text(json.dumps(make(masks, scenes) | changes))
    return path


def make(masks: Path, scenes: list[Path]) -> dict[str, Any]:
    """The content by the contract; figures are counted here, sweeps in twenty steps."""
    records, counts, tables, probabilities = [], {}, {}, {}
    by_scene = []
    classes: list[str] = []
    models = ""
    for path in scenes:
        scene = read_scene(path, need_label=False)
        mask = read_netcdf(masks / f"{path.stem}.nc")
        classes, models = list(scene.classes), str((mask.attributes or {}).get("model", ""))
        measured = mask.mask != 255
        members = {"network": mask.mask, "label": scene.label}
        members |= {"summary": scene.summary, "truth": scene.truth}
        members = {k: np.where(measured, v, 255) for k, v in members.items() if v is not None}
        pairs = {}
        for of in members:
            for against in members:
                if ORDER.index(of) < ORDER.index(against):
                    known = (members[of] != 255) & (members[against] != 255)
                    table = metrics.confusion(
                        np.where(known, members[against], 255),
                        np.where(known, members[of], 255),
                        num_classes=len(classes),
                    )
                    pairs[of, against] = table
                    counts[of, against] = counts.get((of, against), 0) + table
        if len(classes) == 2:
            for name in ("label", "truth"):
                if name in members:
                    known = members[name] != 255
                    both = (mask.probability[..., 0][known], members[name][known])
                    probabilities.setdefault(name, []).append(both)
        if "truth" in members:
            right = [members[k] == members["truth"] for k in ("network", "label")]
            known = (members["truth"] != 255) & (members["label"] != 255) & measured
            by_scene.append(_both(right[0][known], right[1][known]))
        day = np.isfinite(scene.image[..., 0])[measured].mean()
        records.append(
            {
                "name": path.stem,
                "scene": str(path),
                "mask": f"{path.stem}.nc",
                "pixels": int(measured.sum()),
                "missing": int((~measured).sum()),
                "day": float(day),
                "fraction": {
                    key: {
                        name: float((value[value != 255] == number).mean())
                        for number, name in enumerate(classes)
                    }
                    for key, value in members.items()
                },
                "against": {
                    against: metrics.derive(table, classes).as_dict()
                    for (of, against), table in pairs.items()
                    if of == "network"
                },
                "legacy_accuracy": 0.5,
            }
        )
    derived = {key: metrics.derive(table, classes).as_dict() for key, table in counts.items()}
    pooled = {against: value for (of, against), value in derived.items() if of == "network"}
    present = {name for pair in counts for name in pair}
    tables["day"] = pooled
    return {
        "format": "cloudmask-evaluation",
        "version": 2,
        "kind": "scenes",
        "date": "2026-11-21T12:00:00.000+00:00",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"cloudmask": "0.1.0", "numpy": "2"},
        "ranks": 1,
        "masks": str(masks),
        "models": [name for name in models.split(", ") if name],
        "training_patchset": "feedbeef" * 8,
        "options": {"threshold": 0.5},
        "classes": classes,
        "label_source": "any",
        "members": {name: TITLES[name] for name in ORDER if name in present},
        "num_scenes": len(records),
        "failed": {},
        "pooled": pooled,
        "regions": tables,
        "pairs": [{"of": of, "against": to, **value} for (of, to), value in derived.items()],
        "comparisons": [_comparison(by_scene, derived)] if by_scene else [],
        "legacy": {"accuracy": 0.5, "meaning": "all pixels of the frame, mean over scenes"},
        "calibration": {
            name: {classes[1]: _calibration(*map(np.concatenate, zip(*both, strict=True)))}
            for name, both in probabilities.items()
        },
        "scenes": records,
    }


def _both(a: np.ndarray, b: np.ndarray) -> list[int]:
    return [int(n) for n in ((a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum())]


def _comparison(by_scene: list[list[int]], derived: dict) -> dict[str, Any]:
    table = np.array(by_scene)
    both, a_only, b_only, neither = table.sum(axis=0).tolist()
    pixels = table.sum()
    gains = (table[:, 1] - table[:, 2]) / table.sum(axis=1)
    drawn = np.random.default_rng(0).integers(0, len(table), (500, len(table)))
    samples = table[drawn]
    spread = (samples[..., 1] - samples[..., 2]).sum(axis=1) / samples.sum(axis=(1, 2))
    difference = float((a_only - b_only) / pixels)
    iou = {side: derived[name, "truth"]["iou"] for side, name in (("a", "network"), ("b", "label"))}
    return {
        "reference": "truth",
        "a": "network",
        "b": "label",
        "pixels": int(pixels),
        "accuracy_a": (both + a_only) / int(pixels),
        "accuracy_b": (both + b_only) / int(pixels),
        "mean_iou_a": derived["network", "truth"]["mean_iou"],
        "mean_iou_b": derived["label", "truth"]["mean_iou"],
        "iou_a": iou["a"],
        "iou_b": iou["b"],
        "both_right": both,
        "a_only": a_only,
        "b_only": b_only,
        "both_wrong": neither,
        "chi2": (abs(a_only - b_only) - 1) ** 2 / max(1, a_only + b_only),
        "p": 1e-12,
        "clustered_chi2": 1.5,
        "clustered_p": 0.22,
        "difference": difference,
        "interval": np.percentile(spread, [2.5, 97.5]).tolist() if len(table) > 1 else None,
        "scenes": len(table),
        "scenes_a_better": int((gains > 0).sum()),
        "scenes_b_better": int((gains < 0).sum()),
    }


def _calibration(probability: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    edges = np.linspace(0, 1, 11)
    bins = np.clip((probability * 10).astype(int), 0, 9)
    rows = []
    for number in range(10):
        here = bins == number
        rows.append(
            {
                "low": edges[number],
                "high": edges[number + 1],
                "pixels": int(here.sum()),
                "mean_probability": float(probability[here].mean()) if here.any() else None,
                "frequency": float(truth[here].mean()) if here.any() else None,
            }
        )
    sweep = []
    for threshold in np.linspace(0, 1, 21):
        table = metrics.confusion(truth, (probability >= threshold).astype(np.uint8), num_classes=2)
        found = metrics.derive(table, ("0", "1"))
        rates = (found.recall["1"], None if found.recall["0"] is None else 1 - found.recall["0"])
        sweep.append(
            {
                "threshold": float(threshold),
                "true_positive_rate": rates[0],
                "false_positive_rate": rates[1],
                "accuracy": found.accuracy,
                "iou": found.iou["1"],
                "precision": found.precision["1"],
                "f1": found.f1["1"],
                "balanced_accuracy": found.balanced_accuracy,
            }
        )
    best = max(sweep, key=lambda row: row["accuracy"] or 0)
    return {
        "pixels": len(truth),
        "brier": float(((probability - truth) ** 2).mean()),
        "expected_calibration_error": 0.0321,
        "auc": 0.9876,
        "reliability": rows,
        "sweep": sweep,
        "best": {"threshold": best["threshold"], "accuracy": best["accuracy"]},
    }
