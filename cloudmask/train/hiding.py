"""Channels that are made missing in a share of the patches, so that a network learns to do without.

Night scenes lack all reflectances. They are few, and say nothing of how clouds look by day; a day
scene whose reflectances are hidden has both. A patch that lacks them anyway stays as it is.
What is drawn depends on (seed, epoch, patch) alone and comes from a generator of its own, so the
draws of augmentation and order are the same with and without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.encoding import FILL
from cloudmask.metrics import UNKNOWN

_STREAM = 5
"""of random numbers, beside those of the order, the augmentation and the emulated device"""


@dataclass(frozen=True)
class Hiding:
    """Which channels are hidden, by number, and in what share of the patches."""

    channels: tuple[int, ...]
    share: float
    seed: int

    def hides(self, patch: int, epoch: int) -> bool:
        """Whether a patch lacks the channels in an epoch: the same wherever it is read."""
        return bool(np.random.default_rng([self.seed, epoch, _STREAM, patch]).random() < self.share)

    def apply(self, image: np.ndarray, label: np.ndarray) -> None:
        """(S, S, C) int16, (S, S) uint8 of one patch, in place: FILL in the channels.

        A pixel that is left without any measurement has no label any more.
        """
        image[..., self.channels] = FILL
        label[(image == FILL).all(axis=-1)] = UNKNOWN


def make_hiding(
    config: TrainConfig, *, channels: Sequence[str], always_there: Sequence[str]
) -> Hiding | None:
    """What the options ask for; None without --augment-missing.

    Channels that some training scenes lack are the default. Raises ValueError where there are none,
    where a name is not among `channels`, and where no channel would be left.
    """
    if not config.augment_missing:
        return None
    names = config.augment_missing_channels
    unknown = [name for name in names if name not in channels]
    if unknown:
        raise ValueError(
            f"--augment-missing-channels {' '.join(unknown)}: the patch set has "
            f"{', '.join(channels)}"
        )
    hidden = set(names) or set(channels) - set(always_there)
    if not hidden:
        raise ValueError(
            f"--augment-missing {config.augment_missing:g} finds nothing to hide: no training "
            "scene lacks a channel; name some with --augment-missing-channels"
        )
    if len(hidden) == len(channels):
        raise ValueError(
            "--augment-missing would leave no channel, as none is in all training scenes; "
            "name those to hide with --augment-missing-channels"
        )
    numbers = tuple(number for number, name in enumerate(channels) if name in hidden)
    return Hiding(numbers, config.augment_missing, config.seed)
