"""PNG: pictures by OpenCV, class maps in colour as a palette, which is ten times as fast."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np

from seaice import opencv

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LEVEL = 1  # of compression: class maps are small anyway


def encode(image: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) uint8 red, green, blue -> PNG."""
    cv2 = opencv.load()
    bgr = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
    return cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, LEVEL])[1].tobytes()


def encode_palette(label: np.ndarray, colours: Mapping[int, tuple[int, int, int]]) -> bytes:
    """(H, W) uint8 and the colour of each value -> PNG of 8-bit indices; others are black."""
    height, width = label.shape
    palette = np.zeros((256, 3), np.uint8)
    palette[list(colours)] = list(colours.values())
    rows = np.zeros((height, width + 1), np.uint8)  # each row opens with its filter: none
    rows[:, 1:] = label
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), LEVEL)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
