"""Whole scenes: stitching leaves no seam, missing stays missing, files open elsewhere."""

import json
import subprocess
import sys

import numpy as np
import pytest
import sen3

from cloudmask.data.read import read_scene
from cloudmask.data.slstr import UNRECORDED
from cloudmask.data.tiles import cover
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SceneMask, classify, read_netcdf, write_hdf5, write_netcdf
from cloudmask.predict.tiles import predict_image, receptive_margin

LEVELS = 4
CHANNELS = tuple(f"band_{number}" for number in range(1, 4))


@pytest.mark.parametrize("length", [8, 64, 304, 1200, 1504])
@pytest.mark.parametrize("tile", [128, 256, 2048])
def test_windows_keep_each_pixel_once_and_far_from_every_cut(length, tile):
    margin = 56
    windows = cover(length, tile=tile, margin=margin, align=8)
    kept = np.concatenate([np.arange(w.keep_start, w.keep_stop) for w in windows])
    np.testing.assert_array_equal(kept, np.arange(length))
    for window in windows:
        assert window.start % 8 == 0
        assert window.stop - window.start <= tile
        assert window.start == 0 or window.keep_start - window.start >= margin
        assert window.stop == length or window.stop - window.keep_stop >= margin


def test_a_tile_that_would_keep_nothing_is_refused():
    with pytest.raises(ValueError, match="--tile 120"):
        cover(512, tile=112, margin=56, align=8)


@pytest.fixture(scope="module")
def forward():
    """A network with random weights of the reference's depth."""
    import tensorflow as tf

    from cloudmask.model.unet import unet

    model = unet(3, 1, widths=(4, 8, 8, 16), seed=3)
    graph = tf.function(lambda image: tf.sigmoid(model(image)), reduce_retracing=True)
    return lambda image: graph(tf.constant(image, tf.float32))[0].numpy()


@pytest.fixture(scope="module")
def image():
    values = np.random.default_rng(5).normal(0, 2, (301, 257, 3)).astype(np.float32)
    values[40:60, 10:90] = np.nan
    return values


@pytest.mark.parametrize("tile", [128, 192, 256])
def test_stitched_scene_equals_the_scene_at_once(forward, image, tile):
    whole = predict_image(forward, image, levels=LEVELS, tile=4096)
    stitched = predict_image(forward, image, levels=LEVELS, tile=tile)
    assert whole.shape == (301, 257, 1)
    np.testing.assert_allclose(stitched, whole, atol=1e-5)


@pytest.mark.slow
def test_odd_scene_of_full_size_has_no_seam(forward):
    image = np.random.default_rng(6).normal(0, 2, (1198, 1500, 3)).astype(np.float32)
    whole = predict_image(forward, image, levels=LEVELS, tile=2048)
    assert whole.shape == (1198, 1500, 1)
    np.testing.assert_allclose(
        predict_image(forward, image, levels=LEVELS, tile=512), whole, atol=1e-5
    )


def test_too_small_an_overlap_would_leave_a_seam(forward, image):
    whole = predict_image(forward, image, levels=LEVELS, tile=4096)
    stitched = predict_image(forward, image, levels=LEVELS, tile=128, margin=0)
    assert np.abs(stitched - whole).max() > 1e-3


def test_scene_smaller_than_a_tile_keeps_its_shape(forward):
    small = np.ones((13, 21, 3), np.float32)
    assert predict_image(forward, small, levels=LEVELS, tile=128).shape == (13, 21, 1)


def test_margin_is_at_least_what_a_pixel_can_reach(forward):
    base = np.zeros((256, 256, 3), np.float32)
    changed = base.copy()
    changed[128, 128] = 50
    difference = np.abs(forward(changed[None]) - forward(base[None]))[..., 0]
    reached = np.abs(np.argwhere(difference > 0) - 128).max()
    assert 16 < reached <= receptive_margin(LEVELS)


def test_missing_pixels_are_neither_clear_nor_cloud():
    probability = np.array([[[0.2], [0.5], [np.nan]]], np.float32)
    np.testing.assert_array_equal(classify(probability, threshold=0.5), [[0, 1, UNKNOWN]])
    many = np.array([[[0.2, 0.5, 0.3], [np.nan] * 3]], np.float32)
    np.testing.assert_array_equal(classify(many, threshold=0.5), [[1, UNKNOWN]])


@pytest.fixture
def mask():
    probability = np.random.default_rng(0).random((5, 7, 1)).astype(np.float32)
    probability[1, 2] = np.nan
    rows, cols = np.mgrid[0:5, 0:7].astype(np.float32)
    return SceneMask(
        name="scene",
        classes=("clear", "cloud"),
        probability=probability,
        spread=probability / 10,
        mask=classify(probability, threshold=0.5),
        latitude=rows,
        longitude=cols,
        attributes={"source": "test"},
    )


