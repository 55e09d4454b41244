"""A network's probability of a whole scene, made better by its neighbourhood and a few weights.

The weights are those of a logistic regression on a few scenes whose mask is known, and lie in the
model's file. Values alone: who has scenes fits them. scipy is loaded where a field is blurred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudmask.metrics import UNKNOWN
from cloudmask.text import plural

KINDS = ("all", "some")
"""of pixels: all channels are measured, or some are missing, as reflectances are at night; each
has its own weights"""
BLURS = (1.5, 6.0)
"""pixels: standard deviations of the Gaussians over the probability"""
TEACHER_BLUR = 1.5
"""pixels: that of the Gaussian over the teacher's votes"""
LIMIT = 12.0
"""of log-odds: surer than 6e-6 from 0 or 1 no probability is taken for"""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What `ModelInfo.calibration` says, checked."""

    weights: Mapping[str, np.ndarray]
    """kind -> (F + 1,): of each row of `features`, then the constant"""
    blurs: tuple[float, ...]
    teacher_blur: float
    teacher: str | None
    """the label that must be read with each scene; None: the network's probability is enough"""
    scenes: tuple[str, ...]
    """names of the scenes it was fitted on, on which its masks must not be judged"""

    def __call__(
        self, probability: np.ndarray, complete: np.ndarray, teacher: np.ndarray | None
    ) -> np.ndarray:
        """(H, W) probability of the second class, NaN = not measured -> the same, calibrated.

        `complete` is (H, W) bool: all channels are measured; `teacher` (H, W) uint8, 255 = unknown.
        float32. Where the weights are the identity's, the probability stays what it was.
        """
        from scipy.special import expit

        measured = ~np.isnan(probability)
        rows = self.features(probability, teacher)
        inside = complete[measured]
        result = probability[measured].astype(np.float32)
        start = identity(len(rows))
        for kind in KINDS:
            weights = self.weights[kind]
            if not np.array_equal(weights, start):
                there = inside if kind == "all" else ~inside
                odds = weights[-1] + sum(
                    weight * row[there] for weight, row in zip(weights, rows, strict=False)
                )
                result[there] = expit(odds)
        calibrated = np.full(probability.shape, np.nan, np.float32)
        calibrated[measured] = result
        return calibrated

    def features(self, probability: np.ndarray, teacher: np.ndarray | None) -> list[np.ndarray]:
        """See features(), with the blurs of this calibration."""
        if (teacher is None) != (self.teacher is None):
            raise ValueError(f"the calibration's teacher is {self.teacher}")
        return features(probability, teacher, blurs=self.blurs, teacher_blur=self.teacher_blur)


def features(
    probability: np.ndarray,
    teacher: np.ndarray | None = None,
    *,
    blurs: tuple[float, ...] = BLURS,
    teacher_blur: float = TEACHER_BLUR,
) -> list[np.ndarray]:
    """(H, W) probability, NaN = not measured -> F float64 arrays (n,), of the n measured pixels.

    The log-odds, clipped to +-LIMIT; they blurred by each of `blurs`; and with a `teacher`, (H, W)
    uint8, its vote (1 for the second class, -1 for the first, 0 where it is unknown) and that
    blurred. A blur is the Gaussian mean of the measured pixels alone, inside the image, so nothing
    that is missing reaches its neighbours.
    """
    measured = ~np.isnan(probability)
    known = np.where(measured, probability, 0.5).astype(np.float64)
    with np.errstate(divide="ignore"):
        odds = np.clip(np.log(known) - np.log1p(-known), -LIMIT, LIMIT)
    rows = [odds[measured], *(_blurred(odds, measured, sigma) for sigma in blurs)]
    if teacher is not None:
        vote = np.where(teacher == UNKNOWN, 0.0, np.where(teacher == 1, 1.0, -1.0))
        rows += [vote[measured], _blurred(vote, measured, teacher_blur)]
    return rows


def _blurred(field: np.ndarray, measured: np.ndarray, sigma: float) -> np.ndarray:
    """(n,) of the measured pixels. A field and its weights are blurred alike and divided."""
    from scipy.ndimage import gaussian_filter

    value, weight = (
        gaussian_filter(part, sigma, mode="constant")
        for part in (np.where(measured, field, 0.0), measured.astype(np.float64))
    )
    return value[measured] / weight[measured]  # a pixel is in its own mean, so weight > 0


def identity(rows: int) -> np.ndarray:
    """Weights of so many features and a constant that leave the log-odds what they are."""
    return np.eye(1, rows + 1)[0]


def of_record(record: Any) -> Calibration:
    """What a model's file says of its calibration. ValueError if that cannot be used."""
    try:
        teacher = record["teacher"]
        if not (teacher is None or isinstance(teacher, str)):
            raise ValueError("its teacher is no name")
        blurs = tuple(map(float, record["blurs"]))
        teacher_blur = float(record["teacher_blur"])
        if not all(0 < sigma < 1000 for sigma in (*blurs, teacher_blur)):
            raise ValueError("a blur is not between 0 and 1000 pixels")
        length = 1 + len(blurs) + (0 if teacher is None else 2) + 1
        weights = {}
        for kind in KINDS:
            found = np.asarray(record["weights"][kind], np.float64)
            if found.shape != (length,) or not np.isfinite(found).all():
                raise ValueError(f"the weights '{kind}' are not {length} finite numbers")
            weights[kind] = found
        scenes = record["scenes"]
        if not (isinstance(scenes, list) and all(isinstance(name, str) for name in scenes)):
            raise ValueError("its scenes are no names")
    except KeyError as error:
        raise ValueError(f"its calibration lacks {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"its calibration cannot be used: {error}") from None
    return Calibration(weights, blurs, teacher_blur, teacher, tuple(scenes))


def sentence(record: Mapping[str, Any]) -> str:
    """What people should know of a calibration, without its scenes' names; no full stop."""
    scenes = record.get("scenes") or []
    told = f"calibrated on the label '{record.get('label')}' of {plural(len(scenes), 'scene')}"
    teacher = record.get("teacher")
    return f"{told}, and takes the label '{teacher}' of each scene as a vote" if teacher else told
