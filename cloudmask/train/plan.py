"""What follows from the configuration, the patch set and the number of ranks: nothing else is set.

Derived values are computed here once, checked, printed and recorded; none can be configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.folds import Fold, without
from cloudmask.data.patchset.model import PatchSet
from cloudmask.data.patchset.open import open_patchset
from cloudmask.model import keras_file, losses, precision
from cloudmask.train import schedule
from cloudmask.train.checks import Data, check_options
from cloudmask.train.hiding import Hiding, make_hiding
from cloudmask.train.ranks import Ranks

GPU_TIMING_EVERY = 10
"""a clock makes a GPU wait for its host"""


@dataclass(frozen=True)
class Plan:
    """What follows from the configuration, the patch set and the number of ranks."""

    patchset: PatchSet
    """without the training patches of the fold that is left out"""
    info: keras_file.ModelInfo
    num_patches: int
    num_valid: int
    global_batch: int
    batch_per_rank: int
    steps_per_epoch: int
    class_weights: tuple[float, ...]
    hiding: Hiding | None
    """what --augment-missing makes missing"""
    precision: str
    num_ranks: int
    timing_every: int
    """steps from one that is clocked to the next"""
    config: TrainConfig

    def learning_rate(self, step: int) -> float:
        return schedule.learning_rate(
            step,
            base=self.config.lr,
            scaling=self.config.lr_scaling,
            num_ranks=self.num_ranks,
            warmup_steps=round(self.config.warmup_epochs * self.steps_per_epoch),
            decay=self.config.lr_decay,
            total_steps=self.total_steps,
        )

    @property
    def soft(self) -> bool:
        """Whether the patches' labels are soft targets."""
        return self.patchset.target == "soft"

    @property
    def total_steps(self) -> int:
        steps = self.config.epochs * self.steps_per_epoch
        return min(steps, self.config.max_steps or steps)

    @property
    def full_learning_rate(self) -> float:
        """After the warm-up, before any decay."""
        return self.config.lr * schedule.scale(self.config.lr_scaling, self.num_ranks)

    @property
    def order(self) -> dict[str, Any]:
        """What the order of an epoch follows from, beside its patches: a Part without steps."""
        order = {
            "num_ranks": self.num_ranks,
            "global_batch": self.global_batch,
            "shuffle": self.config.shuffle,
            "seed": self.config.seed,
        }
        # Told where it makes a difference, so that all other checkpoints go on as they are.
        uneven = self.config.shuffle == "shard" and self.global_batch % self.num_ranks
        return order | ({"equal_shards": False} if uneven else {})

    def identity(self, threads: int) -> dict[str, dict[str, Any]]:
        """What must be equal to go on at all, to keep the order, and to end with the same bits."""
        info, config = self.info, self.config
        network = ("channels", "classes", "widths", "dropout", "mean", "std")
        options = ("lr", "lr_scaling", "warmup_epochs", "clip_offset", "lr_decay", "xla")
        return {
            "model": {
                **{name: list(getattr(info, name)) for name in network},
                "missing channel": info.missing_channel or None,  # as where it is not told
                "decorrelate": config.decorrelate or None,
                "upsampling": None if info.upsampling == "nearest" else info.upsampling,
                "patch set": info.patchset,
                "fold": info.fold or None,  # as where it is not told
                "emulated step seconds": config.emulate,
            },
            "order": self.order,
            "settings": {
                **{name: getattr(config, name) for name in options},
                "precision": self.precision,
                "threads": threads,
                "class weights": list(self.class_weights),
                "loss": config.loss if config.loss in losses.ROBUST else None,  # as before
                "steps in all": self.total_steps,
                "narrow gradients": config.narrow_gradients or None,  # as where it is not told
                "augment": [config.augment, config.augment_gain, config.augment_shared],
                "augment missing": self.hiding and [self.hiding.share, list(self.hiding.channels)],
            },
        }

    def saves_after(self, step: int) -> bool:
        """Within an epoch: after every --checkpoint-steps, and after the last step of the run."""
        every = self.config.checkpoint_steps
        return step == self.config.max_steps or (every > 0 and step % every == 0)

    def validates_after(self, epoch: int, *, step: int) -> bool:
        """Of epochs counted from 1: after every --validate-every, and after the last.

        The last one may be that in which the run takes its last step; `step` are taken so far.
        """
        last = epoch == self.config.epochs or step == self.config.max_steps
        return self.num_valid > 0 and (last or epoch % self.config.validate_every == 0)

    def rows(self, rank: int, epoch: int, parts: Sequence[schedule.Part] = ()) -> np.ndarray:
        """(steps, batch) patch indices of one rank in one epoch; see schedule.epoch_plan."""
        return schedule.epoch_plan(
            self.num_patches, rank=rank, epoch=epoch, parts=parts, **self.order
        )

    def training_patches(self, rank: int) -> np.ndarray:
        """(n,) sorted: a rank's own part; with --shuffle global, every patch, as in the end."""
        if self.config.shuffle == "global":
            return np.arange(self.num_patches)
        bounds = schedule.shard_bounds(
            self.num_patches, self.num_ranks, global_batch=self.global_batch
        )
        return np.arange(bounds[rank], bounds[rank + 1])

    def validation_rows(self, rank: int) -> np.ndarray:
        """(steps, batch) patch indices of one rank; see schedule.validation_plan."""
        return schedule.validation_plan(
            self.num_valid, self.num_ranks, rank, batch=self.batch_per_rank
        )

    def validation_patches(self, rank: int) -> np.ndarray:
        rows = self.validation_rows(rank)
        return rows[rows != schedule.PAD]

    def patches_per_step(self, num_patches: int | None = None) -> list[int]:
        """Patches of all ranks in each step of an epoch, or of what is left of one."""
        return schedule.patches_per_step(
            self.num_patches if num_patches is None else num_patches,
            self.num_ranks,
            global_batch=self.global_batch,
            shuffle=self.config.shuffle,
        )

    def cache_bytes(self) -> int:
        """What --cache takes, at most, per rank: its training patches and those of validation."""
        patch = self.patchset.patch_size**2 * (2 * len(self.info.channels) + 1)
        return patch * max(
            len(self.training_patches(rank)) + len(self.validation_patches(rank))
            for rank in range(self.num_ranks)
        )


