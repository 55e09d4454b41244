"""What scenes add to an evaluation: tables of joint counts, and histograms of probabilities.

All of them add up over scenes and ranks; see agreement.py and calibration.py. What is kept of each
scene is some thousand bytes, so that 30,000 of them fit into every rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cloudmask.data.classes import with_classes
from cloudmask.data.parallel import World
from cloudmask.data.place import Place
from cloudmask.data.scene import LABEL_TITLES, Scene, missing_pixels
from cloudmask.evaluate import agreement, calibration
from cloudmask.evaluate.regions import REGIONS, regions
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks.values import STEPS, SceneMask, classify

MEMBERS = ("network", "label", "summary", "truth")
"""the masks of a scene; each is judged against those behind it"""
REFERENCES = MEMBERS[1:]
HOURS = ("day", "twilight", "night")


@dataclass(frozen=True)
class Count:
    """What is kept of one scene."""

    name: str
    scene: str
    mask: str
    joint: np.ndarray
    """(K + 1,) * 4 pixels: network, label, summary, truth; see agreement.joint_counts"""
    hours: tuple[int, ...]
    """pixels by day, in twilight and by night; all 0 if the scene does not tell"""
    measured: int
    missing: int
    legacy: float | None
    """see figures.LEGACY; None where the masks' classes are in another order than the scene's"""
    label_title: str
    fingerprint: str
    """of what made the mask; empty if it does not tell"""
    redated: bool
    """the scene is not the file of the very date of which the mask was made"""


@dataclass(frozen=True, eq=False)
class Tally:
    """What scenes have in common: one for each rank, then one for all."""

    classes: tuple[str, ...]
    """of the masks, in their order"""
    parts: np.ndarray
    """(regions, (K + 1,) * 4) pixels by day, at sea, ...; see agreement.joint_counts"""
    histograms: np.ndarray
    """(references, classes stored, 2, STEPS + 1) pixels; of two classes the second is stored"""
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    """fingerprint -> what a mask that bears it says of its making"""

    @classmethod
    def of_nothing(cls, classes: Sequence[str]) -> Tally:
        stored = 1 if len(classes) == 2 else len(classes)
        joint = [len(classes) + 1] * len(MEMBERS)
        return cls(
            classes=tuple(classes),
            parts=np.zeros([len(REGIONS), *joint], np.int64),
            histograms=np.zeros([len(REFERENCES), stored, 2, STEPS + 1], np.int64),
        )

    def add(
        self,
        scene: Scene,
        mask: SceneMask,
        *,
        path: Place,
        file: Path,
        threshold: float | None,
        redated: bool = False,
    ) -> Count:
        """Count a scene at `path` and its mask in `file`, and give what is kept of the scene.

        The mask's own threshold counts if none is given. The classes of the scene may be in any
        order. ValueError, and then nothing is counted.
        """
        missing = missing_pixels(scene.image)
        network = (
            mask.mask if threshold is None else classify(mask.probability, threshold=threshold)
        )
        legacy = None
        if scene.label is not None and scene.classes == mask.classes and len(mask.classes) == 2:
            legacy = float(np.mean((network == 1) == ((scene.label != 0) & ~missing)))
        scene = with_classes(scene, mask.classes)
        masks, size = (network, *references(scene)), len(self.classes)
        joint = agreement.joint_counts(masks, num_classes=size)
        parts = {
            name: agreement.joint_counts(masks, num_classes=size, where=part)
            for name, part in regions(scene).items()
        }
        self.histograms[...] += _histograms(scene, mask, np.zeros_like(self.histograms))
        for name, part in parts.items():
            self.parts[REGIONS.index(name)] += part
        attributes = {key: str(value) for key, value in (mask.attributes or {}).items()}
        fingerprint = attributes.get("fingerprint", "")
        self.attributes.setdefault(fingerprint, attributes)
        return Count(
            name=scene.name,
            scene=str(path),
            mask=file.name,
            joint=joint,
            hours=tuple(int(parts[name].sum()) if name in parts else 0 for name in HOURS),
            measured=int((~missing).sum()),
            missing=int(missing.sum()),
            legacy=legacy,
            label_title=LABEL_TITLES.get(scene.label_source, scene.label_source or "label"),
            fingerprint=fingerprint,
            redated=redated,
        )

    def over(self, world: World) -> Tally:
        """That of all ranks together, on every rank. Collective."""
        everyone = world.broadcast(world.gather(self.attributes)) or []
        made = {key: told for one in reversed(everyone) for key, told in one.items()}
        return Tally(self.classes, world.sum(self.parts), world.sum(self.histograms), made)


def references(scene: Scene) -> tuple[np.ndarray | None, ...]:
    """Label, summary and truth; what serves as the label does not come twice."""
    return (
        scene.label,
        None if scene.label_source == "summary" else scene.summary,
        None if scene.label_source == "truth" else scene.truth,
    )


def _histograms(scene: Scene, mask: SceneMask, tables: np.ndarray) -> np.ndarray:
    """Pixels of a scene by their probability, into zeros that are laid out as Tally.histograms."""
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
