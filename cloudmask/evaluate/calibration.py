"""Whether a probability means what it says, and what every threshold on it would give.

Pixels are counted by their stored probability, in steps of 1e-4: such counts add up over scenes and
ranks, and every figure follows from them without error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cloudmask.metrics import mean, ratio
from cloudmask.predict.masks.values import STEPS, steps_of

BINS = 10
SWEEP = 50
"""intervals of the printed threshold sweep"""


def histogram(probability: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """N probabilities and N bool, whether the class is there -> (2, STEPS + 1) int64 counts."""
    steps = steps_of(probability).astype(np.int64)
    counts = np.bincount(steps + (STEPS + 1) * positive, minlength=2 * (STEPS + 1))
    return counts.reshape(2, STEPS + 1)


def figures(counts: np.ndarray) -> dict[str, Any]:
    """(2, STEPS + 1) counts [absent or there, step] -> reliability, ROC and threshold sweep.

    Brier (Monthly Weather Review 78, 1950): mean squared difference to 0 or 1. Expected calibration
    error: |frequency - mean probability| over ten bins, weighted by their pixels (Naeini et al.,
    AAAI 2015). Area under the ROC curve: by trapezia between all thresholds.
    """
    absent, there = counts.astype(float)
    probability = np.arange(STEPS + 1) / STEPS
    total = counts.sum()
    squares = absent * probability**2 + there * (1 - probability) ** 2
    rows = _reliability(absent, there, probability)
    error = sum(
        row["pixels"] * abs(row["frequency"] - row["mean_probability"])
        for row in rows
        if row["pixels"]
    )
    # Pixels at or above each step, from "none" down to "all".
    hits = np.concatenate([[0], np.cumsum(there[::-1])])
    alarms = np.concatenate([[0], np.cumsum(absent[::-1])])
    right = hits + alarms[-1] - alarms
    best = 1 + int(np.argmax(right[1:]))  # 0 would be a threshold beyond 1, which none can be
    sweep = [round(index * STEPS / SWEEP) for index in range(SWEEP + 1)]
    return {
        "pixels": int(total),
        "brier": ratio(squares.sum(), total),
        "expected_calibration_error": ratio(error, total),
        "auc": ratio(np.trapezoid(hits, alarms), hits[-1] * alarms[-1]),
        "reliability": rows,
        "sweep": [_at(hits, alarms, step) for step in sweep],
        "best": {
            "threshold": (STEPS + 1 - best) / STEPS,
            "accuracy": ratio(right[best], total),
        },
    }


def _reliability(
    absent: np.ndarray, there: np.ndarray, probability: np.ndarray
) -> list[dict[str, Any]]:
    number = np.minimum(probability * BINS, BINS - 1).astype(int)
    pixels = np.bincount(number, absent + there)
    found = np.bincount(number, there)
    said = np.bincount(number, (absent + there) * probability)
    return [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "pixels": int(pixels[index]),
            "mean_probability": ratio(said[index], pixels[index]),
            "frequency": ratio(found[index], pixels[index]),
        }
        for index in range(BINS)
    ]


def _at(hits: np.ndarray, alarms: np.ndarray, step: int) -> dict[str, Any]:
    """Figures where a pixel counts as the class from the probability `step` / STEPS on."""
    hit, alarm = hits[STEPS + 1 - step], alarms[STEPS + 1 - step]
    there, absent = hits[-1], alarms[-1]
    rates = ratio(hit, there), ratio(alarm, absent)
    return {
        "threshold": step / STEPS,
        "true_positive_rate": rates[0],
        "false_positive_rate": rates[1],
        "accuracy": ratio(hit + absent - alarm, there + absent),
        "iou": ratio(hit, there + alarm),
        "precision": ratio(hit, hit + alarm),
        "f1": ratio(2 * hit, hit + there + alarm),
        "balanced_accuracy": mean([rates[0], None if rates[1] is None else 1 - rates[1]]),
    }
