"""How good masks of whole scenes are, beside the mask they learned from and whatever else is known.

Every scene becomes one table of joint counts (see agreement.py) and adds to one histogram of
probabilities (see calibration.py); both are added over scenes and ranks, and divided once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask import metrics
from cloudmask.cli.errors import AgreedError
from cloudmask.data import parallel
from cloudmask.data.archive import size_and_date
from cloudmask.data.read import read_scene
from cloudmask.data.scene import LabelChoice, Scene
from cloudmask.evaluate import agreement, calibration
from cloudmask.evaluate.regions import regions
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import NODATA, Mask, classify, read_mask
from cloudmask.record import commit, now, versions

FORMAT, VERSION = "cloudmask-evaluation", 1
MEMBERS = ("network", "label", "summary", "truth")
"""the masks of a scene; each is judged against those behind it"""
REFERENCES = MEMBERS[1:]
TITLES = {
    "any": "Bayesian mask (any bit)",
    "single_moderate": "Bayesian mask (single moderate)",
    "probability": "Bayesian probability",
}
LEGACY = (
    "as the published programs count: the mean over scenes of the share of all pixels of the frame "
    "that agree with the label, borders included (where both say clear), and pixels without a "
    "computed label taken as cloud"
)


@dataclass(frozen=True)
class Count:
    """What one scene adds."""

    name: str
    scene: str
    mask: str
    joint: np.ndarray
    """(K + 1,) * 4 pixels: network, label, summary, truth; see agreement.joint_counts"""
    parts: dict[str, np.ndarray]
    """the same for parts of the scene: day, night, sea, land"""
    measured: int
    missing: int
    legacy: float | None
    label_title: str
    attributes: dict[str, str]


Histograms = dict[str, np.ndarray]
"""reference -> (classes stored, 2, calibration.STEPS + 1) int64 pixels"""


def measure(
    masks: Path,
    scenes: Sequence[Path],
    *,
    label: LabelChoice,
    threshold: float | None,
    verify: bool,
    world: parallel.World,
) -> dict[str, Any]:
    """The content of evaluation.json, the same on every rank. ValueError if nothing is left."""
    classes = world.on_root(lambda: _classes(masks, scenes))
    stored = 1 if len(classes) == 2 else len(classes)
    shape = (len(REFERENCES), stored, 2, calibration.STEPS + 1)
    added = np.zeros(shape, np.int64)

    def work(path: Path) -> Count:
        scene = read_scene(path, label=label, need_label=False, verify=verify)
        file = _mask_of(masks, path)
        mask = read_mask(file, classes=scene.classes)
        _check(scene, mask, classes, path)
        count = _count(scene, mask, path, file, threshold=threshold)
        added[...] += _histograms(scene, mask, stored)
        return count

    outcomes = parallel.map_items(
        work,
        scenes,
        world=world,
        weights=[float(size_and_date(path)[0]) for path in scenes],
        progress="evaluate",
    )
    histograms = world.sum(added)
    pairs = list(zip(scenes, outcomes, strict=True))
    counts = [outcome.value for _, outcome in pairs if outcome and outcome.value]
    if not counts:
        raise AgreedError(f"none of the {len(scenes)} scenes could be compared with {masks}")
    made = {count.attributes.get("fingerprint") for count in counts}
    if len(made) > 1:
        raise AgreedError(
            f"{masks} holds masks of {len(made)} different models or options, whose figures do not "
            "add up; predict with --overwrite"
        )
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": "scenes",
        "date": now(),
        "commit": commit(),
        "versions": versions(),
        "ranks": world.size,
        "masks": str(masks),
        "threshold": threshold,
        **_made_by(counts[0].attributes),
        "label_source": label,
        "failed": {
            str(path): outcome.error if outcome else "not reached"
            for path, outcome in pairs
            if outcome is None or outcome.error
        },
        **derive(counts, histograms, classes),
    }


def derive(
    counts: Sequence[Count], histograms: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Everything that follows from the counts of all scenes."""
    total = sum((count.joint for count in counts), np.zeros_like(counts[0].joint))
    names = sorted({name for count in counts for name in count.parts})
    parts = {
        name: sum(
            (count.parts[name] for count in counts if name in count.parts), np.zeros_like(total)
        )
        for name in names
    }
    stored = classes[-histograms.shape[1] :]
    legacy = [count.legacy for count in counts if count.legacy is not None]
    titles = {count.label_title for count in counts}
    return {
        "classes": list(classes),
        "members": {
            member: sorted(titles)[0] if member == "label" else _title(member)
            for axis, member in enumerate(MEMBERS)
            if _pixels(total, axis).any()
        },
        "num_scenes": len(counts),
        "pooled": _against(total, classes),
        "regions": {name: _against(part, classes) for name, part in parts.items()},
        "pairs": list(_pairs(total, classes)),
        "comparisons": list(_comparisons(counts, total, classes)),
        "legacy": {"accuracy": sum(legacy) / len(legacy), "meaning": LEGACY} if legacy else None,
        "calibration": {
            reference: {
                name: calibration.figures(table) for name, table in zip(stored, tables, strict=True)
            }
            for reference, tables in zip(REFERENCES, histograms, strict=True)
            if tables.any()
        },
        "scenes": [_scene_record(count, classes) for count in counts],
    }


