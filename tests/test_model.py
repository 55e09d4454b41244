"""Networks, losses and model files against NumPy and plain Keras."""

import dataclasses
import itertools
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from cloudmask import metrics
from cloudmask.cli import flags
from cloudmask.cli.options import TrainConfig
from cloudmask.model import flops, keras_file, precision
from cloudmask.model.keras_file import ModelInfo
from cloudmask.model.losses import confusion_counts, cross_entropy, predicted_class
from cloudmask.model.unet import num_logits, unet

REQUIRED = ("--data", "patches", "--out", "run")
MEAN, STD = (0.3, 280.0, 270.0), (0.2, 15.0, 22.0)
INFO = ModelInfo(
    channels=tiny.CHANNELS,
    classes=("clear", "cloud"),
    widths=(4, 8),
    dropout=(),
    mean=MEAN,
    std=STD,
    patchset="0" * 64,
)


@pytest.fixture(autouse=True)
def float32():
    """Each test chooses its precision; this is the one it starts and ends with."""
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def random():
    return np.random.default_rng(0)


def physical(random, *, size=32, batch=2):
    """(B, S, S, 3) in physical units, one value in ten missing."""
    image = random.normal(MEAN, STD, (batch, size, size, 3)).astype(np.float32)
    image[random.random(image.shape) < 0.1] = np.nan
    return image


def copy_weights(source, target):
    for variable, value in zip(target.trainable_variables, source.trainable_variables, strict=True):
        assert variable.shape == value.shape
        variable.assign(value)


def gradients(model, image, label):
    with tf.GradientTape() as tape:
        loss, count = cross_entropy(model(image), label)
        mean = loss / count
    return tape.gradient(mean, [variable.value for variable in model.trainable_variables])


@pytest.mark.parametrize("portable", [False, True])
def test_reference_network_has_1948609_parameters(portable):
    assert unet(9, 1, portable=portable).count_params() == 1_948_609


def test_the_published_sea_ice_network_has_7_78_million_parameters():
    """Counted by hand from the levels; and the improved one has 7.86 million."""
    found = flags.parse(TrainConfig, [*REQUIRED, "--preset", "seaice-published"], prog="train")
    widths, below = (16, 32, 64, 128, 256, 512), (3, 16, 32, 64, 128, 256)
    assert found.widths == widths
    down = sum(9 * c * w + w + 9 * w * w + w for c, w in zip(below, widths, strict=True))
    pairs = list(itertools.pairwise(widths))
    up = sum(4 * v * w + w + 9 * 2 * w * w + w + 9 * w * w + w for w, v in pairs)
    model = unet(3, 3, widths=found.widths, dropout=found.dropout, upsampling=found.upsampling)
    assert model.count_params() == down + up + 3 * 16 + 3 == 7_775_635
    assert unet(3, 3, widths=widths).count_params() == 7_862_435


def test_an_unknown_upsampling_is_refused():
    with pytest.raises(ValueError, match="up-sampling 'bilinear' is not known; there are"):
        unet(3, 1, widths=(4, 8), upsampling="bilinear")


def test_a_transposed_convolution_writes_each_pixel_into_a_block_of_its_own(random):
    """By hand: output (2i + a, 2j + b) is input (i, j) times the kernel's (a, b), and the bias."""
    model = unet(3, 1, widths=(4, 8), upsampling="transposed")
    layer = model.get_layer("up0_a_up")
    layer.bias.assign(random.normal(size=4))
    x = random.normal(size=(2, 3, 5, 8)).astype(np.float32)
    kernel = layer.kernel.numpy()  # (2, 2, out, in)
    blocks = np.einsum("nijc,aboc->niajbo", x, kernel)
    expected = blocks.reshape(2, 6, 10, 4) + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
