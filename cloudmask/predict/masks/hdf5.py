"""A mask in the layout of the MLCommons benchmark: HDF5 with one array of probabilities."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from cloudmask.files import open_hdf5, parse_json, write_whole
from cloudmask.predict.masks.values import SceneMask, classify


def write_hdf5(path: Path, mask: SceneMask) -> None:
    """`mask` (1, H, W, K) float32 probability, NaN = no measurement. Raises OSError."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("mask", data=mask.probability[None].astype(np.float32))
        file.attrs["classes"] = json.dumps(mask.classes)
        for key, value in (mask.attributes or {}).items():
            file.attrs[key] = value
    write_whole(path, content.getvalue())


def read_hdf5(path: Path, *, classes: Sequence[str]) -> SceneMask:
    """A file of `write_hdf5`, or of another program, whose classes are `classes`. ValueError."""
    try:
        with open_hdf5(path) as file:
            probability = file["mask"][...]
            attributes = {str(key): str(value) for key, value in file.attrs.items()}
        named = tuple(parse_json(attributes.get("classes", json.dumps(list(classes)))))
        threshold = float(parse_json(attributes.get("options", "{}")).get("threshold", 0.5))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
    channels = 1 if len(named) == 2 else len(named)
    if probability.ndim != 4 or (len(probability), probability.shape[-1]) != (1, channels):
        raise ValueError(
            f"{path}: its mask has shape {probability.shape}, not (1, H, W, {channels})"
        )
    if np.nanmin(probability, initial=0) < 0 or np.nanmax(probability, initial=0) > 1:
        raise ValueError(f"{path}: its mask does not hold probabilities from 0 to 1")
    probability = probability[0].astype(np.float32)
    return SceneMask(
        name=path.stem,
        classes=named,
        probability=probability,
        spread=None,
        mask=classify(probability, threshold=threshold),
        attributes=attributes,
    )
