"""Which patches each rank reads at each step, and the learning rate: pure functions of numbers.

A plan is an (steps, batch) array of patch indices. Every patch stands in exactly one rank's plan,
every rank's plan has the same number of steps, and free places hold PAD, which weighs nothing.

When the number of ranks changes in mid-epoch, what ran so far is a Part of the epoch. The patches
that are left by the parts before are dealt out anew, so that over all parts and ranks every patch
still stands in exactly one plan.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

PAD = -1
Shuffle = Literal["shard", "global"]


@dataclass(frozen=True)
class Part:
    """Steps of an epoch that were taken in one order, and all that this order follows from."""

    num_ranks: int
    global_batch: int
    shuffle: Shuffle
    seed: int
    steps: int
    equal_shards: bool = False
    """with `shard`: all ranks had the same part of the patches, whatever they took of a batch; so
    it was once, and matters where ranks take unequally much"""


def shard_bounds(num_patches: int, num_ranks: int, *, global_batch: int) -> np.ndarray:
    """(num_ranks + 1,) bounds of contiguous parts, each as large as what its rank takes of a batch.

    So all ranks come to their end in the same step. Raises ValueError when a rank would have none.
    """
    if num_ranks < 1:
        raise ValueError(f"{num_ranks} ranks cannot share anything; use 1 or more")
    if num_patches < num_ranks:
        raise ValueError(
            f"{num_patches} patches cannot feed {num_ranks} ranks; "
            f"use at most {num_patches} ranks or cut more patches"
        )
    return _bounds_of_shards(num_patches, Part(num_ranks, global_batch, "shard", 0, steps=0))


def _bounds_of_shards(num_patches: int, part: Part) -> np.ndarray:
    if part.equal_shards:
        return _bounds(num_patches, part.num_ranks)
    taken = np.cumsum([0, *batch_sizes(part.global_batch, part.num_ranks)])
    return taken * num_patches // part.global_batch


def _bounds(num_patches: int, num_ranks: int) -> np.ndarray:
    return np.arange(num_ranks + 1) * num_patches // num_ranks


def batch_sizes(global_batch: int, num_ranks: int) -> np.ndarray:
    """(num_ranks,) patches of each rank in a global batch. Raises ValueError for less than one."""
    if global_batch < num_ranks:
        raise ValueError(
            f"a global batch of {global_batch} cannot feed {num_ranks} ranks; "
            f"use --global-batch {num_ranks} or more, or fewer ranks"
        )
    return np.diff(np.arange(num_ranks + 1) * global_batch // num_ranks)


def check_batch(num_patches: int, num_ranks: int, *, global_batch: int) -> None:
    """Raise ValueError when a rank has no patches, or its batch is larger than all it has."""
    shard_bounds(num_patches, num_ranks, global_batch=global_batch)
    if global_batch > num_patches:
        largest, smallest = -(-global_batch // num_ranks), num_patches // num_ranks
        raise ValueError(
            f"a batch of {largest} per rank is larger than a rank's {smallest} of "
            f"{num_patches} training patches; use --batch-size {smallest} or less, or fewer ranks"
        )


def epoch_plan(
    num_patches: int,
    num_ranks: int,
    rank: int,
    *,
    global_batch: int,
    shuffle: Shuffle,
    seed: int,
    epoch: int,
    parts: Sequence[Part] = (),
    equal_shards: bool = False,
) -> np.ndarray:
    """(steps, batch) int64 patch indices of one rank in one epoch, PAD where there is none.

    shard: the rank's own contiguous part, in a new order every epoch. global: one permutation of
    all patches, cut into the same global batches whatever the number of ranks. After earlier
    `parts` of the epoch, the same of what they left; global keeps to its permutation, and so to
    its batches where the global batch stayed the same.
    """
    part = Part(num_ranks, global_batch, shuffle, seed, steps=0, equal_shards=equal_shards)
    left, number = patches_left(num_patches, parts, epoch=epoch), len(parts)
    sizes = batch_sizes(global_batch, num_ranks)
    steps = len(_patches_per_step(len(left), part))
    if shuffle == "shard":
        order = _order_of_shard(left, part, rank, epoch=epoch, number=number)
        return _rows(order, steps, int(sizes[rank]), int(sizes.max()))
    order = _order_of_all(left, num_patches, part, epoch=epoch)
    batches = _rows(order, steps, global_batch, global_batch)
    first = int(sizes[:rank].sum())
    mine = np.full((steps, int(sizes.max())), PAD, dtype=np.int64)
    mine[:, : sizes[rank]] = batches[:, first : first + sizes[rank]]
    return mine


def patches_left(num_patches: int, parts: Sequence[Part], *, epoch: int) -> np.ndarray:
    """(n,) patches, sorted, that no rank has seen in these parts of an epoch; not to be changed."""
    return _patches_left(num_patches, tuple(parts), epoch)


@functools.lru_cache(maxsize=1)  # asked for each rank of a host, and more than once
def _patches_left(num_patches: int, parts: tuple[Part, ...], epoch: int) -> np.ndarray:
    left = np.arange(num_patches)
    for number, part in enumerate(parts):
        if part.shuffle == "global":
            order = _order_of_all(left, num_patches, part, epoch=epoch)
            left = np.sort(order[part.steps * part.global_batch :])
        else:
            taken = part.steps * batch_sizes(part.global_batch, part.num_ranks)
            shards = (
                _order_of_shard(left, part, rank, epoch=epoch, number=number)[taken[rank] :]
                for rank in range(part.num_ranks)
            )
            left = np.sort(np.concatenate(list(shards)))
    left.setflags(write=False)
    return left


def _order_of_shard(
    left: np.ndarray, part: Part, rank: int, *, epoch: int, number: int
) -> np.ndarray:
    """One rank's patches of the sorted ones that are left, as part `number`; maybe none."""
    bounds = _bounds_of_shards(len(left), part)
    again = [number] if number else []
    random = np.random.default_rng([part.seed, epoch, 1, rank, *again])
    return random.permutation(np.array(left[bounds[rank] : bounds[rank + 1]]))


