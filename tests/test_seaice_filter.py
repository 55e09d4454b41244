"""Each step of the filter against a plain computation, then the guards."""

import numpy as np
import pytest

from seaice import filter as thin_cloud
from seaice.colour import THICK, THIN, WATER, brightness, classify

RNG = np.random.default_rng(5)
NOISE = RNG.integers(0, 256, (40, 37), dtype=np.uint8)


def windows(values, size, fill):
    """(H, W) -> (H, W, size, size): each pixel's neighbourhood."""
    radius = size // 2
    if fill == "replicate":
        padded = np.pad(values, radius, mode="edge")
    else:
        padded = np.pad(values, radius, constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size))


def plain_background(gray):
    dilated = windows(gray, 7, 0).max(axis=(2, 3))
    return np.median(windows(dilated, 155, "replicate"), axis=(2, 3)).astype(np.uint8)


def plain_otsu(values):
    """The threshold of greatest variance between what is above and what is not."""
    flat = values.ravel().astype(float)
    best, found = -1.0, 0
    for threshold in range(255):
        low, high = flat[flat <= threshold], flat[flat > threshold]
        if low.size and high.size:
            between = low.size * high.size * (low.mean() - high.mean()) ** 2
            if between > best * (1 + 1e-12):
                best, found = between, threshold
    return found


def plain_stretch(values):
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.zeros_like(values)
    return np.rint((values - low) * (255 / (high - low))).astype(np.uint8)


def test_gray_is_luma_and_white_where_there_is_no_ice():
    image = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    not_ice = RNG.random((20, 30)) < 0.3
    found = thin_cloud.gray(image, not_ice)
    luma = image @ np.array([0.299, 0.587, 0.114])
    assert (found[not_ice] == 255).all()
    assert np.abs(found - luma)[~not_ice].max() <= 0.51


def test_background_is_the_median_of_the_dilated_picture():
    assert np.array_equal(thin_cloud.background(NOISE), plain_background(NOISE))
    half = np.where(np.arange(200) < 90, 40, 200) * np.ones((60, 1))
    half = half.astype(np.uint8)
    assert np.array_equal(thin_cloud.background(half), plain_background(half))


def test_likeness_falls_with_the_distance_from_the_background_on_either_side():
    gray, behind = np.array([[10, 100, 90]], np.uint8), np.array([[255, 90, 100]], np.uint8)
    assert thin_cloud.likeness(gray, behind).tolist() == [[10, 245, 245]]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_above_otsus_threshold_is_kept(seed):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((30, 30)) < 0.4, rng.normal(70, 12, (30, 30)), 0)
    values = np.where(values > 0, values, rng.normal(190, 20, (30, 30))).clip(0, 255)
    values = values.astype(np.uint8)
    expected = np.where(values > plain_otsu(values), values, 0)
    assert np.array_equal(thin_cloud.keep_above_otsu(values), expected)


def test_a_stretch_reaches_from_0_to_255_and_makes_a_constant_0():
    assert np.array_equal(thin_cloud.stretch(NOISE // 2 + 20), plain_stretch(NOISE // 2 + 20))
    assert not thin_cloud.stretch(np.full((5, 5), 230, np.uint8)).any()


def test_stretched_likeness_is_otsu_stretch_truncation_and_stretch():
    values = NOISE // 2 + 100
    first = plain_stretch(np.where(values > plain_otsu(values), values, 0))
    expected = plain_stretch(np.minimum(first, 235))
    assert np.array_equal(thin_cloud.stretched_likeness(values), expected)


def test_the_published_filter_is_its_steps_in_a_row():
    image = RNG.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    image[:24] //= 9
    value = brightness(image)
    water = value <= 30
    assert water.any()
    gray = thin_cloud.gray(image, water)
    like = 255 - np.abs(gray.astype(int) - plain_background(gray))
    like = like.astype(np.uint8)
    first = plain_stretch(np.where(like > plain_otsu(like), like, 0))
    last = plain_stretch(np.minimum(first, 235))
    expected = np.where(water, WATER, np.where(last >= 205, THICK, THIN))
    found = thin_cloud.published(image, classify(value), np.zeros(value.shape, bool))
    assert np.array_equal(found, expected)


def even(value, shape=(300, 300)):
    """Gray ice of about this brightness."""
    noise = np.random.default_rng(1).normal(0, 1.5, shape)
    return np.repeat(np.clip(value + noise, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def both(image):
    """Classes by the published filter, and by the guarded one."""
    raw = classify(brightness(image))
    nothing = np.zeros(raw.shape, bool)
    published = thin_cloud.published(image, raw, nothing)
    return published, thin_cloud.guarded(image, raw, nothing)


def test_even_snow_is_thick_ice_only_with_the_guards():
    image = np.full((300, 300, 3), 230, np.uint8)
    published, guarded = both(image)
    assert (published == THIN).all()
    assert (guarded.label == THICK).all()
    assert (both(even(230))[1].label == THICK).all()


def test_a_bright_floe_does_not_turn_thin_ice_into_thick_with_the_guards():
    image = even(120)
    image[100:140, 100:140] = 235
    published, guarded = both(image)
    assert (published == THICK).mean() > 0.9
    assert (guarded.label[100:140, 100:140] == THICK).all()
    assert (guarded.label == THIN).mean() > 0.98
    assert "background" in guarded.skipped


def test_water_stays_and_a_scene_of_water_alone_is_left_alone():
    image = even(12)
    guarded = both(image)[1]
    assert (guarded.label == WATER).all()
    assert guarded.skipped == "no ice in the scene"


def test_snow_in_shadow_is_thick_ice_by_the_filter_and_thin_by_colour():
    image = even(235, (600, 600))
    image[:, 250:600] = (image[:, 250:600] * 0.7).astype(np.uint8)
    image[400:430, 20:60] = 10
    raw = classify(brightness(image))
    assert (raw[:200, 300:] == THIN).all()
    guarded = both(image)[1]
    assert (guarded.label[:200, 350:] == THICK).all()


def test_dark_thin_ice_beside_snow_stays_thin_with_the_guards_alone():
    image = even(235, (600, 600))
    image[:, :290] = even(80, (600, 290))
    published, guarded = both(image)
    assert (published[:, :200] == THICK).all()
    assert (guarded.label[:, :200] == THIN).all()
    assert (guarded.label[:, 320:] == THICK).all()
    assert guarded.guarded_pixels >= 600 * 200


def test_missing_corners_change_nothing_elsewhere():
    image = even(232, (400, 400))
    image[200:230, 100:300] = 90
    whole = both(image)[1].label
    rows, columns = np.indices((400, 400))
    corner = rows + columns < 60
    image[corner] = 0
    raw = classify(brightness(image))
    cut = thin_cloud.guarded(image, raw, corner).label
    far = rows + columns > 60 + 2 * 80
    assert np.array_equal(cut[far], whole[far])
