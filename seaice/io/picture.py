"""Pictures of scenes as they are delivered: PNG, JPEG, TIFF, GeoTIFF, and `.npz` scenes.

What comes out is always 8-bit red, green, blue, with what is missing and where it lies. Decoders
forgive much: a JPEG that breaks off is filled with gray, in silence. So a file's end and a PNG's
checksums are looked at first.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from cloudmask.text import plural
from seaice import opencv
from seaice.io import geotiff, png
from seaice.io.geotiff import GeoReference
from seaice.io.png import SIGNATURE
from seaice.missing import missing_pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npz")
BANDS = ("red", "green", "blue")
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ZIP = b"PK\x03\x04"

Stretch = tuple[float, float]


class ImageError(ValueError):
    """A file that cannot be used: which one, what is wrong, what to do. One line."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A scene as the colour rule takes it."""

    image: np.ndarray
    """(H, W, 3) uint8: red, green, blue"""
    missing: np.ndarray
    """(H, W) bool"""
    reference: GeoReference | None


def read(content: bytes, name: str, *, stretch: Stretch | None = None) -> Picture:
    """The bytes of a file -> its picture. ImageError.

    `stretch` are the values that become 0 and 255, for bands that are not 8-bit.
    """
    if not content:
        raise ImageError(f"{name} is empty; get the file again")
    reference = None
    if content.startswith(SIGNATURE):
        if (problem := png.damage(content)) is not None:
            raise ImageError(f"{name} {problem}; get the file again")
    elif content.startswith(_JPEG):
        if b"\xff\xd9" not in content[-4096:]:
            raise ImageError(f"{name} is a JPEG that breaks off; get the file again")
    elif content.startswith(_TIFF):
        reference = geotiff.read(content, name)
    elif content.startswith(_ZIP):
        return _read_npz(content, name, stretch)
    else:
        raise ImageError(f"{name} is no PNG, JPEG, TIFF or .npz; leave it out or convert it")
    bands, alpha = _decode(content, name)
    image, absent = _to_bytes(bands, name, stretch, reference.nodata if reference else None)
    if alpha is not None:
        absent |= alpha == 0
    return Picture(image, absent | missing_pixels(image), reference)


def _decode(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W, 3) red, green, blue of any type, and (H, W) alpha if there is one."""
    cv2 = opencv.load()
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        found = None
    if found is None:
        raise ImageError(f"{name} is damaged or of an unknown kind; get the file again")
    if found.ndim == 2 or found.shape[2] not in (3, 4):
        bands = plural(1 if found.ndim == 2 else found.shape[2], "band")
        raise ImageError(f"{name} has {bands}; needed are red, green and blue")
    rgb = np.ascontiguousarray(found[..., 2::-1])
    return rgb, found[..., 3] if found.shape[2] == 4 else None


def _to_bytes(
    bands: np.ndarray, name: str, stretch: Stretch | None, nodata: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) -> uint8, and (H, W) bool where every band is declared missing or NaN."""
    floating = bands.dtype.kind == "f"
    absent = ~np.isfinite(bands).any(axis=2) if floating else np.zeros(bands.shape[:2], bool)
    if nodata is not None:
        absent |= (bands == nodata).all(axis=2)
    if bands.dtype == np.uint8:
        if stretch is not None:
            raise ImageError(f"{name} is 8-bit already; leave --stretch out")
        return bands, absent
    if stretch is None:
        raise ImageError(
            f"{name} holds {_kind(bands.dtype)} values, not 8-bit ones; state which of them become "
            "0 and 255: --stretch LOW HIGH"
        )
    low, high = stretch
    scaled = (bands.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    zero = (bands == 0).all(axis=2)  # Sentinel-2 writes 0 where nothing was measured
    scaled = np.clip(np.rint(np.nan_to_num(scaled)), 1, 255).astype(np.uint8)
    scaled[absent | zero] = 0
    return scaled, absent


def _kind(dtype: np.dtype) -> str:
    return f"{8 * dtype.itemsize}-bit{' floating' if dtype.kind == 'f' else ''}"


def _read_npz(content: bytes, name: str, stretch: Stretch | None) -> Picture:
    """A scene of `image` (H, W, C) with the channels red, green and blue among its own."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("image", "channels") if key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        problem = " ".join(str(error).split())
        raise ImageError(f"{name} cannot be read ({problem}); get the file again") from None
    image = arrays.get("image")
    if image is None or image.ndim != 3:
        raise ImageError(f"{name} holds no 'image' of shape (rows, columns, channels)")
    channels = [str(channel) for channel in arrays.get("channels", BANDS[: image.shape[2]])]
    lacking = [band for band in BANDS if band not in channels]
    if lacking:
        raise ImageError(f"{name} lacks the channels {', '.join(lacking)}; it has {channels}")
    bands = np.ascontiguousarray(image[..., [channels.index(band) for band in BANDS]])
    rgb, absent = _to_bytes(bands, name, stretch, None)
    return Picture(rgb, absent | missing_pixels(rgb), None)
