"""Masks as values, and those of whole scenes as files: CF NetCDF that xarray and Panoply open.

Files are made with h5netcdf in memory, written aside and renamed. Probability is scaled int16
(steps of 1e-4), the mask uint8 with flag meanings; a pixel without measurement is nodata in both,
never clear or cloud.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cloudmask.files import open_hdf5, write_whole
from cloudmask.metrics import UNKNOWN

STEP = 1e-4
FILL = -32768


@dataclass(frozen=True, eq=False)
class Mask:
    """What a model says of an image; of a batch of N images every array has N in front."""

    probability: np.ndarray
    """(H, W) float32, that of the second of two classes, or (H, W, K) of each of K > 2; NaN where
    there is no measurement"""
    mask: np.ndarray
    """(H, W) uint8: i means the model's classes[i], 255 = no measurement"""
    nodata: np.ndarray
    """(H, W) bool: no measurement in any of the model's channels"""
    spread: np.ndarray | None = None
    """like probability: its standard deviation over several networks, None of a single one"""


@dataclass(frozen=True, eq=False)
class SceneMask:
    """The mask of a whole scene as its file holds it, with name and place."""

    name: str
    classes: tuple[str, ...]
    probability: np.ndarray
    """(H, W, K) float32, NaN = no measurement; K = 1, the second class, where there are two"""
    spread: np.ndarray | None
    """(H, W, K) standard deviation over several networks"""
    mask: np.ndarray
    """(H, W) uint8 class, 255 = no measurement"""
    latitude: np.ndarray | None = None
    longitude: np.ndarray | None = None
    """(H, W) degrees"""
    attributes: dict[str, Any] | None = None


def classify(probability: np.ndarray, *, threshold: float) -> np.ndarray:
    """(H, W, K) probabilities, NaN = missing -> (H, W) uint8 classes, 255 = missing."""
    missing = np.isnan(probability[..., 0])
    if probability.shape[-1] == 1:
        classes = (probability[..., 0] >= threshold).astype(np.uint8)
    else:
        classes = np.argmax(np.nan_to_num(probability), axis=-1).astype(np.uint8)
    classes[missing] = UNKNOWN
    return classes


def write_netcdf(path: Path, mask: SceneMask) -> None:
    """One CF NetCDF-4 file, whole or not at all. Raises OSError."""
    import h5netcdf

    content = io.BytesIO()  # HDF5 itself crashes on a full disk
    with h5netcdf.File(content, "w") as file:
        file.dimensions = {"y": mask.mask.shape[0], "x": mask.mask.shape[1]}
        file.attrs["Conventions"] = "CF-1.11"
        file.attrs["title"] = f"Classes of {mask.name}"
        for key, value in (mask.attributes or {}).items():
            file.attrs[key] = value
        placed = mask.latitude is not None and mask.longitude is not None
        where = {"coordinates": "latitude longitude"} if placed else {}
        file.attrs["classes"] = json.dumps(mask.classes)
        for channel, name in enumerate(cf_names(mask.classes)[-mask.probability.shape[-1] :]):
            _packed(file, f"probability_{name}", mask.probability[..., channel], where)
            file[f"probability_{name}"].attrs["long_name"] = f"probability of {name}"
            if mask.spread is not None:
                _packed(file, f"spread_{name}", mask.spread[..., channel], where)
                text = f"standard deviation of the probability of {name} over models"
                file[f"spread_{name}"].attrs["long_name"] = text
        flags = file.create_variable(
            "mask", ("y", "x"), "u1", data=mask.mask, fillvalue=UNKNOWN, **_COMPRESSION
        )
        for key, value in (flag_attributes(mask.classes) | where).items():
            flags.attrs[key] = value
        if placed:
            for name, unit in (("latitude", "degrees_north"), ("longitude", "degrees_east")):
                values = np.asarray(getattr(mask, name), np.float32)
                degrees = file.create_variable(
                    name, ("y", "x"), "f4", data=values, fillvalue=np.float32(np.nan)
                )
                degrees.attrs["standard_name"], degrees.attrs["units"] = name, unit
    write_whole(path, content.getvalue())