def _order_of_all(left: np.ndarray, num_patches: int, part: Part, *, epoch: int) -> np.ndarray:
    """All patches that are left, in the order of the epoch's one permutation."""
    order = _permutation(num_patches, part.seed, epoch)
    if len(left) == num_patches:
        return order
    kept = np.zeros(num_patches, bool)
    kept[left] = True
    return order[kept[order]]


@functools.lru_cache(maxsize=1)  # the same for all ranks
def _permutation(num_patches: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch, 0]).permutation(num_patches)
    order.setflags(write=False)
    return order


def patches_per_step(
    num_patches: int,
    num_ranks: int,
    *,
    global_batch: int,
    shuffle: Shuffle,
    equal_shards: bool = False,
) -> list[int]:
    """Patches of all ranks together in each step of a plan over so many patches."""
    part = Part(num_ranks, global_batch, shuffle, seed=0, steps=0, equal_shards=equal_shards)
    return _patches_per_step(num_patches, part)


def _patches_per_step(num_patches: int, part: Part) -> list[int]:
    if part.shuffle == "global":
        have, take = np.array([num_patches]), np.array([part.global_batch])
    else:
        have = np.diff(_bounds_of_shards(num_patches, part))
        take = batch_sizes(part.global_batch, part.num_ranks)
    steps = int(np.ceil(have / take).max())
    done = np.arange(steps)[:, None] * take
    return np.clip(have - done, 0, take).sum(axis=1).tolist()


def validation_plan(num_patches: int, num_ranks: int, rank: int, *, batch: int) -> np.ndarray:
    """(steps, batch) patch indices of one rank, in their order; a rank may have none."""
    bounds = _bounds(num_patches, num_ranks)
    mine = np.arange(bounds[rank], bounds[rank + 1])
    return _rows(mine, math.ceil(len(mine) / batch), batch, batch)


def _rows(order: np.ndarray, steps: int, used: int, width: int) -> np.ndarray:
    """(n,) indices -> (steps, width): `used` places of each row are filled, the rest is PAD."""
    filled = np.full(steps * used, PAD, dtype=np.int64)
    filled[: len(order)] = order
    plan = np.full((steps, width), PAD, dtype=np.int64)
    plan[:, :used] = filled.reshape(steps, used)
    return plan


def learning_rate(
    step: int,
    *,
    base: float,
    scaling: Literal["none", "linear", "sqrt"],
    num_ranks: int,
    warmup_steps: int,
    decay: Literal["none", "cosine"],
    total_steps: int,
) -> float:
    """Learning rate of a step, counted from 0 over the whole run.

    Linear scaling with a gradual warm-up: Goyal et al., arXiv 1706.02677; square root: Krizhevsky,
    arXiv 1404.5997; cosine to zero after the warm-up: Loshchilov and Hutter, arXiv 1608.03983.
    """
    rise = min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0
    fall = 1.0
    if decay == "cosine":
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    return base * scale(scaling, num_ranks) * rise * fall


def scale(scaling: Literal["none", "linear", "sqrt"], num_ranks: int) -> float:
    """How the learning rate grows with the number of ranks."""
    return {"none": 1.0, "linear": float(num_ranks), "sqrt": math.sqrt(num_ranks)}[scaling]
