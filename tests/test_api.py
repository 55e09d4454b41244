"""The Python interface: `cloudmask.load(...).predict(...)` on arrays, batches and xarray."""

import subprocess
import sys

import numpy as np
import pytest
import tiny

import cloudmask
from cloudmask.model import keras_file
from cloudmask.predict.masks import read_mask

CHANNELS = ("green", "red", "warm")
ONE_LINE = r"\A[^\n]+\Z"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Models of random weights: of two classes with two seeds, and of three classes."""
    top = tmp_path_factory.mktemp("api")
    for name, classes, seed in (("two", 2, 0), ("other", 2, 1), ("three", 3, 0)):
        info = keras_file.ModelInfo(
            channels=CHANNELS,
            classes=("clear", "cloud", "thin cloud")[:classes],
            widths=(4, 8),
            dropout=(),
            mean=(0.0, 0.5, 280.0),
            std=(1.0, 1.0, 10.0),
            patchset="none",
        )
        weights = keras_file.build(info, seed=seed).trainable_variables
        (top / name).mkdir()
        keras_file.save(top / name / "model.keras", [v.numpy() for v in weights], info)
    return top


@pytest.fixture(scope="module")
def model(files):
    return cloudmask.load(files / "two", precision="float32")


def make_image(height=37, width=45, *, seed=0):
    values = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    values[..., 2] = 280 + 10 * values[..., 2]
    values[:5] = np.nan
    values[6, :, 0] = np.nan
    return values


def assert_same(found, expected):
    for field in ("probability", "mask", "nodata"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def test_an_array_gives_probability_class_and_where_nothing_was_measured(model):
    found = model.predict(make_image())
    assert found.probability.shape == found.mask.shape == found.nodata.shape == (37, 45)
    assert found.probability.dtype == np.float32
    assert found.mask.dtype == np.uint8
    assert found.nodata[:5].all()
    assert not found.nodata[5:].any(), "one channel of three is enough"
    assert np.isnan(found.probability[:5]).all()
    assert (found.mask[:5] == 255).all()
    known = found.probability[5:]
    assert 0 <= known.min() < 0.5 < known.max() <= 1
    np.testing.assert_array_equal(found.mask[5:], known >= 0.5)
    assert found.spread is None
    assert (model.channels, model.classes) == (CHANNELS, ("clear", "cloud"))


def test_the_probability_is_that_of_the_network(model, files):
    image = make_image(40, 48)
    network, _ = keras_file.load(files / "two")
    logits = network(image[None]).numpy()[0, ..., 0]
    expected = 1 / (1 + np.exp(-logits[5:]))
    np.testing.assert_allclose(model.predict(image).probability[5:], expected, atol=1e-6)


def test_the_threshold_moves_the_class_alone(model):
    image = make_image()
    usual = model.predict(image)
    strict = model.predict(image, threshold=0.7)
    np.testing.assert_array_equal(strict.probability, usual.probability)
    np.testing.assert_array_equal(strict.mask[5:] == 1, usual.probability[5:] >= 0.7)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 3), (7, 5), (64, 64), (131, 33)])
def test_any_size_is_taken(model, shape):
    found = model.predict(np.zeros((*shape, 3), np.float32))
    assert found.mask.shape == shape
    assert not found.nodata.any()


def test_tiles_leave_no_seam(model, files):
    image = make_image(90, 70)
    tiled = cloudmask.load(files / "two" / "model.keras", precision="float32", tile=40)
    np.testing.assert_allclose(
        tiled.predict(image).probability, model.predict(image).probability, atol=1e-5
    )


def test_channels_are_put_into_the_models_order(model):
    image = make_image()
    expected = model.predict(image)
    order = [2, 0, 1]
    names = [CHANNELS[index] for index in order]
    assert_same(model.predict(image[..., order], channels=names), expected)
    more = np.insert(image[..., order], 1, 99, axis=-1)
    assert_same(model.predict(more, channels=["warm", "unused", "green", "red"]), expected)
    wrong = model.predict(image[..., order])
    assert np.nanmax(np.abs(wrong.probability - expected.probability)) > 0.01


def test_a_channel_that_the_model_does_not_take_does_not_count_as_a_measurement(model):
    image = np.insert(make_image(), 3, 1.0, axis=-1)
    found = model.predict(image, channels=(*CHANNELS, "unused"))
    assert found.nodata[:5].all()


def test_a_batch_equals_its_images_one_by_one(model):
    images = np.stack([make_image(seed=number) for number in range(3)])
    found = model.predict(images)
    assert found.probability.shape == (3, 37, 45)
    for number, image in enumerate(images):
        one = model.predict(image)
        np.testing.assert_array_equal(found.probability[number], one.probability)
        np.testing.assert_array_equal(found.mask[number], one.mask)
        np.testing.assert_array_equal(found.nodata[number], one.nodata)
    none = model.predict(images[:0])
    assert none.probability.shape == none.mask.shape == none.nodata.shape == (0, 37, 45)


def test_three_classes_have_a_probability_each(files):
    model = cloudmask.load(files / "three", precision="float32")
    found = model.predict(make_image())
    assert found.probability.shape == (37, 45, 3)
    np.testing.assert_allclose(found.probability[5:].sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(found.mask[5:], found.probability[5:].argmax(axis=-1))
    assert model.predict(np.stack([make_image()] * 2)).probability.shape == (2, 37, 45, 3)


def test_several_models_are_averaged_and_say_how_far_they_differ(files, model):
    image = make_image()
    other = cloudmask.load(files / "other", precision="float32")
    both = cloudmask.load(files / "two", files / "other", precision="float32").predict(image)
    one, two = (m.predict(image).probability for m in (model, other))
    np.testing.assert_allclose(both.probability, (one + two) / 2, atol=1e-6)
    np.testing.assert_allclose(both.spread, np.abs(one - two) / 2, atol=1e-6)
    assert np.isnan(both.spread[:5]).all()


def test_nothing_measured_is_no_class_and_no_error(model):
    found = model.predict(np.full((9, 9, 3), np.nan))
    assert found.nodata.all()
    assert (found.mask == 255).all()
    assert np.isnan(found.probability).all()


def test_numbers_of_any_kind_and_masked_arrays_are_taken(model):
    image = make_image()
    assert_same(model.predict(image.astype(np.float64)), model.predict(image))
    whole = np.nan_to_num(image).astype(np.int16)
    assert_same(model.predict(whole), model.predict(whole.astype(np.float32)))
    masked = np.ma.masked_invalid(np.nan_to_num(image, nan=-999))
    masked[np.isnan(image)] = np.ma.masked
    assert_same(model.predict(masked), model.predict(image))


@pytest.mark.parametrize(
    ("image", "options", "complaint"),
    [
        (np.zeros((8, 8, 2)), {}, "the image has 2 channels and the model takes 3 (green, red, wa"),
        (np.zeros((8, 8, 4)), {}, "name those of the image with channels="),
        (np.zeros((8, 8, 1)), {"channels": ["red"]}, "the image lacks green, warm; the model"),
        (np.zeros((8, 8, 3)), {"channels": ["red", "green"]}, "2 names for the 3 channels"),
        (
            np.zeros((8, 8, 4)),
            {"channels": ["red", "red", "green", "warm"]},
            "the image has red more than once",
        ),
        (np.zeros((8, 8)), {}, "this one is (8, 8) of float64"),
        (np.zeros((1, 1, 8, 8, 3)), {}, "this one is (1, 1, 8, 8, 3)"),
        (np.zeros((0, 8, 3)), {}, "this one is (0, 8, 3)"),
        (np.full((8, 8, 3), "a"), {}, "of <U1"),
        (np.zeros((8, 8, 3)), {"threshold": 50}, "threshold 50 is not a probability"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(model, image, options, complaint):
    with pytest.raises(ValueError, match=ONE_LINE) as caught:
        model.predict(image, **options)
    assert complaint in str(caught.value)


def test_what_is_no_model_is_one_clear_line(files, tmp_path):
    cases = [
        ((tmp_path,), {}, "is not a finished run"),
        ((tmp_path / "none.keras",), {}, "is not there"),
        ((files / "two", files / "three"), {}, "knows green, red, warm and clear, cloud, thin"),
        ((files / "two", files / "three"), {}, "; average models of the same channels and classes"),
        ((files / "two",), {"tile": 0}, "a tile of 0 pixels"),
    ]
    for paths, options, complaint in cases:
        with pytest.raises(ValueError, match=ONE_LINE) as caught:
            cloudmask.load(*paths, **options)
        assert complaint in str(caught.value)


def test_loading_leaves_keras_as_it_was(files):
    import keras

    before = keras.config.dtype_policy().name
    cloudmask.load(files / "two", precision="bfloat16")
    assert keras.config.dtype_policy().name == before


def make_dataset(image, *, names=CHANNELS):
    xarray = pytest.importorskip("xarray")
    rows, cols = image.shape[:2]
    latitude = np.linspace(50, 60, rows * cols).reshape(rows, cols)
    return xarray.Dataset(
        {name: (("y", "x"), image[..., number]) for number, name in enumerate(names)},
        coords={
            "y": ("y", np.arange(rows) * 500.0, {"units": "m"}),
            "x": ("x", np.arange(cols) * 500.0),
            "latitude": (("y", "x"), latitude, {"units": "degrees_north"}),
            "time": np.datetime64("2019-10-01T00:13:36", "ns"),
        },
    )


def test_a_dataset_comes_back_on_its_coordinates(model):
    image = make_image()
    dataset = make_dataset(image[..., ::-1], names=CHANNELS[::-1])
    dataset["quality"] = ("level", np.zeros(4))
    found = model.predict(dataset)
    expected = model.predict(image)
    assert_same(found, expected)
    assert found["mask"].dims == found["probability"].dims == ("y", "x")
    assert set(found.coords) == {"y", "x", "latitude", "time"}
    for name in found.coords:
        assert found[name].identical(dataset[name])
    assert found["mask"].attrs["flag_meanings"] == "clear cloud"
    turned = model.predict(dataset.transpose("x", "y", "level"))
    assert turned["mask"].dims == ("x", "y")
    several = model.predict(dataset.expand_dims(repeat=2))
    assert several["mask"].dims == ("repeat", "y", "x")
    np.testing.assert_array_equal(several["mask"][1], expected.mask)


def test_a_mask_as_a_dataset_can_be_saved_and_opened(model, tmp_path):
    found = model.predict(make_dataset(make_image()))
    found.to_netcdf(tmp_path / "mask.nc", engine="h5netcdf")
    import xarray

    with xarray.open_dataset(tmp_path / "mask.nc", engine="h5netcdf") as again:
        np.testing.assert_array_equal(again["mask"], found["mask"])
        np.testing.assert_array_equal(again["probability"], found["probability"])


def test_a_data_array_is_known_by_its_channels(model):
    image = make_image()
    expected = model.predict(image)
    names = CHANNELS[::-1]
    named = make_dataset(image).to_dataarray("spectral").sel(spectral=list(names))
    assert named.dims == ("spectral", "y", "x")
    found = model.predict(named)
    assert_same(found, expected)
    assert set(found.coords) == {"y", "x", "latitude", "time"}
    numbered = named.rename(spectral="band").assign_coords(band=[1, 2, 3])
    assert_same(model.predict(numbered, channels=names), expected)
    assert_same(model.predict(numbered.isel(band=[2, 1, 0])), expected)
    bare = model.predict(numbered.drop_vars("band"), channels=names)
    assert_same(bare, expected)
    assert set(bare.coords) == {"y", "x", "latitude", "time"}


def test_the_probabilities_of_three_classes_have_their_names(files):
    model = cloudmask.load(files / "three", precision="float32")
    found = model.predict(make_dataset(make_image()))
    assert found["probability"].dims == ("y", "x", "class")
    assert found["class"].values.tolist() == ["clear", "cloud", "thin cloud"]
    assert found["mask"].attrs["flag_meanings"] == "clear cloud thin_cloud"
    assert_same(found, model.predict(make_image()))


def test_what_xarray_brings_that_does_not_fit_is_one_clear_line(model):
    dataset = make_dataset(make_image())
    array = dataset.to_dataarray("spectral")
    coarse = dataset.assign(warm=(("row", "column"), np.zeros((4, 4))))
    cases = [
        (dataset.drop_vars(["red", "warm"]), {}, "the image lacks red, warm; the model takes"),
        (dataset, {"channels": CHANNELS}, "a Dataset names its variables itself"),
        (coarse, {}, "green has the dimensions y, x, warm row, column"),
        (array.sel(spectral=["green", "red"]), {}, "the image lacks warm"),
        (array, {"channels": CHANNELS}, "names them itself"),
        (array.drop_vars("spectral"), {}, "is that of the channels: call it channel or band"),
        (dataset.isel(y=0), {}, "has rows, columns and channels"),
    ]
    for image, options, complaint in cases:
        with pytest.raises(ValueError, match=ONE_LINE) as caught:
            model.predict(image, **options)
        assert complaint in str(caught.value)


@pytest.mark.slow
def test_the_command_computes_the_same(files, tmp_path):
    names = {"channels": CHANNELS, "classes": ("clear", "cloud")}
    np.savez(tmp_path / "scene.npz", image=make_image(70, 61), **names)
    models = (files / "two", files / "other")
    words = ["predict", models[0], tmp_path / "scene.npz", "--models", models[1]]
    words += ["--out", tmp_path / "masks", "--tile", 48, "--threshold", 0.6, "--format", "hdf5"]
    assert tiny.finish(tiny.start("-m", "cloudmask", *words)).code == 0
    file = read_mask(tmp_path / "masks" / "scene.h5", classes=())
    scene = cloudmask.read_scene(tmp_path / "scene.npz", need_label=False)
    model = cloudmask.load(*models, tile=48)
    found = model.predict(scene.image, channels=scene.channels, threshold=0.6)
    np.testing.assert_allclose(file.probability[..., 0], found.probability, atol=1e-6)
    np.testing.assert_array_equal(file.mask, found.mask)


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=tiny.environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_heavy_and_tells_what_there_is():
    code = """