def flag_attributes(classes: Sequence[str]) -> dict[str, Any]:
    """What CF wants said of a variable whose values are classes."""
    return {
        "long_name": "class of the pixel",
        "flag_values": np.arange(len(classes), dtype="u1"),
        "flag_meanings": " ".join(cf_names(classes)),
    }


def cf_names(classes: Sequence[str]) -> list[str]:
    """Classes as words that CF takes for names; numbered where two would be the same word."""
    words = [re.sub(r"[^A-Za-z0-9_]", "_", name) or "class" for name in classes]
    return [
        word if words.count(word) == 1 else f"{word}_{number}" for number, word in enumerate(words)
    ]


_COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def _packed(file: Any, name: str, values: np.ndarray, where: dict[str, str]) -> None:
    missing = np.isnan(values)
    packed = np.rint(np.where(missing, 0, values) / np.float32(STEP)).astype("i2")
    packed[missing] = FILL
    variable = file.create_variable(
        name, ("y", "x"), "i2", data=packed, fillvalue=np.int16(FILL), **_COMPRESSION
    )
    variable.attrs["scale_factor"], variable.attrs["add_offset"] = STEP, 0.0
    variable.attrs["units"] = "1"
    for key, value in where.items():
        variable.attrs[key] = value


def read_netcdf(path: Path) -> SceneMask:
    """A file of `write_netcdf`. Raises ValueError for another or a damaged one."""
    import h5netcdf

    try:
        with h5netcdf.File(path, "r") as file:
            flags = file["mask"]
            classes = tuple(json.loads(file.attrs["classes"]))
            names = [name for name in cf_names(classes) if f"probability_{name}" in file.variables]
            probability = [_unpacked(file[f"probability_{name}"]) for name in names]
            spread = [
                _unpacked(file[f"spread_{name}"])
                for name in names
                if f"spread_{name}" in file.variables
            ]
            degrees = [
                file[name][...] if name in file.variables else None
                for name in ("latitude", "longitude")
            ]
            return SceneMask(
                name=path.stem,
                classes=classes,
                probability=np.stack(probability, axis=-1),
                spread=np.stack(spread, axis=-1) if spread else None,
                mask=flags[...],
                latitude=degrees[0],
                longitude=degrees[1],
                attributes=dict(file.attrs),
            )
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None


def _unpacked(variable: Any) -> np.ndarray:
    stored = variable[...]
    values = stored.astype(np.float32) * np.float32(STEP)
    values[stored == FILL] = np.nan
    return values


def read_mask(path: Path, *, classes: Sequence[str]) -> SceneMask:
    """A file of `write_netcdf` or `write_hdf5`, or of another program in the latter's layout.

    Such a file may not name its classes: then they are `classes`. ValueError.
    """
    return read_netcdf(path) if path.suffix == ".nc" else _read_hdf5(path, tuple(classes))


def write_hdf5(path: Path, mask: SceneMask) -> None:
    """The benchmark's layout: `mask` (1, H, W, K) float32 probability, NaN = no measurement."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("mask", data=mask.probability[None].astype(np.float32))
        file.attrs["classes"] = json.dumps(mask.classes)
        for key, value in (mask.attributes or {}).items():
            file.attrs[key] = value
    write_whole(path, content.getvalue())


def _read_hdf5(path: Path, classes: tuple[str, ...]) -> SceneMask:
    try:
        with open_hdf5(path) as file:
            probability = file["mask"][...]
            attributes = {str(key): value for key, value in file.attrs.items()}
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
    named = tuple(json.loads(attributes.get("classes", json.dumps(classes))))
    channels = 1 if len(named) == 2 else len(named)
    if probability.ndim != 4 or (len(probability), probability.shape[-1]) != (1, channels):
        raise ValueError(
            f"{path}: its mask has shape {probability.shape}, not (1, H, W, {channels})"
        )
    if np.nanmin(probability, initial=0) < 0 or np.nanmax(probability, initial=0) > 1:
        raise ValueError(f"{path}: its mask does not hold probabilities from 0 to 1")
    probability = probability[0].astype(np.float32)
    threshold = json.loads(attributes.get("options", "{}")).get("threshold", 0.5)
    return SceneMask(
        name=path.stem,
        classes=named,
        probability=probability,
        spread=None,
        mask=classify(probability, threshold=threshold),
        attributes=attributes,
    )