def test_netcdf_mask_comes_back_as_it_was_written(tmp_path, mask):
    write_netcdf(tmp_path / "scene.nc", mask)
    found = read_netcdf(tmp_path / "scene.nc")
    np.testing.assert_array_equal(found.mask, mask.mask)
    np.testing.assert_allclose(found.probability, mask.probability, atol=5.1e-5)
    np.testing.assert_allclose(found.spread, mask.spread, atol=5.1e-5)
    np.testing.assert_array_equal(found.latitude, mask.latitude)
    assert found.classes == mask.classes
    assert [path.name for path in tmp_path.iterdir()] == ["scene.nc"]


def test_class_names_of_several_words_come_back(tmp_path, mask):
    names = ("open water", "sea ice", "sea/ice")
    probability = np.random.default_rng(1).dirichlet((1, 1, 1), (5, 7)).astype(np.float32)
    changes = {"classes": names, "probability": probability, "spread": None}
    changes["mask"] = classify(probability, threshold=0.5)
    write_netcdf(tmp_path / "ice.nc", type(mask)(**(vars(mask) | changes)))
    found = read_netcdf(tmp_path / "ice.nc")
    assert found.classes == names
    np.testing.assert_allclose(found.probability, probability, atol=5.1e-5)
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(tmp_path / "ice.nc", engine="netcdf4") as data:
        assert data["mask"].attrs["flag_meanings"] == "open_water sea_ice_1 sea_ice_2"
        np.testing.assert_allclose(data["probability_sea_ice_2"], probability[..., 2], atol=5.1e-5)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_reads_the_mask_as_cf(tmp_path, mask, engine):
    xarray = pytest.importorskip("xarray")
    write_netcdf(tmp_path / "scene.nc", mask)
    with xarray.open_dataset(tmp_path / "scene.nc", engine=engine) as data:
        np.testing.assert_allclose(data["probability_cloud"], mask.probability[..., 0], atol=5.1e-5)
        assert np.isnan(data["mask"].values[1, 2])
        assert data["mask"].attrs["flag_meanings"] == "clear cloud"
        assert set(data["mask"].coords) == {"latitude", "longitude"}
        assert data.attrs["Conventions"].startswith("CF-")


def test_hdf5_mask_has_the_layout_of_the_benchmark(tmp_path, mask):
    import h5py

    write_hdf5(tmp_path / "scene.h5", mask)
    with h5py.File(tmp_path / "scene.h5") as file:
        assert file["mask"].shape == (1, 5, 7, 1)
        np.testing.assert_array_equal(file["mask"][0], mask.probability)


@pytest.mark.parametrize("write", ["write_netcdf", "write_hdf5"])
def test_a_disk_that_takes_no_more_leaves_nothing_and_is_told_in_one_line(tmp_path, write):
    code = f"""
import numpy as np, resource
from pathlib import Path
from cloudmask.cli import errors
from cloudmask.predict import masks
values = np.random.default_rng(0).random((200, 200, 1)).astype("f4")
mask = masks.SceneMask("s", ("a", "b"), values, None, masks.classify(values, threshold=0.5))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
main = lambda words: masks.{write}(Path(words[0]), mask)
raise SystemExit(errors.run(main, [{str(tmp_path / "full.nc")!r}], program="cloudmask"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cloudmask: error: {tmp_path / 'full.nc'}: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_no_mask(tmp_path):
    path = tmp_path / "other.nc"
    path.write_bytes(b"no netcdf")
    with pytest.raises(ValueError, match=r"other\.nc is not a mask"):
        read_netcdf(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of random weights and two scenes."""
    from cloudmask.model import keras_file

    top = tmp_path_factory.mktemp("predict")
    info = keras_file.ModelInfo(
        channels=CHANNELS,
        classes=("clear", "cloud"),
        widths=(4, 8),
        dropout=(),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        patchset="none",
        always_there=CHANNELS,
    )
    for seed in (0, 1):
        model = keras_file.build(info, seed=seed)
        weights = [np.asarray(v.value) for v in model.trainable_variables]
        keras_file.save(top / f"model{seed}.keras", weights, info)
    (top / "scenes").mkdir()
    for number in range(2):
        image = np.random.default_rng(number).normal(0, 1, (37, 45, 3)).astype(np.float32)
        image[:5] = np.nan
        names = {"channels": CHANNELS, "classes": ("clear", "cloud")}
        label = np.zeros((37, 45), np.uint8)
        np.savez(top / "scenes" / f"scene{number}.npz", image=image, label=label, **names)
    return top


