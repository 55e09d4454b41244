import cv2
import numpy as np
import pytest

from cloudmask.metrics import UNKNOWN
from seaice import colour
from seaice.colour import PAPER, THICK, THIN, WATER, Thresholds, brightness, classify

# As published: lower and upper bounds of H, S, V, inclusive, on OpenCV's 8-bit scale.
BOUNDS = {
    THICK: ((0, 0, 205), (185, 255, 255)),
    THIN: ((0, 0, 31), (185, 255, 204)),
    WATER: ((0, 0, 0), (185, 255, 30)),
}


def test_every_colour_of_the_8_bit_cube_gets_the_published_class():
    plane = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), axis=-1)
    for red in range(256):
        image = np.concatenate([np.full((256, 256, 1), red), plane], axis=2).astype(np.uint8)
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        found = classify(brightness(image))
        for index, (low, high) in BOUNDS.items():
            inside = cv2.inRange(hsv, low, high) > 0
            assert np.array_equal(found == index, inside)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, WATER), (30, WATER), (31, THIN), (204, THIN), (205, THICK), (255, THICK)],
)
def test_bounds_belong_to_their_class(value, expected):
    assert classify(np.array([[value]], np.uint8))[0, 0] == expected


def test_other_thresholds_move_the_bounds():
    found = classify(np.array([[10, 11, 99, 100]], np.uint8), Thresholds(10, 100))
    assert found.tolist() == [[WATER, THIN, THIN, THICK]]


@pytest.mark.parametrize("values", [(-1, 205), (205, 205), (204, 205), (30, 256)])
def test_thresholds_that_leave_no_thin_ice_are_refused(values):
    with pytest.raises(ValueError, match="water_max"):
        Thresholds(*values)


def test_pictures_have_the_published_colours():
    label = np.array([[THICK, THIN], [WATER, UNKNOWN]], np.uint8)
    expected = [[[255, 0, 0], [0, 0, 255]], [[0, 255, 0], [0, 0, 0]]]
    assert colour.picture(label).tolist() == expected


def test_counts_are_of_each_class_and_what_is_unknown():
    label = np.array([[0, 0, 1], [2, 255, 0]], np.uint8)
    assert colour.count(label) == (3, 1, 1, 1)
    assert Thresholds(30, 205) == PAPER
