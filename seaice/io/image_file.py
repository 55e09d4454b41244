"""A scene in one file: PNG, JPEG, TIFF of any layout, JPEG 2000."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from seaice.io import bands, raster
from seaice.io.opened import Colours, Opened, Rows
from seaice.io.raster import Raster
from seaice.io.reading import BANDS, ImageError, Reading, Stretch
from seaice.io.sources import Source

_CONVERTED = "CMYK"
"""colours of 8 bits that GDAL hands over as red, green, blue; what it makes of CIELAB is far off"""
_PLAIN = (0, 1, 2, 3, 6)
"""photometric interpretations of TIFF: gray, red green blue, a palette, YCbCr of JPEG"""
_BITS = 8  # at least, of a value that is no index
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
    with raster.guarded(image.name), _stream(source) as stream:
        tags = raster.tags(stream)
    told = _lines(image, tags)
    if colours in (["palette"], ["palette", "alpha"]):
        numbers, layer = {}, _palette(image, next(iter(kinds)))
    else:
        try:
            choice = bands.choose(descriptions, colours, reading.bands)
        except ValueError as error:
            raise ImageError(f"{image.name} {error}") from None
        numbers = choice.numbers
        if choice.told is not None:
            told.append(choice.told)
        layer = _layer(image, numbers, colours, reading)
    known = _TILE_IMAGE.fullmatch(PurePosixPath(source.place).stem)
    date = known and known["date"]
    return Opened(
        name=image.name,
        shape=image.shape,
        grid=image.grid,
        colours=layer,
        reading=reading,
        date=date and f"{date[:4]}-{date[4:6]}-{date[6:11]}:{date[11:13]}:{date[13:]}Z",
        tile=known and known["tile"],
        told=tuple(told),
        **_reflectances(image, numbers, layer),
    )


def _lines(image: Raster, tags: dict[int, int]) -> list[str]:
    """What people should know of a file. ImageError for colours that are not red, green, blue."""
    told = []
    with raster.guarded(image.name):
        space = image.file.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE")
        exif = image.file.tags().get("EXIF_Orientation", "1")
        points = bool(image.file.gcps[0]) or image.file.rpcs is not None
    photometric = tags.get(raster.PHOTOMETRIC)
    if space == _CONVERTED:
        told.append(f"its colours are converted from {space}")
    elif photometric is not None and photometric not in _PLAIN:
        raise ImageError(
            f"{image.name} holds colours that are not red, green and blue (photometric "
            f"interpretation {photometric}); convert it to those"
        )
    turned = str(tags.get(raster.ORIENTATION, exif))
    if turned != "1":
        told.append(f"orientation {turned} is ignored: rows and columns are taken as stored")
    if points and image.grid is None:
        told.append(
            "it has control points or coefficients (RPC) alone, so it is taken to lie nowhere; "
            "gdalwarp places it"
        )
    return told


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
        bits = image.file.tags(wanted[0], ns="IMAGE_STRUCTURE").get("NBITS", "8")
        values = [image.file.nodatavals[number - 1] for number in wanted]
        block_rows = int(image.file.block_shapes[wanted[0] - 1][0])
    if bits.isdecimal() and int(bits) < _BITS:
        raise ImageError(
            f"{image.name} holds {bits}-bit values; convert it: gdal_translate -ot Byte -scale 0 "
            f"{2 ** int(bits) - 1} 0 255 -co NBITS=8"
        )
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


def _palette(image: Raster, kind: np.dtype) -> Colours:
    """Indices of colours, as red, green, blue."""
    if kind.kind != "u" or kind.itemsize > 2:
        raise ImageError(f"{image.name} holds {kind} indices of colours; needed are 8 or 16 bits")
    with raster.guarded(image.name):
        table = np.zeros((1 << 8 * kind.itemsize, 4), np.uint8)
        for index, colour in image.file.colormap(1).items():
            if index < len(table):
                table[index] = colour
        block_rows = int(image.file.block_shapes[0][0])
        bands = list(range(1, image.file.count + 1))

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        index, *alpha = image.read(bands, rows)
        found = table[index]
        absent = found[..., 3] == 0
        for band in alpha:
            absent |= band == 0
        return found[..., :3], absent

    return Colours(read, np.dtype(np.uint8), None, block_rows=block_rows)


def _reflectances(image: Raster, numbers: dict[str, int], layer: Colours) -> dict[str, Any]:
    """Of floating values, and of whole ones whose scale the file states."""
    with raster.guarded(image.name):
        every_scale, every_offset = image.file.scales, image.file.offsets
        every_nodata = image.file.nodatavals
    scales = {band: every_scale[number - 1] for band, number in numbers.items()}
    if layer.dtype.kind != "f" and set(scales.values()) <= {1.0}:
        return {
            "no_bands": "it holds whole numbers and states no scale; state it in the file "
            "(gdal_edit.py -scale)"
        }
    rows_of: dict[str, Rows] = {}
    for band, number in numbers.items():
        scale, offset = scales[band], every_offset[number - 1]
        if not (np.isfinite([scale, offset]).all() and scale):
            told = f"it states a scale of {scale:g} and an offset of {offset:g}; state others in"
            return {"no_bands": f"{told} the file (gdal_edit.py -scale -offset)"}
        rows_of[band] = _reflectance(image, number, scale, offset, every_nodata[number - 1])
    return {
        "bands": rows_of,
        "no_bands": "no band is described as such; name it, --bands RED GREEN BLUE NIR SWIR",
    }


def _reflectance(
    image: Raster, number: int, scale: float, offset: float, nodata: float | None
) -> Rows:
    """Of whole numbers 0 is missing, unless the file says what else is."""

    def read(rows: slice) -> np.ndarray:
        raw = image.read([number], rows)[0]
        found = raw.astype(np.float32) * np.float32(scale) + np.float32(offset)
        if nodata is not None:
            found[raw == nodata] = np.nan
        elif raw.dtype.kind in "iu":
            found[raw == 0] = np.nan
        found[~np.isfinite(found)] = np.nan
        return found

    return read
