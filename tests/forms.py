"""The forms in which products arrive, made from a SAFE product that lies in a folder."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import zarr

TIMES = ("2017-03-13T11:00:00.250000Z", "2017-03-13T11:03:00.250000Z")


def zipped(product: Path, parent: Path, *, inside: str | None = None, **changes: bytes) -> Path:
    """`NAME.SEN3.zip` in `parent`; its members lie `inside` a folder, by default NAME.SEN3.

    `changes` replace the content of members, by name without suffix.
    """
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / f"{product.name}.zip"
    inside = product.name if inside is None else inside
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(product.iterdir()):
            content = changes.get(member.stem, member.read_bytes())
            file.writestr(f"{inside}/{member.name}".lstrip("/"), content)
    return path


def nested(product: Path, parent: Path) -> Path:
    """`NAME.SEN3/NAME.SEN3` in `parent`."""
    folder = parent / product.name
    shutil.copytree(product, folder / product.name)
    return folder


def stored(product: Path, parent: Path, *, name: str | None = None, url: str = "") -> Path | str:
    """The product as an EOPF Zarr store below `parent`, or at a URL; as ESA's mapping lays it."""
    path = url or parent / (name or f"{product.stem}.zarr")
    root = zarr.open_group(str(path), mode="w", zarr_format=2)
    times = dict(zip(("start_datetime", "end_datetime"), TIMES, strict=True))
    root.attrs["stac_discovery"] = {
        **{"id": product.name, "collection": product.stem[-3:], "properties": times}
    }
    for file in sorted(product.glob("*.nc")):
        with h5py.File(file) as opened:
            for variable, values in opened.items():
                place = _place(file.stem, variable)
                if place and values.ndim:
                    _store(root, place, values)
            if file.stem.startswith("indices"):
                (values,) = (v for name, v in opened.items() if name.startswith("detector"))
                _store_plane(root, file.stem[-2:], values.shape, opened.attrs)
    if not url:
        zarr.consolidate_metadata(str(path), zarr_format=2)
    return path


def _view(grid: str) -> str:
    return f"{grid[0]}{'nadir' if grid[1] == 'n' else 'oblique'}"


def _place(stem: str, variable: str) -> str | None:
    what, _, grid = stem.rpartition("_")
    if variable in ("rows", "columns", "detectors", "views", "t_single") or not what:
        return None
    if "exception" in variable:
        return f"quality/{_view(grid)}/{variable.lower()}"
    if what == "geodetic":
        group = "conditions/geometry_tn" if grid == "tx" else f"measurements/{_view(grid)}"
        return f"{group}/{variable.rpartition('_')[0]}"
    if "radiance" in what or "BT" in what:
        return f"measurements/{_view(grid)}/{variable.lower()}"
    if "quality" in what:
        band = what.partition("_")[0].lower()
        return f"conditions/instrument/{_view(grid)}/{band}/{variable.lower()}"
    if what == "met":
        return f"conditions/meteorology/{variable.rpartition('_')[0]}_tp"
    if variable.startswith("confidence"):
        return f"quality/{_view(grid)}/{variable}"
    if what == "indices":
        return f"conditions/processing/{_view(grid)}/detector"
    return f"conditions/{stem}/{variable}" if what == "geometry" else None


def _store(root: zarr.Group, place: str, values: h5py.Dataset) -> None:
    fill = values.attrs.get("_FillValue")
    array = root.create_array(
        place,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(max(1, (size + 1) // 2) for size in values.shape),
        fill_value=None if fill is None else np.ravel(fill)[0].item(),
    )
    array[...] = values[...]
    for key in ("scale_factor", "add_offset"):
        if key in values.attrs:
            array.attrs[key] = float(np.ravel(values.attrs[key])[0])
    array.attrs["_ARRAY_DIMENSIONS"] = ["rows", "columns", "detectors"][: values.ndim]


def _store_plane(
    root: zarr.Group, grid: str, shape: tuple[int, int], attributes: h5py.AttributeManager
) -> None:
    """x and y in metres: from the ground track to the left, from the start of the orbit down."""
    metres = 500 if grid[0] == "a" else 1000
    track, start = (int(np.ravel(attributes[f"{n}_offset"])[0]) for n in ("track", "start"))
    rows, columns = np.indices(shape)
    for name, plane in (("x", metres * (track - columns)), ("y", metres * (start + rows))):
        values = (1000 * plane).astype(np.int32)
        array = root.create_array(f"measurements/{_view(grid)}/{name}", data=values)
        array.attrs["scale_factor"], array.attrs["add_offset"] = 0.001, 0.0