@pytest.mark.parametrize("widths", [(32, 64, 128, 256), (3, 5, 7), (1, 2)])
@pytest.mark.parametrize("logits", [1, 4])
def test_fast_and_portable_forms_are_one_function(widths, logits, upsampling, random):
    fast, portable = (
        unet(
            *(3, logits),
            **{"widths": widths, "mean": MEAN, "std": STD},
            **{"upsampling": upsampling, "portable": portable},
        )
        for portable in (False, True)
    )
    for variable in fast.trainable_variables:  # biases start at zero, where they would hide
        variable.assign(variable + random.normal(0, 0.05, variable.shape))
    copy_weights(fast, portable)
    image = tf.constant(physical(random))
    label = tf.constant(random.integers(0, max(2, logits), image.shape[:3]).astype(np.uint8))
    values = fast(image).numpy(), portable(image).numpy()
    assert np.isfinite(values[0]).all()
    assert np.ptp(values[0]) > 0.01
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-4 * np.abs(values[0]).max())
    for one, other in zip(
        gradients(fast, image, label), gradients(portable, image, label), strict=True
    ):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_forms_start_with_the_same_weights_and_another_seed_with_others(random):
    one, same, other = (
        unet(3, 1, widths=(4, 8), seed=seed, portable=portable)
        for seed, portable in ((1, False), (1, True), (2, False))
    )
    for a, b in zip(one.trainable_variables, same.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [v for v in one.trainable_variables if v.name == "kernel"]
    others = [v for v in other.trainable_variables if v.name == "kernel"]
    assert len(kernels) == 7
    assert all((a.numpy() != b.numpy()).any() for a, b in zip(kernels, others, strict=True))


def test_decoder_starts_as_wide_as_he_normal_asks():
    kernels = {v.path: v.numpy() for v in unet(9, 1).trainable_variables if v.name == "kernel"}
    for path, kernel in kernels.items():
        if "logits" not in path:
            expected = np.sqrt(2 / np.prod(kernel.shape[:3]))
            assert kernel.std() == pytest.approx(expected, rel=0.1), path


def test_any_size_that_halves_often_enough_can_be_computed(random):
    model = unet(3, 1, widths=(2, 3, 4))
    for height, width in ((4, 8), (32, 20)):
        image = random.normal(size=(1, height, width, 3)).astype(np.float32)
        assert model(image).shape == (1, height, width, 1)


def test_missing_values_count_as_the_mean(random):
    model = unet(3, 1, widths=(4, 8), mean=MEAN, std=STD)
    image = physical(random)
    filled = np.where(np.isnan(image), np.float32(MEAN), image)
    np.testing.assert_allclose(model(image), model(filled), atol=1e-5)
    endless = np.where(np.isnan(image), np.float32(np.inf), image)
    np.testing.assert_array_equal(model(image), model(endless))
    everything = np.full((1, 8, 8, 3), np.nan, np.float32)
    zero = unet(3, 1, widths=(4, 8), mean=(0, 0, 0), std=STD)
    copy_weights(model, zero)
    np.testing.assert_array_equal(model(everything), zero(np.zeros_like(everything)))


def test_the_missing_channel_says_where_any_channel_is_missing(random):
    """It stands behind the normalised channels, whose values are those without it."""
    image = physical(random)
    settings = {"widths": (4, 8), "mean": MEAN, "std": STD}
    model = unet(3, 1, missing_channel=True, **settings)
    seen = keras.Model(model.input, model.get_layer("with_missing").output)(image).numpy()
    missing = np.isnan(image).any(axis=-1)
    assert 0 < missing.mean() < 1
    np.testing.assert_array_equal(seen[..., 3], missing)
    expected = np.nan_to_num((image - np.array(MEAN)) / np.array(STD), nan=0.0)
    np.testing.assert_allclose(seen[..., :3], expected, atol=1e-5)
    more = model.count_params() - unet(3, 1, **settings).count_params()
    assert more == 9 * 4, "one plane more for the first convolution, and nothing else"


def test_a_value_that_is_not_finite_counts_as_missing():
    """As in a patch file; the normalised channel has the mean there."""
    model = unet(2, 1, widths=(4, 8), missing_channel=True)
    image = np.zeros((1, 2, 2, 2), np.float32)
    image[0, 0, 0], image[0, 1, 1] = (1, np.inf), (-np.inf, np.nan)
    seen = keras.Model(model.input, model.get_layer("with_missing").output)(image).numpy()
    assert seen[0].tolist() == [[[1, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]]


def test_network_takes_physical_units(random):
    """The same as a network without normalisation that is fed normalised values."""
    model = unet(3, 1, widths=(4, 8), mean=MEAN, std=STD)
    plain = unet(3, 1, widths=(4, 8))
    copy_weights(model, plain)
    image = random.normal(MEAN, STD, (2, 32, 32, 3)).astype(np.float32)
    normalised = ((image.astype(np.float64) - MEAN) / STD).astype(np.float32)
    np.testing.assert_allclose(model(image), plain(normalised), atol=1e-4)


def test_a_third_of_a_kelvin_is_not_lost_in_16_bits():
    """Steps of bfloat16 are 2 K wide at 300 K: the first layer must compute in float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = unet(1, 1, widths=(4, 8), mean=(299.0,), std=(2.0,))
    warm, warmer = (np.full((1, 8, 8, 1), kelvin, np.float32) for kelvin in (300.0, 300.3))
    normalise = keras.Model(model.input, model.get_layer("normalise").output)
    assert normalise(warmer).dtype == tf.float32
    np.testing.assert_allclose(normalise(warmer), 0.65, atol=1e-4)
    seen, other = (tf.cast(normalise(image), tf.bfloat16) for image in (warm, warmer))
    assert (seen != other).numpy().all(), "what the network computes on"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (8,)}, "two levels or more"),
        ({"widths": (8, 0)}, "two levels or more"),
        ({"dropout": (0.1,)}, "one per level"),
        ({"dropout": (0.1, 1.0)}, r"\[0, 1\)"),
        ({"mean": (1, 2), "std": (1, 1, 1)}, "do not fit 3 channels"),
        ({"std": (1, 0, 1)}, "above zero"),
        ({"mean": (1, float("nan"), 1)}, "finite"),
    ],
)
def test_networks_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        unet(3, 1, **({"widths": (4, 8)} | settings))


def test_two_classes_take_one_logit_and_more_take_one_each():
    assert [num_logits(classes) for classes in (2, 3, 7)] == [1, 3, 7]
    with pytest.raises(ValueError, match="it takes two"):
        num_logits(1)


@pytest.fixture
def binary(random):
    """Logits as large as they get, and labels with unknown pixels."""
    logits = random.normal(0, 20, (2, 12, 12, 1)).astype(np.float32)
    return logits, random.choice([0, 1, 255], (2, 12, 12)).astype(np.uint8)


def log_sigmoid(z):
    return -np.logaddexp(0, -z.astype(np.float64))


def test_binary_cross_entropy_is_its_formula(binary):
    logits, label = binary
    z, known = logits[..., 0], label != 255
    per_pixel = np.where(label == 1, -log_sigmoid(z), -log_sigmoid(-z))
    loss, count = cross_entropy(tf.constant(logits), tf.constant(label))
    assert count == known.sum()
    assert float(loss) == pytest.approx(per_pixel[known].sum(), rel=1e-5)


def test_weighted_cross_entropy_is_that_of_tensorflow(binary):
    logits, label = binary
    known = label != 255
    z, truth = logits[..., 0][known], label[known].astype(np.float32)
    expected = tf.reduce_mean(tf.nn.weighted_cross_entropy_with_logits(truth, z, 0.5))
    loss, count = cross_entropy(tf.constant(logits), tf.constant(label), weights=(1.0, 0.5))
    assert float(loss / count) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("weights", [(), (1.0, 0.25, 3.0, 0.5)])
def test_cross_entropy_of_many_classes_is_its_formula(weights, random):
    logits = random.normal(0, 5, (2, 8, 8, 4)).astype(np.float32)
    label = random.choice([0, 1, 2, 3, 255], (2, 8, 8)).astype(np.uint8)
    total, number = 0.0, 0
    for z, truth in zip(logits.reshape(-1, 4).astype(np.float64), label.ravel(), strict=True):
        if truth != 255:
            log_share = z[truth] - np.log(np.exp(z - z.max()).sum()) - z.max()
            total -= log_share * (weights[truth] if weights else 1)
            number += 1
    loss, count = cross_entropy(tf.constant(logits), tf.constant(label), weights=weights)
    assert count == number
    assert float(loss) == pytest.approx(total, rel=1e-5)


def test_a_clipped_frame_does_not_count(binary):
    logits, label = binary
    loss, count = cross_entropy(tf.constant(logits), tf.constant(label), clip_offset=3)
    inside = np.s_[:, 3:-3, 3:-3]
    expected = cross_entropy(tf.constant(logits[inside]), tf.constant(label[inside]))
    assert (loss, count) == expected
    changed = logits.copy()
    changed[:, :3] = changed[:, :, -3:] = 99
    assert cross_entropy(tf.constant(changed), tf.constant(label), clip_offset=3)[0] == loss


def test_unknown_pixels_have_neither_loss_nor_gradient(binary):
    logits, label = binary
    logits[label == 255] = 1e30
    for many in (logits, np.repeat(logits, 3, axis=-1)):
        values = tf.constant(many)
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss, _ = cross_entropy(values, tf.constant(label))
        gradient = tape.gradient(loss, values).numpy()
        assert np.isfinite(float(loss))
        assert (gradient[label == 255] == 0).all()
        assert np.isfinite(gradient).all()
    loss, count = cross_entropy(tf.constant(logits), tf.constant(np.full_like(label, 255)))
    assert (float(loss), float(count)) == (0, 0)


@pytest.mark.parametrize("classes", [2, 3])
def test_counts_on_the_device_are_those_of_numpy(classes, random):
    shape = (3, 10, 10)
    label = random.choice([*range(classes), 255], shape).astype(np.uint8)
    predicted = random.integers(0, classes, shape).astype(np.int32)
    found = confusion_counts(tf.constant(label), tf.constant(predicted), classes).numpy()
    expected = metrics.confusion(label, predicted, num_classes=classes)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int64


def test_the_threshold_is_a_probability():
    probability = np.array([0.1, 0.29, 0.31, 0.5, 0.9])
    logits = np.log(probability / (1 - probability)).astype(np.float32).reshape(1, 1, 5, 1)
    assert predicted_class(logits).numpy().ravel().tolist() == [0, 0, 0, 1, 1]
    assert predicted_class(logits, threshold=0.3).numpy().ravel().tolist() == [0, 0, 1, 1, 1]
    many = tf.constant([[[[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]]])
    assert predicted_class(many).numpy().ravel().tolist() == [1, 0]


def save(path, random, **changes):
    """A model file of random weights: the model that was saved, and what it means."""
    info = dataclasses.replace(INFO, **changes)
    model = keras_file.build(info, seed=3)
    for variable in model.trainable_variables:
        variable.assign(variable + random.normal(0, 0.05, variable.shape))
    path.parent.mkdir()
    keras_file.save(path, [v.numpy() for v in model.trainable_variables], info)
    return model, info


@pytest.fixture
def saved(tmp_path, random):
    """(model file, the model that was saved)."""
    path = tmp_path / "run" / "model.keras"
    model, _ = save(path, random)
    return path, model


@pytest.fixture(params=[{}, {"missing_channel": True}, {"upsampling": "transposed"}], ids=str)
def of_each_kind(request, tmp_path, random):
    """(model file, the model that was saved, what it means)."""
    path = tmp_path / "run" / "model.keras"
    return path, *save(path, random, **request.param)


def test_model_file_gives_back_what_was_saved(of_each_kind, random):
    path, model, described = of_each_kind
    for place in (path, path.parent):
        found, info = keras_file.load(place)
        assert info == described
        image = physical(random)
        np.testing.assert_array_equal(found(image), model(image))
    assert [p.name for p in path.parent.iterdir()] == ["model.keras"]


def test_model_is_saved_in_float32_whatever_it_was_trained_in(tmp_path, random):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = keras_file.build(INFO)
    path = tmp_path / "model.keras"
    keras_file.save(path, [v.numpy() for v in model.trainable_variables], INFO)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    keras.config.set_dtype_policy("float32")
    stored = keras.saving.load_model(path)
    assert {layer.dtype_policy.name for layer in stored.layers if layer.weights} == {"float32"}
    for variable, value in zip(stored.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_dropout_changes_training_but_not_the_saved_model(tmp_path, random):
    info = ModelInfo(**(vars(INFO) | {"dropout": (0.5, 0.5)}))
    model = keras_file.build(info)
    image = physical(random)
    assert (model(image, training=True).numpy() != model(image).numpy()).any()
    path = tmp_path / "model.keras"
    keras_file.save(path, [v.numpy() for v in model.trainable_variables], info)
    found, _ = keras_file.load(path)
    np.testing.assert_array_equal(found(image), model(image))


PLAIN = """
import sys
import keras, numpy
model = keras.saving.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
assert not any(name.partition(".")[0] == "cloudmask" for name in sys.modules)
"""


@pytest.mark.slow
def test_model_file_loads_in_plain_keras_without_this_project(of_each_kind, tmp_path, random):
    path, model, _ = of_each_kind
    image = physical(random)
    np.save(tmp_path / "image.npy", image)
    words = [path, tmp_path / "image.npy", tmp_path / "logits.npy"]
    subprocess.run(
        [sys.executable, "-c", PLAIN, *map(str, words)], check=True, cwd=tmp_path, timeout=240
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), model(image).numpy(), rtol=1e-4, atol=1e-4
    )


def test_a_file_that_is_no_model_is_refused(saved, tmp_path):
    path, _ = saved
    with pytest.raises(ValueError, match="is not a finished run"):
        keras_file.load(tmp_path)
    with pytest.raises(ValueError, match="is not there"):
        keras_file.load(tmp_path / "none.keras")
    other = tmp_path / "other.keras"
    other.write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match=r"other\.keras is not a cloudmask model"):
        keras_file.load(other)
    other.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="is not a cloudmask model"):
        keras_file.load(other)
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(other)
    with pytest.raises(ValueError, match="is not a cloudmask model"):
        keras_file.load(other)


def test_a_plain_model_holds_no_word_that_older_programs_do_not_know():
    """And one of them is what a file without these words means."""
    known = {field.name for field in dataclasses.fields(ModelInfo)} - set(keras_file.LATER)
    assert (
        set(INFO.record())
        == known
        == {
            *("channels", "classes", "widths", "dropout", "mean", "std", "patchset"),
            *("always_there", "reading"),
        }
    )
    assert ModelInfo(**INFO.record()) == INFO
    said = {"missing_channel": True, "fold": "0/2", "decorrelation": ((1.0,),), "calibration": {}}
    said |= {"upsampling": "transposed"}
    assert dataclasses.replace(INFO, **said).record() == INFO.record() | said


@pytest.mark.parametrize("text", ['{"channels": ["a"]}', "[1, 2]", "{", '{"strange": 1}'])
def test_a_model_of_another_program_is_refused(saved, tmp_path, text):
    path, _ = saved
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            content = text if name == keras_file.INFO else source.read(name)
            target.writestr(name, content)
    with pytest.raises(ValueError, match="is not a cloudmask model"):
        keras_file.load(other)


def test_a_model_says_what_its_numbers_mean(saved):
    path, _ = saved
    with zipfile.ZipFile(path) as archive:
        values = json.loads(archive.read(keras_file.INFO))
    assert values["channels"] == list(INFO.channels)
    assert values["classes"] == list(INFO.classes)


def test_every_level_of_a_deep_network_can_have_dropout():
    rates = (0.1, 0.1, 0.2, 0.2, 0.2, 0.3)
    model = unet(3, 3, widths=(2, 2, 2, 2, 2, 2), dropout=rates)
    found = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert found == [*rates, *reversed(rates[:-1])]


# --- Precision ------------------------------------------------------------------------------------


def tf32():
    return tf.config.experimental.tensor_float_32_execution_enabled()


def test_float32_is_float32_and_tf32_has_a_name_of_its_own():
    """TensorFlow by itself takes the one for the other, where the device has it."""
    for name in precision.POLICIES:
        precision.use(name)
        assert tf32() == (name == "tf32")
    precision.use("float32")
    with precision.used("tf32"):
        assert tf32()
        assert keras.config.dtype_policy().name == "float32"
        with precision.used("bfloat16"):
            assert not tf32()
    assert not tf32()


def test_somebody_elses_tf32_comes_back():
    tf.config.experimental.enable_tensor_float_32_execution(True)
    with precision.used("float32"):
        assert not tf32()
    assert tf32()


def test_tf32_where_there_is_none_is_refused_in_one_line():
    assert precision.resolve("float32") == "float32"
    assert precision.resolve("auto") in ("float32", "bfloat16")
    if not tf.config.get_visible_devices("GPU"):
        with pytest.raises(ValueError, match=r"capability 8.0 or more, and here is none; use"):
            precision.resolve("tf32")


def test_operations_are_those_counted_by_hand():
    """4 x 4 pixels, widths 2 and 3: products of kernel and pixels, twice, layer by layer."""
    found = flops.forward(unet(1, 1, widths=(2, 3)), 4)
    by_hand = {
        "down0_a": 9 * 1 * 2 * 16,
        "down0_b": 9 * 2 * 2 * 16,
        "down1_a": 9 * 2 * 3 * 4,
        "down1_b": 9 * 3 * 3 * 4,
        "up0_a": (4 * 3 + 9 * 2) * 2 * 16,
        "up0_b": 9 * 2 * 2 * 16,
        "logits": 2 * 1 * 16,
    }
    assert found == {name: 2 * products for name, products in by_hand.items()}
    plain = flops.forward(unet(1, 1, widths=(2, 3), portable=True), 4)
    assert plain == found | {"up0_a": 2 * 9 * (3 + 2) * 2 * 16}
    assert flops.training(unet(1, 1, widths=(2, 3)), 4) == 3 * sum(found.values()) - 2 * 288
    for portable, of_plain in ((False, found), (True, plain)):
        more = unet(1, 1, widths=(2, 3), missing_channel=True, portable=portable)
        assert flops.forward(more, 4) == of_plain | {"down0_a": 2 * 9 * (1 + 1) * 2 * 16}
    learned = flops.forward(unet(1, 1, widths=(2, 3), upsampling="transposed"), 4)
    join = {"up0_a_up": 2 * 4 * 3 * 2 * 4, "up0_a": 2 * 9 * (2 + 2) * 2 * 16}
    assert learned == found | join


@pytest.mark.parametrize(("name", "width"), [("float32", 4), ("bfloat16", 2)])
def test_bytes_are_those_counted_by_hand(name, width):
    """4 x 4 pixels, widths 2 and 3: numbers of input, output and kernel, layer by layer."""
    by_hand = {
        "down0_a": (1 * 16 + 2 * 16, 9 * 1 * 2),
        "down0_b": (2 * 16 + 2 * 16, 9 * 2 * 2),
        "down1_a": (2 * 4 + 3 * 4, 9 * 2 * 3),
        "down1_b": (3 * 4 + 3 * 4, 9 * 3 * 3),
        "up0_a": (3 * 4 + 2 * 16 + 2 * 16, 9 * (3 + 2) * 2),
        "up0_b": (2 * 16 + 2 * 16, 9 * 2 * 2),
    }
    with precision.used(name):
        model = unet(1, 1, widths=(2, 3))
    found = flops.layers(model, 4)
    logits = found.pop("logits")
    assert {key: (one.values, one.kernel) for key, one in found.items()} == by_hand
    assert {one.bytes_each for one in found.values()} == {width}
    moved = [width * (values + kernel / 8) for values, kernel in by_hand.values()]
    last = logits.bytes_each * (2 * 16 + 1 * 16 + 2 / 8)
    assert flops.training_bytes(model, 4, 8) == pytest.approx(3 * (sum(moved) + last) - moved[0])


def test_operations_of_the_reference_network():
    """Forward by the formula of its levels: dropout changes nothing."""
    model = unet(9, 1, dropout=(0.1, 0, 0, 0.1))
    assert sum(flops.forward(model, 256).values()) == 17_456_693_248
    assert flops.training(model, 256) == 52_030_341_120


@pytest.mark.parametrize("name", ["gce", "sce", "bootstrap"])
def test_losses_for_labels_that_err_are_their_formulas_and_their_gradients(name, binary):
    """In float64, where nothing is lost; beyond that, far out, they stay finite."""
    logits, label = binary
    z, y = logits[..., 0].astype(np.float64), (label == 1).astype(np.float64)
    margin = (2 * y - 1) * z
    p, right, wrong = (np.exp(log_sigmoid(x)) for x in (z, margin, -margin))
    target = 0.95 * y + 0.05 * p
    each = {
        "gce": (1 - right**0.7) / 0.7,
        "sce": -0.1 * log_sigmoid(margin) + 4 * wrong,
        "bootstrap": -target * log_sigmoid(z) - (1 - target) * log_sigmoid(-z),
    }[name]
    slope = {
        "gce": -(right**0.7) * wrong,
        "sce": -0.1 * wrong - 4 * right * wrong,
        "bootstrap": -0.95 * wrong,
    }[name] * (2 * y - 1)
    known = label != 255
    values = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss, count = cross_entropy(values, tf.constant(label), loss=name)
    assert float(loss) == pytest.approx(each[known].sum(), rel=1e-5)
    assert float(count) == known.sum()
    found = tape.gradient(loss, values).numpy()[..., 0]
    np.testing.assert_allclose(found, np.where(known, slope, 0), rtol=1e-4, atol=1e-6)
    far = tf.constant(np.array([-1e4, -200, 200, 1e4], np.float32).reshape(1, 1, 4, 1))
    for number in (0, 1):
        with tf.GradientTape() as tape:
            tape.watch(far)
            loss, _ = cross_entropy(
                far, tf.fill((1, 1, 4), tf.constant(number, tf.uint8)), loss=name
            )
        assert np.isfinite(loss)
        assert np.isfinite(tape.gradient(loss, far)).all()
