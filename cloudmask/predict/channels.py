"""The channels that a model takes, picked out of what an image has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pick(image: np.ndarray, names: Sequence[str] | None, wanted: Sequence[str]) -> np.ndarray:
    """(H, W, C) or (N, H, W, C) of any numbers -> float32 of the channels `wanted`, in their order.

    `names` are those of the image's last axis; None: they are `wanted`. What is masked in a NumPy
    masked array becomes NaN. ValueError for another shape and for channels that are not there.
    """
    if isinstance(image, np.ma.MaskedArray):
        image = np.ma.filled(image.astype(np.float32), np.nan)
    image = np.asarray(image)
    if image.ndim not in (3, 4) or 0 in image.shape[-3:-1] or image.dtype.kind not in "buif":
        raise ValueError(
            f"an image has rows, columns and channels (H, W, C), or images too (N, H, W, C), and "
            f"holds numbers; this one is {image.shape} of {image.dtype}"
        )
    if names is None and image.shape[-1] != len(wanted):
        raise ValueError(
            f"the image has {image.shape[-1]} channels and the model takes {len(wanted)} "
            f"({', '.join(wanted)}); name those of the image with channels="
        )
    if names is not None and list(names) != list(wanted):
        if len(names) != image.shape[-1]:
            raise ValueError(f"{len(names)} names for the {image.shape[-1]} channels of the image")
        require(names, wanted)
        image = np.take(image, [list(names).index(name) for name in wanted], axis=-1)
    return image.astype(np.float32, copy=False)


def require(names: Sequence[str], wanted: Sequence[str]) -> None:
    """ValueError unless every channel that is wanted is there, and once."""
    lacks = [name for name in wanted if name not in names]
    if lacks:
        raise ValueError(
            f"the image lacks {', '.join(lacks)}; the model takes {', '.join(wanted)} and the "
            f"image has {', '.join(map(str, names)) or 'none'}"
        )
    twice = [name for name in wanted if list(names).count(name) > 1]
    if twice:
        raise ValueError(f"the image has {', '.join(twice)} more than once")
