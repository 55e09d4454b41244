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


@pytest.mark.parametrize("exposure", [0.7, 1.0])
@pytest.mark.parametrize("young", [150, 165, 180, 190])
@pytest.mark.parametrize("share", [0.03, 0.06, 0.1, 0.25])
def test_snow_beside_bright_young_ice_does_not_become_thin_without_a_word(share, young, exposure):
    """At 1.44 the snow of a scene at exposure 1 is like snow in shadow, and all ice was thin."""
    image = field((young * 0.8, young * 0.9, young), exposure, (128, 128))
    snowy = round(128 * share)
    image[:, :snowy] = field(SNOW, exposure, (128, snowy))
    found = label_scene(image, np.zeros((128, 128), bool), Rule(adaptive=True, filter="none"))
    right = (found.label[:, :snowy] == THICK).mean() > 0.98
    assert right or found.told
    if share > 0.2 and young < 170:
        assert right


def test_snow_in_the_sun_and_in_shadow_is_thick_ice_at_every_exposure():
    for exposure in EXPOSURES:
        image = field(SNOW, exposure)
        image[:, 120:150] = field((158, 164, 165), exposure)[:, 120:150]
        image[:, 150:] = field(YOUNG, exposure)[:, 150:]
        found = adaptive.estimate(image, np.ones(image.shape[:2], bool))
        assert found.value == pytest.approx(exposure, rel=0.12)
        assert found.shares[THICK] == pytest.approx(0.75, abs=0.05)


def test_one_kind_of_ice_alone_is_told_whatever_the_exposure():
    """Light that takes red makes snow as bluish as young ice: all of it is thin."""
    for exposure in (0.8, 1.0, 1.2):
        image = field((160, 185, 200), exposure)
        found = label_scene(image, np.zeros(image.shape[:2], bool), Rule(adaptive=True))
        assert found.done["exposure"]["by_whiteness_alone"]
        assert any("whiteness of the only kind of ice" in line for line in found.told)


def test_an_ambiguous_scene_tells_the_end_of_the_search_too():
    told = adaptive.Exposure(1.0, (0, 0, 0), 1.5, limit_reached=True, ambiguous="why").told()
    assert ["taken as 1" in told[0], "the end of what is searched" in told[1]] == [True, True]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("kind", ["published", "guarded", "none"])
def test_a_scene_without_pixels_has_no_labels(kind, shape):
    for adapted in (False, True):
        rule = Rule(filter=kind, adaptive=adapted)
        found = label_scene(np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool), rule)
        assert found.label.shape == shape


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