def make_plan(config: TrainConfig, ranks: Ranks, patchset: PatchSet | None = None) -> Plan:
    """Check that this configuration can be run on a patch set, which is opened unless it is handed
    in. Raises ValueError."""
    patchset = patchset or open_patchset(config.data)
    if "train" not in patchset.splits or not patchset.splits["train"].patches:
        raise ValueError(
            f"{config.data} has no training patches; prepare it with --split train=..."
        )
    levels = 2 ** (len(config.widths) - 1)
    if patchset.patch_size % levels:
        raise ValueError(
            f"patches of {patchset.patch_size} pixels do not halve {len(config.widths) - 1} times; "
            f"prepare with a --patch-size that is a multiple of {levels}"
        )
    if not 0 <= 2 * config.clip_offset < patchset.patch_size:
        raise ValueError(
            f"--clip-offset {config.clip_offset} leaves nothing of patches of "
            f"{patchset.patch_size} pixels"
        )
    fold = Fold.of(config.fold) if config.fold is not None else None
    if fold:
        patchset = without(fold, patchset)
    num_patches = patchset.splits["train"].patches
    valid = patchset.splits.get("valid")
    num_valid = valid.patches if valid else 0
    soft = patchset.target == "soft"
    check_options(config, Data(len(patchset.classes), valid_patches=num_valid, soft=soft))
    global_batch = config.global_batch or config.batch_size * ranks.size
    schedule.check_batch(num_patches, ranks.size, global_batch=global_batch)
    mean, std = _normalisation(config, patchset)
    channels = tuple(patchset.channels)
    hiding = make_hiding(config, channels=channels, always_there=patchset.always_there)
    hidden = {channels[number] for number in hiding.channels} if hiding else set()
    steps = schedule.patches_per_step(
        num_patches, ranks.size, global_batch=global_batch, shuffle=config.shuffle
    )
    return Plan(
        patchset=patchset,
        info=keras_file.ModelInfo(
            channels=channels,
            classes=tuple(patchset.classes),
            widths=tuple(config.widths),
            dropout=tuple(config.dropout),
            mean=mean,
            std=std,
            patchset=patchset.fingerprint,
            always_there=tuple(name for name in patchset.always_there if name not in hidden),
            reading=dict(patchset.reading),
            missing_channel=config.missing_channel,
            upsampling=config.upsampling,
            fold=str(fold or ""),
            # Its size; what stands in it comes with the weights: see origin.py.
            decorrelation=tuple(map(tuple, np.eye(len(channels)).tolist()))
            if config.decorrelate
            else (),
        ),
        num_patches=num_patches,
        num_valid=num_valid,
        global_batch=global_batch,
        batch_per_rank=int(schedule.batch_sizes(global_batch, ranks.size).max()),
        steps_per_epoch=len(steps),
        class_weights=_class_weights(config, len(patchset.classes)),
        hiding=hiding,
        precision=precision.resolve(config.precision),
        num_ranks=ranks.size,
        timing_every=config.timing_every or (1 if ranks.device == "CPU" else GPU_TIMING_EVERY),
        config=config,
    )


def _normalisation(
    config: TrainConfig, patchset: PatchSet
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel; a channel that never varies is only centred."""
    if not config.fixed_mean and not config.fixed_std:
        std = [float(s) if s > 0 else 1.0 for s in patchset.std]
        return tuple(float(m) for m in patchset.mean), tuple(std)
    channels = len(patchset.channels)
    if len(config.fixed_mean) != channels or len(config.fixed_std) != channels:
        raise ValueError(
            f"--fixed-mean and --fixed-std need one value for each of the {channels} channels "
            f"({', '.join(patchset.channels)}); leave both out to use the patch set's own"
        )
    return tuple(config.fixed_mean), tuple(config.fixed_std)


def _class_weights(config: TrainConfig, num_classes: int) -> tuple[float, ...]:
    """One for each class; none for plain cross-entropy, where all are one."""
    if config.loss != "wbce":
        return ()
    return (1.0, config.pos_weight) if num_classes == 2 else tuple(config.class_weights)