def _classes(masks: Path, scenes: Sequence[Path]) -> tuple[str, ...]:
    """Of the first mask that can be read; ValueError if there is none at all."""
    for path in scenes:
        try:
            return read_mask(_mask_of(masks, path), classes=("clear", "cloud")).classes
        except ValueError:
            continue
    raise ValueError(
        f"{masks} holds no mask of these {len(scenes)} scenes (such as {scenes[0].stem}.nc); "
        "predict them first"
    )


def _mask_of(masks: Path, scene: Path) -> Path:
    for suffix in (".nc", ".h5"):
        path = masks / f"{scene.stem}{suffix}"
        if path.exists():
            return path
    raise ValueError(f"{scene}: {masks} holds no mask {scene.stem}.nc or .h5; predict it first")


def _check(scene: Scene, mask: Mask, classes: tuple[str, ...], path: Path) -> None:
    if mask.classes != classes or len(scene.classes) != len(classes):
        raise ValueError(
            f"{path}: its classes are {', '.join(scene.classes)}, those of its mask "
            f"{', '.join(mask.classes)}, of the others {', '.join(classes)}; leave it out"
        )
    if mask.mask.shape != scene.image.shape[:2]:
        raise ValueError(
            f"{path}: the scene has {scene.image.shape[:2]} pixels and its mask {mask.mask.shape}; "
            "predict it again"
        )
    if all(known is None or (known == UNKNOWN).all() for known in _others(scene)):
        raise ValueError(f"{path}: has no label, summary or truth to compare with; leave it out")


def _others(scene: Scene) -> tuple[np.ndarray | None, ...]:
    """Label, summary and truth; what serves as the label does not come twice."""
    return (
        scene.label,
        None if scene.label_source == "summary" else scene.summary,
        None if scene.label_source == "truth" else scene.truth,
    )


def _count(scene: Scene, mask: Mask, path: Path, file: Path, *, threshold: float | None) -> Count:
    network = mask.mask if threshold is None else classify(mask.probability, threshold=threshold)
    masks = (network, *_others(scene))
    num_classes = len(mask.classes)
    missing = np.isnan(scene.image).all(axis=-1)
    return Count(
        name=scene.name,
        scene=str(path),
        mask=file.name,
        joint=agreement.joint_counts(masks, num_classes=num_classes),
        parts={
            name: agreement.joint_counts(masks, num_classes=num_classes, where=part)
            for name, part in regions(scene).items()
        },
        measured=int((~missing).sum()),
        missing=int(missing.sum()),
        legacy=_legacy(network, scene.label, missing) if num_classes == 2 else None,
        label_title=TITLES.get(scene.label_source, scene.label_source or "label"),
        attributes={key: str(value) for key, value in (mask.attributes or {}).items()},
    )


def _legacy(network: np.ndarray, label: np.ndarray | None, missing: np.ndarray) -> float | None:
    """See LEGACY."""
    if label is None:
        return None
    return float(np.mean((network == 1) == ((label != 0) & ~missing)))


def _histograms(scene: Scene, mask: Mask, stored: int) -> np.ndarray:
    """(references, classes stored, 2, STEPS + 1) counts."""
    tables = np.zeros((len(REFERENCES), stored, 2, calibration.STEPS + 1), np.int64)
    first = len(mask.classes) - stored
    for number, reference in enumerate(_others(scene)):
        if reference is None:
            continue
        known = (reference != UNKNOWN) & (mask.mask != NODATA)
        for index in range(stored):
            probability = mask.probability[..., index][known]
            tables[number, index] = calibration.histogram(
                probability, reference[known] == first + index
            )
    return tables


