"""Which pixels hold no measurement: what is declared, black that reaches the border, soft edges.

All is done in the array that becomes the mask. It has a frame of one pixel, since OpenCV's flood
stops at what is not 0 in a mask with such a frame; so a tile of 10980 x 10980 pixels takes 121 MB.
"""

from __future__ import annotations

import numpy as np

from seaice import opencv

SMALLEST = 16
"""pixels; a few zeros at the border may be very dark water"""
BLACK, MEASURED, ABSENT, SOFT = range(4)
"""kinds of pixels: black, which is missing if it reaches the border; measured; declared missing;
nearly black, which belongs to a missing region beside it"""
_FLOODED, _GROWN = 4, 5
_ROWS = 512  # of a block


def framed(shape: tuple[int, int]) -> np.ndarray:
    """(H, W) -> (H + 2, W + 2) uint8, all measured: fill [1:-1, 1:-1] with the kinds of pixels."""
    return np.full((shape[0] + 2, shape[1] + 2), MEASURED, np.uint8)


def settle(kinds: np.ndarray, *, reach: int = 0) -> np.ndarray:
    """(H + 2, W + 2) uint8 of `framed` -> (H, W) bool, which takes the same memory.

    Black regions (4 neighbours) of SMALLEST pixels or more are missing if they touch the border.
    Soft and other black pixels are missing if at most `reach` steps (8 neighbours) over such pixels
    lead to one that is.
    """
    _flood(kinds)
    if reach:
        _grow(kinds, reach)
    missing = np.zeros(256, np.uint8)
    missing[[ABSENT, _FLOODED, _GROWN]] = 1
    height, width = kinds.shape[0] - 2, kinds.shape[1] - 2
    flat = kinds.reshape(-1)
    for row in range(height):  # each row moves forward, over what has been moved already
        start = (row + 1) * (width + 2) + 1
        flat[row * width : (row + 1) * width] = missing[flat[start : start + width]]
    return flat[: height * width].reshape(height, width).view(bool)


def _flood(kinds: np.ndarray) -> None:
    """From the border over black pixels."""
    cv2 = opencv.load()
    height, width = kinds.shape[0] - 2, kinds.shape[1] - 2
    inner = kinds[1:-1, 1:-1]
    # It is read alone, and nowhere but where the flood goes: the system gives it no memory.
    like = np.zeros((height, width), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY
    for row in (0, height - 1):
        for column in np.flatnonzero(inner[row] == BLACK).tolist():
            _flood_from(cv2, like, kinds, (column, row), flags)
    for column in (0, width - 1):
        for row in np.flatnonzero(inner[:, column] == BLACK).tolist():
            _flood_from(cv2, like, kinds, (column, row), flags)


def _flood_from(
    cv2: object, like: np.ndarray, kinds: np.ndarray, place: tuple[int, int], flags: int
) -> None:
    if kinds[place[1] + 1, place[0] + 1] != BLACK:
        return  # reached from another place
    flood = cv2.floodFill  # type: ignore[attr-defined]
    area, _, _, box = flood(like, kinds, place, 0, flags=flags | _FLOODED << 8)
    if area < SMALLEST:
        left, top, columns, rows = box
        region = kinds[top + 1 : top + 1 + rows, left + 1 : left + 1 + columns]
        small = np.zeros_like(region)
        seed = (place[0] - left, place[1] - top)
        mask = np.pad((region != _FLOODED).astype(np.uint8), 1, constant_values=1)
        flood(small, mask, seed, 0, flags=flags | 2 << 8)
        region[mask[1:-1, 1:-1] == 2] = SOFT


def _grow(kinds: np.ndarray, reach: int) -> None:
    """Over soft pixels, in blocks of rows; what a block has grown is no seed for the next one."""
    cv2 = opencv.load()
    step = np.ones((3, 3), np.uint8)
    for top in range(0, kinds.shape[0], _ROWS):
        first = max(0, top - reach)
        block = kinds[first : top + _ROWS + reach]
        soft = (block == SOFT) | (block == BLACK) | (block == _GROWN)
        if not soft.any():
            continue
        grown = ((block == ABSENT) | (block == _FLOODED)).astype(np.uint8)
        seeds = grown.copy()
        for _ in range(reach):
            grown = cv2.dilate(grown, step) & soft | seeds
        rows = slice(top - first, top - first + _ROWS)
        block[rows][soft[rows] & (grown[rows] != 0)] = _GROWN
