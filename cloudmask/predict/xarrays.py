"""xarray in, xarray out: channels as one array, and a mask on the coordinates they came with.

xarray is not imported here: who hands in an object of its has it loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudmask.predict.channels import require
from cloudmask.predict.masks.flags import flag_attributes
from cloudmask.predict.masks.values import Mask

if TYPE_CHECKING:
    import xarray

CHANNEL_DIMENSIONS = ("channel", "band")


@dataclass(frozen=True, eq=False)
class Labelled:
    """An image with what xarray knows of it."""

    image: np.ndarray
    """([N,] H, W, C)"""
    channels: Sequence[str] | None
    dims: tuple[Any, ...]
    """names of all axes but the last"""
    coords: xarray.Coordinates


def is_one(image: Any) -> bool:
    """Whether this is an xarray Dataset or DataArray."""
    library = sys.modules.get("xarray")
    return library is not None and isinstance(image, library.Dataset | library.DataArray)


def take_apart(image: Any, wanted: Sequence[str], names: Sequence[str] | None) -> Labelled:
    """A Dataset of channels, or a DataArray with a dimension for them, as an array.

    `names` are those that the caller knows of a DataArray's channels. ValueError for channels that
    are not there or do not lie on each other.
    """
    if hasattr(image, "data_vars"):
        if names is not None:
            raise ValueError("channels= is for arrays; a Dataset names its variables itself")
        require(list(image.data_vars), wanted)
        maps = [image[name] for name in wanted]
        dims = maps[0].dims
        for other in maps:
            if set(other.dims) != set(dims):
                raise ValueError(
                    f"{wanted[0]} has the dimensions {', '.join(map(str, dims))}, {other.name} "
                    f"{', '.join(map(str, other.dims))}; resample them to one grid"
                )
        values = np.stack([one.transpose(*dims).values for one in maps], axis=-1)
        return Labelled(values, wanted, dims, maps[0].coords)
    dimension = _channel_dimension(image, wanted)
    known = _names(image, dimension)
    if known is not None and names is not None:
        raise ValueError(f"channels= is for arrays; the coordinate '{dimension}' names them itself")
    return Labelled(
        image=image.transpose(..., dimension).values,
        channels=names if known is None else known,
        dims=tuple(name for name in image.dims if name != dimension),
        coords=image.coords.to_dataset().drop_dims(dimension, errors="ignore").coords,
    )


def in_order(mask: xarray.DataArray, dims: Sequence[Any]) -> np.ndarray:
    """A mask's values in the order of these dimensions. ValueError if it has others."""
    if not hasattr(mask, "dims") or set(mask.dims) != set(dims) or hasattr(mask, "data_vars"):
        raise ValueError(f"teacher= must be a DataArray of {', '.join(map(str, dims))}")
    return mask.transpose(*dims).values


def _channel_dimension(image: xarray.DataArray, wanted: Sequence[str]) -> Any:
    for name in image.dims:
        if not set(wanted).isdisjoint(_names(image, name) or ()):
            return name
    for name in CHANNEL_DIMENSIONS:
        if name in image.dims:
            return name
    raise ValueError(
        f"none of the dimensions {', '.join(map(str, image.dims))} is that of the channels: call "
        f"it {' or '.join(CHANNEL_DIMENSIONS)}, or give it the coordinate {', '.join(wanted)}"
    )


def _names(image: xarray.DataArray, dimension: Any) -> list[str] | None:
    """What the coordinate of a dimension calls its places; None if it has no names."""
    if dimension not in image.coords or image.coords[dimension].dtype.kind not in "OUT":
        return None
    return [str(name) for name in image.coords[dimension].values]


def put_together(mask: Mask, place: Labelled, classes: Sequence[str]) -> xarray.Dataset:
    """`probability`, `mask`, `nodata` (and `spread`) on the dimensions and coordinates of `place`.

    The probabilities of more than two classes have a dimension `class` in the end.
    """
    import xarray

    several = mask.probability.ndim > mask.mask.ndim
    deep = (*place.dims, "class") if several else place.dims
    of = "the class" if several else classes[-1]
    variables: dict[str, Any] = {
        "probability": (deep, mask.probability, {"long_name": f"probability of {of}"}),
        "mask": (place.dims, mask.mask, flag_attributes(classes)),
        "nodata": (place.dims, mask.nodata, {"long_name": "no measurement"}),
    }
    if mask.spread is not None:
        about = {"long_name": "standard deviation of the probability over models"}
        variables["spread"] = (deep, mask.spread, about)
    result = xarray.Dataset(variables, coords=place.coords)
    return result.assign_coords({"class": list(classes)}) if several else result
