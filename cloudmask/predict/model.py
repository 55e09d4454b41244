"""A trained model: probability and class of every pixel of an image, whatever its size.

What `cloudmask.load` gives, and what `cloudmask predict` computes with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from cloudmask.cli import errors
from cloudmask.data.scene import missing_pixels
from cloudmask.data.slstr import Reading, recorded
from cloudmask.model import keras_file
from cloudmask.predict import xarrays
from cloudmask.predict.channels import pick
from cloudmask.predict.masks import Mask, classify
from cloudmask.predict.tiles import Forward, predict_image

if TYPE_CHECKING:
    import keras
    import xarray


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained network, or several whose probabilities are averaged; `cloudmask.load` makes it."""

    info: keras_file.ModelInfo
    networks: tuple[Forward, ...]
    tile: int
    overlap: int | None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels it takes, in its order."""
        return self.info.channels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes it tells apart: i in a mask means classes[i]."""
        return self.info.classes

    @property
    def reading(self) -> Reading:
        """How products are to be read for it: `read_scene(path, reading=model.reading)`."""
        return recorded(self.info.reading)

    def __repr__(self) -> str:
        return f"Model(channels={self.channels}, classes={self.classes})"

    @overload
    def predict(
        self,
        image: xarray.Dataset | xarray.DataArray,
        *,
        channels: Sequence[str] | None = None,
        threshold: float = 0.5,
    ) -> xarray.Dataset: ...

    @overload
    def predict(
        self, image: np.ndarray, *, channels: Sequence[str] | None = None, threshold: float = 0.5
    ) -> Mask: ...

    def predict(
        self, image: Any, *, channels: Sequence[str] | None = None, threshold: float = 0.5
    ) -> Any:
        """Probability and class of every pixel.

        `image` is an array (H, W, C) of any H and W, or a batch (N, H, W, C), in the physical units
        of the training (SLSTR: reflectance from 0 to 1, brightness temperature in kelvin), with NaN
        where nothing was measured. `channels` names its last axis: what the model takes is picked
        out of it and put in order. Without it the last axis must be the model's `channels`.

        Or `image` is an xarray Dataset with a variable for each channel, or a DataArray with a
        dimension for the channels: one called channel or band, or whose coordinate names them. The
        last two of its other dimensions are rows and columns, a third one is a batch. Then the
        result is a Dataset with `probability`, `mask` and `nodata` on the same coordinates, and
        of more than two classes the probability has a dimension `class` in the end.

        A pixel of a model of two classes is of the second one from the probability `threshold` on;
        of more classes the most probable counts. A pixel without any measurement has no class.
        ValueError, in one line, for an image that does not fit the model.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold {threshold} is not a probability from 0 to 1")
        if xarrays.is_one(image):
            place = xarrays.take_apart(image, self.channels, channels)
            found = self.predict(place.image, channels=place.channels, threshold=threshold)
            return xarrays.put_together(found, place, self.classes)
        image = pick(image, channels, self.channels)
        *_, width, depth = image.shape
        kinds = 1 if len(self.classes) == 2 else len(self.classes)
        probability = np.empty((*image.shape[:-1], kinds), np.float32)
        spread = np.empty_like(probability) if len(self.networks) > 1 else None
        for number in np.ndindex(*image.shape[:-3]):  # of a single image: once, with ()
            parts = [self._stitched(network, image[number]) for network in self.networks]
            if spread is None:
                probability[number] = parts[0]
            else:
                probability[number] = np.mean(parts, axis=0)
                spread[number] = np.std(parts, axis=0)
        nodata = missing_pixels(image.reshape(-1, width, depth)).reshape(image.shape[:-1])
        probability[nodata] = np.nan
        mask = classify(probability, threshold=threshold)
        if spread is not None:
            spread[nodata] = np.nan
        if kinds == 1:
            probability, spread = probability[..., 0], None if spread is None else spread[..., 0]
        return Mask(probability, mask, nodata, spread)

    def _stitched(self, network: Forward, image: np.ndarray) -> np.ndarray:
        """(H, W, C) -> (H, W, K)"""
        levels = len(self.info.widths)
        return predict_image(network, image, levels=levels, tile=self.tile, margin=self.overlap)


def load(
    path: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto",
    tile: int = 2048,
    overlap: int | None = None,
) -> Model:
    """A trained model from a run folder or its model.keras; of several the probability is averaged.

    `precision` is the arithmetic of the network, auto: bfloat16 where the device has it. `tile` is
    the largest number of rows and columns computed at once: less takes less memory. `overlap` is
    how many pixels are dropped at each cut between tiles (default: as many as the network can see,
    so that no seam exists). Raises ValueError for what is neither a finished run nor a model, for
    models that know other channels or classes, for a precision that the device has not, and for a
    tile that cannot be;
    ModuleNotFoundError where TensorFlow is not installed.
    """
    if tile < 1 or (overlap is not None and overlap < 0):
        raise ValueError(f"a tile of {tile} pixels with an overlap of {overlap} cannot be")
    try:
        with errors.loading_tensorflow():
            from cloudmask.model import precision as arithmetic
    except ModuleNotFoundError as error:
        advice = errors.missing(error.name or "tensorflow", "train")
        raise ModuleNotFoundError(advice, name=error.name) from None
    paths = [Path(one) for one in (path, *more)]
    resolved = arithmetic.resolve(precision)
    with arithmetic.used(resolved):
        loaded = [keras_file.load(one) for one in paths]
    info = loaded[0][1]
    for one, (_, other) in zip(paths, loaded, strict=True):
        if (other.channels, other.classes) != (info.channels, info.classes):
            raise ValueError(
                f"{one} knows {', '.join(other.channels)} and {', '.join(other.classes)}; "
                f"{paths[0]} knows {', '.join(info.channels)} and {', '.join(info.classes)}"
            )
        if recorded(other.reading) != recorded(info.reading):
            raise ValueError(
                f"{one} was trained on products read otherwise ({recorded(other.reading)}) than "
                f"{paths[0]} ({recorded(info.reading)}); use models that read alike"
            )
    return Model(info, tuple(_forward(network, resolved) for network, _ in loaded), tile, overlap)


def _forward(network: keras.Model, precision: str) -> Forward:
    import tensorflow as tf

    from cloudmask.model.precision import used

    @tf.function(reduce_retracing=True)
    def graph(image):
        logits = network(image, training=False)
        return tf.sigmoid(logits) if logits.shape[-1] == 1 else tf.nn.softmax(logits)

    def forward(image: np.ndarray) -> np.ndarray:
        tensor = tf.constant(image, tf.float32)
        del image  # a padded copy of the scene, which need not outlive this
        with used(precision):
            return graph(tensor)[0].numpy()

    return forward
