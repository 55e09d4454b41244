"""Masks as values and as files: what was written comes back, in steps of 1e-4 everywhere."""

import dataclasses
import subprocess
import sys

import h5py
import numpy as np
import pytest

from cloudmask.evaluate import calibration
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import (
    SceneMask,
    attributes_of,
    classify,
    read_mask,
    read_netcdf,
    write_hdf5,
    write_mask,
    write_netcdf,
)
from cloudmask.predict.masks.values import FILL, STEPS, probability_of, step_from, steps_of

CLASSES = ("clear", "cloud")
ALL = np.arange(STEPS + 1, dtype=np.int16).reshape(73, 137)
"""every probability that can be stored"""


def make_mask(probability=None, *, classes=CLASSES, threshold=0.5, **changes):
    """A mask of random probabilities, (5, 7) unless others are given, one of them missing."""
    if probability is None:
        probability = np.random.default_rng(0).random((5, 7, 1)).astype(np.float32)
        probability[1, 2] = np.nan
    rows, cols = np.mgrid[0 : probability.shape[0], 0 : probability.shape[1]]
    values = {
        "name": "scene",
        "classes": classes,
        "probability": probability,
        "spread": probability / 10,
        "mask": classify(probability, threshold=threshold),
        "latitude": 70.123456 - 0.01 * rows + 1e-3 * cols,
        "longitude": 10.654321 + 0.02 * cols + 2e-3 * rows,
        "attributes": {"source": "test"},
    }
    return SceneMask(**(values | changes))


def test_missing_pixels_are_neither_clear_nor_cloud():
    probability = np.array([[[0.2], [0.5], [np.nan]]], np.float32)
    np.testing.assert_array_equal(classify(probability, threshold=0.5), [[0, 1, UNKNOWN]])
    many = np.array([[[0.2, 0.5, 0.3], [np.nan] * 3]], np.float32)
    np.testing.assert_array_equal(classify(many, threshold=0.5), [[1, UNKNOWN]])


def test_every_stored_value_survives_reading_and_writing():
    np.testing.assert_array_equal(steps_of(probability_of(ALL)), ALL)
    assert probability_of(ALL).dtype == np.float32
    assert probability_of(ALL)[0, 0] == 0
    assert probability_of(ALL)[-1, -1] == 1
    assert steps_of(np.array([np.nan], np.float32))[0] == FILL
    assert np.isnan(probability_of(np.array([FILL], np.int16)))[0]


