"""A scene as the filter sees it, block by block: states and likenesses, and how many of each.

A background reaches `REACH` pixels, so blocks that overlap by as many give what the whole scene
gives. A large scene takes two bytes a pixel, and some for a block.
"""

from __future__ import annotations

import numpy as np

from cloudmask.data.tiles import Window, cover
from cloudmask.metrics import UNKNOWN
from seaice import filter as thin_cloud
from seaice import opencv
from seaice.colour import THICK, THIN, WATER, Thresholds
from seaice.filter import ALIKE, COLOUR, MISSING, REACH, STATES, TINTED, WHITE, Decision

_COUNTED = 2**23
"""pixels that are counted at once: OpenCV gives counts as float32, exact up to 2**24"""


class Survey:
    """A scene's pixels as the filter sees them, filled block by block."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.state = np.zeros(shape, np.uint8)
        self.like = np.zeros(shape, np.uint8)
        self.counts = np.zeros((STATES, 256), np.int64)
        """pixels by state and likeness"""

    def add(
        self,
        image: np.ndarray,
        raw: np.ndarray,
        missing: np.ndarray,
        thresholds: Thresholds,
        window: Window,
    ) -> None:
        """Look at the rows of a window, and keep those that it keeps; see REACH.

        (h, W, 3) uint8; (h, W) classes of the colour rule; (h, W) bool. Missing pixels are treated
        as water is: white to the filter.
        """
        not_ice = (raw == WATER) | missing
        if not_ice.all():
            like = behind = np.full(raw.shape, WHITE, np.uint8)
        else:
            shade = thin_cloud.gray(image, not_ice)
            behind = thin_cloud.background(shade)
            like = thin_cloud.likeness(shade, behind)
        inner = slice(window.keep_start - window.start, window.keep_stop - window.start)
        rows = slice(window.keep_start, window.keep_stop)
        state, self.like[rows] = self.state[rows], like[inner]
        opencv.load().LUT(behind[inner], thin_cloud.states_of(thresholds), state)
        state |= raw[inner]
        state[thin_cloud.tinted(image[inner])] |= TINTED
        state[missing[inner]] |= MISSING
        self.counts += _joint_counts(state, self.like[rows])

    def labels(self, decision: Decision) -> np.ndarray:
        """(H, W) uint8 classes, UNKNOWN where missing. The survey is used up: it becomes them."""
        cv2 = opencv.load()
        like = (decision.alike * ALIKE).astype(np.uint8)
        classes = np.zeros(256, np.uint8)
        classes[: 2 * STATES] = np.concatenate(_classes(decision.by_colour))
        for top in range(0, len(self.state), 256):  # what fits the cache
            state, alike = self.state[top : top + 256], self.like[top : top + 256]
            cv2.LUT(alike, like, alike)
            cv2.LUT(cv2.bitwise_or(state, alike), classes, state)
        return self.state

    @property
    def known(self) -> int:
        """Pixels that are not missing."""
        return int(self.counts[(np.arange(STATES) & MISSING) == 0].sum())

    def changed(self, decision: Decision) -> int:
        """Known pixels whose class is another than the colour rule's."""
        raw = _classes(np.ones(STATES, bool))[0]
        unlike, alike = ((found != raw) for found in _classes(decision.by_colour))
        of_alike = self.counts[:, decision.alike].sum(axis=1)
        of_others = self.counts.sum(axis=1) - of_alike
        return int(of_others[unlike].sum() + of_alike[alike].sum())


def windows(rows: int, *, most: int) -> list[Window]:
    """Blocks of at most `most` rows that overlap as the filter needs. ValueError if none can."""
    return cover(rows, tile=most, margin=REACH, align=1)


def _classes(by_colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(STATES,) uint8 class of each state where a pixel differs from its background, and where it
    is like it."""
    states = np.arange(STATES)
    raw = np.where(states & MISSING, UNKNOWN, states & COLOUR).astype(np.uint8)
    stays = by_colour | (raw == WATER) | (raw == UNKNOWN)
    unlike, alike = (np.where(stays, raw, np.uint8(ice)) for ice in (THIN, THICK))
    return unlike, alike


def _joint_counts(state: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(h, W) uint8 twice -> (STATES, 256) int64."""
    cv2 = opencv.load()
    total = np.zeros((STATES, 256), np.int64)
    rows = max(1, _COUNTED // state.shape[1])
    for top in range(0, len(state), rows):
        pair = [state[top : top + rows], like[top : top + rows]]
        found = cv2.calcHist(pair, [0, 1], None, [STATES, 256], [0, STATES, 0, 256])
        total += found.astype(np.int64)
    return total
