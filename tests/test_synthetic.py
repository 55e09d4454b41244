"""Synthetic scenes: layout of the benchmark's files, physics, and how wrong their masks are."""

import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from cloudmask.cli.options import SynthConfig
from cloudmask.data.synthetic import masks, nature, oblique, sensor
from cloudmask.data.synthetic import scenes as synthetic
from cloudmask.data.synthetic.command import synth
from cloudmask.data.synthetic.fractal import fractal_field, quantile
from cloudmask.data.synthetic.scenes import (
    DATASETS,
    SyntheticScene,
    make_scene,
    scene_name,
    write_scene,
)

HEIGHT, WIDTH = 96, 128
SOLAR_IRRADIANCE = [1858.95, 1538.22, 968.20, 370.08, 248.21, 78.35]  # read in a real product
PRODUCT = re.compile(r"S3A_SL_1_RBT____(\d{8}T\d{6}_){3}\d{4}_\d{3}_\d{3}_\d{4}_LN2_O_NT_003\.hdf")


@pytest.fixture(scope="module")
def scenes() -> list[SyntheticScene]:
    return [make_scene(index, height=HEIGHT, width=WIDTH) for index in range(24)]


@pytest.fixture(scope="module")
def days(scenes: list[SyntheticScene]) -> list[SyntheticScene]:
    return [scene for scene in scenes if not scene.night]


def measured(array: np.ndarray) -> np.ndarray:
    """Without the border columns: a scene 128 wide has two at the left and one at the right."""
    return array[:, 2:-1]


def layer(depth: float, top_kelvin: float, **changes: object) -> nature.Layer:
    """A uniform water cloud of 2 x 2 pixels."""
    full = np.full((2, 2), 1, np.float32)
    optics: dict[str, object] = {
        "absorption": (0.42, 0.5, 0.58),
        "emissivity_s7": 0.91,
        "brightness": nature.DROPLETS,
    }
    return nature.Layer(depth * full, top_kelvin * full, **(optics | changes))  # type: ignore[arg-type]


def ground(skin_kelvin: float, reflectance: float = 0.1) -> nature.Surface:
    full = np.full((2, 2), 1, np.float32)
    skin = skin_kelvin * full
    return nature.Surface(skin, skin, 0.0, skin, full, full > 0, [reflectance * full] * 7)


def test_a_written_file_has_the_layout_of_the_benchmark_and_nothing_more(tmp_path: Path) -> None:
    path = write_scene(make_scene(3, height=65, width=97), tmp_path)
    with h5py.File(path) as file:
        found = {name: (file[name].shape, file[name].dtype.str) for name in file}
        assert found == {
            "bts": ((65, 97, 3), "<f4"),
            "refs": ((65, 97, 6), "<f4"),
            "rads": ((65, 97, 6), "<f4"),
            "bayes": ((65, 97, 1), "|u1"),
            "summary": ((65, 97, 1), "|u1"),
            "truth": ((65, 97, 1), "|u1"),
        }
        assert [len(item.attrs) for item in (file, *file.values())] == [0] * 7


def test_a_written_scene_reads_back_as_it_was_and_leaves_no_other_file(tmp_path: Path) -> None:
    scene = make_scene(1, height=64, width=64)
    path = write_scene(scene, tmp_path)
    assert list(tmp_path.iterdir()) == [path] == [tmp_path / scene.name]
    with h5py.File(path) as file:
        for name in DATASETS:
            np.testing.assert_array_equal(file[name][...], getattr(scene, name))


