"""One training step: scaled losses against unscaled ones, compiled steps against plain ones.

What two ranks do is tried in one pair of real ranks, whose findings the tests read.
"""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from cloudmask.data.patchset.encoding import decode
from cloudmask.model import precision
from cloudmask.model.unet import unet
from cloudmask.train.batches import Input
from cloudmask.train.ranks import OneRank
from cloudmask.train.step import make_train_step

ALONE = OneRank(0, 1, 0, 1, 1, 1, (0,), "CPU", "none")
SIZE = 16


@pytest.fixture(autouse=True)
def float32():
    yield
    precision.use("float32")


def patches(count=2, seed=0):
    """A batch, some of its pixels without a label."""
    random = np.random.default_rng(seed)
    image = random.integers(-2000, 2000, (count, SIZE, SIZE, 3)).astype(np.int16)
    label = (image[..., 0] > 0).astype(np.uint8)
    label[random.random(label.shape) < 0.1] = 255
    scale, offset = np.full((count, 3), 1e-3, np.float32), np.zeros((count, 3), np.float32)
    return Input(image, scale, offset, label, count, 0.0)


def train(optimizer, *, arithmetic="float32", steps=1, xla=False, dropout=()):
    """Weights before and after some steps, as flat arrays, and the numbers of each step."""
    precision.use(arithmetic)
    model = unet(3, 1, widths=(4, 8), dropout=dropout, seed=3)
    optimizer.build(model.trainable_variables)
    pixels = 2 * SIZE * SIZE
    step = make_train_step(
        model, optimizer, ALONE, class_weights=(), clip_offset=0, pixels=pixels, xla=xla
    )
    before = flat(model)
    numbers = [step(patches(seed=seed), 0.5).result() for seed in range(steps)]
    return before, flat(model), np.array(numbers)


WEIGHTS = (1.0, 2.0, 3.0)
NOISE = (
    ("plain", "float32", None, False),
    ("compiled", "float32", None, True),
    ("half", "float16", 2.0**12, False),
)
"""steps of two ranks with --noise-scale: name, arithmetic, scale of the loss, whether compiled"""


def three(label):
    """Labels of two classes as labels of three: every second row of the second one."""
    changed = label.copy()
    changed[:, ::2][label[:, ::2] == 1] = 2
    return changed


def arrays(batch):
    return batch.image, batch.scale, batch.offset, batch.label


def flat(model):
    return np.concatenate([np.ravel(v.value) for v in model.trainable_variables])


def scaled(scale, inner=None):
    return keras.optimizers.LossScaleOptimizer(
        inner or keras.optimizers.SGD(0.5), initial_scale=scale, name="loss_scale"
    )


@pytest.fixture(scope="module")
def plain():
    """Weights before and after a step in float32, and the numbers of the step."""
    return train(keras.optimizers.SGD(0.5))


@pytest.mark.slow
def test_gradients_are_unscaled_before_they_are_applied(plain):
    """In float32 a power of two changes no bit of a gradient, and none may be left of it."""
    before, plain, _ = plain
    again, found, _ = train(scaled(2.0**15))
    np.testing.assert_array_equal(again, before)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-9)
    assert np.abs(plain - before).max() > 1e-3


@pytest.mark.slow
def test_a_float16_gradient_is_the_float32_one_within_its_rounding(plain):
    before, plain, _ = plain
    _, half, _ = train(scaled(2.0**15), arithmetic="float16")
    wanted, found = plain - before, half - before
    assert np.linalg.norm(found - wanted) < 0.02 * np.linalg.norm(wanted)


@pytest.mark.slow
def test_small_gradients_are_lost_without_scaling():
    """What the scale is for: of a sum over many pixels each one's part is below float16's range."""

    def first_layer(optimizer):
        precision.use("float16")
        model = unet(3, 1, widths=(4, 8), seed=3)
        optimizer.build(model.trainable_variables)
        pixels = 2**26  # as of a global batch of a thousand patches of 256 x 256
        step = make_train_step(
            model, optimizer, ALONE, class_weights=(), clip_offset=0, pixels=pixels
        )
        before = flat(model)
        step(patches(), 0.5)
        return np.abs(flat(model) - before).max()

    assert first_layer(keras.optimizers.SGD(0.5)) < 0.3 * first_layer(scaled(2.0**15))


@pytest.mark.slow
def test_a_compiled_step_computes_the_same(plain):
    before, plain, numbers = plain
    again, found, compiled = train(keras.optimizers.SGD(0.5), xla=True)
    np.testing.assert_array_equal(again, before)
    assert np.linalg.norm(found - plain) < 1e-4 * np.linalg.norm(plain - before)
    np.testing.assert_allclose(compiled[:, 0], numbers[:, 0], rtol=1e-5)
    np.testing.assert_array_equal(compiled[:, 1:4], numbers[:, 1:4])
    assert (compiled[:, 4:6] > 0).all(), "seconds of computing and of communication"