def _against(joint: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """The network against each reference that knows anything."""
    return {
        reference: _figures(joint, classes, of=0, against=axis)
        for axis, reference in enumerate(MEMBERS)
        if axis and agreement.pair(joint, of=0, against=axis).any()
    }


def _figures(joint: np.ndarray, classes: Sequence[str], *, of: int, against: int) -> dict[str, Any]:
    return metrics.derive(agreement.pair(joint, of=of, against=against), classes).as_dict()


def _pairs(joint: np.ndarray, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
    for of, name in enumerate(MEMBERS):
        for against in range(of + 1, len(MEMBERS)):
            if agreement.pair(joint, of=of, against=against).any():
                figures = _figures(joint, classes, of=of, against=against)
                yield {"of": name, "against": MEMBERS[against], **figures}


def _comparisons(
    counts: Sequence[Count], total: np.ndarray, classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The network and every other mask, against each mask that is neither."""
    for reference in range(len(MEMBERS) - 1, 1, -1):
        for other in range(1, reference):
            axes = {"a": 0, "b": other, "reference": reference}
            pooled = agreement.duel(total, **axes)
            if not pooled.pixels:
                continue
            table = agreement.triple(total, **axes)
            duels = [agreement.duel(count.joint, **axes) for count in counts]
            mine = metrics.derive(table.sum(axis=1).T, classes)
            theirs = metrics.derive(table.sum(axis=0).T, classes)
            plain, clustered = (
                test or (None, None)
                for test in (
                    agreement.mcnemar(pooled.a_only, pooled.b_only),
                    agreement.clustered_mcnemar(duels),
                )
            )
            yield {
                "reference": MEMBERS[reference],
                "a": MEMBERS[0],
                "b": MEMBERS[other],
                "pixels": pooled.pixels,
                "accuracy_a": mine.accuracy,
                "accuracy_b": theirs.accuracy,
                "mean_iou_a": mine.mean_iou,
                "mean_iou_b": theirs.mean_iou,
                "iou_a": mine.iou,
                "iou_b": theirs.iou,
                "both_right": pooled.both_right,
                "a_only": pooled.a_only,
                "b_only": pooled.b_only,
                "both_wrong": pooled.both_wrong,
                "chi2": plain[0],
                "p": plain[1],
                "clustered_chi2": clustered[0],
                "clustered_p": clustered[1],
                "difference": (pooled.a_only - pooled.b_only) / pooled.pixels,
                "interval": agreement.difference_interval(duels),
                "scenes": sum(1 for duel in duels if duel.pixels),
                "scenes_a_better": sum(1 for duel in duels if duel.a_only > duel.b_only),
                "scenes_b_better": sum(1 for duel in duels if duel.b_only > duel.a_only),
            }


def _scene_record(count: Count, classes: Sequence[str]) -> dict[str, Any]:
    hours = {
        name: int(count.parts[name].sum())
        for name in ("day", "twilight", "night")
        if name in count.parts
    }
    return {
        "name": count.name,
        "scene": count.scene,
        "mask": count.mask,
        "pixels": count.measured,
        "missing": count.missing,
        "day": hours.get("day", 0) / sum(hours.values()) if hours else None,
        "fraction": {
            member: _shares(count.joint, axis, classes)
            for axis, member in enumerate(MEMBERS)
            if _pixels(count.joint, axis).any()
        },
        "against": _against(count.joint, classes),
        "legacy_accuracy": count.legacy,
    }


def _pixels(joint: np.ndarray, axis: int) -> np.ndarray:
    """(K,) pixels of each class that one mask knows."""
    others = tuple(other for other in range(joint.ndim) if other != axis)
    return joint.sum(axis=others)[:-1]


def _shares(joint: np.ndarray, axis: int, classes: Sequence[str]) -> dict[str, float]:
    pixels = _pixels(joint, axis)
    return {
        name: int(number) / int(pixels.sum()) for name, number in zip(classes, pixels, strict=True)
    }


def _title(member: str) -> str:
    return {"summary": "summary mask"}.get(member, member)


def _made_by(attributes: dict[str, str]) -> dict[str, Any]:
    options = json.loads(attributes.get("options", "{}"))
    return {
        "models": options.pop("models", []),
        "training_patchset": attributes.get("training_patchset"),
        "options": options,
    }
