"""How good a trained network is on a patch set: counts over all its pixels, divided once.

Batches are dealt out to the ranks whole, so that each patch is computed in the same company however
many ranks there are, and losses are added in patch order: the figures do not depend on N. (On
other numbers of threads per rank the network itself differs in its last bits.)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cloudmask import metrics
from cloudmask.cli import errors
from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import EvaluateConfig
from cloudmask.data import parallel
from cloudmask.data.classes import numbers_of
from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.handed import open_for_all
from cloudmask.data.patchset.model import PatchSet
from cloudmask.data.patchset.open import verify_files
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.data.slstr import recorded
from cloudmask.model import keras_file
from cloudmask.record import now, versions, warn

POS_WEIGHT = 0.5
"""of the benchmark's weighted binary cross-entropy"""


def measure(config: EvaluateConfig, world: parallel.World) -> dict[str, Any]:
    """The content of evaluation-SPLIT.json, the same on every rank. ValueError for bad input."""
    folder = Path(str(config.against[0]))
    threshold = 0.5 if config.threshold is None else config.threshold
    patchset = open_for_all(folder, world.on_root)
    # Soft targets are made by networks: the labels beside them stay what a network is held against.
    patchset = dataclasses.replace(patchset, target="label")
    with errors.the_same_on_all_ranks():
        if config.split not in patchset.splits:
            raise ValueError(
                f"{folder} has no split '{config.split}'; it has: "
                f"{', '.join(sorted(patchset.splits))}"
            )
    with errors.loading_tensorflow():
        import tensorflow as tf

        from cloudmask.model import precision
        from cloudmask.model.decode import decode
        from cloudmask.model.losses import confusion_counts, pixel_losses, predicted_class

    with errors.the_same_on_all_ranks():
        arithmetic = precision.resolve(config.precision)
        precision.use(arithmetic)
        model, info = keras_file.load(config.what)
        check_fits(info, patchset, config)
        if config.threshold is not None and len(info.classes) != 2:
            raise ValueError(
                f"--threshold is for networks of two classes; {config.what} knows "
                f"{len(info.classes)}, of which the most probable one counts"
            )
        trained, cut = recorded(info.reading), recorded(patchset.reading)
    if world.is_root and trained != cut:
        warn(
            f"{config.what} learned from products read otherwise ({trained}) than {folder} ({cut})"
        )
    _verify(patchset, config, world)
    num_classes = len(info.classes)
    number_of = numbers_of(patchset.classes, among=info.classes)
    weights = (1.0, POS_WEIGHT) if num_classes == 2 else ()

    @tf.function(reduce_retracing=True)
    def step(image, scale, offset, label):
        logits = model(decode(image, scale, offset, fill=FILL), training=False)
        losses = [pixel_losses(logits, label, weights=choice) for choice in ((), weights)]
        predicted = predicted_class(logits, threshold=threshold)
        return tf.stack(losses), confusion_counts(label, predicted, num_classes)

    with PatchReader(patchset, config.split) as reader:
        batches = [
            range(first, min(first + config.batch_size, len(reader)))
            for first in range(0, len(reader), config.batch_size)
        ]
        loss = np.zeros((len(batches), 2))
        counts = np.zeros((num_classes, num_classes), np.int64)
        mine = range(world.rank, len(batches), world.size)
        quiet = True if world.rank else None
        for number in tqdm(mine, desc="evaluate", unit="batch", leave=False, disable=quiet):
            batch = reader.read(batches[number])
            label = number_of[batch.label]
            losses, confusion = step(batch.image, batch.scale, batch.offset, label)
            loss[number] = losses.numpy().sum(axis=(1, 2, 3), dtype=np.float64)
            counts += confusion.numpy()
    loss = world.sum(loss).sum(axis=0)
    counts = world.sum(counts)
    plain, weighted = (loss / counts.sum()).tolist()
    figures = metrics.derive(counts, info.classes).as_dict()
    return {
        "run": str(config.what),
        "patchset": str(folder),
        "split": config.split,
        "patches": patchset.splits[config.split].patches,
        "threshold": threshold if num_classes == 2 else None,
        "arithmetic": arithmetic,
        "classes": list(info.classes),
        "cross_entropy": plain,
        "weighted_cross_entropy": weighted if weights else None,
        "pos_weight": POS_WEIGHT if weights else None,
        "ranks": world.size,
        "date": now(),
        "versions": versions() if world.is_root else {},
        **figures,
    }


def _verify(patchset: PatchSet, config: EvaluateConfig, world: parallel.World) -> None:
    """Hold the files that are to be read against their checksums; the ranks share them. Collective.

    They are then in the page cache, as far as it holds them. AgreedError.
    """
    if not config.verify:
        return
    files = patchset.splits[config.split].files
    mine = parallel.deal([float(file.bytes) for file in files], world.size)[world.rank]
    problems = verify_files(patchset, [files[number] for number in mine])
    found = [one for some in world.broadcast(world.gather(problems)) or [] for one in some]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise AgreedError(f"{found[0]}{more}; prepare or copy the patch set again")


def check_fits(info: keras_file.ModelInfo, patchset: PatchSet, config: EvaluateConfig) -> None:
    """Raise ValueError unless model and patch set speak of the same channels and classes, and for
    a calibrated model.

    Classes may be in another order: they are matched by name.
    """
    if info.calibration is not None:
        raise ValueError(
            f"{config.what} is calibrated, which takes whole scenes: patches have nothing beyond "
            "their edges; evaluate it on scenes, or the model that it was made from on patches"
        )
    known = tuple(patchset.classes)
    for what, has, takes in (
        ("channels", tuple(patchset.channels), info.channels),
        ("classes", info.classes if sorted(known) == sorted(info.classes) else known, info.classes),
    ):
        if has != takes:
            raise ValueError(
                f"{config.what} knows the {what} {', '.join(takes)}; "
                f"{config.against[0]} holds {', '.join(has)}"
            )
    if patchset.patch_size % 2 ** (len(info.widths) - 1):
        raise ValueError(
            f"patches of {patchset.patch_size} pixels do not halve {len(info.widths) - 1} times"
        )