@pytest.mark.parametrize("suffix", ["nc", "h5"])
def test_a_threshold_and_the_sweep_there_agree_on_every_stored_value(tmp_path, suffix):
    """31 of 99 thresholds lost the pixels that lay exactly on them."""
    probability = probability_of(ALL)[..., None]
    path = tmp_path / f"all.{suffix}"
    write_mask(path, make_mask(probability, spread=None))
    read = read_mask(path, classes=CLASSES).probability
    positive = np.random.default_rng(1).random(ALL.shape) < 0.5
    counts = calibration.histogram(read[..., 0].ravel(), positive.ravel())
    np.testing.assert_array_equal(counts.sum(axis=0), 1)
    sweep = calibration.figures(counts)["sweep"]
    for percent in range(1, 100):
        threshold, step = percent / 100, 100 * percent
        assert step_from(threshold) == step
        expected = np.greater_equal(ALL, step)
        for values in (probability, read):
            found = classify(values, threshold=threshold)
            np.testing.assert_array_equal(found == 1, expected, err_msg=str(threshold))
        np.testing.assert_array_equal(read[..., 0] >= threshold, expected)
        assert counts[1, step:].sum() == (expected & positive).sum()
        if percent % 2 == 0:
            assert sweep[percent // 2]["threshold"] == threshold
            assert sweep[percent // 2]["accuracy"] == pytest.approx((expected == positive).mean())


def test_the_class_in_a_file_is_that_of_the_probability_in_it(tmp_path):
    """Just below the threshold, and stored as the threshold: cloud in both."""
    probability = np.array([[[0.69996], [0.69994], [0.70004]]], np.float32)
    write_netcdf(tmp_path / "s.nc", make_mask(probability, threshold=0.7, spread=None))
    found = read_netcdf(tmp_path / "s.nc")
    np.testing.assert_array_equal(found.mask, [[1, 0, 1]])
    np.testing.assert_array_equal(found.mask, classify(found.probability, threshold=0.7))
    near = np.array([[[0.33334, 0.33336, 0.3333]]], np.float32)
    write_netcdf(tmp_path / "t.nc", make_mask(near, classes=("a", "b", "c"), spread=None))
    found = read_netcdf(tmp_path / "t.nc")
    np.testing.assert_array_equal(found.mask, classify(found.probability, threshold=0.5))


def test_thresholds_between_two_steps_take_the_next_one():
    values = probability_of(np.array([4999, 5000, 5001], np.int16))[:, None]
    np.testing.assert_array_equal(classify(values, threshold=0.50005), [0, 0, 1])
    np.testing.assert_array_equal(classify(values, threshold=0.0), [1, 1, 1])
    assert classify(np.ones((1, 1), np.float32), threshold=1.0)[0] == 1


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"latitude": None, "longitude": None},
        {"crs": "EPSG:3413", "transform": (100.0, 0.0, -3e6, 0.0, -100.0, 2e6)},
        {"start": "2017-03-13T11:00:00Z", "stop": "2017-03-13T11:03:00Z"},
    ],
    ids=["swath", "nowhere", "grid", "time"],
)
@pytest.mark.parametrize("suffix", ["nc", "tif"])
def test_a_mask_comes_back_as_it_was_written(tmp_path, place, suffix):
    pytest.importorskip("pyproj" if suffix == "nc" else "rasterio")
    mask = make_mask(**place)
    write_mask(tmp_path / f"scene.{suffix}", mask)
    found = read_mask(tmp_path / f"scene.{suffix}", classes=())
    np.testing.assert_array_equal(found.mask, mask.mask)
    for name in ("probability", "spread"):
        np.testing.assert_allclose(getattr(found, name), getattr(mask, name), atol=5.1e-5)
    assert (found.classes, found.name) == (mask.classes, "scene")
    assert found.attributes["source"] == "test"
    assert (found.start, found.stop, found.transform) == (mask.start, mask.stop, mask.transform)
    assert (found.crs is None) == (mask.crs is None)
    if mask.crs is not None:
        from pyproj import CRS

        assert CRS.from_wkt(found.crs).equals(CRS(mask.crs), ignore_axis_order=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"scene.{suffix}"]


def test_latitude_and_longitude_come_back_to_a_millionth_of_a_degree(tmp_path):
    rng = np.random.default_rng(3)
    latitude, longitude = rng.uniform(-90, 90, (40, 50)), rng.uniform(-180, 180, (40, 50))
    latitude[0, 0] = longitude[0, 0] = np.nan
    probability = rng.random((40, 50, 1)).astype(np.float32)
    mask = make_mask(probability, latitude=latitude, longitude=longitude)
    write_netcdf(tmp_path / "scene.nc", mask)
    found = read_netcdf(tmp_path / "scene.nc")
    np.testing.assert_allclose(found.latitude, latitude, rtol=0, atol=5.01e-7)
    np.testing.assert_allclose(found.longitude, longitude, rtol=0, atol=5.01e-7)
    whole = np.round(latitude * 1e6) / 1e6
    write_netcdf(tmp_path / "whole.nc", make_mask(probability, latitude=whole))
    np.testing.assert_allclose(
        read_netcdf(tmp_path / "whole.nc").latitude, whole, rtol=0, atol=1e-13
    )


def test_a_mask_of_a_swath_takes_less_than_its_geolocation_took(tmp_path):
    """A product's mask was 16.9 MB, of which latitude and longitude were 14.4 MB."""
    rows, columns = np.mgrid[0:1200, 0:1500]
    latitude = 62 - 0.0088 * rows + 0.0021 * columns - 1e-6 * columns**2 + 2e-7 * rows * columns
    longitude = -5 + 0.0182 * columns - 0.0032 * rows + 3e-6 * columns**2 - 1e-6 * rows * columns
    cloudy = np.clip(0.5 + 0.7 * np.sin(rows / 97) * np.cos(columns / 71), 0, 1)
    mask = make_mask(
        cloudy[..., None].astype(np.float32), spread=None, latitude=latitude, longitude=longitude
    )
    write_netcdf(tmp_path / "scene.nc", mask)
    assert (tmp_path / "scene.nc").stat().st_size < 9e6
    with h5py.File(tmp_path / "scene.nc") as file:
        degrees = sum(file[name].id.get_storage_size() for name in ("latitude", "longitude"))
    assert degrees < 6e6


