"""Networks that judge the labels of a patch set, each of the scenes that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.files import FilePatches
from cloudmask.data.patchset.folds import Fold
from cloudmask.data.patchset.model import PatchSet
from cloudmask.data.slstr import recorded
from cloudmask.model.keras_file import path_of, read_info
from cloudmask.predict.model import Model, load
from cloudmask.record import warn
from cloudmask.text import plural

FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""steps along rows and columns: a patch as it is, and mirrored each way and both"""


@dataclass(frozen=True)
class Judge:
    """A run, and the scenes that it never saw."""

    path: Path
    sha256: str
    fold: Fold
    model: Model


def judges_of(runs: Sequence[tuple[Path, str]], patchset: PatchSet, precision: Any) -> list[Judge]:
    """Runs with the checksums of their models -> the judges.

    ValueError for a run that cannot judge these patches, and for scenes that all have seen.
    """
    folds = [_fold_of(path, patchset) for path, _ in runs]
    _check_folds(patchset, folds)
    return [
        Judge(path, sha256, fold, load(path, precision=precision))
        for (path, sha256), fold in zip(runs, folds, strict=True)
    ]


def _fold_of(path: Path, patchset: PatchSet) -> Fold:
    """What a run has never seen. ValueError for one that cannot judge these patches."""
    info = read_info(path_of(path))
    if info.calibration is not None:
        raise ValueError(
            f"{path} is calibrated, which takes whole scenes: patches have nothing beyond their "
            "edges; name the model that it was made from, the run's own model.keras"
        )
    for what in ("channels", "classes"):
        takes, has = getattr(info, what), getattr(patchset, what)
        if takes != has:
            raise ValueError(
                f"{path} knows the {what} {', '.join(takes)}; {patchset.folder} holds "
                f"{', '.join(has)}"
            )
    if not info.fold:
        raise ValueError(
            f"{path} was trained without --fold: it has seen the scenes that it should judge; "
            "train runs with --fold 0/2 and --fold 1/2"
        )
    return Fold.of(info.fold)


def warn_of_other_reading(patchset: PatchSet, judges: Sequence[Judge]) -> None:
    for judge in judges:
        trained, cut = recorded(judge.model.info.reading), recorded(patchset.reading)
        if trained != cut:
            warn(
                f"{judge.path} learned from products read otherwise ({trained}) than "
                f"{patchset.folder} ({cut})"
            )


def _check_folds(patchset: PatchSet, folds: Sequence[Fold]) -> None:
    """ValueError unless every scene is in a fold that some run has left out."""
    names = [entry.scene_name for entry in patchset.files]
    seen = [name for name in names if not any(fold.holds(name) for fold in folds)]
    if seen:
        told = ", ".join(sorted({str(fold) for fold in folds}))
        raise ValueError(
            f"{plural(len(seen), 'scene')} of {len(names)}, such as {seen[0]}, are in no fold that "
            f"a run has left out ({told}); train the other folds too"
        )


def probability_of(patches: FilePatches, models: Sequence[Model]) -> np.ndarray:
    """(n, S, S) float32: the mean over the models and FLIPS, NaN where nothing was measured."""
    found = np.empty(patches.label.shape, np.float32)
    for number, stored in enumerate(patches.image):
        image = decode(stored, patches.scale, patches.offset)
        parts = [
            model.predict(image[::rows, ::columns]).probability[::rows, ::columns]
            for model in models
            for rows, columns in FLIPS
        ]
        found[number] = np.mean(parts, axis=0, dtype=np.float64)
    return found
