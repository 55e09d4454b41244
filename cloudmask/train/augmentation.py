"""Augmentation: what becomes of a patch in an epoch, the same at every number of ranks.

It depends on (seed, epoch, patch) alone, so it is the same after a resumption too. Stored values
only change their places: gain and offset are folded into the decoding, so nothing is rounded and
they cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloudmask.train.plan import Plan


@dataclass(frozen=True)
class Change:
    """What augmentation makes of one patch: quarter turns, then a flip, and another decoding."""

    turns: int
    flip: bool
    gain: np.ndarray
    shift: np.ndarray
    """(C,) float32; shift in physical units"""


@dataclass(frozen=True)
class Augmentation:
    """Flips, quarter turns, and x -> mean + g (x - mean) + o std: other sensors and calibrations.

    For each channel g = (1 + s)(1 + c) and o = t + d, with c and d drawn for the channel, uniform
    in +- gain, and s and t drawn once for the patch, uniform in +- shared. `mean` and `std` are
    (C,), of the training pixels.
    """

    mean: np.ndarray
    std: np.ndarray
    gain: float
    shared: float
    seed: int

    def change(self, patch: int, epoch: int) -> Change:
        """What is drawn for a patch in an epoch: the same wherever it is read."""
        random = np.random.default_rng([self.seed, epoch, 2, patch])
        turns, flip = int(random.integers(4)), bool(random.integers(2))
        both = self.shared * random.uniform(-1, 1, 2)
        each = self.gain * random.uniform(-1, 1, (2, len(self.mean)))
        gain = ((1 + both[0]) * (1 + each[0])).astype(np.float32)
        shift = self.std * (both[1] + each[1]).astype(np.float32)
        return Change(turns, flip, gain, shift)

    def decoding(
        self, change: Change, scale: np.ndarray, offset: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(C,) scale and offset of a patch -> the same, changed."""
        return scale * change.gain, change.gain * (offset - self.mean) + self.mean + change.shift

    def apply(
        self,
        patch: int,
        epoch: int,
        image: np.ndarray,
        scale: np.ndarray,
        offset: np.ndarray,
        label: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(S, S, C), (C,), (C,), (S, S) of one patch -> the same, changed."""
        change = self.change(patch, epoch)
        image, label = np.rot90(image, change.turns), np.rot90(label, change.turns)
        if change.flip:
            image, label = image[:, ::-1], label[:, ::-1]
        return image, *self.decoding(change, scale, offset), label


def augmentation(plan: Plan) -> Augmentation | None:
    """What the options ask for; None with --no-augment."""
    config, info = plan.config, plan.info
    if not config.augment:
        return None
    mean, std = (np.asarray(values, np.float32) for values in (info.mean, info.std))
    return Augmentation(mean, std, config.augment_gain, config.augment_shared, config.seed)
