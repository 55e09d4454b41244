"""A matrix that takes apart channels which go together, so that small differences are seen.

Brightness temperatures of neighbouring bands agree to a few kelvin while they vary by tens, and
it is the few kelvin that tell thin cloud from ground. Divided by its standard deviation alone, such
a difference is a hundredth of what the network sees, and training takes long to find it. So it is
shown the channels as they are and, beside them, taken apart.
"""

from __future__ import annotations

import keras
import numpy as np

from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.model import PatchSet
from cloudmask.data.patchset.reader import PatchReader

PATCHES, EVERY = 256, 4
"""training patches that are looked at, and each how many of their rows and columns"""
FLOOR = 1e-3
"""variance, that of a channel being 1, below which a direction is noise"""

Matrix = tuple[tuple[float, ...], ...]


def whitening(pixels: np.ndarray) -> np.ndarray:
    """(N, C) with means near 0 -> (C, C) W such that x @ W has near the unit matrix as covariance.

    W = V (L + FLOOR)^(-1/2) V', where V L V' is the second moment of the pixels: the symmetric one
    of all such matrices, which moves the channels least (Kessy et al., The American Statistician
    72, 2018).
    """
    moment = pixels.T @ pixels / max(len(pixels), 1)
    values, vectors = np.linalg.eigh(moment)
    return (vectors / np.sqrt(np.maximum(values, 0) + FLOOR)) @ vectors.T


def of_patches(patchset: PatchSet, mean: np.ndarray, std: np.ndarray) -> Matrix:
    """The matrix for (x - mean) / std, with 0 where nothing was measured, of training patches.

    The same patches always, spread over the whole split. ValueError, OSError as of PatchReader.
    """
    with PatchReader(patchset, "train") as reader:
        count = min(PATCHES, reader.num_patches)
        chosen = np.linspace(0, reader.num_patches - 1, count).astype(int)
        parts = []
        for number in chosen:
            batch = reader.read([int(number)])
            stored = batch.image[0, ::EVERY, ::EVERY].reshape(-1, len(mean)).astype(np.float64)
            physical = stored * batch.scale[0] + batch.offset[0]
            parts.append(np.where(stored == FILL, 0, (physical - mean) / std))
    return _told(whitening(np.concatenate(parts)))


def _told(matrix: np.ndarray) -> Matrix:
    """Of six digits, which float32 keeps: so a network gives back what it was given."""
    return tuple(tuple(float(f"{v:.6g}") for v in row) for row in matrix)


def give(model: keras.Model, matrix: Matrix) -> None:
    """To a network that was built with another one of this size."""
    model.get_layer("decorrelate").kernel.assign(np.array(matrix, np.float32)[None, None])


def of_network(model: keras.Model) -> Matrix:
    """That of a run stands in its network alone, wherever that has its variables from."""
    return _told(np.asarray(model.get_layer("decorrelate").kernel.value)[0, 0])
