"""A mask as a CF NetCDF-4 file, which xarray, Panoply, GDAL and QGIS open.

It is made with h5netcdf in memory, written aside and renamed. Probability is scaled int16 (steps of
1e-4), the mask uint8 with flag meanings; a pixel without measurement is nodata in both, never clear
or cloud. Unsigned bytes have been allowed since CF-1.9.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.files import open_hdf5, parse_json, write_whole
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks.flags import cf_names, flag_attributes
from cloudmask.predict.masks.hdf5 import attributes_in
from cloudmask.predict.masks.place import (
    packing,
    read_crs,
    read_degrees,
    read_transform,
    write_place,
)
from cloudmask.predict.masks.values import (
    FILL,
    STEPS,
    ClassMask,
    SceneMask,
    check,
    check_classes,
    probability_of,
    steps_of,
)


def write_netcdf(path: Path, mask: SceneMask) -> None:
    """The file, whole or not at all. Raises OSError, ValueError for a place that cannot be."""
    import h5netcdf

    content = io.BytesIO()  # HDF5 itself crashes on a full disk
    with h5netcdf.File(content, "w") as file:
        file.dimensions = {"y": mask.mask.shape[0], "x": mask.mask.shape[1]}
        file.attrs["Conventions"] = "CF-1.9"
        file.attrs["title"] = f"Classes of {mask.name}"
        for key, value in (mask.attributes or {}).items():
            file.attrs[key] = value
        file.attrs["classes"] = json.dumps(mask.classes)
        where = write_place(file, mask)
        names = cf_names(mask.classes)[-mask.probability.shape[-1] :]
        for channel, name in enumerate(names):
            about = {"long_name": f"probability of {name}"}
            if mask.spread is not None:
                about["ancillary_variables"] = f"spread_{name}"
                text = f"standard deviation of the probability of {name} over models"
                _packed(
                    file, f"spread_{name}", mask.spread[..., channel], {"long_name": text} | where
                )
            _packed(file, f"probability_{name}", mask.probability[..., channel], about | where)
        flags = file.create_variable(
            "mask", ("y", "x"), "u1", data=mask.mask, fillvalue=UNKNOWN, **packing(*mask.mask.shape)
        )
        beside = {"ancillary_variables": " ".join(f"probability_{name}" for name in names)}
        for key, value in (flag_attributes(mask.classes) | beside | where).items():
            flags.attrs[key] = value
    write_whole(path, content.getvalue())


def _packed(file: Any, name: str, values: np.ndarray, attributes: dict[str, str]) -> None:
    variable = file.create_variable(
        name,
        ("y", "x"),
        "i2",
        data=steps_of(values),
        fillvalue=np.int16(FILL),
        **packing(*values.shape),
    )
    variable.attrs["units"] = "1"
    variable.attrs["scale_factor"], variable.attrs["add_offset"] = 1 / STEPS, 0.0
    for key, value in attributes.items():
        variable.attrs[key] = value


def read_netcdf(path: Path) -> SceneMask:
    """A file of `write_netcdf`, of this version or an earlier one.

    Raises ValueError for another or a damaged one.
    """
    try:
        with open_hdf5(path) as file:
            attributes = attributes_in(file)
            classes = tuple(parse_json(attributes["classes"]))
            names = [name for name in cf_names(classes) if f"probability_{name}" in file]
            probability = [probability_of(file[f"probability_{name}"][...]) for name in names]
            spread = [
                probability_of(file[f"spread_{name}"][...])
                for name in names
                if f"spread_{name}" in file
            ]
            found = SceneMask(
                name=path.stem,
                classes=classes,
                probability=np.stack(probability, axis=-1),
                spread=np.stack(spread, axis=-1) if spread else None,
                mask=file["mask"][...],
                latitude=read_degrees(file, "latitude"),
                longitude=read_degrees(file, "longitude"),
                attributes=attributes,
                crs=read_crs(file),
                transform=read_transform(file),
                start=attributes.get("time_coverage_start"),
                stop=attributes.get("time_coverage_end"),
            )
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
    check(found, path)
    return found


def read_classes(path: Path) -> ClassMask:
    """The classes of a file of `write_netcdf` alone, which are a seventh of it or less.

    Raises ValueError for another or a damaged one.
    """
    try:
        with open_hdf5(path) as file:
            attributes = attributes_in(file)
            found = ClassMask(
                classes=tuple(parse_json(attributes["classes"])),
                mask=file["mask"][...],
                crs=read_crs(file),
                transform=read_transform(file),
                start=attributes.get("time_coverage_start"),
            )
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is not a mask of this program ({error})") from None
    check_classes(found, path)
    return found
