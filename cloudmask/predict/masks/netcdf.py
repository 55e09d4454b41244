"""A mask as a CF NetCDF-4 file, which xarray, Panoply, GDAL and QGIS open.

It is made with h5netcdf in memory, written aside and renamed. Probability is scaled int16 (steps of
1e-4), the mask uint8 with flag meanings; a pixel without measurement is nodata in both, never clear
or cloud. Unsigned bytes have been allowed since CF-1.9.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.files import open_hdf5, parse_json, whole_file
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks.flags import cf_names, flag_attributes
from cloudmask.predict.masks.hdf5 import Unfailing, attributes_in
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
    About,
    Band,
    ClassMask,
    SceneMask,
    check,
    check_classes,
    probability_of,
    steps_of,
)


def write_netcdf(path: Path, mask: SceneMask) -> None:
    """The file, whole or not at all. Raises OSError, ValueError for a place that cannot be."""
    about = About(
        shape=(mask.mask.shape[0], mask.mask.shape[1]),
        has_spread=mask.spread is not None,
        **{name: getattr(mask, name) for name in TOLD},
    )
    whole = Band(slice(0, len(mask.mask)), mask.probability, mask.spread, mask.mask)
    write_bands(path, about, [whole])


TOLD = (
    *("name", "classes", "attributes", "latitude", "longitude"),
    *("crs", "transform", "start", "stop"),
)


def write_bands(path: Path, about: About, bands: Iterable[Band]) -> None:
    """The same of a mask that comes in bands from the top, of which one is in memory."""
    import h5netcdf

    with whole_file(path) as disk:
        content = Unfailing(disk)
        with h5netcdf.File(content, "w") as file:
            _write(file, about, bands, content)
        content.complain()


def _write(file: Any, about: About, bands: Iterable[Band], content: Unfailing) -> None:
    file.dimensions = {"y": about.shape[0], "x": about.shape[1]}
    file.attrs["Conventions"] = "CF-1.9"
    file.attrs["title"] = f"Classes of {about.name}"
    for key, value in (about.attributes or {}).items():
        file.attrs[key] = value
    file.attrs["classes"] = json.dumps(about.classes)
    where = write_place(file, about)
    stored = 1 if len(about.classes) == 2 else len(about.classes)
    names = cf_names(about.classes)[-stored:]
    for name in names:
        told = {"long_name": f"probability of {name}"}
        if about.has_spread:
            told["ancillary_variables"] = f"spread_{name}"
            text = f"standard deviation of the probability of {name} over models"
            _packed(file, f"spread_{name}", about.shape, {"long_name": text} | where)
        _packed(file, f"probability_{name}", about.shape, told | where)
    flags = file.create_variable(
        "mask", ("y", "x"), "u1", fillvalue=UNKNOWN, **packing(*about.shape)
    )
    beside = {"ancillary_variables": " ".join(f"probability_{name}" for name in names)}
    for key, value in (flag_attributes(about.classes) | beside | where).items():
        flags.attrs[key] = value
    for rows, layers in _in_chunks(bands, names, about.shape):
        for name, values in layers.items():
            file.variables[name][rows] = values
        content.complain()


def _in_chunks(
    bands: Iterable[Band], names: Sequence[str], shape: tuple[int, int]
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Rows of variables as they are stored: whole chunks, so that none is packed twice."""
    together = packing(*shape)["chunks"][0]
    held: dict[str, np.ndarray] = {}
    top = 0
    for band in bands:
        layers = {}
        for kind, values in (("spread", band.spread), ("probability", band.probability)):
            if values is not None:
                for channel, name in enumerate(names):
                    layers[f"{kind}_{name}"] = steps_of(values[..., channel])
        layers["mask"] = band.mask
        if held:
            layers = {name: np.concatenate([held[name], layers[name]]) for name in layers}
        count = len(layers["mask"])
        if top + count < shape[0]:
            count -= count % together
        if count:
            rows = slice(top, top + count)
            yield rows, {name: values[:count] for name, values in layers.items()}
        held = {name: values[count:].copy() for name, values in layers.items()}
        top += count
    assert top == shape[0]


def _packed(file: Any, name: str, shape: tuple[int, int], attributes: dict[str, str]) -> None:
    variable = file.create_variable(
        name, ("y", "x"), "i2", fillvalue=np.int16(FILL), **packing(*shape)
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
