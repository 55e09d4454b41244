"""Which pixels hold no measurement: black to the last bit, and reaching the border."""

from __future__ import annotations

import numpy as np

from seaice import opencv

SMALLEST = 16
"""pixels; a few zeros at the border may be very dark water"""


def missing_pixels(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) bool: regions where all bands are zero that touch the border."""
    cv2 = opencv.load()
    zero = ~(image[..., 0] | image[..., 1] | image[..., 2]).astype(bool)
    edges = (zero[0], zero[-1], zero[:, 0], zero[:, -1])
    if not any(edge.any() for edge in edges):
        return np.zeros(zero.shape, bool)
    count, numbers, facts, _ = cv2.connectedComponentsWithStats(
        zero.astype(np.uint8), connectivity=4
    )
    borders = (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1])
    touching = np.unique(np.concatenate(borders))
    wanted = np.zeros(count, bool)
    wanted[touching] = facts[touching, cv2.CC_STAT_AREA] >= SMALLEST
    wanted[0] = False  # everything that is not zero
    return wanted[numbers]
