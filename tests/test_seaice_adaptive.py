import numpy as np
import pytest

from seaice import adaptive
from seaice.colour import THICK, THIN, WATER, brightness, classify
from seaice.rule import Rule, label_scene

SNOW, YOUNG, SEA = (228, 231, 232), (82, 94, 106), (5, 9, 14)
EXPOSURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)


def field(colour, exposure, shape=(200, 200)):
    noise = np.random.default_rng(0).normal(0, 2, (*shape, 1))
    return np.clip((np.array(colour) + noise) * exposure, 0, 255).astype(np.uint8)


def classes(image):
    found = adaptive.estimate(image, image.any(axis=2))
    return classify(brightness(adaptive.correct(image, found.value)))


@pytest.mark.parametrize("exposure", EXPOSURES)
@pytest.mark.parametrize(("colour", "expected"), [(SNOW, THICK), (YOUNG, THIN), (SEA, WATER)])
def test_scenes_of_one_class_get_it_at_every_exposure(colour, expected, exposure):
    assert (classes(field(colour, exposure)) == expected).mean() > 0.99


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_the_exposure_of_a_mixed_scene_is_found(exposure):
    image = field(SNOW, exposure)
    image[:, 80:140] = field(YOUNG, exposure)[:, 80:140]
    image[:, 140:] = field(SEA, exposure)[:, 140:]
    found = adaptive.estimate(image, np.ones(image.shape[:2], bool))
    assert found.value == pytest.approx(exposure, rel=0.12)
    assert found.shares == pytest.approx((0.4, 0.3, 0.3), abs=0.05)


@pytest.mark.parametrize("whiteness", [0.9, 0.93, 0.96, 0.99, 1.0])
def test_dim_white_ice_alone_never_becomes_thick_without_a_word(whiteness):
    """V = 170 in the whole scene: snow in less light, or grey-white ice."""
    image = field((170 * whiteness, 170, 170), 1.0)
    found = label_scene(image, np.zeros(image.shape[:2], bool), Rule(adaptive=True))
    exposure = found.done["exposure"]
    assert exposure["likeliest"] < 0.8
    assert found.told
    if whiteness < 0.97:
        assert exposure["ambiguous"]
        assert exposure["value"] == 1
        assert (found.label == THIN).all()
        assert "ambiguous" in found.told[0]
    else:
        assert exposure["by_whiteness_alone"]
        assert (found.label == THICK).mean() > 0.99
        assert "whiteness of the only kind of ice" in found.told[0]


def test_the_end_of_the_search_is_told():
    image = field(YOUNG, 2.2)
    found = label_scene(image, np.zeros(image.shape[:2], bool), Rule(adaptive=True))
    assert found.done["exposure"]["limit_reached"]
    assert "1.50 is the end of what is searched (0.6 to 1.5)" in found.told[0]


def test_a_scene_of_two_kinds_of_ice_is_not_ambiguous():
    image = field(SNOW, 0.75)
    image[:, 100:] = field(YOUNG, 0.75)[:, 100:]
    found = label_scene(image, np.zeros(image.shape[:2], bool), Rule(adaptive=True))
    assert not found.done["exposure"]["ambiguous"]
    assert not found.done["exposure"]["limit_reached"]
    assert not found.told


def test_nothing_known_leaves_the_exposure_at_1():
    image = np.zeros((8, 8, 3), np.uint8)
    assert adaptive.estimate(image, np.zeros((8, 8), bool)).value == 1


def test_correcting_divides_and_takes_what_is_saturated_for_snow():
    image = np.array([[[0, 100, 255]]], np.uint8)
    assert adaptive.correct(image, 1.25).tolist() == [[[0, 80, 232]]]
    assert adaptive.correct(image, 0.5).tolist() == [[[0, 200, 255]]]
