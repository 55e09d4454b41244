"""Scenes of the MLCommons Science benchmark CloudMask: Sentinel-3 SLSTR in HDF5.

The benchmark's HDF5 files hold `refs` (H, W, 6), `bts` (H, W, 3) and the masks `bayes`
and `summary` (H, W, 1), without attributes; synthetic ones a mask `truth` besides, and perhaps the
surface's temperature `skin` in K. Some arrays are
float64, and some files hold radiances under `refs`, so nothing is assumed about their range.

What counts as missing (NaN) follows from what the files hold, as they have no fill value: a
brightness temperature that is not above 0 K; reflectances that are exactly 0 in all six channels,
which is the border of a scene as well as its night side, where nothing reflects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from cloudmask.data import dual, scene
from cloudmask.data.acquisition import times_of
from cloudmask.data.formats.claims import check_dataset
from cloudmask.data.scene import LabelChoice, Scene, SceneError
from cloudmask.data.slstr import (
    CHANNELS,
    CLASSES,
    NOT_COMPUTED,
    NUM_REFS,
    SKIN,
    bayes_cloud,
    surface_kelvin,
)
from cloudmask.files import open_hdf5
from cloudmask.metrics import UNKNOWN

_DATASETS = dict.fromkeys(("any", "single_moderate", "dual"), "bayes")  # else the label's own name
_AGAIN = "download or copy the file again"
_ANOTHER = "choose another --label or leave this scene out"


def read_hdf(
    path: Path,
    *,
    label: LabelChoice = "any",
    need_label: bool = True,
    strips: dual.Strips | None = None,
    skin_temperature: bool = False,
) -> Scene:
    """A benchmark file as a Scene of nine channels, S1..S6 as they stand there and S7..S9 in K, and
    with `skin_temperature` the tenth of its dataset `skin`, in K, where anything was measured.

    The label is cloud where `bayes` has any bit (`any`) or bit 2 (`single_moderate`), or where
    `summary` or `truth` is above 0. Pixels without any measurement have label 255; with `dual`,
    which else is like `any`, so have those outside the strip of `strips`, or that of the file's own
    bits. SceneError.
    """
    with _opened(path) as file:
        return _read(path, file, label, need_label, strips, skin_temperature)


def read_dual_columns(path: Path) -> tuple[int, dual.Columns | None]:
    """The width of a benchmark file, and which of its columns have bits of both views.

    Only `bayes` is read. SceneError.
    """
    with _opened(path) as file:
        for name in ("bts", "bayes"):
            if not isinstance(file.get(name), h5py.Dataset):
                raise _lacking(path, file, name, "dual")
        shape = file["bts"].shape[:2]
        return shape[1], dual.columns_of(_numbers(path, file, "bayes", shape))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with open_hdf5(path) as file:
            yield file
    except SceneError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        problem = f"cannot be read as HDF5, truncated or something else ({scene.reason(error)})"
        raise SceneError(path, problem, _AGAIN) from None


def _read(
    path: Path,
    file: h5py.File,
    label: LabelChoice,
    need_label: bool,
    strips: dual.Strips | None,
    skin_temperature: bool,
) -> Scene:
    wanted = _DATASETS.get(label, label)
    for name in ("refs", "bts", *([wanted] if need_label else [])):
        if not isinstance(file.get(name), h5py.Dataset):
            raise _lacking(path, file, name, label)
        _check_size(path, name, file[name])
    shape = file["bts"].shape[:2]
    image = np.empty((*shape, len(CHANNELS)), np.float32)
    for name, part in (("refs", np.s_[..., :NUM_REFS]), ("bts", np.s_[..., NUM_REFS:])):
        view = image[part]
        if file[name].shape != view.shape or not view.size:
            raise SceneError(
                path,
                f"'refs' has shape {file['refs'].shape} and 'bts' {file['bts'].shape}",
                "expected (rows, columns, 6) and (rows, columns, 3)",
            )
        with np.errstate(over="ignore"):  # float64 beyond float32 is infinite, hence missing
            view[...] = file[name][...]
    _mark_missing(image)
    missing = scene.missing_pixels(image)
    masks = {
        choice: _mask(path, file, choice, missing)
        for choice in {label, "summary", "truth"}
        if _DATASETS.get(choice, choice) in file
    }
    if need_label and not missing.all() and (masks[label] == UNKNOWN).all():
        problem = f"'{wanted}' is {NOT_COMPUTED} wherever something was measured: not computed"
        raise SceneError(path, problem, _ANOTHER)
    if label == "dual" and label in masks:
        masks[label] = dual.within(masks[label], _strip(path, file, shape, strips, need_label))
    channels: tuple[str, ...] = CHANNELS
    if skin_temperature:
        skin = _skin(path, file, missing)
        image, channels = np.concatenate([image, skin[..., None]], axis=-1), (*CHANNELS, SKIN)
    start, stop = times_of(path.stem)
    return Scene(
        name=path.stem,
        image=image,
        channels=channels,
        label=masks.get(label),
        classes=CLASSES,
        truth=masks.get("truth"),
        summary=masks.get("summary"),
        label_source=label,
        start=start,
        stop=stop,
    )


def _lacking(path: Path, file: h5py.File, name: str, label: str) -> SceneError:
    advice = f"--label {label} needs it: {_ANOTHER}"
    if name in ("refs", "bts"):
        advice = "it is no CloudMask benchmark file"
    return SceneError(path, f"holds no '{name}' (but {', '.join(file) or 'nothing'})", advice)


def _strip(
    path: Path,
    file: h5py.File,
    shape: tuple[int, int],
    strips: dual.Strips | None,
    need_label: bool,
) -> dual.Columns | None:
    """The columns that the oblique view sees; SceneError where a label needs them."""
    if strips is None:
        columns, where = dual.columns_of(_numbers(path, file, "bayes", shape)), "of its pixels"
    else:
        columns, where = strips.get(shape[1]), f"of the archive's scenes {shape[1]} columns wide"
    if columns is None and need_label:
        problem = f"none {where} has bit 4 or 8 in 'bayes', which tell what the oblique view sees"
        raise SceneError(path, problem, _ANOTHER)
    return columns


def _check_size(path: Path, name: str, dataset: h5py.Dataset) -> None:
    try:
        check_dataset(name, dataset)
    except ValueError as error:
        raise SceneError(path, str(error), _AGAIN) from None


def _mark_missing(image: np.ndarray) -> None:
    """(H, W, 9) as in the file -> NaN where there is no measurement, in place."""
    for top in range(0, len(image), 32):  # few rows at a time stay in the CPU's cache
        rows = image[top : top + 32]
        rows[~np.isfinite(rows)] = np.nan
        pixels = rows.reshape(-1, len(CHANNELS))
        pixels[scene.where_all(pixels, lambda values: values == 0, range(NUM_REFS)), :NUM_REFS] = (
            np.nan
        )
        for channel in range(NUM_REFS, len(CHANNELS)):
            pixels[np.flatnonzero(pixels[:, channel] <= 0), channel] = np.nan


def _mask(path: Path, file: h5py.File, choice: str, missing: np.ndarray) -> np.ndarray:
    """One of the file's masks -> (H, W) uint8: 1 cloud, 0 clear, 255 unknown or not measured."""
    values = _numbers(path, file, _DATASETS.get(choice, choice), missing.shape)
    unknown = missing | (values == NOT_COMPUTED)
    return np.where(unknown, UNKNOWN, bayes_cloud(values, choice)).astype(np.uint8)


