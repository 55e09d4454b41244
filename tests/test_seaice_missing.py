"""What is missing by its place: against components, and against steps taken one by one."""

import cv2
import numpy as np
import pytest

from seaice import missing
from seaice.missing import ABSENT, BLACK, MEASURED, SMALLEST, SOFT


def settled(kinds, reach=0):
    framed = missing.framed(kinds.shape)
    framed[1:-1, 1:-1] = kinds
    return missing.settle(framed, reach=reach)


def by_components(kinds):
    """The same by numbered regions, which takes an int32 of every pixel."""
    black = (kinds == BLACK).astype(np.uint8)
    _, numbers, facts, _ = cv2.connectedComponentsWithStats(black, connectivity=4)
    border = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    wanted = [n for n in set(border.tolist()) - {0} if facts[n, cv2.CC_STAT_AREA] >= SMALLEST]
    return np.isin(numbers, wanted) | (kinds == ABSENT)


def by_steps(kinds, found, reach):
    soft = ((kinds == SOFT) | (kinds == BLACK)) & ~found
    for _ in range(reach):
        around = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) != 0
        found = found | (around & soft)
    return found


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("shape", [(61, 47), (1, 40), (40, 1), (5, 3)])
def test_black_regions_at_the_border_are_those_of_numbered_components(share, shape):
    rng = np.random.default_rng(int(share * 10))
    for _ in range(20):
        weights = [share, 1 - share - 0.05, 0.05]
        kinds = rng.choice([BLACK, MEASURED, ABSENT], shape, p=weights).astype(np.uint8)
        found = settled(kinds)
        assert found.dtype == bool
        assert found.flags.c_contiguous
        assert np.array_equal(found, by_components(kinds))


@pytest.mark.parametrize("reach", [2, 16])
def test_soft_edges_grow_so_far_and_no_further_whatever_the_blocks(reach, monkeypatch):
    rng = np.random.default_rng(3)
    kinds = rng.choice([MEASURED, SOFT, BLACK], (90, 70), p=[0.4, 0.4, 0.2]).astype(np.uint8)
    kinds[:9, 20:60] = ABSENT
    expected = by_steps(kinds, by_components(kinds), reach)
    assert expected.sum() > by_components(kinds).sum() + 20
    for rows in (7, 20, 512):
        monkeypatch.setattr(missing, "_ROWS", rows)
        assert np.array_equal(settled(kinds, reach), expected)


def test_a_checkered_border_is_no_missing_region():
    """Thousands of regions of one pixel, each of which is too small."""
    row, column = np.indices((1500, 1500))
    kinds = np.where((row + column) % 2, np.uint8(MEASURED), np.uint8(BLACK))
    assert not settled(kinds).any()


def test_missing_are_zeros_that_reach_the_border_and_no_others():
    kinds = np.full((40, 40), MEASURED, np.uint8)
    kinds[:6, :6] = BLACK
    kinds[20:30, 20:30] = BLACK
    kinds[39, 10:13] = BLACK  # too small for a swath's edge
    expected = np.zeros((40, 40), bool)
    expected[:6, :6] = True
    assert np.array_equal(settled(kinds), expected)