def test_masks_of_earlier_versions_are_still_read(tmp_path):
    """Latitude as plain float32, no axes, no grid, as version 1 wrote them."""
    stored = np.array([[0, 5000, FILL]], np.int16)
    with h5py.File(tmp_path / "old.nc", "w") as file:
        file.attrs["classes"] = '["clear", "cloud"]'
        file.attrs["Conventions"] = "CF-1.11"
        file["probability_cloud"] = stored
        file["mask"] = np.array([[0, 1, 255]], np.uint8)
        file["latitude"] = np.array([[1.5, np.nan, 2.5]], np.float32)
        file["longitude"] = np.array([[3.5, np.nan, 4.5]], np.float32)
    found = read_netcdf(tmp_path / "old.nc")
    np.testing.assert_array_equal(found.probability[..., 0], [[0, 0.5, np.nan]])
    np.testing.assert_array_equal(found.mask, [[0, 1, 255]])
    np.testing.assert_array_equal(found.latitude, [[1.5, np.nan, 2.5]])
    assert found.crs is found.transform is found.start is found.spread is None


def test_class_names_of_several_words_come_back(tmp_path):
    names = ("open water", "sea ice", "sea/ice")
    probability = np.random.default_rng(1).dirichlet((1, 1, 1), (5, 7)).astype(np.float32)
    write_netcdf(tmp_path / "ice.nc", make_mask(probability, classes=names, spread=None))
    found = read_netcdf(tmp_path / "ice.nc")
    assert found.classes == names
    np.testing.assert_allclose(found.probability, probability, atol=5.1e-5)
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(tmp_path / "ice.nc", engine="netcdf4") as data:
        assert data["mask"].attrs["flag_meanings"] == "open_water sea_ice_1 sea_ice_2"
        assert "standard_name" not in data["mask"].attrs
        np.testing.assert_allclose(data["probability_sea_ice_2"], probability[..., 2], atol=5.1e-5)


@pytest.mark.parametrize("suffix", ["nc", "h5"])
def test_attributes_as_other_programs_store_text_are_the_same(tmp_path, suffix):
    """C and Fortran store bytes of a fixed length, one or an array of one."""
    path = tmp_path / f"scene.{suffix}"
    grid = {"crs": "EPSG:3413", "transform": (100.0, 0.0, -3e6, 0.0, -100.0, 2e6)}
    made = {"source": "test", "fingerprint": "2f31", "options": '{"threshold": 0.2}'}
    pytest.importorskip("pyproj")
    write_mask(path, make_mask(attributes=made, threshold=0.2, **grid))
    before, told = read_mask(path, classes=()), attributes_of(path)
    assert told.items() >= made.items()
    for change in (str.encode, lambda text: [f"{text}  ".encode()]):
        with h5py.File(path, "r+") as file:
            for thing in (file, *(file[name] for name in ("crs",) if name in file)):
                for key, value in thing.attrs.items():
                    if isinstance(value, str):
                        thing.attrs[key] = np.array(change(value))
        found = read_mask(path, classes=())
        assert attributes_of(path) == found.attributes == told
        assert (found.classes, found.crs) == (before.classes, before.crs)
        np.testing.assert_array_equal(found.mask, before.mask)


