"""Labels from images alone: made-up scenes whose clouds are obvious, votes with known rates."""

import numpy as np
import pytest

from cloudmask.labels.surroundings import background
from cloudmask.labels.unsupervised import confident_label, first_guess, unsupervised_log_odds
from cloudmask.labels.unsupervised_roles import roles_of
from cloudmask.labels.unsupervised_votes import PRIOR, log_odds

SLSTR = tuple(f"S{number}" for number in range(1, 10))
SIZE = 120
SEA = (0.05, 0.03, 0.02, 0.001, 0.008, 0.005, 290.0, 289.0, 288.5)
CLOUD = (0.50, 0.50, 0.48, 0.060, 0.350, 0.250, 280.0, 270.0, 269.0)
FOG = (0.50, 0.50, 0.48, 0.003, 0.350, 0.250, 286.0, 288.5, 288.0)
CIRRUS = (0.10, 0.08, 0.07, 0.080, 0.040, 0.030, 283.0, 276.0, 272.0)


def scene(cloud, *, clear=SEA, night=False, seed=0):
    """(SIZE, SIZE, 9) with discs of cloud, and which pixels are cloud; a little noise."""
    y, x = np.mgrid[:SIZE, :SIZE]
    covered = np.zeros((SIZE, SIZE), bool)
    for row, col in ((30, 30), (85, 40), (60, 90)):
        covered |= (y - row) ** 2 + (x - col) ** 2 < 15**2
    noise = np.random.default_rng(seed).normal(size=(SIZE, SIZE, 9))
    image = np.where(covered[..., None], cloud, clear) + noise * ([0.002] * 6 + [0.05] * 3)
    image = image.astype(np.float32)
    if night:
        image[..., :6] = np.nan
    return image, covered


def bordered(image, fill):
    """Most of the image is nothing but `fill`."""
    image[:70] = fill
    return image