def test_a_write_that_fails_leaves_no_scene_behind(tmp_path: Path) -> None:
    good = make_scene(0, height=64, width=64)
    bad = SyntheticScene(**(vars(good) | {"truth": np.array([object()])}))
    with pytest.raises(TypeError):
        write_scene(bad, tmp_path)
    assert not (tmp_path / good.name).exists()
    write_scene(good, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [good.name]


@pytest.mark.parametrize(("width", "left", "right"), [(1500, 27, 9), (500, 9, 3), (64, 1, 1)])
def test_border_columns_are_zero_in_every_array_and_all_others_are_measured(
    width: int, left: int, right: int
) -> None:
    scene = next(
        s for s in (make_scene(i, height=64, width=width) for i in range(9)) if not s.night
    )
    for name in DATASETS:
        array = getattr(scene, name)
        assert not array[:, :left].any(), name
        assert not array[:, width - right :].any(), name
    inside = slice(left, width - right)
    assert (scene.bts[:, inside] > 0).all()
    assert (scene.refs[:, inside] != 0).any(axis=-1).all()


def test_bayesian_bits_are_consistent_and_dual_ones_end_with_the_dual_view() -> None:
    inside = np.zeros(1500, bool)
    inside[548:1448] = True
    dual_bits = 0
    for index in range(4):
        bayes = make_scene(index, height=64, width=1500).bayes[..., 0]
        assert bayes.max() < 16
        assert not (bayes[:, ~inside] & 12).any()
        for low, moderate in ((1, 2), (4, 8)):
            assert (((bayes & moderate) == 0) | ((bayes & low) > 0)).all()
        single, dual = bayes[:, inside] & 1, bayes[:, inside] & 4
        assert (dual[single > 0] > 0).all()
        dual_bits += int(np.count_nonzero((dual > 0) & (single == 0)))
    assert dual_bits > 0


def test_the_same_arguments_give_the_same_bytes_and_others_do_not() -> None:
    def content(index: int, seed: int) -> list[bytes]:
        scene = make_scene(index, height=64, width=80, seed=seed)
        return [scene.name.encode(), *(getattr(scene, name).tobytes() for name in DATASETS)]

    first = content(5, 1)
    assert content(5, 1) == first
    for other in (content(6, 1), content(5, 2)):
        assert all(a != b for a, b in zip(first[:2], other[:2], strict=True))


def test_names_look_like_the_product_and_sort_by_index() -> None:
    names = [scene_name(index, seed=4) for index in range(500)]
    assert all(PRODUCT.fullmatch(name) for name in names)
    assert sorted(set(names)) == names
    assert names[0][16:24] == "20191001"
    assert names[-1][16:22] == "201911"  # 500 orbits of 101 minutes later
    assert make_scene(7, height=64, width=64, seed=4).name == names[7]


def test_some_four_scenes_of_ten_are_night_and_reflect_nothing(
    scenes: list[SyntheticScene],
) -> None:
    for scene in scenes:
        for array in (scene.refs, scene.rads):
            assert array.any() != scene.night
    dark = [synthetic._identity(np.random.default_rng([0, i]), i)[1] for i in range(1000)]
    assert np.mean(dark) == pytest.approx(0.4, abs=0.05)


def test_values_are_physical(scenes: list[SyntheticScene]) -> None:
    for scene in scenes:
        bts, refs = measured(scene.bts), measured(scene.refs)
        assert 180 < bts.min() < bts.max() < 340
        assert refs.min() >= -0.01
        assert refs.max() < 1.6
        assert set(np.unique(scene.truth)) <= {0, 1}
        assert set(np.unique(scene.summary)) <= {0, 1}


def test_radiances_follow_from_reflectances_by_one_sun_for_all_channels(
    days: list[SyntheticScene],
) -> None:
    for scene in days:
        refs, rads = measured(scene.refs).astype(np.float64), measured(scene.rads)
        bright = (refs > 0.05).all(axis=-1)
        cosine = np.pi * rads[bright] / (refs[bright] * np.array(SOLAR_IRRADIANCE))
        assert np.ptp(cosine, axis=-1).max(initial=0) < 1e-5
        assert np.rad2deg(np.arccos(cosine.min(initial=1))) < 75.01
        assert np.rad2deg(np.arccos(cosine.max(initial=0.5))) > 19.99


def test_clouds_are_colder_than_what_they_hide(scenes: list[SyntheticScene]) -> None:
    colder = []
    for scene in scenes:
        s8, cloud = measured(scene.bts[..., 1]), measured(scene.truth[..., 0]) > 0
        colder.append(s8[~cloud].mean() - s8[cloud].mean())
    assert np.mean(colder) > 5


def test_high_clouds_shine_in_s4_and_low_ones_do_not(days: list[SyntheticScene]) -> None:
    refs = np.concatenate([measured(scene.refs).reshape(-1, 6) for scene in days])
    s8 = np.concatenate([measured(scene.bts[..., 1]).ravel() for scene in days])
    split = s8 - np.concatenate([measured(scene.bts[..., 2]).ravel() for scene in days])
    cloud = np.concatenate([measured(scene.truth).ravel() for scene in days]) > 0
    high, low = cloud & (s8 < 250), cloud & (s8 > 280) & (refs[:, 0] > 0.4)
    assert high.sum() > 1000
    assert low.sum() > 1000
    thin = cloud & (split > 3) & (s8 > 260)
    assert thin.sum() > 1000
    assert refs[high, 3].mean() > 0.2
    assert refs[thin, 3].mean() > 0.06
    assert refs[low, 3].mean() < 0.06
    assert refs[~cloud, 3].mean() < 0.06


def test_an_opaque_cloud_shows_its_top_and_droplets_look_colder_in_s7() -> None:
    thick = [layer(depth=100, top_kelvin=280)]
    s7, s8, s9 = (
        sensor.brightness_temperature(
            sensor.thermal_radiance(ground(300), thick, channel), wavelength
        )[0, 0]
        for channel, wavelength in enumerate(sensor.WAVELENGTHS_UM)
    )
    assert s8 == pytest.approx(280, abs=0.01)
    assert s9 == pytest.approx(280, abs=0.01)
    assert -3 < s7 - s8 < -0.5


def test_thin_ice_splits_s8_from_s9_and_the_clear_sky_hardly_does() -> None:
    def split(layers: list[nature.Layer]) -> float:
        s8, s9 = (
            sensor.brightness_temperature(
                sensor.thermal_radiance(ground(295), layers, channel),
                sensor.WAVELENGTHS_UM[channel],
            )
            for channel in (1, 2)
        )
        return float((s8 - s9)[0, 0])

    ice = layer(1, 225, absorption=(0.38, 0.45, 0.56), brightness=nature.CRYSTALS)
    assert 0 < split([]) < 1.5
    assert split([ice]) > split([]) + 2


def test_reflectance_goes_from_that_of_the_ground_to_that_of_the_cloud() -> None:
    def reflectances(depth: float) -> list[float]:
        layers = [layer(0, 280), layer(0, 270), layer(0, 250), layer(depth, 280)]
        rng = np.random.default_rng(0)
        return [float(r[0, 0]) for r in sensor.reflectances(rng, ground(290), layers)]

    assert reflectances(0) == pytest.approx([0.1] * 7)
    s = np.sqrt(3) * 0.15 * 10
    white = s / (2 + s)
    passed = (1 - white) ** 2 * 0.1 / (1 - white * 0.1)
    assert reflectances(10) == pytest.approx([b * white + passed for b in nature.DROPLETS])
    assert reflectances(1e6) == pytest.approx(nature.DROPLETS, rel=1e-3)


def test_planck_agrees_with_the_constants_of_nature_and_is_undone() -> None:
    h, c, k = 6.62607015e-34, 299792458.0, 1.380649e-23
    kelvin = np.array([[200.0, 250.0, 300.0]])
    for wavelength in sensor.WAVELENGTHS_UM:
        metres = wavelength * 1e-6
        exact = 2 * h * c**2 / metres**5 / np.expm1(h * c / (metres * k * kelvin)) * 1e-6
        radiance = sensor.planck(kelvin, wavelength)  # per m -> per um is 1e-6
        np.testing.assert_allclose(radiance, exact, rtol=1e-5)
        back = sensor.brightness_temperature(radiance, wavelength)
        np.testing.assert_allclose(back, kelvin, rtol=1e-9)


def test_cloud_cover_varies_about_two_thirds() -> None:
    cover = [measured(make_scene(i, height=64, width=128, seed=9).truth).mean() for i in range(60)]
    assert 0.58 < np.mean(cover) < 0.74
    assert min(cover) < 0.4
    assert max(cover) > 0.85


def test_the_bayesian_mask_is_right_nine_times_in_ten_and_the_summary_mask_less_often(
    scenes: list[SyntheticScene],
) -> None:
    bayes = [measured((s.bayes > 0) == s.truth).mean() for s in scenes]
    summary = [measured((s.summary > 0) == s.truth).mean() for s in scenes]
    assert 0.85 < np.mean(bayes) < 0.95
    assert min(bayes) > 0.65
    assert 0.75 < np.mean(summary) < np.mean(bayes) - 0.02


def test_errors_of_the_bayesian_mask_are_patches_not_specks(scenes: list[SyntheticScene]) -> None:
    errors = np.stack([measured((scene.bayes > 0) != scene.truth)[..., 0] for scene in scenes])
    beside_an_error = errors[..., 1:][errors[..., :-1]].mean()
    assert beside_an_error > 2.5 * errors.mean()


def field(value: float) -> np.ndarray:
    return np.full((64, 64), value, np.float32)


def flat_sea() -> nature.Surface:
    """At night, known to the last kelvin."""
    kelvin, none = field(290), field(0)
    return nature.Surface(kelvin, kelvin, 0.0, kelvin, none, none > 0, [])


def bayes_of(surface: nature.Surface, cloud: nature.Layer) -> np.ndarray:
    layers = [cloud, *(replace(cloud, depth=field(0)) for _ in range(3))]
    aside, moved = oblique.oblique_view(surface, layers)
    mu0 = field(1)
    views = [
        masks.departures(*sensor.observe(np.random.default_rng(0), ground, clouds, mu0), ground)
        for ground, clouds in ((surface, layers), (aside, moved))
    ]
    return masks.bayesian_mask(*views, surface)


def test_the_dual_view_knows_of_no_cloud_that_neither_view_can_see() -> None:
    unseen = nature.Layer(field(20), field(290), (0.4, 0.5, 0.6), 1.0, nature.DROPLETS)
    assert not bayes_of(flat_sea(), unseen).any()


def test_a_cloud_that_is_thin_from_above_is_found_by_both_views_together() -> None:
    thin = nature.Layer(field(0.3), field(234), (0.4, 0.5, 0.6), 1.0, nature.DROPLETS)
    first, end = (round(column * 64 / masks.FULL_WIDTH) for column in masks.DUAL_VIEW)
    bayes = bayes_of(flat_sea(), thin)
    assert (bayes[:, first:end] & 4).mean() > 0.9
    assert not (bayes & 1).any()
    assert not bayes[:, :first].any()
    assert not bayes[:, end:].any()


def test_a_high_cloud_stands_elsewhere_in_the_oblique_view_and_is_deeper_there() -> None:
    depth = field(0)
    depth[10:20] = 2
    layer = nature.Layer(depth, field(290 - 6.5 * 7), (0.4, 0.5, 0.6), 1.0, nature.ANVILS)
    _, (moved,) = oblique.oblique_view(flat_sea(), [layer])
    rows = 10  # 7 km times the tangent of 55 degrees
    assert oblique.cloud_height_km(layer, field(290)) == pytest.approx(7)
    np.testing.assert_allclose(moved.depth, np.roll(depth, rows, axis=0) / np.cos(np.deg2rad(55)))
    # Seen in the nadir view alone, and in the oblique view alone: neither is a joint alarm.
    bayes = bayes_of(flat_sea(), layer)
    assert (bayes[10:20] & 1).all()
    assert not bayes[21:30].any()


def test_land_can_be_left_to_the_clear_and_extras_are_written_on_demand(tmp_path: Path) -> None:
    made = {"scenes": 4, "height": 64, "width": 72, "seed": 2}
    synth(SynthConfig(tmp_path / "judged", **made))
    synth(SynthConfig(tmp_path / "clear", **made, land="clear", extras=("depth", "skin")))
    fewer = 0
    for path in sorted((tmp_path / "clear").iterdir()):
        with h5py.File(path) as file, h5py.File(tmp_path / "judged" / path.name) as other:
            assert set(file) - set(other) == {"depth", "skin"}
            np.testing.assert_array_equal(file["bts"][...], other["bts"][...])
            np.testing.assert_array_equal(file["depth"][...] > 0.3, file["truth"][...] > 0)
            assert 240 < file["skin"][:, 2:-2].min() <= file["skin"][...].max() < 330
            changed = file["bayes"][...] != other["bayes"][...]
            assert not file["bayes"][...][changed].any()
            fewer += int(changed.sum())
    assert fewer > 0


def test_a_fractal_field_is_normalised_and_has_the_spectrum_that_was_asked_for() -> None:
    field = fractal_field(np.random.default_rng(0), (256, 256), slope=3, coarsest=512)
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-5)
    power = np.abs(np.fft.rfft2(field)) ** 2
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None, :])
    fits = (k > 0.02) & (k < 0.4)
    slope = np.polyfit(np.log(k[fits]), np.log(power[fits]), 1)[0]
    assert slope == pytest.approx(-3, abs=0.05)
    assert np.mean(field < quantile(field, 0.3)) == pytest.approx(0.3, abs=0.01)


