"""Each step of the filter against a plain computation, then the guards, then blocks."""

import itertools

import cv2
import numpy as np
import pytest

from cloudmask.data.tiles import Window
from cloudmask.metrics import UNKNOWN
from seaice import adaptive
from seaice import filter as thin_cloud
from seaice.colour import PAPER, THICK, THIN, WATER, brightness, classify
from seaice.rule import Rule, label_scene
from seaice.survey import Survey
from seaice.survey import windows as blocks

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


def pixels(seed):
    """Arrays of many kinds: noise, two values, few values, hills, one value."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 90, 2))
    kinds = (
        rng.integers(0, 256, shape),
        rng.choice(rng.integers(0, 256, 2), shape),
        rng.choice(rng.integers(0, 256, 4), shape),
        np.where(rng.random(shape) < 0.4, rng.normal(70, 12, shape), rng.normal(190, 20, shape)),
        np.full(shape, rng.integers(0, 256)),
        np.arange(shape[0] * shape[1]).reshape(shape) // max(1, shape[0] * shape[1] // 2) * 90,
    )
    return [np.clip(values, 0, 255).astype(np.uint8) for values in kinds]


def counted(values):
    return np.bincount(values.ravel(), minlength=256)


@pytest.mark.parametrize("seed", range(20))
def test_tables_made_of_counts_are_what_opencv_makes_of_the_pixels(seed):
    for values in pixels(seed):
        threshold, kept = cv2.threshold(values, 0, 255, cv2.THRESH_TOZERO + cv2.THRESH_OTSU)
        first = cv2.normalize(kept, None, 0, 255, cv2.NORM_MINMAX)
        cut = cv2.threshold(first, 235, 0, cv2.THRESH_TRUNC)[1]
        last = cv2.normalize(cut, None, 0, 255, cv2.NORM_MINMAX)
        assert thin_cloud.otsu(counted(values)) == threshold
        assert np.array_equal(thin_cloud.stretched(counted(values))[values], last)
        for percent in (0.0, 1.0, 37.0, 100.0):
            expected = np.percentile(values, percent)
            assert thin_cloud.percentile(counted(values), percent) == expected


def test_exact_ties_of_otsu_are_decided_as_opencvs_own_code_does():
    """Intel's library, which many builds of OpenCV call instead, decides some of them otherwise."""
    used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        for low, step in itertools.product(range(0, 250, 7), range(1, 125, 4)):
            if low + 2 * step > 255:
                continue
            values = np.repeat(np.uint8([[low, low + step, low + 2 * step]]), 7, axis=0)
            threshold, _ = cv2.threshold(values, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
            assert thin_cloud.otsu(counted(values)) == threshold
    finally:
        cv2.ipp.setUseIPP(used)


def test_otsus_threshold_is_that_of_the_greatest_variance_between():
    for seed in range(5):
        values = pixels(seed)[3]
        assert thin_cloud.otsu(counted(values)) == plain_otsu(values)


def test_every_stretch_is_opencvs():
    every = np.arange(256, dtype=np.uint8)
    for low in range(0, 256, 3):
        for high in range(low, 256, 5):
            there = (every >= low) & (every <= high)
            expected = cv2.normalize(every[there][None], None, 0, 255, cv2.NORM_MINMAX)[0]
            assert np.array_equal(thin_cloud.stretch(every, there)[there], expected)
            away = np.abs(expected.astype(int) - plain_stretch(every[there]))
            assert away.max() <= 1  # single precision decides ties


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
    found = label_scene(image, np.zeros(water.shape, bool), Rule(filter="published")).label
    assert np.array_equal(found, expected)


def even(value, shape=(300, 300)):
    """Gray ice of about this brightness."""
    noise = np.random.default_rng(1).normal(0, 1.5, shape)
    return np.repeat(np.clip(value + noise, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def surveyed(image, raw, missing):
    survey = Survey(raw.shape)
    survey.add(image, raw, missing, PAPER, Window(0, len(raw), 0, len(raw)))
    return survey


class Guarded:
    """What the filter with guards makes of a whole scene."""

    def __init__(self, image, missing=None):
        raw = classify(brightness(image))
        missing = np.zeros(raw.shape, bool) if missing is None else missing
        survey = surveyed(image, raw, missing)
        decision = thin_cloud.guarded(survey.counts)
        self.skipped, self.guarded_pixels = decision.skipped, decision.guarded_pixels
        self.label = survey.labels(decision)


def both(image):
    """Classes by the published filter, and what the guarded one makes."""
    nothing = np.zeros(image.shape[:2], bool)
    return label_scene(image, nothing, Rule(filter="published")).label, Guarded(image)


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


@pytest.mark.parametrize("value", [124, 150, 180, 198])
def test_wide_thin_ice_beside_snow_stays_thin_where_it_is_bluish(value):
    image = even(235, (600, 600))
    image[:, :290] = even(value, (600, 290)) * np.array((0.82, 0.9, 1))
    published, guarded = both(image)
    assert (published[:, :200] == THICK).all()
    assert (guarded.label[:, :200] == THIN).mean() > 0.99
    assert (guarded.label[:, 320:] == THICK).all()


def test_wide_thin_ice_as_white_as_snow_in_shadow_is_taken_for_it_and_counted():
    """Nothing in a pixel tells them apart: docs say that the filter does not hold there."""
    image = even(235, (600, 600))
    image[:, :290] = even(150, (600, 290))
    found = label_scene(image, np.zeros((600, 600), bool), Rule())
    assert (found.label[:, :200] == THICK).all()
    lifted = found.done["filter"]["thin_ice_pixels_taken_for_snow_in_shadow"]
    assert lifted == (found.label[:, :290] == THICK).sum()


def test_missing_corners_change_nothing_elsewhere():
    image = even(232, (400, 400))
    image[200:230, 100:300] = 90
    whole = both(image)[1].label
    rows, columns = np.indices((400, 400))
    corner = rows + columns < 60
    image[corner] = 0
    cut = Guarded(image, corner).label
    far = rows + columns > 60 + 2 * 80
    assert np.array_equal(cut[far], whole[far])


def whole(image, raw, missing, *, guards):
    """The filter step by step on whole arrays, with OpenCV for every step."""
    not_ice = (raw == WATER) | missing
    ice = ~not_ice
    if guards and not ice.any():
        return raw
    shade = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shade[not_ice] = 255
    behind = cv2.medianBlur(cv2.dilate(shade, np.ones((7, 7), np.uint8)), 155)
    if guards and (behind[ice] >= 205).mean() < thin_cloud.SNOW_SHARE:
        return raw
    like = 255 - cv2.absdiff(shade, behind)
    flat = guards and np.percentile(like[ice], 1.0) >= 255 - thin_cloud.LOW_CONTRAST
    if not flat:
        kept = cv2.threshold(like, 0, 255, cv2.THRESH_TOZERO + cv2.THRESH_OTSU)[1]
        first = cv2.normalize(kept, None, 0, 255, cv2.NORM_MINMAX)
        cut = cv2.threshold(first, 235, 0, cv2.THRESH_TRUNC)[1]
        like = cv2.normalize(cut, None, 0, 255, cv2.NORM_MINMAX)
    label = np.where(like >= 205, THICK, THIN).astype(np.uint8)
    dark = (behind < thin_cloud.SHADOW * 205) & ice if guards else np.zeros_like(ice)
    bluish = (image.min(axis=2) < 0.88 * image.max(axis=2)) & (raw == THIN) & guards
    stays = (raw == WATER) | dark | bluish
    label[stays] = raw[stays]
    return label


def large(seed, shape=(397, 211)):
    """Snow, shadow, thin ice, water, a corner and a hole without measurement, and land."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    value = np.where((rows // 70 + columns // 50) % 3, 228.0, 120.0) + rng.normal(0, 4, shape)
    value[150:200, 60:] *= 0.7
    value[200:, 80:] = 75
    value[300:330] = 12
    image = np.clip(value[..., None] * (0.96, 1, 1.03), 0, 255).astype(np.uint8)
    image[100:260, :50, 0] = image[100:260, :50, 0] * 0.85
    missing = rows + columns < 90
    missing[310:350, 20:33] = True
    image[missing] = 0
    return image, missing, (columns > 190) & (rows > 200)


@pytest.mark.parametrize("kind", ["published", "guarded", "none"])
@pytest.mark.parametrize("exposed", [False, True])
def test_blocks_of_any_size_give_the_bytes_of_the_whole_scene(kind, exposed):
    rule = Rule(filter=kind, adaptive=exposed)
    for seed, shape in ((1, (397, 211)), (2, (161, 90)), (3, (160, 33)), (4, (5, 7))):
        image, missing, land = large(seed, shape)
        seen = image
        if exposed:
            seen = adaptive.correct(image, adaptive.estimate(image, ~(missing | land)).value)
        expected = raw = classify(brightness(seen))
        if kind != "none":
            expected = whole(seen, raw, missing | land, guards=kind == "guarded")
        changed = ((expected != raw) & ~(missing | land)).sum()
        expected = np.where(missing | land, UNKNOWN, expected)
        told = None
        for rows in (161, 162, 199, 320, 4000):
            found = label_scene(image, missing | land, rule, block_rows=rows)
            assert np.array_equal(found.label, expected)
            assert told in (None, found.done)
            told = found.done
        if kind != "none":
            known = (~(missing | land)).sum()
            assert told["filter"]["share_of_pixels_changed"] == (changed / known if known else 0)


def in_blocks(image, raw, missing):
    survey = Survey(raw.shape)
    for window in blocks(len(raw), most=170):
        rows = slice(window.start, window.stop)
        survey.add(image[rows], raw[rows], missing[rows], PAPER, window)
    return survey


def test_blocks_of_water_alone_count_as_they_do_in_the_whole_scene():
    image, missing, _ = large(1)
    image[:250] = 5
    raw = classify(brightness(image))
    assert ((raw[:170] == WATER) | missing[:170]).all()  # the first block
    at_once, by_blocks = surveyed(image, raw, missing), in_blocks(image, raw, missing)
    assert np.array_equal(at_once.counts, by_blocks.counts)
    assert np.array_equal(at_once.like, by_blocks.like)


def test_the_scene_of_the_block_test_is_one_that_the_guards_let_through():
    image, missing, land = large(1)
    done = label_scene(image, missing | land, Rule()).done["filter"]
    assert done["used"]
    assert done["otsu_and_stretches_used"]
    assert done["ice_pixels_left_to_the_colour_rule"] > 0
    assert 0 < done["share_of_pixels_changed"] < 1


def test_counts_of_the_guards_add_up_over_blocks():
    image, missing, _ = large(1)
    raw = classify(brightness(image))
    at_once, by_blocks = surveyed(image, raw, missing), in_blocks(image, raw, missing)
    assert np.array_equal(at_once.counts, by_blocks.counts)
    assert at_once.counts.sum() == raw.size
