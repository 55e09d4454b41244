"""Whole scenes: stitching leaves no seam, missing stays missing, files open elsewhere."""

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import sen3
import tiny

from cloudmask.data.read import read_scene
from cloudmask.data.slstr import UNRECORDED
from cloudmask.data.tiles import cover
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import read_mask, read_netcdf
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


def make_forward(widths, **options):
    """A network with random weights."""
    import tensorflow as tf

    from cloudmask.model.unet import unet

    model = unet(3, 1, widths=widths, seed=3, **options)
    graph = tf.function(lambda image: tf.sigmoid(model(image)), reduce_retracing=True)
    return lambda image: graph(tf.constant(image, tf.float32))[0].numpy()


@pytest.fixture(scope="module")
def forward():
    """A network of the reference's depth."""
    return make_forward((4, 8, 8, 16))


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


@pytest.mark.parametrize(
    ("levels", "upsampling"),
    [*((levels, "nearest") for levels in (2, 3, 4, 5)), (2, "transposed"), (4, "transposed")],
)
def test_margin_is_at_least_what_a_pixel_can_reach(levels, upsampling):
    """Wherever the pixel lies on the pooling grid; and not more than twice as much."""
    forward = make_forward((4,) * levels, upsampling=upsampling)
    size = 16 * 2**levels + 2 * receptive_margin(levels) // 16 * 16
    base = np.zeros((size, size, 3), np.float32)
    reference = forward(base[None])
    reached = 0
    for shift in {0, 1, 2 ** (levels - 1) // 2, 2 ** (levels - 1) - 1}:
        changed = base.copy()
        place = size // 2 + shift
        changed[place, place] = 50
        difference = np.abs(forward(changed[None]) - reference)[..., 0]
        reached = max(reached, np.abs(np.argwhere(difference > 0) - place).max())
    assert receptive_margin(levels) / 2 <= reached <= receptive_margin(levels)


@pytest.mark.parametrize(
    ("levels", "upsampling"),
    [(2, "nearest"), (3, "nearest"), (5, "nearest"), (3, "transposed")],
)
def test_stitching_leaves_no_seam_at_any_depth(levels, upsampling):
    forward = make_forward((4,) * levels, upsampling=upsampling)
    image = np.random.default_rng(7).normal(0, 2, (301, 257, 3)).astype(np.float32)
    whole = predict_image(forward, image, levels=levels, tile=4096)
    tile = 2 * receptive_margin(levels) + 2**levels
    stitched = predict_image(forward, image, levels=levels, tile=tile)
    np.testing.assert_allclose(stitched, whole, atol=1e-5)


PLACE = {
    "crs": "EPSG:3413",
    "transform": (1000.0, 0.0, -2e6, 0.0, -1000.0, 1e6),
    "latitude": np.full((37, 45), 70.25),
    "longitude": np.full((37, 45), -20.5),
    "start": "2020-01-01T10:00:00Z",
    "stop": "2020-01-01T10:03:00Z",
}
"""of the second scene"""


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
        place = PLACE if number else {}
        np.savez(top / "scenes" / f"scene{number}.npz", image=image, label=label, **names, **place)
    return top


def predict(folder, *words):
    command = [sys.executable, "-m", "cloudmask", "predict", str(folder / "model0.keras")]
    return subprocess.run(
        [*command, str(folder / "scenes"), *map(str, words)], capture_output=True, text=True
    )


def predict_each(*commands):
    """Several `cloudmask predict` in one process: exit codes, and what each of them said."""
    code = """
import contextlib, io, json, sys
from cloudmask import __main__ as cli
from cloudmask.cli import errors
said = []
for words in json.loads(sys.argv[1]):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        code = errors.run(cli.main, ["predict", *words], program="cloudmask")
    said.append([code, text.getvalue()])
print(json.dumps(said))
"""
    words = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout
    return json.loads(done.stdout)


@pytest.mark.slow
def test_command_predicts_once_goes_on_and_refuses_other_models_and_options(folder, tmp_path):
    out, scenes = tmp_path / "masks", tmp_path / "scenes"
    shutil.copytree(folder / "scenes", scenes)
    words = [folder / "model0.keras", scenes, "--out", out, "--models", folder / "model1.keras"]
    first, again = predict_each(words, words)
    assert first == [0, f"2 masks written to {out}, 0 were there, 0 failed\n"]
    assert again == [0, f"0 masks written to {out}, 2 were there, 0 failed\n"]
    found = read_netcdf(out / "scene0.nc")
    assert found.spread is not None
    assert np.nanmax(found.spread) > 0
    assert (found.mask[:5] == UNKNOWN).all()
    assert (found.mask[5:] != UNKNOWN).all()
    options = json.loads(found.attributes["options"])
    assert options["threshold"] == 0.5
    placed = read_netcdf(out / "scene1.nc")
    assert (placed.transform, placed.start, placed.stop) == (
        *(PLACE["transform"], PLACE["start"], PLACE["stop"]),
    )
    assert "NSIDC" in placed.crs
    np.testing.assert_array_equal(placed.latitude, PLACE["latitude"])
    np.testing.assert_array_equal(placed.longitude, PLACE["longitude"])
    assert options["precision"] in ("float32", "bfloat16")

    (out / "scene1.nc").unlink()
    one = [folder / "model0.keras", scenes, "--out", out]
    shutil.copy(folder / "model0.keras", tmp_path / "moved.keras")
    moved = [tmp_path / "moved.keras", *words[1:]]
    asked = predict_each(
        words,
        one,
        [*words, "--threshold", 0.7],
        [*words, "--overlap", 8, "--tile", 32],
        [*words, "--precision", options["precision"]],
        [*moved, "--tile", 64],
        [*one, "--overwrite"],
    )
    codes, said = zip(*asked, strict=True)
    assert codes == (0, 1, 1, 1, 0, 0, 0)
    assert "1 mask written" in said[0]
    assert "1 were there" in said[0]
    assert "scene0.nc was made by another model" in said[1]
    assert "scene0.nc was made with threshold 0.5 instead of 0.7; predict with --ov" in said[2]
    assert "scene0.nc was made with overlap None instead of 8, tile None instead of 32" in said[3]
    assert "2 were there" in said[4]
    assert "2 were there" in said[5]
    assert "2 masks written" in said[6]
    assert read_netcdf(out / "scene0.nc").spread is None


@pytest.mark.slow
def test_a_scene_that_has_changed_is_predicted_again(folder, tmp_path):
    """A repaired one, and another archive's of the same name."""
    scenes, out = tmp_path / "scenes", tmp_path / "masks"
    shutil.copytree(folder / "scenes", scenes)
    words = [folder / "model0.keras", scenes, "--out", out]
    assert predict_each(words)[0][0] == 0
    before = read_netcdf(out / "scene0.nc")
    with np.load(scenes / "scene0.npz") as file:
        arrays = dict(file)
    arrays["image"] = arrays["image"][::-1]
    np.savez(scenes / "scene0.npz", **arrays)
    (tmp_path / "other").mkdir()
    shutil.copy(folder / "scenes" / "scene0.npz", tmp_path / "other" / "scene1.npz")
    other = [folder / "model0.keras", tmp_path / "other", "--out", out]
    repaired, again, replaced = predict_each(words, words, other)
    assert repaired[0] == again[0] == replaced[0] == 0
    assert "scene0.nc is of another scene0.npz" in repaired[1]
    assert "1 mask written" in repaired[1]
    assert "1 were there" in repaired[1]
    assert "0 masks written" in again[1]
    assert "scene1.nc is of another scene1.npz" in replaced[1]
    after = read_netcdf(out / "scene0.nc")
    assert (after.mask[-5:] == UNKNOWN).all()
    assert (before.mask[-5:] != UNKNOWN).all()
    np.testing.assert_array_equal(read_netcdf(out / "scene1.nc").mask, before.mask)


@pytest.mark.slow
def test_geotiff_masks_are_written_kept_and_evaluated(folder, tmp_path):
    pytest.importorskip("rasterio")
    out = tmp_path / "masks"
    words = [folder / "model0.keras", folder / "scenes", "--out", out]
    first, again, other = predict_each(
        [*words, "--format", "geotiff"], [*words, "--format", "geotiff"], words
    )
    assert first == [0, f"2 masks written to {out}, 0 were there, 0 failed\n"]
    assert again == [0, f"0 masks written to {out}, 2 were there, 0 failed\n"]
    assert other[0] == 0
    assert {path.suffix for path in out.iterdir()} == {".tif", ".nc"}
    for name in ("scene0", "scene1"):
        image, plain = (read_mask(out / f"{name}{end}", classes=()) for end in (".tif", ".nc"))
        np.testing.assert_array_equal(image.mask, plain.mask)
        np.testing.assert_array_equal(image.probability, plain.probability)
        (out / f"{name}.nc").unlink()
    command = [sys.executable, "-m", "cloudmask", "evaluate", out, folder / "scenes"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "evaluation.json").read_text())["pooled"]["label"]["pixels"] > 0


@pytest.mark.slow
@pytest.mark.mpi
def test_ranks_write_the_masks_that_one_process_writes(folder, tmp_path):
    """All that is stored, to the byte, but for the date."""
    for ranks in (1, 2):
        words = ["-m", "cloudmask", "predict", folder / "model0.keras", folder / "scenes"]
        done = tiny.finish(tiny.start(*words, "--out", tmp_path / str(ranks), ranks=ranks))
        assert done.code == 0, done.err
        assert done.out.count("2 masks written") == 1
    for name in ("scene0.nc", "scene1.nc"):
        assert stored(tmp_path / "1" / name) == stored(tmp_path / "2" / name)


def stored(path):
    """Everything in an HDF5 file but its history."""
    with h5py.File(path) as file:
        found = {"": {key: str(file.attrs[key]) for key in file.attrs if key != "history"}}
        for name, part in file.items():
            about = {key: str(part.attrs[key]) for key in part.attrs}
            found[name] = (part.dtype, part.shape, part[...].tobytes(), about)
    return found


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
    damaged = damaged.rename(damaged.with_name(damaged.name.replace("T110", "T120")))
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
