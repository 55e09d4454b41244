"""A scene in one file: PNG, JPEG, TIFF of any layout, JPEG 2000."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from seaice.io import bands, metadata, raster
from seaice.io.opened import Colours, Opened, Rows
from seaice.io.raster import Raster
from seaice.io.reading import BANDS, DATE_TAG, ImageError, Reading, Stretch
from seaice.io.sources import Source

_TILE_IMAGE = re.compile(r"T(?P<tile>\d{2}[A-Z]{3})_(?P<date>\d{8}T\d{6})_TCI(_10m)?")


@contextlib.contextmanager
def opened(source: Source, reading: Reading) -> Iterator[Opened]:
    """The scene. ImageError."""
    with contextlib.ExitStack() as stack:
        place = source.place
        if source.content is not None:
            place = stack.enter_context(raster.in_memory(source.content))
        image = stack.enter_context(raster.opened(place, source.place))
        yield _opened(image, source, reading)


def _opened(image: Raster, source: Source, reading: Reading) -> Opened:
    with raster.guarded(image.name):
        descriptions, count = image.file.descriptions, image.file.count
        colours = [_colour(image, number) for number in range(1, count + 1)]
        kinds = {np.dtype(kind) for kind in image.file.dtypes}
    if len(kinds) > 1 or next(iter(kinds)).kind not in "iuf":
        held = ", ".join(sorted(str(kind) for kind in kinds))
        raise ImageError(f"{image.name} holds {held} values; needed are numbers of one kind")
    told = []
    if colours == ["palette"]:
        numbers, layer = {}, _palette(image)
    else:
        try:
            choice = bands.choose(descriptions, colours, reading.bands)
        except ValueError as error:
            raise ImageError(f"{image.name} {error}") from None
        numbers = choice.numbers
        if choice.told is not None:
            told.append(choice.told)
        layer = _layer(image, numbers, colours, reading)
    with raster.guarded(image.name), _stream(source) as stream:
        turned = raster.orientation(stream)
    if turned != 1:
        told.append(f"orientation {turned} is ignored: rows and columns are taken as stored")
    known = _TILE_IMAGE.fullmatch(PurePosixPath(source.place).stem)
    with raster.guarded(image.name):
        date = known["date"] if known else image.file.tags().get(DATE_TAG)
    try:
        date = metadata.utc(date)
    except ValueError:
        told.append(f"its {DATE_TAG} {date[:40]!r} is no date, and is ignored")
        date = None
    return Opened(
        name=image.name,
        shape=image.shape,
        grid=image.grid,
        colours=layer,
        reading=reading,
        date=date,
        tile=known and known["tile"],
        told=tuple(told),
        **_reflectances(image, numbers, layer),
    )


def _stream(source: Source) -> IO[bytes]:
    if source.content is not None:
        return io.BytesIO(source.content)
    return Path(source.place).open("rb")


def _colour(image: Raster, number: int) -> str:
    try:
        return str(image.file.colorinterp[number - 1].name)
    except ValueError:  # one that rasterio has no name for
        return "undefined"


def _layer(image: Raster, numbers: dict[str, int], colours: list[str], reading: Reading) -> Colours:
    wanted = [numbers[band] for band in BANDS]
    alpha = colours.index("alpha") + 1 if "alpha" in colours else None
    with raster.guarded(image.name):
        kind = np.dtype(image.file.dtypes[wanted[0] - 1])
        flags = {flag.name for flag in image.file.mask_flag_enums[wanted[0] - 1]}
        values = [image.file.nodatavals[number - 1] for number in wanted]
        block_rows = int(image.file.block_shapes[wanted[0] - 1][0])
    masked = "per_dataset" in flags and "alpha" not in flags
    same = len(set(values)) == 1 and values[0] is not None and np.isfinite(values[0])

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        if alpha is None:
            found = image.read(wanted, rows)
            absent = image.mask(wanted[0], rows) if masked else None
        else:
            found = image.read([*wanted, alpha], rows)
            found, absent = found[:-1], found[-1] == 0
        return np.stack(list(found), axis=-1), absent

    return Colours(
        read=read,
        dtype=kind,
        stretches=stretches(image.name, kind, reading.stretch),
        declared=(float(values[0]),) if same else (),
        lossy=image.lossy,
        block_rows=block_rows,
    )


def stretches(name: str, dtype: np.dtype, stretch: Stretch | None) -> tuple[Stretch, ...] | None:
    """Of each band; None for 8-bit ones. ImageError for one that lacks or is too many."""
    if dtype == np.uint8:
        if stretch is not None:
            raise ImageError(f"{name} is 8-bit already; leave --stretch out")
        return None
    if stretch is None:
        floating = " floating" if dtype.kind == "f" else ""
        raise ImageError(
            f"{name} holds {8 * dtype.itemsize}-bit{floating} values, not 8-bit ones; state which "
            "of them become 0 and 255: --stretch LOW HIGH"
        )
    return (stretch,) * len(BANDS)


def _palette(image: Raster) -> Colours:
    """Indices of colours, as red, green, blue."""
    with raster.guarded(image.name):
        table = np.zeros((256, 4), np.uint8)
        for index, colour in image.file.colormap(1).items():
            if index < len(table):
                table[index] = colour
        block_rows = int(image.file.block_shapes[0][0])

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        found = table[image.read([1], rows)[0]]
        return found[..., :3], found[..., 3] == 0

    return Colours(read, np.dtype(np.uint8), None, block_rows=block_rows)


def _reflectances(image: Raster, numbers: dict[str, int], layer: Colours) -> dict[str, Any]:
    """Of floating values, and of whole ones whose scale the file states."""
    with raster.guarded(image.name):
        every_scale, every_offset = image.file.scales, image.file.offsets
    scales = {band: every_scale[number - 1] for band, number in numbers.items()}
    if layer.dtype.kind != "f" and set(scales.values()) <= {1.0}:
        return {
            "no_bands": "it holds whole numbers and states no scale; state it in the file "
            "(gdal_edit.py -scale)"
        }
    rows_of: dict[str, Rows] = {}
    for band, number in numbers.items():
        rows_of[band] = _reflectance(
            image, number, scales[band], every_offset[number - 1], layer.declared
        )
    return {
        "bands": rows_of,
        "no_bands": "no band is described as such; name it, --bands RED GREEN BLUE NIR SWIR",
    }


def _reflectance(
    image: Raster, number: int, scale: float, offset: float, declared: tuple[float, ...]
) -> Rows:
    def read(rows: slice) -> np.ndarray:
        raw = image.read([number], rows)[0]
        found = raw.astype(np.float32) * np.float32(scale) + np.float32(offset)
        for value in declared:
            found[raw == value] = np.nan
        if raw.dtype.kind in "iu":
            found[raw == 0] = np.nan
        found[~np.isfinite(found)] = np.nan
        return found

    return read