@pytest.mark.slow
def test_a_compiled_step_has_mixed_precision_and_dropout_too():
    """Other pixels are dropped than in a plain step, so the two cannot be compared."""
    sgd = keras.optimizers.SGD(0.5)
    _, _, numbers = train(sgd, arithmetic="bfloat16", dropout=(0.1, 0.1), steps=8, xla=True)
    assert numbers[-1, 0] < numbers[0, 0]


RANKS = """
import dataclasses, json, sys
from pathlib import Path
import numpy as np
from cloudmask.train import start

world = start.start(threads=1)

import keras
from cloudmask.model import precision
from cloudmask.model.unet import unet
from cloudmask.train.step import make_train_step
sys.path.insert(0, sys.argv[2])
from test_step import NOISE, SIZE, WEIGHTS, flat, patches, scaled, three

found = {}

def make(arithmetic, optimizer, xla, *, logits=1, weights=(), noise_scale=False):
    precision.use(arithmetic)
    model = unet(3, logits, widths=(4, 8), seed=3)
    optimizer.build(model.trainable_variables)
    step = make_train_step(
        model, optimizer, world, class_weights=weights, clip_offset=0,
        pixels=4 * SIZE * SIZE, xla=xla, noise_scale=noise_scale,
    )
    def run(batch, *flags):
        result = step(batch, 0.01, *flags).result()
        found["flags"] = result[2:4] if flags else found.get("flags")
        found["loss"] = result[:2]
        found["noise"] = result[6:] if noise_scale else None
        return flat(model).astype(float).tolist()
    return model, run

# Rank 0 has no labelled pixel, so its gradients are zero; those of rank 1 overflow.
mine = patches(seed=world.rank)
quiet = dataclasses.replace(mine, label=np.full_like(mine.label, 255)) if world.is_root else mine
optimizer = scaled(2.0**60, keras.optimizers.Adam(0.01))
model, run = make("float16", optimizer, xla=False)

def state():
    return float(optimizer.dynamic_scale), int(optimizer.iterations)

found["before"] = flat(model).astype(float).tolist()
found["overflown"], found["state"] = run(quiet), state()
optimizer.dynamic_scale.assign(2.0**10)
found["after"], found["state_after"] = run(quiet), state()

model, run = make("float32", keras.optimizers.SGD(0.01), xla=True)
found["compiled"] = run(mine, not world.is_root, world.is_root)

model, run = make("float32", keras.optimizers.SGD(0.01), False, logits=3, weights=WEIGHTS)
quiet_labels = np.full_like(mine.label, 255)
labels = quiet_labels if world.is_root else three(mine.label)
found["three"] = run(dataclasses.replace(mine, label=labels))
found["loss of three"] = found["loss"]

# Rank 0 has half of its labels.
half = dataclasses.replace(mine, label=mine.label.copy())
if world.is_root:
    half.label[:, : SIZE // 2] = 255
for name, arithmetic, scale, xla in NOISE:
    optimizer = keras.optimizers.SGD(0.01)
    optimizer = scaled(scale, optimizer) if scale else optimizer
    model, run = make(arithmetic, optimizer, xla, noise_scale=True)
    found[f"weights, {name}"] = run(half)
    found[f"noise, {name}"] = found["noise"]
found["noise of one"] = (run(quiet), found["noise"])[1]
model, run = make("float32", keras.optimizers.SGD(0.01), False)
found["weights"] = run(half)

Path(sys.argv[1], f"{world.rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What each of two ranks has found."""
    folder = tmp_path_factory.mktemp("pair")
    script = folder / "pair.py"
    script.write_text(RANKS)
    ended = tiny.finish(tiny.start(script, folder, tiny.ROOT / "tests", ranks=2))
    assert ended.code == 0, ended.out + ended.err
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.mpi
def test_an_overflow_on_one_rank_skips_the_step_on_all(pair):
    first, second = pair
    assert first == second, "the same weights and the same scale on both"
    assert first["overflown"] == first["before"]
    assert first["state"] == [2.0**59, 0], "half the scale, and no step"
    assert first["after"] != first["before"]
    assert first["state_after"] == [2.0**10, 1]
    assert np.isfinite(first["after"]).all()


@pytest.mark.slow
@pytest.mark.mpi
def test_all_ranks_know_of_a_request_to_stop_and_of_changed_hosts_from_any(pair):
    assert [found["flags"] for found in pair] == [[1, 1], [1, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True)])
def test_requests_to_stop_and_changes_of_hosts_are_summed_apart(plain, flags):
    model = unet(3, 1, widths=(4, 8), seed=3)
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(model.trainable_variables)
    settings = {"class_weights": (), "clip_offset": 0, "pixels": 2 * SIZE * SIZE}
    step = make_train_step(model, optimizer, ALONE, **settings)
    found = step(patches(), 0.5, *flags).result()
    assert (found.stop_requests, found.hosts_changed) == flags
    np.testing.assert_array_equal(found[:2], plain[2][0][:2])