import sys
import cloudmask
heavy = {"numpy", "h5py", "tensorflow", "keras", "xarray", "tyro"} & set(sys.modules)
assert not heavy, heavy
assert {"load", "read_scene", "open_patchset", "Model", "Mask"} <= set(dir(cloudmask))
assert cloudmask.read_scene.__name__ == "read_scene"
assert cloudmask.open_patchset.__name__ == "open_patchset"
assert "numpy" in sys.modules and "tensorflow" not in sys.modules
try:
    cloudmask.nothing
except AttributeError as error:
    print(error)
"""
    assert run_python(code) == "module 'cloudmask' has no attribute 'nothing'\n"


def test_without_tensorflow_loading_says_what_to_install(files):
    code = f"""
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
import cloudmask
try:
    cloudmask.load({str(files / "two")!r})
except ModuleNotFoundError as error:
    print(error)
"""
    told = run_python(code)
    assert told.endswith(" is not installed: pip install '.[train]' in the checkout of cloudmask\n")


def test_types_are_seen_from_outside(tmp_path):
    pytest.importorskip("mypy")
    use = tmp_path / "use.py"
    use.write_text(
        "import cloudmask\nimport numpy\nimport xarray\n"
        "model = cloudmask.load('run', tile=512)\n"
        "reveal_type(model.predict(numpy.zeros((8, 8, 3))))\n"
        "reveal_type(model.predict(xarray.Dataset()))\n"
        "cloudmask.load('run', precision='float8')\n"
    )
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(use)]
    done = subprocess.run(
        [*command, "--ignore-missing-imports"],
        capture_output=True,
        text=True,
        env=tiny.environment(),
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(str(use))]
    assert 'Revealed type is "cloudmask.predict.masks.values.Mask"' in lines[0]
    assert "Dataset" in lines[1]
    assert "incompatible type \"Literal['float8']\"" in lines[2]
    assert len(lines) == 3, done.stdout