def _numbers(path: Path, file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One of the file's masks as it stands there, (H, W) whole numbers; NaN is not computed."""
    values = _plane(path, file, name, shape)
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, NOT_COMPUTED).astype(np.int64)
    return values


def _plane(path: Path, file: h5py.File, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) or (H, W, 1) numbers as they stand in the file -> (H, W)."""
    _check_size(path, name, file[name])
    values = file[name][...]
    if values.shape not in (shape, (*shape, 1)):
        raise SceneError(path, f"'{name}' has shape {values.shape}, the image {shape}", _AGAIN)
    if values.dtype.kind not in "buif":
        raise SceneError(path, f"'{name}' is {values.dtype}, not numbers", _AGAIN)
    return values.reshape(shape)


def _skin(path: Path, file: h5py.File, missing: np.ndarray) -> np.ndarray:
    """(H, W) float32 K, NaN where nothing was measured: a channel by itself is no measurement."""
    if not isinstance(file.get("skin"), h5py.Dataset):
        problem = f"holds no 'skin' (but {', '.join(file)})"
        raise SceneError(path, problem, "--skin-temperature needs it: leave that or the scene out")
    kelvin = surface_kelvin(_plane(path, file, "skin", missing.shape))
    kelvin[missing] = np.nan
    return kelvin