def test_a_stretched_field_varies_slowly_along_its_angle() -> None:
    rng = np.random.default_rng(0)
    field = fractal_field(rng, (128, 150), slope=3, coarsest=60, stretch=4, angle=np.pi / 2)
    down, right = (np.abs(np.diff(field, axis=axis)).mean() for axis in (0, 1))
    assert down < 0.6 * right


def test_synth_makes_only_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "scenes"
    assert synth(SynthConfig(out, scenes=3, height=64, width=72, seed=2)) == 0
    paths = sorted(out.iterdir())
    assert [path.name for path in paths] == [scene_name(index, seed=2) for index in range(3)]
    paths[1].unlink()
    kept = [path.stat().st_mtime_ns for path in (paths[0], paths[2])]
    synth(SynthConfig(out, scenes=3, height=64, width=72, seed=2))
    assert paths == sorted(out.iterdir())
    assert [path.stat().st_mtime_ns for path in (paths[0], paths[2])] == kept
    with h5py.File(paths[1]) as file:
        scene = make_scene(1, height=64, width=72, seed=2)
        for name in DATASETS:
            np.testing.assert_array_equal(file[name][...], getattr(scene, name))


def test_synth_refuses_scenes_of_another_kind_and_files_that_are_none(tmp_path: Path) -> None:
    synth(SynthConfig(tmp_path, scenes=1, height=64, width=72))
    (path,) = tmp_path.iterdir()
    with pytest.raises(ValueError, match=r"S3A.*hdf is 64 x 72, not 64 x 80; delete it or write"):
        synth(SynthConfig(tmp_path, scenes=1, height=64, width=80))
    with pytest.raises(ValueError, match=r"S3A.*hdf has no depth and no skin; delete it or write"):
        synth(SynthConfig(tmp_path, scenes=1, height=64, width=72, extras=("depth", "skin")))
    path.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"S3A.*hdf is not a scene that can be read; delete it"):
        synth(SynthConfig(tmp_path, scenes=1, height=64, width=72))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"scenes": 0}, "num_scenes 0 is too small for synthetic scenes; use 1 or more"),
        ({"height": 63}, "height 63 is too small for synthetic scenes; use 64 or more"),
        ({"width": 8}, "width 8 is too small for synthetic scenes; use 64 or more"),
        ({"seed": -1}, "seed -1 is too small for synthetic scenes; use 0 or more"),
    ],
)
def test_numbers_that_are_too_small_are_named_and_nothing_is_written(
    tmp_path: Path, numbers: dict[str, int], message: str
) -> None:
    good = {"scenes": 1, "height": 64, "width": 64, "seed": 0}
    with pytest.raises(ValueError, match=message):
        synth(SynthConfig(tmp_path / "out", **(good | numbers)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "scenes"
    out.write_text("")
    with pytest.raises(ValueError, match="scenes is a file, but scenes are written into a folder"):
        synth(SynthConfig(out, scenes=1, height=64, width=64))
