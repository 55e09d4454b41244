"""What one scene adds to an evaluation: a table of joint counts, and a histogram of probabilities.

Both add up over scenes and ranks; see agreement.py and calibration.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cloudmask.data.place import Place
from cloudmask.data.scene import Scene, missing_pixels
from cloudmask.evaluate import agreement, calibration
from cloudmask.evaluate.regions import regions
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SceneMask, classify

MEMBERS = ("network", "label", "summary", "truth")
"""the masks of a scene; each is judged against those behind it"""
REFERENCES = MEMBERS[1:]
TITLES = {
    "any": "Bayesian mask (any bit)",
    "single_moderate": "Bayesian mask (single moderate)",
    "probability": "Bayesian probability",
}


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
    """see figures.LEGACY"""
    label_title: str
    attributes: dict[str, str]


def references(scene: Scene) -> tuple[np.ndarray | None, ...]:
    """Label, summary and truth; what serves as the label does not come twice."""
    return (
        scene.label,
        None if scene.label_source == "summary" else scene.summary,
        None if scene.label_source == "truth" else scene.truth,
    )


def count(
    scene: Scene, mask: SceneMask, path: Place, file: Path, *, threshold: float | None
) -> Count:
    """A scene at `path` and its mask in `file`, whose own threshold counts if none is given."""
    network = mask.mask if threshold is None else classify(mask.probability, threshold=threshold)
    masks = (network, *references(scene))
    num_classes = len(mask.classes)
    missing = missing_pixels(scene.image)
    legacy = None
    if scene.label is not None and num_classes == 2:
        legacy = float(np.mean((network == 1) == ((scene.label != 0) & ~missing)))
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
        legacy=legacy,
        label_title=TITLES.get(scene.label_source, scene.label_source or "label"),
        attributes={key: str(value) for key, value in (mask.attributes or {}).items()},
    )


def no_histograms(num_classes: int) -> np.ndarray:
    """(references, classes stored, 2, STEPS + 1) int64 zeros; of two classes the second is."""
    stored = 1 if num_classes == 2 else num_classes
    return np.zeros((len(REFERENCES), stored, 2, calibration.STEPS + 1), np.int64)


def histograms(scene: Scene, mask: SceneMask) -> np.ndarray:
    """Pixels of a scene by their probability, as `no_histograms` lays them out."""
    tables = no_histograms(len(mask.classes))
    stored = tables.shape[1]
    first = len(mask.classes) - stored
    for number, reference in enumerate(references(scene)):
        if reference is None:
            continue
        known = (reference != UNKNOWN) & (mask.mask != UNKNOWN)
        for index in range(stored):
            probability = mask.probability[..., index][known]
            there = reference[known] == first + index
            tables[number, index] = calibration.histogram(probability, there)
    return tables
