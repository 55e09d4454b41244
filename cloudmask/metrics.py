"""Confusion counts that add up over batches, scenes and ranks, and the figures derived from them.

Counts are added, and divided once: a figure of many ranks is that of one rank that saw everything.
Formulas: Cohen, "A coefficient of agreement for nominal scales", 1960 (kappa); intersection over
union = tp / (tp + fp + fn) (Jaccard, 1912); F1 = 2 tp / (2 tp + fp + fn) (Dice, 1945).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

UNKNOWN = 255
"""as a label or a soft target: does not count"""
SOFT_STEPS = 254
"""a stored soft target v, from 0 to this, is the probability v / 254 of the second of two"""


@dataclass(frozen=True)
class Metrics:
    """Figures of one confusion matrix; None where there is nothing to divide by."""

    pixels: int
    accuracy: float | None
    majority: float | None
    """accuracy of always answering the commonest class"""
    balanced_accuracy: float | None
    """mean recall of the classes that occur"""
    mean_iou: float | None
    kappa: float | None
    iou: dict[str, float | None]
    f1: dict[str, float | None]
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    confusion: list[list[int]]
    """confusion[label][predicted], pixels"""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def confusion(label: np.ndarray, predicted: np.ndarray, *, num_classes: int) -> np.ndarray:
    """Labels and predicted classes of equal shape -> (K, K) int64 counts [label, predicted].

    Pixels labelled 255 do not count. Raises ValueError for a class outside 0..K-1.
    """
    label, predicted = np.asarray(label), np.asarray(predicted)
    if label.shape != predicted.shape:
        raise ValueError(f"labels {label.shape} and predictions {predicted.shape} differ in shape")
    known = label != UNKNOWN
    pairs = label[known].astype(np.int64), predicted[known].astype(np.int64)
    for name, values in zip(("label", "prediction"), pairs, strict=True):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            wrong = values.min() if values.min() < 0 else values.max()
            raise ValueError(f"a {name} of {wrong} is outside the {num_classes} classes")
    flat = np.bincount(pairs[0] * num_classes + pairs[1], minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def derive(counts: np.ndarray, classes: Sequence[str]) -> Metrics:
    """(K, K) counts [label, predicted] -> figures."""
    counts = np.asarray(counts, dtype=np.int64)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"counts of shape {counts.shape} do not fit {len(classes)} classes")
    total = int(counts.sum())
    hits = np.diag(counts)
    labelled, predicted = counts.sum(axis=1), counts.sum(axis=0)
    union = labelled + predicted - hits
    recalls = [ratio(h, n) for h, n in zip(hits, labelled, strict=True)]
    ious = [ratio(h, n) for h, n in zip(hits, union, strict=True)]
    accuracy = ratio(hits.sum(), total)
    chance = ratio(float(labelled.astype(float) @ predicted.astype(float)), float(total) ** 2)
    kappa = None
    if accuracy is not None and chance is not None and chance < 1:
        kappa = (accuracy - chance) / (1 - chance)
    by_class = dict(zip(classes, range(len(classes)), strict=True))
    return Metrics(
        pixels=total,
        accuracy=accuracy,
        majority=ratio(labelled.max(), total),
        balanced_accuracy=mean(recalls),
        mean_iou=mean(ious),
        kappa=kappa,
        iou={name: ious[i] for name, i in by_class.items()},
        f1={n: ratio(2 * hits[i], labelled[i] + predicted[i]) for n, i in by_class.items()},
        precision={n: ratio(hits[i], predicted[i]) for n, i in by_class.items()},
        recall={name: recalls[i] for name, i in by_class.items()},
        confusion=counts.tolist(),
    )


def ratio(part: float, whole: float) -> float | None:
    """None where there is nothing to divide by."""
    return float(part) / float(whole) if whole else None


def mean(values: Sequence[float | None]) -> float | None:
    """Of the values that there are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