@pytest.mark.slow
@pytest.mark.mpi
def test_compiled_steps_of_two_ranks_sum_their_gradients(pair):
    """As one rank with the batches of both."""
    model = unet(3, 1, widths=(4, 8), seed=3)
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)
    step = make_train_step(
        model, optimizer, ALONE, class_weights=(), clip_offset=0, pixels=4 * SIZE * SIZE
    )
    pairs = zip(arrays(patches(seed=0)), arrays(patches(seed=1)), strict=True)
    step(Input(*map(np.concatenate, pairs), 4, 0.0), 0.01)
    np.testing.assert_allclose(pair[0]["compiled"], flat(model), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.mpi
def test_three_classes_on_two_ranks_of_which_one_has_no_label_train_as_one(pair):
    """The mean over the labelled pixels of all ranks, whichever rank has them."""
    batch = patches(seed=1)
    model = unet(3, 3, widths=(4, 8), seed=3)
    image = decode(*arrays(batch)[:3])
    label = three(batch.label)
    with tf.GradientTape() as tape:
        logits = tf.nn.log_softmax(model(image))
        known = label != 255
        truth = np.where(known, label, 0).astype(np.int32)
        each = -tf.gather(logits, truth, batch_dims=3) * np.array(WEIGHTS, np.float32)[truth]
        loss = tf.reduce_sum(tf.boolean_mask(each, known))
        mean = loss / known.sum()
    variables = model.trainable_variables
    gradients = tape.gradient(mean, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(0.01 * gradient)
    first, second = pair
    assert first["three"] == second["three"]
    np.testing.assert_allclose(first["three"], flat(model), rtol=1e-4, atol=1e-6)
    assert first["loss of three"] == second["loss of three"]
    assert first["loss of three"] == pytest.approx([float(loss), known.sum()], rel=1e-5)


# --- The squared lengths that the noise scale follows from ----------------------------------------


def gradient_of_mean(batch, model):
    """The gradient of the mean loss over labelled pixels, and their number."""
    with tf.GradientTape() as tape:
        logits = model(decode(*arrays(batch)[:3]))[..., 0]
        known = batch.label != 255
        truth = np.where(known, batch.label, 0).astype(np.float32)
        each = tf.nn.sigmoid_cross_entropy_with_logits(truth, logits)
        mean = tf.reduce_mean(tf.boolean_mask(each, known))
    found = tape.gradient(mean, [v.value for v in model.trainable_variables])
    return np.concatenate([np.ravel(g) for g in found]).astype(np.float64), int(known.sum())


def expected(batches):
    """L and T by their definition in noise.py, from gradients of one batch after the other."""
    model = unet(3, 1, widths=(4, 8), seed=3)
    found = [gradient_of_mean(batch, model) for batch in batches]
    shares = np.array([pixels for _, pixels in found]) / sum(pixels for _, pixels in found)
    local = sum(share * np.sum(g**2) for share, (g, _) in zip(shares, found, strict=True))
    mean = sum(share * g for share, (g, _) in zip(shares, found, strict=True))
    return [local, np.sum(mean**2), len(found)]


def halved(batch):
    label = batch.label.copy()
    label[:, : SIZE // 2] = 255
    return dataclasses.replace(batch, label=label)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize("name", [name for name, *_ in NOISE])
def test_lengths_of_two_ranks_are_those_of_their_gradients_weighted_by_labels(pair, name):
    wanted = expected([halved(patches(seed=0)), patches(seed=1)])
    assert pair[0][f"noise, {name}"] == pair[1][f"noise, {name}"]
    assert pair[0][f"noise, {name}"] == pytest.approx(wanted, rel=0.02 if name == "half" else 1e-4)


@pytest.mark.slow
@pytest.mark.mpi
def test_measuring_changes_no_bit_and_a_rank_without_labels_takes_no_part(pair):
    assert pair[0]["weights, plain"] == pair[0]["weights"]
    assert pair[0]["noise of one"][2] == 1


@pytest.mark.slow
def test_one_rank_has_the_lengths_of_two_successive_steps(plain):
    """The second at a learning rate of zero, so both are of the same weights."""
    model = unet(3, 1, widths=(4, 8), seed=3)
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build(model.trainable_variables)
    settings = {"class_weights": (), "clip_offset": 0, "pixels": 2 * SIZE * SIZE}
    step = make_train_step(model, optimizer, ALONE, noise_scale=True, **settings)
    batches = [halved(patches(seed=0)), patches(seed=1), patches(seed=2)]
    found = [step(batch, 0.0).result()[6:] for batch in batches]
    assert found[0][2] == 1
    assert found[1] == pytest.approx(expected(batches[:2]), rel=1e-4)
    assert found[2] == pytest.approx(expected(batches[1:]), rel=1e-4)
    step(patches(seed=0), 0.5)
    np.testing.assert_array_equal(flat(model), plain[1])
