import numpy as np
import pytest

from cloudmask.data.patchset.encoding import (
    FILL,
    Moments,
    choose,
    combine,
    decode,
    encode,
    integer_sums,
    moments,
)


def image_of(*channels):
    """Channels of (20, 30) pixels each -> (20, 30, C) float32."""
    return np.stack(channels, axis=-1).astype(np.float32)


def uniform(low, high, seed=0):
    values = np.random.default_rng(seed).uniform(low, high, (20, 30))
    values.flat[:2] = low, high
    return values


def round_trip(image):
    coding = choose(image)
    stored, clipped = encode(image, coding)
    return decode(stored, coding.scale, coding.offset), coding, clipped


def test_what_is_lost_stays_far_below_the_sensors_noise():
    image = image_of(uniform(180, 340), uniform(-0.05, 1.4), uniform(0, 500))
    value, _, clipped = round_trip(image)
    lost = np.abs(value - image).max(axis=(0, 1))
    assert clipped == 0
    assert lost[0] <= 0.003  # K
    assert lost[1] <= 5e-5  # reflectance
    assert lost[2] <= 0.0051  # radiance: half a step of 0.01, and float32


@pytest.mark.parametrize("span", [1e-6, 0.3, 1.0, 6.5, 64.9, 65.1, 160.0, 600.0, 65535.0])
@pytest.mark.parametrize("middle", [0.0, 2.7])
def test_step_is_the_finest_of_its_series_that_covers_the_range(span, middle):
    low = np.float32(middle - span / 2)
    image = image_of(uniform(low, low + np.float32(span)))
    coding = choose(image)
    span = float(image.max()) - float(image.min())
    step = coding.scale[0]
    assert span / 65_000 <= step < 2.5001 * span / 65_000
    assert f"{step:e}"[0] in "125"
    stored, clipped = encode(image, coding)
    assert clipped == 0
    assert stored.min() > FILL


def test_uint8_and_uint16_counts_come_back_exactly_as_numbers():
    image = image_of(np.arange(600).reshape(20, 30) % 256, np.arange(600).reshape(20, 30) * 100)
    value, _, _ = round_trip(image)
    assert (np.rint(value) == image).all()


def test_missing_values_stay_missing_and_infinite_ones_count_as_missing():
    image = image_of(uniform(200, 300), uniform(0, 1))
    image[3, 4, 0], image[5, 6, 1], image[5, 7, 1] = np.nan, np.inf, -np.inf
    value, _, clipped = round_trip(image)
    assert (np.isnan(value) == ~np.isfinite(image)).all()
    assert np.nanmax(np.abs(value - image)[np.isfinite(image)]) < 0.005
    assert clipped == 0


def test_channels_without_values_or_without_variation_survive():
    image = image_of(np.full((20, 30), np.nan), np.full((20, 30), 273.16))
    value, coding, _ = round_trip(image)
    assert np.isnan(value[..., 0]).all()
    assert (value[..., 1] == np.float32(273.16)).all()
    assert np.isfinite(coding.scale).all()


def test_a_wild_value_is_clipped_and_counted_instead_of_costing_all_others_precision():
    values = np.random.default_rng(0).uniform(200, 300, (400, 500))
    values[7, 7], values[8, 8] = 1e6, -1e6
    image = image_of(values)
    value, coding, clipped = round_trip(image)
    usual = np.ones((400, 500), bool)
    usual[7, 7] = usual[8, 8] = False
    assert clipped == 2
    assert np.abs(value - image)[usual].max() <= 0.005
    assert 300 < value[7, 7, 0] < 450
    assert coding.scale[0] <= 0.01


def test_a_wide_channel_without_outliers_is_not_clipped():
    _, _, clipped = round_trip(image_of(uniform(0, 10_000)))
    assert clipped == 0


def test_each_patch_of_a_batch_is_decoded_with_its_own_scale():
    images = [
        image_of(uniform(200, 300, 1), uniform(0, 1, 2)),
        image_of(uniform(0, 9), uniform(5, 6)),
    ]
    codings = [choose(image) for image in images]
    stored = np.stack([encode(image, c)[0] for image, c in zip(images, codings, strict=True)])
    value = decode(
        stored, np.stack([c.scale for c in codings]), np.stack([c.offset for c in codings])
    )
    assert value.dtype == np.float32
    for index, coding in enumerate(codings):
        assert (value[index] == decode(stored[index], coding.scale, coding.offset)).all()
        assert np.abs(value[index] - images[index]).max() < 0.005


def test_moments_are_those_of_the_decoded_values():
    image = image_of(uniform(200, 300), uniform(0, 1), np.full((20, 30), np.nan))
    image[:5, :, 1] = np.nan
    coding = choose(image)
    stored, _ = encode(image, coding)
    found = moments(integer_sums(stored), coding)
    value = stored.astype(float) * coding.scale + coding.offset
    assert found.count.tolist() == [600, 450, 0]
    for channel in (0, 1):
        valid = value[..., channel][stored[..., channel] != FILL]
        assert found.mean[channel] == pytest.approx(valid.mean(), rel=1e-12)
        assert found.std[channel] == pytest.approx(valid.std(), rel=1e-12)
    assert (found.mean[2], found.std[2]) == (0, 0)


def test_integer_sums_do_not_overflow():
    stored = np.full((512, 512, 1), -32767, np.int16)
    count, total, squares = integer_sums(stored)[:, 0].tolist()
    assert (count, total, squares) == (512**2, -32767 * 512**2, 32767**2 * 512**2)


def test_combined_moments_are_those_of_all_values_together():
    rng = np.random.default_rng(1)
    parts = [rng.normal(shift, 2, (count, 2)) for shift, count in ((280, 100), (0, 7), (5, 1))]
    parts[1][:, 1] = np.nan

    def moments_of(values):
        count = (~np.isnan(values)).sum(axis=0)
        mean = np.array(
            [v[~np.isnan(v)].mean() if n else 0 for v, n in zip(values.T, count, strict=True)]
        )
        return Moments(count, mean, np.nansum((values - mean) ** 2, axis=0))

    found, everything = combine(map(moments_of, parts)), np.concatenate(parts)
    assert found.count.tolist() == [108, 101]
    assert found.mean == pytest.approx(np.nanmean(everything, axis=0), rel=1e-13)
    assert found.std == pytest.approx(np.nanstd(everything, axis=0), rel=1e-13)