def predict(folder, *words):
    command = [sys.executable, "-m", "cloudmask", "predict", str(folder / "model0.keras")]
    return subprocess.run(
        [*command, str(folder / "scenes"), *map(str, words)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_command_predicts_once_goes_on_and_refuses_other_options(folder, tmp_path):
    out = tmp_path / "masks"
    first = predict(folder, "--out", out, "--models", folder / "model1.keras")
    assert first.returncode == 0, first.stderr
    assert "2 masks written" in first.stdout
    found = read_netcdf(out / "scene0.nc")
    assert found.spread is not None
    assert np.nanmax(found.spread) > 0
    assert (found.mask[:5] == UNKNOWN).all()
    assert (found.mask[5:] != UNKNOWN).all()
    assert json.loads(found.attributes["options"])["threshold"] == 0.5

    (out / "scene1.nc").unlink()
    again = predict(folder, "--out", out, "--models", folder / "model1.keras")
    assert "1 mask written" in again.stdout
    assert "1 were there" in again.stdout

    other = predict(folder, "--out", out, "--threshold", 0.7)
    assert other.returncode == 1
    assert "of another model or options; predict with --overwrite" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.fixture(scope="module")
def slstr_model(tmp_path_factory):
    """A network of random weights for all nine channels, which has never seen a night."""
    from cloudmask.data.slstr import CHANNELS, CLASSES
    from cloudmask.model import keras_file

    info = keras_file.ModelInfo(
        channels=CHANNELS,
        classes=CLASSES,
        widths=(4, 8),
        dropout=(),
        mean=(0.3,) * 6 + (280.0,) * 3,
        std=(0.3,) * 6 + (15.0,) * 3,
        patchset="none",
        always_there=CHANNELS,
    )
    path = tmp_path_factory.mktemp("slstr") / "model.keras"
    weights = [np.asarray(v.value) for v in keras_file.build(info).trainable_variables]
    keras_file.save(path, weights, info)
    return path


@pytest.mark.slow
def test_products_become_masks_and_bad_ones_are_named(slstr_model, tmp_path):
    pytest.importorskip("satpy")
    values = sen3.make_values(repeat=2)
    good = sen3.write_product(tmp_path / "in", values)
    damaged = sen3.write_product(tmp_path / "damaged", values, collection="005")
    file = damaged / "S8_BT_in.nc"
    file.write_bytes(file.read_bytes()[:-100])
    olci = tmp_path / "olci" / good.name.replace("SL_1_RBT___", "OL_1_EFR___")
    olci.mkdir(parents=True)
    out = tmp_path / "masks"
    command = [sys.executable, "-m", "cloudmask", "predict", slstr_model, good, damaged, olci]
    done = subprocess.run([*map(str, command), "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "1 mask written" in done.stdout
    assert "2 failed" in done.stdout
    assert "S8_BT_in.nc" in done.stderr
    assert "wrong instrument: OL" in done.stderr
    assert "Traceback" not in done.stderr
    found = read_netcdf(out / f"{good.stem}.nc")
    scene = read_scene(good, need_label=False, reading=UNRECORDED)  # as the model has no record
    np.testing.assert_array_equal(found.mask == UNKNOWN, np.isnan(scene.image).all(axis=-1))
    np.testing.assert_allclose(found.latitude, scene.latitude, atol=1e-5)


@pytest.mark.slow
def test_a_night_scene_is_warned_of_where_the_network_never_saw_one(
    slstr_model, tmp_path, write_hdf
):
    arrays = np.zeros((64, 80, 6), np.float32)
    write_hdf(tmp_path / "S3A_night.hdf", refs=arrays)
    command = [sys.executable, "-m", "cloudmask", "predict", slstr_model, tmp_path]
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "masks")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "nothing in S1, S2, S3, S4, S5, S6 (a night scene?)" in done.stderr


@pytest.mark.real
@pytest.mark.slow
def test_real_product_without_radiances_names_them_and_leaves_nothing(
    slstr_model, tmp_path, real_data
):
    product = next((real_data / "slstr").glob("*.SEN3"))
    command = [sys.executable, "-m", "cloudmask", "predict", slstr_model, product]
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "masks")], capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "left out" in line]
    assert all(f"S{band}_radiance_an.nc" in line for band in range(1, 7))
    assert list((tmp_path / "masks").iterdir()) == []


@pytest.mark.slow
def test_evaluating_a_model_on_scenes_predicts_them_first(folder, tmp_path):
    model = str(folder / "model0.keras")
    command = [sys.executable, "-m", "cloudmask", "evaluate", model, str(folder / "scenes")]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "say with --masks where its masks shall go" in refused.stderr
    done = subprocess.run(
        [*command, "--masks", str(tmp_path / "masks")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "masks" / "evaluation.json").read_text())
    masks = [read_netcdf(tmp_path / "masks" / f"scene{number}.nc") for number in range(2)]
    clear = sum(int((mask.mask == 0).sum()) for mask in masks)
    pooled = record["pooled"]["label"]
    assert pooled["pixels"] == 2 * 32 * 45
    assert pooled["accuracy"] == pytest.approx(clear / pooled["pixels"]), "the label says clear"


@pytest.mark.slow
def test_scene_with_other_channels_is_named_with_the_difference(folder, tmp_path):
    image = np.zeros((37, 45, 2), np.float32)
    scene = tmp_path / "odd.npz"
    label = np.zeros((37, 45), np.uint8)
    np.savez(scene, image=image, label=label, channels=("band_1", "red"), classes=("a", "b"))
    result = predict(folder, scene, "--out", tmp_path / "masks")
    assert result.returncode == 1
    assert "lacks band_2, band_3; unknown red" in result.stderr
    assert "2 masks written" in result.stdout
    assert "1 failed" in result.stdout
