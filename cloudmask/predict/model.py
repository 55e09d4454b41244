"""A trained model: probability and class of every pixel of an image, whatever its size.

What `cloudmask.load` gives, and what `cloudmask predict` computes with.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

import numpy as np

from cloudmask.cli import errors
from cloudmask.data.scene import Image, LabelChoice, missing_pixels
from cloudmask.data.slstr import Reading, recorded
from cloudmask.metrics import UNKNOWN
from cloudmask.model import keras_file
from cloudmask.model.calibration import Calibration, of_record
from cloudmask.predict import xarrays
from cloudmask.predict.channels import pick
from cloudmask.predict.masks.values import Band, Mask, classify
from cloudmask.predict.tiles import Forward, predict_bands, predict_image

if TYPE_CHECKING:
    import keras
    import xarray


_ROWS = 256
"""of a band"""


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A trained network, or several whose probabilities are averaged; `cloudmask.load` makes it."""

    info: keras_file.ModelInfo
    networks: tuple[Forward, ...]
    tile: int
    overlap: int | None
    calibrations: tuple[Calibration | None, ...]
    """of each network; None of those that were not calibrated"""

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

    @property
    def teacher(self) -> LabelChoice | None:
        """The label of each scene that `predict` needs, where a calibration takes one."""
        wanted = (one.teacher for one in self.calibrations if one)
        return cast(LabelChoice | None, next(filter(None, wanted), None))

    @property
    def calibrated_on(self) -> tuple[str, ...]:
        """Names of the scenes that any of its networks was calibrated on."""
        return tuple(sorted({name for one in self.calibrations if one for name in one.scenes}))

    def __repr__(self) -> str:
        told = f"channels={self.channels}, classes={self.classes}"
        if any(self.calibrations):
            told += f", calibrated_on={self.calibrated_on}"
        return f"Model({told}, teacher={self.teacher!r})" if self.teacher else f"Model({told})"

    @overload
    def predict(
        self,
        image: xarray.Dataset | xarray.DataArray,
        *,
        channels: Sequence[str] | None = None,
        threshold: float = 0.5,
        teacher: Any = None,
    ) -> xarray.Dataset: ...

    @overload
    def predict(
        self,
        image: np.ndarray,
        *,
        channels: Sequence[str] | None = None,
        threshold: float = 0.5,
        teacher: np.ndarray | None = None,
    ) -> Mask: ...

    def predict(
        self,
        image: Any,
        *,
        channels: Sequence[str] | None = None,
        threshold: float = 0.5,
        teacher: Any = None,
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
        of more classes the most probable counts. For this, probabilities are rounded to 1e-4, as
        mask files hold them. A pixel without any measurement has no class.

        A calibrated network's probability is calibrated when the whole image has been computed: an
        image is to be a scene, not a piece of one. `teacher`, (H, W) or (N, H, W) uint8 of the
        model's classes, 255 = unknown, is the mask that the model's `teacher` names, if it has one;
        with xarray it may be a DataArray of the image's dimensions.
        ValueError, in one line, for an image or a teacher that does not fit the model.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold {threshold} is not a probability from 0 to 1")
        if xarrays.is_one(image):
            place = xarrays.take_apart(image, self.channels, channels)
            if xarrays.is_one(teacher):
                teacher = xarrays.in_order(teacher, place.dims)
            found = self.predict(
                place.image, channels=place.channels, threshold=threshold, teacher=teacher
            )
            return xarrays.put_together(found, place, self.classes)
        image = pick(image, channels, self.channels)
        votes = self._votes(teacher, image.shape[:-1])
        *_, width, depth = image.shape
        kinds = 1 if len(self.classes) == 2 else len(self.classes)
        probability = np.empty((*image.shape[:-1], kinds), np.float32)
        spread = np.empty_like(probability) if len(self.networks) > 1 else None
        for number in np.ndindex(*image.shape[:-3]):  # of a single image: once, with ()
            vote = None if votes is None else votes[number]
            for rows, parts in self._parts(image[number], vote):
                probability[number][rows], deviation = _pooled(parts)
                if spread is not None:
                    spread[number][rows] = deviation
        nodata = missing_pixels(image.reshape(-1, width, depth)).reshape(image.shape[:-1])
        probability[nodata] = np.nan
        mask = classify(probability, threshold=threshold)
        if spread is not None:
            spread[nodata] = np.nan
        if kinds == 1:
            probability, spread = probability[..., 0], None if spread is None else spread[..., 0]
        return Mask(probability, mask, nodata, spread)

    def bands(self, image: Image, *, threshold: float = 0.5) -> Iterator[Band]:
        """What `predict` says of one image, band by band from the top: for images larger than
        memory. `image` has the model's channels in their order; the model is not calibrated."""
        assert not any(self.calibrations)
        for rows, parts in self._parts(image, None):
            whole, deviation = _pooled(parts)
            for top in range(rows.start, rows.stop, _ROWS):
                some = slice(top, min(top + _ROWS, rows.stop))
                inner = slice(some.start - rows.start, some.stop - rows.start)
                nodata = missing_pixels(image[some, :])
                probability = whole[inner]
                probability[nodata] = np.nan
                spread = None if deviation is None else deviation[inner]
                if spread is not None:
                    spread[nodata] = np.nan
                yield Band(some, probability, spread, classify(probability, threshold=threshold))

    def _parts(
        self, image: Image, votes: np.ndarray | None
    ) -> Iterator[tuple[slice, list[np.ndarray]]]:
        """(H, W, C), (H, W) -> rows and (h, W, K) of each network; all at once if calibrated."""
        levels = len(self.info.widths)
        if any(self.calibrations):
            yield slice(None), self._calibrated(np.asarray(image), levels, votes)
            return
        bands = [
            predict_bands(network, image, levels=levels, tile=self.tile, margin=self.overlap)
            for network in self.networks
        ]
        for together in zip(*bands, strict=True):
            yield together[0][0], [part for _, part in together]

    def _calibrated(
        self, image: np.ndarray, levels: int, votes: np.ndarray | None
    ) -> list[np.ndarray]:
        """(H, W, C), (H, W) -> (H, W, K) of each network, calibrated where it was."""
        parts = [
            predict_image(network, image, levels=levels, tile=self.tile, margin=self.overlap)
            for network in self.networks
        ]
        complete = np.ones(image.shape[:2], bool)
        for channel in range(image.shape[2]):
            complete &= ~np.isnan(image[..., channel])
        missing = missing_pixels(image)
        for part, calibration in zip(parts, self.calibrations, strict=True):
            if calibration is not None:
                part[missing] = np.nan
                asked = votes if calibration.teacher else None
                part[..., 0] = calibration(part[..., 0], complete, asked)
        return parts

    def _votes(self, teacher: Any, shape: tuple[int, ...]) -> np.ndarray | None:
        """The teacher's mask, seen to be what the calibrations need. ValueError."""
        if self.teacher is None and teacher is None:
            return None
        if self.teacher is None:
            raise ValueError("this model takes no teacher's mask; leave teacher= out")
        if teacher is None:
            raise ValueError(
                f"this model was calibrated with the teacher's mask: give that of the image with "
                f"teacher= (label '{self.teacher}', classes {', '.join(self.classes)} as 0 and 1, "
                "255 where it is unknown)"
            )
        votes = np.asarray(teacher)
        if votes.shape != shape or not np.isin(votes, (0, 1, UNKNOWN)).all():
            raise ValueError(
                f"teacher= is {votes.shape} of {votes.dtype}; it must be {shape}, of 0, 1 and "
                f"{UNKNOWN}"
            )
        return votes


def _pooled(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """(h, W, K) of each network -> their mean, and of several their standard deviation."""
    if len(parts) == 1:
        return parts[0], None
    return np.mean(parts, axis=0), np.std(parts, axis=0)


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
    models that know other channels or classes or were calibrated with other teachers, for a
    precision that the device has not, and for a tile that cannot be;
    ModuleNotFoundError where TensorFlow is not installed, or scipy for a calibrated model.
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
                f"{paths[0]} knows {', '.join(info.channels)} and {', '.join(info.classes)}; "
                "average models of the same channels and classes"
            )
        if recorded(other.reading) != recorded(info.reading):
            raise ValueError(
                f"{one} was trained on products read otherwise ({recorded(other.reading)}) than "
                f"{paths[0]} ({recorded(info.reading)}); use models that read alike"
            )
    networks = tuple(_forward(network, resolved) for network, _ in loaded)
    return Model(info, networks, tile, overlap, _calibrations(paths, [one for _, one in loaded]))


def _calibrations(
    paths: Sequence[Path], infos: Sequence[keras_file.ModelInfo]
) -> tuple[Calibration | None, ...]:
    """Of each model. ValueError for teachers that are not known or differ; ModuleNotFoundError."""
    found = [of_record(info.calibration) if info.calibration else None for info in infos]
    teachers: dict[str, Path] = {}
    for path, one in zip(paths, found, strict=True):
        if one is None or one.teacher is None:
            continue
        teachers.setdefault(one.teacher, path)
        if one.teacher not in get_args(LabelChoice):
            raise ValueError(
                f"{path} was calibrated with the label '{one.teacher}' as teacher, which this "
                "version does not know; use the version that made it, or calibrate again"
            )
    if len(teachers) > 1:
        told = ", ".join(f"{path} with '{name}'" for name, path in teachers.items())
        raise ValueError(f"calibrated with other teachers: {told}; calibrate with the same one")
    if any(found) and importlib.util.find_spec("scipy") is None:
        raise ModuleNotFoundError(errors.missing("scipy", "fits"), name="scipy")
    return tuple(found)


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