@pytest.mark.parametrize("night", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("cloud", [CLOUD, FOG, CIRRUS], ids=["cold", "fog", "cirrus"])
def test_obvious_clouds_are_found_by_day_and_by_night(cloud, night):
    image, covered = scene(cloud, night=night)
    found = unsupervised_log_odds(image, SLSTR)
    assert ((found > 0) == covered).mean() > 0.97
    sure = confident_label(found)
    assert (sure != 255).mean() > 0.8
    assert (sure == covered)[sure != 255].mean() > 0.98


@pytest.mark.parametrize("night", [False, True], ids=["day", "night"])
def test_a_clear_scene_is_not_called_cloud(night):
    image, _ = scene(SEA, night=night)
    sure = confident_label(unsupervised_log_odds(image, SLSTR))
    assert (sure == 1).mean() < 0.01
    assert (sure == 0).mean() > 0.9


def test_a_scene_that_is_all_cloud_is_left_in_doubt_and_not_called_clear():
    """No clear pixel tells what the surface looks like."""
    cloud = (0.55, 0.55, 0.53, 0.30, 0.25, 0.2, 262.0, 245.0, 243.5)
    image, _ = scene(cloud, clear=cloud)
    sure = confident_label(unsupervised_log_odds(image, SLSTR))
    assert (sure == 0).mean() < 0.01


def test_what_was_not_measured_has_no_label_and_moves_nothing_far_off():
    image, covered = scene(CLOUD)
    image[:, :7] = np.nan
    found = unsupervised_log_odds(image, SLSTR)
    assert np.isnan(found[:, :7]).all()
    assert np.isfinite(found[:, 7:]).all()
    assert (confident_label(found)[:, :7] == 255).all()
    assert ((found > 0) == covered)[:, 7:].mean() > 0.97


def test_a_scene_half_in_the_night_is_judged_by_what_each_half_has():
    image, covered = scene(FOG)
    image[:, SIZE // 2 :, :6] = np.nan
    found = unsupervised_log_odds(image, SLSTR)
    for half in (slice(None, SIZE // 2), slice(SIZE // 2, None)):
        assert ((found > 0) == covered)[:, half].mean() > 0.95


def test_the_same_image_gives_the_same_bits_and_stays_as_it_is():
    image, _ = scene(CLOUD)
    before = image.copy()
    first, again = (unsupervised_log_odds(image, SLSTR) for _ in range(2))
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert np.array_equal(image, before)


def test_reflectances_alone_will_do():
    image, covered = scene(CLOUD)
    names = ("green", "red", "nir", "cirrus", "swir16", "swir22")
    found = unsupervised_log_odds(image[..., :6], names)
    assert ((found > 0) == covered).mean() > 0.97


def test_snow_is_not_called_cloud_by_day():
    snow = (0.85, 0.83, 0.72, 0.004, 0.1, 0.08, 266.0, 265.0, 264.8)
    image, covered = scene(CLOUD)
    image[:60] = np.where(covered[:60, :, None], image[:60], np.float32(snow))
    sure = confident_label(unsupervised_log_odds(image, SLSTR))
    assert (sure[:60][~covered[:60]] == 1).mean() < 0.1


def test_better_clear_pixels_replace_the_first_guess():
    """Warm fog over cold ground is what the first guess takes for clear."""
    ground = (np.nan,) * 6 + (280.0, 279.0, 278.7)
    fog = (np.nan,) * 6 + (283.0, 286.0, 285.6)
    image, covered = scene(fog, clear=ground, night=True)
    image[:100] = np.where(covered[:100, :, None], image[:100], np.float32(fog))
    covered[:100] = True
    told = unsupervised_log_odds(image, SLSTR, clear=~covered)
    assert (told[covered] > 0).mean() > 0.9
    assert (told[~covered] < 0).mean() > 0.8


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (SLSTR, {"green": 0, "red": 1, "nir": 2, "cirrus": 3, "swir16": 4, "tir11": 7}),
        (("B02", "B03", "B04", "B08", "B11", "B12"), {"blue": 0, "nir": 3, "swir22": 5}),
        (("B2", "B8A", "B8", "B10"), {"blue": 0, "nir": 1, "cirrus": 3}),
        (("SR_B2", "SR_B5", "SR_B6", "SR_B7", "ST_B10"), {"blue": 0, "nir": 1, "tir11": 4}),
        (("SR_B1", "SR_B4", "SR_B5", "SR_B7", "ST_B6"), {"blue": 0, "nir": 1, "tir11": 4}),
        (("Red", "green", "BLUE", "nir08"), {"red": 0, "green": 1, "blue": 2, "nir": 3}),
        ((*SLSTR, "S5o", "S8o", "S9o"), {"tir11": 7, "swir16": 4}),
        (("x", "y"), {}),
        (("B01", *(f"B0{n}" for n in range(2, 9)), "B8A", "B11", "B12"), {"nir": 7, "swir22": 10}),
        (("B2", "B3", "B4", "B5", "B6", "B7", "B9", "B10", "B11"), {"nir": 3, "tir12": 8}),
        (("M3", "M4", "M5", "M7", "M10", "M15", "M16"), {"blue": 0, "nir": 3, "tir12": 6}),
        (("1", "2", "3", "4", "6", "7", "31", "32"), {"red": 0, "blue": 2, "tir11": 6}),
        (("1", "2", "3", "4"), {}),
        (("R", "G", "B"), {"red": 0, "green": 1, "blue": 2}),
        (("coastal", "Blue", "green", "swir_1", "TIRS1"), {"blue": 1, "swir16": 3, "tir11": 4}),
    ],
)
def test_channels_are_known_by_their_names(names, expected):
    found = roles_of(names)
    assert {role: found.get(role) for role in expected} == expected
    assert bool(found) == bool(expected)


def test_values_tell_landsat_8_from_landsat_7_where_names_do_not():
    """B1 to B7: the sixth is thermal in one, the seventh band the same in both."""
    names = tuple(f"B{number}" for number in range(1, 8))
    eight, seven = roles_of(names, [False] * 7), roles_of(names, [False] * 5 + [True, False])
    assert (eight["blue"], eight["nir"], eight.get("tir11")) == (1, 4, None)
    assert (seven["blue"], seven["nir"], seven["tir11"]) == (0, 3, 5)


def test_a_border_of_zeros_has_no_label_and_moves_nothing_far_off():
    image, covered = scene(CLOUD)
    image[:, :50] = 0
    found = unsupervised_log_odds(image, SLSTR)
    assert np.isnan(found[:, :50]).all()
    assert ((found > 0) == covered)[:, 50:].mean() > 0.97
    image[:, :50] = np.nan
    assert np.array_equal(unsupervised_log_odds(image, SLSTR), found, equal_nan=True)


@pytest.mark.parametrize(
    ("change", "names", "told"),
    [
        (lambda image: image, tuple("abcdefghi"), "no two tests for cloud can be made"),
        (lambda image: image[..., 7:8], ("x",), "no two tests"),
        (lambda image: image - 273.15, SLSTR, "no brightness temperature in kelvin"),
        (lambda image: image[..., :6] * 10000, SLSTR[:6], "no reflectance from 0 to 1"),
        (lambda image: image[..., :1], ("green",), "no two tests"),
        (lambda image: image[..., :6] * 100, SLSTR[:6], "no reflectance from 0 to 1"),
        (lambda image: bordered(image * 1e4, 0)[..., :6], SLSTR[:6], "no reflectance from 0 to 1"),
        (lambda image: bordered(image, -9999)[..., :6], SLSTR[:6], "store NaN where nothing"),
        (lambda image: bordered(image, -1)[..., :6], SLSTR[:6], "store NaN where nothing"),
        (lambda image: image * np.float32([1] * 6 + [1, 100, 1]), SLSTR, "in kelvin; convert it"),
    ],
    ids=[
        *("unknown", "one", "celsius", "counts", "one known", "percent", "counts in a border"),
        *("-9999", "-1", "scaled kelvin"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_line(change, names, told):
    image, _ = scene(CLOUD)
    with pytest.raises(ValueError, match=told) as found:
        unsupervised_log_odds(change(image), names)
    assert "\n" not in str(found.value)


def test_the_background_is_that_of_the_clear_pixels_around():
    field = np.full((90, 90), 5, np.float32)
    field[:, 45:] = 7
    clear = np.ones((90, 90), bool)
    clear[20:70, 30:60] = False
    field[20:70, 30:60] = 1000  # a cloud, of which nothing may be seen
    found = background(field, clear)
    assert 4.99 < found.min() < found.max() < 7.01
    assert found[45, 2] < 5.5 < 6.5 < found[45, 87]
    assert np.isnan(background(field, np.zeros_like(clear))).all()


def test_far_from_any_clear_pixel_the_background_is_the_nearest():
    field = np.full((30, 600), 3, np.float32)
    clear = np.zeros(field.shape, bool)
    clear[:, :4] = True
    assert np.allclose(background(field, clear), 3)


def test_water_and_land_are_guessed_apart():
    """A desert of 315 K beside a sea of 290 K: both have clear pixels."""
    shape = (40, 40)
    warm = np.full(shape, 315, np.float32)
    warm[:, 20:] = 290
    green, nir = np.full(shape, 0.2, np.float32), np.full(shape, 0.35, np.float32)
    green[:, 20:], nir[:, 20:] = 0.05, 0.02
    guess = first_guess({"tir11": warm, "green": green, "nir": nir})
    assert guess[:, :20].any()
    assert guess[:, 20:].any()


def test_votes_are_believed_as_far_as_they_agree():
    """Three independent tests of known rates: together they are better than the best alone."""
    rng = np.random.default_rng(1)
    truth = rng.random(20_000) < PRIOR
    rates = np.array([[0.9], [0.8], [0.7]])
    votes = np.where((rng.random((3, truth.size)) < rates) == truth, 1, -1).astype(np.int8)
    votes[2, rng.random(truth.size) < 0.5] = 0  # abstains
    found = log_odds(votes, ["a", "b", "c"])
    alone = [((vote > 0) == truth).mean() for vote in votes[:2]]
    assert ((found > 0) == truth).mean() >= max(alone)
    # Bayes' rule with the true rates gives the pattern (1, 1, 1) this; the model may not be far.
    agreed = found[(votes == 1).all(axis=0)][0]
    assert agreed == pytest.approx(np.log(1.5 * 9 * 4 * 7 / 3), abs=1.0)


def test_who_does_not_vote_says_nothing_and_who_shares_a_channel_weighs_half():
    silent = log_odds(np.zeros((2, 5), np.int8), ["a", "b"])
    assert np.allclose(silent, np.log(PRIOR / (1 - PRIOR)))
    votes = np.tile(np.array([1, -1, 1, -1, 1], np.int8), (2, 1))
    alone, twice = log_odds(votes[:1], ["a"]), log_odds(votes, ["a", "a"])
    assert np.allclose(alone, twice)


@pytest.mark.real
@pytest.mark.parametrize("name", ["landsat5", "landsat7"])
def test_on_real_scenes_it_beats_the_majority(real_data, name):
    with np.load(real_data / "landsat" / f"{name}.npz") as file:
        image, truth = file["image"], file["label"] == 1
        channels = tuple(map(str, file["channels"]))
    found = unsupervised_log_odds(image, channels)
    majority = max(truth.mean(), 1 - truth.mean())
    assert ((found > 0) == truth).mean() > majority + 0.1
    sure = np.abs(found) > 1.2
    assert sure.mean() > 0.5
    assert ((found > 0) == truth)[sure].mean() > majority + 0.1
