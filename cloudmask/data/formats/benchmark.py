"""Scenes of the MLCommons Science benchmark CloudMask: Sentinel-3 SLSTR in HDF5.

The benchmark's HDF5 files hold `refs` (H, W, 6), `bts` (H, W, 3) and the masks `bayes`
and `summary` (H, W, 1), without attributes; synthetic ones a mask `truth` besides. Some arrays are
float64, and some files hold radiances under `refs`, so nothing is assumed about their range.

What counts as missing (NaN) follows from what the files hold, as they have no fill value: a
brightness temperature that is not above 0 K; reflectances that are exactly 0 in all six channels,
which is the border of a scene as well as its night side, where nothing reflects.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from cloudmask.data import scene
from cloudmask.data.acquisition import times_of
from cloudmask.data.formats.claims import check_dataset
from cloudmask.data.scene import LabelChoice, Scene, SceneError
from cloudmask.data.slstr import CHANNELS, CLASSES, NOT_COMPUTED, NUM_REFS, bayes_cloud
from cloudmask.files import open_hdf5
from cloudmask.metrics import UNKNOWN

_DATASETS = {"any": "bayes", "single_moderate": "bayes"}  # else the label's own name
_AGAIN = "download or copy the file again"


def read_hdf(path: Path, *, label: LabelChoice = "any", need_label: bool = True) -> Scene:
    """A benchmark file as a Scene of nine channels, S1..S6 as they stand there and S7..S9 in K.

    The label is cloud where `bayes` has any bit (`any`) or bit 2 (`single_moderate`), or where
    `summary` or `truth` is above 0. Pixels without any measurement have label 255. SceneError.
    """
    try:
        with open_hdf5(path) as file:
            return _read(path, file, label, need_label)
    except SceneError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        problem = f"cannot be read as HDF5, truncated or something else ({scene.reason(error)})"
        raise SceneError(path, problem, _AGAIN) from None


def _read(path: Path, file: h5py.File, label: LabelChoice, need_label: bool) -> Scene:
    wanted = _DATASETS.get(label, label)
    for name in ("refs", "bts", *([wanted] if need_label else [])):
        if not isinstance(file.get(name), h5py.Dataset):
            held = ", ".join(file) or "nothing"
            raise SceneError(path, f"holds no '{name}' (but {held})", _advice(name, label))
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
        raise SceneError(path, problem, "choose another --label or leave this scene out")
    start, stop = times_of(path.stem)
    return Scene(
        name=path.stem,
        image=image,
        channels=CHANNELS,
        label=masks.get(label),
        classes=CLASSES,
        truth=masks.get("truth"),
        summary=masks.get("summary"),
        label_source=label,
        start=start,
        stop=stop,
    )


def _advice(name: str, label: str) -> str:
    if name in ("refs", "bts"):
        return "it is no CloudMask benchmark file"
    return f"--label {label} needs it: choose another --label or leave this scene out"


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
    name = _DATASETS.get(choice, choice)
    _check_size(path, name, file[name])
    values = file[name][...]
    if values.shape not in (missing.shape, (*missing.shape, 1)):
        raise SceneError(
            path, f"'{name}' has shape {values.shape}, the image {missing.shape}", _AGAIN
        )
    if values.dtype.kind not in "buif":
        raise SceneError(path, f"'{name}' is {values.dtype}, not numbers", _AGAIN)
    values = values.reshape(missing.shape)
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, NOT_COMPUTED).astype(np.int64)
    unknown = missing | (values == NOT_COMPUTED)
    return np.where(unknown, UNKNOWN, bayes_cloud(values, choice)).astype(np.uint8)