def test_a_mask_that_xarray_saved_again_is_the_same_mask(tmp_path):
    xarray = pytest.importorskip("xarray")
    write_netcdf(tmp_path / "s.nc", make_mask(attributes={"fingerprint": "2f31"}))
    with xarray.open_dataset(tmp_path / "s.nc", engine="netcdf4") as data:
        data.load().to_netcdf(tmp_path / "again.nc", engine="netcdf4")
    told = (attributes_of(tmp_path / name) for name in ("s.nc", "again.nc"))
    before, after = ({**attributes, "_NCProperties": ""} for attributes in told)
    assert after == before
    first, again = (read_netcdf(tmp_path / name) for name in ("s.nc", "again.nc"))
    for name in ("mask", "probability", "latitude"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


@pytest.mark.parametrize("suffix", ["nc", "tif", "h5"])
@pytest.mark.parametrize("name", ["probability", "spread"])
@pytest.mark.parametrize("value", [-0.0005, 1.5])
def test_a_probability_that_is_none_is_told_in_one_line(tmp_path, suffix, name, value):
    if suffix == "tif":
        pytest.importorskip("rasterio")
    if suffix == "h5" and name == "spread":
        pytest.skip("the benchmark's layout has no spread")
    mask = make_mask()
    wrong = getattr(mask, name).copy()
    wrong[3, 3] = value
    write_mask(tmp_path / f"s.{suffix}", dataclasses.replace(mask, **{name: wrong}))
    with pytest.raises(ValueError, match=rf"^[^\n]*s\.{suffix} holds a {name} of {value}, "):
        read_mask(tmp_path / f"s.{suffix}", classes=CLASSES)


@pytest.mark.parametrize("crs", ["EPSG:2056", "EPSG:21781"])
def test_a_grid_that_cf_has_no_words_for_is_written_in_silence(tmp_path, crs, recwarn):
    pyproj = pytest.importorskip("pyproj")
    grid = {"crs": crs, "transform": (100.0, 0.0, 2.6e6, 0.0, -100.0, 1.2e6)}
    write_netcdf(tmp_path / "s.nc", make_mask(**grid))
    assert [str(warning.message) for warning in recwarn] == []
    assert pyproj.CRS.from_wkt(read_netcdf(tmp_path / "s.nc").crs) == pyproj.CRS(crs)


def test_hdf5_mask_has_the_layout_of_the_benchmark(tmp_path):
    mask = make_mask()
    write_hdf5(tmp_path / "scene.h5", mask)
    with h5py.File(tmp_path / "scene.h5") as file:
        assert file["mask"].shape == (1, 5, 7, 1)
        np.testing.assert_array_equal(file["mask"][0], mask.probability)


@pytest.mark.parametrize("suffix", ["nc", "h5", "tif"])
def test_a_disk_that_takes_no_more_leaves_nothing_and_is_told_in_one_line(tmp_path, suffix):
    if suffix == "tif":
        pytest.importorskip("rasterio")
    path = tmp_path / f"full.{suffix}"
    code = f"""
import numpy as np, resource
from pathlib import Path
from cloudmask.cli import errors
from cloudmask.predict import masks
values = np.random.default_rng(0).random((200, 200, 1)).astype("f4")
mask = masks.SceneMask("s", ("a", "b"), values, None, masks.classify(values, threshold=0.5))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
main = lambda words: masks.write_mask(Path(words[0]), mask)
raise SystemExit(errors.run(main, [{str(path)!r}], program="cloudmask"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"cloudmask: error: {path}: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["nc", "h5", "tif"])
def test_a_foreign_file_is_no_mask(tmp_path, suffix):
    if suffix == "tif":
        pytest.importorskip("rasterio")
    path = tmp_path / f"other.{suffix}"
    path.write_bytes(b"no mask at all")
    with pytest.raises(ValueError, match=rf"other\.{suffix} is not a mask") as caught:
        read_mask(path, classes=CLASSES)
    assert "\n" not in str(caught.value)


def test_a_time_or_crs_that_means_nothing_is_named(tmp_path):
    with pytest.raises(ValueError, match="yesterday"):
        write_netcdf(tmp_path / "s.nc", make_mask(start="yesterday"))
    pytest.importorskip("pyproj")
    grid = {"crs": "EPSG:nothing", "transform": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)}
    with pytest.raises(ValueError, match="the CRS 'EPSG:nothing' is not understood"):
        write_netcdf(tmp_path / "s.nc", make_mask(**grid))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.attrs.modify("classes", "3"),
        lambda file: file.attrs.modify("classes", "[" * 100_000),
        lambda file: file.attrs.modify("classes", '["a", "b", "c"]'),
        lambda file: file.move("mask", "other"),
        lambda file: (file.pop("mask"), file.create_group("mask")),
        lambda file: (file.pop("mask"), file.create_dataset("mask", data=np.zeros((3, 3), "u1"))),
        lambda file: (file.pop("mask"), file.create_dataset("mask", data=np.zeros((5, 7)))),
        lambda file: (file.pop("mask"), file.create_dataset("mask", data=np.full((5, 7), 7, "u1"))),
        lambda file: file["probability_cloud"].write_direct(np.full((5, 7), FILL, "i2")),
        lambda file: (file.pop("latitude"), file.create_dataset("latitude", data=[1.5])),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_told_in_one_line(tmp_path, damage):
    write_netcdf(tmp_path / "s.nc", make_mask())
    with h5py.File(tmp_path / "s.nc", "r+") as file:
        damage(file)
    with pytest.raises(ValueError, match=r"^[^\n]*s\.nc is not a mask of this program[^\n]*$"):
        read_netcdf(tmp_path / "s.nc")
