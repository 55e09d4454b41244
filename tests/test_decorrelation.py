"""--decorrelate: the matrix is right, travels with the model, and is not trained."""

import json

import keras
import numpy as np
import pytest
import tiny

from cloudmask import __main__ as cli
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.open import open_patchset
from cloudmask.model import keras_file
from cloudmask.model.flops import forward, training
from cloudmask.model.unet import unet
from cloudmask.train.decorrelation import decorrelated, of_patches, whitening
from cloudmask.train.plan import make_plan

TRAIN = ("--epochs", 1, "--batch-size", 2, "--widths", "4", "8", "--no-tensorboard")


def bands(random, *, pixels=20_000):
    """Two bands that differ by a hundredth of what they share, and one of its own."""
    shared = random.normal(size=pixels)
    return np.stack(
        [shared, shared + 0.03 * random.normal(size=pixels), random.normal(size=pixels)], axis=1
    )


def test_what_bands_share_no_longer_hides_what_they_differ_in():
    pixels = bands(np.random.default_rng(0))
    matrix = whitening(pixels)
    found = np.cov((pixels @ matrix).T)
    np.testing.assert_allclose(np.diag(found), [0.85, 0.85, 1], atol=0.2)  # FLOOR takes a part
    assert abs(found - np.diag(np.diag(found))).max() < 0.4
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    difference = (pixels @ matrix)[:, 1] - (pixels @ matrix)[:, 0]
    assert abs(np.corrcoef(difference, pixels[:, 1] - pixels[:, 0])[0, 1]) > 0.99


def test_a_direction_of_rounding_alone_is_not_blown_up_beyond_bounds():
    shared = np.random.default_rng(0).normal(size=(1000, 1))
    assert np.abs(whitening(np.repeat(shared, 2, axis=1))).max() < 32


def test_the_network_multiplies_normalised_pixels_and_missing_ones_count_as_the_mean():
    random = np.random.default_rng(1)
    matrix, mean, std = random.normal(size=(3, 3)), [1.0, 2.0, 3.0], [2.0, 1.0, 4.0]
    image = random.normal(size=(1, 8, 8, 3)).astype(np.float32)
    image[0, 2, 3, 1] = np.nan
    model = unet(3, 1, widths=(4, 8), mean=mean, std=std, decorrelation=matrix)
    layer = keras.Model(model.inputs[0], model.get_layer("with_apart").output)
    normal = np.nan_to_num((image - mean) / std)
    expected = np.concatenate([normal, normal @ matrix], axis=-1)
    np.testing.assert_allclose(layer(image).numpy(), expected, rtol=1e-4, atol=1e-5)
    plain = unet(3, 1, widths=(4, 8), mean=mean, std=std)
    assert len(model.trainable_variables) == len(plain.trainable_variables)
    counted = forward(model, 8)
    assert counted["decorrelate"] == 2 * 9 * 64
    more = 2 * 9 * 3 * 4 * 64  # three planes more for the first convolution
    assert training(model, 8) == training(plain, 8) + counted["decorrelate"] + 2 * more
    with pytest.raises(ValueError, match="does not fit 3 channels"):
        unet(3, 1, widths=(4, 8), decorrelation=np.eye(2))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decorrelation")
    for seed in range(4):
        tiny.write_scene(folder / f"scene_{seed}.npz", size=32, patches=4, seed=seed)
    words = ["prepare", folder, "--out", folder / "set", "--patch-size", 32]
    assert cli.main([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="module")
def run(work):
    """Two ranks, decorrelated."""
    ended = tiny.train(
        "--data", work / "set", "--out", work / "run", *TRAIN, "--decorrelate", ranks=2
    )
    assert ended.code == 0, ended.err
    return work / "run"


@pytest.mark.slow
@pytest.mark.mpi
def test_a_model_holds_the_matrix_of_its_patch_set_and_plain_keras_loads_it(work, run):
    patchset = open_patchset(work / "set")
    info = keras_file.read_info(run / "model.keras")
    assert info.decorrelation == of_patches(patchset, np.array(info.mean), np.array(info.std))
    image = np.random.default_rng(0).normal(200, 20, (1, 32, 32, 3)).astype(np.float32)
    mine, _ = keras_file.load(run)
    plain = keras.saving.load_model(run / "model.keras", compile=False)
    np.testing.assert_allclose(mine(image), plain(image), atol=2e-2, rtol=2e-2)
    np.testing.assert_array_equal(
        plain.get_layer("decorrelate").get_weights()[0][0, 0], np.float32(info.decorrelation)
    )
    described = json.loads((keras_file.write_description(run / "model.keras", {})).read_text())
    told = described["properties"]["mlm:hyperparameters"]["decorrelation"]
    assert told == [list(row) for row in info.decorrelation]


@pytest.mark.slow
@pytest.mark.mpi
def test_a_run_that_goes_on_from_a_model_keeps_its_matrix(work, run):
    other = work / "others"
    tiny.write_scene(work / "other.npz", size=32, patches=4, seed=9)
    words = [
        "prepare",
        work / "other.npz",
        "--out",
        other,
        "--patch-size",
        32,
        "--split",
        "train=1",
    ]
    assert cli.main([str(word) for word in words]) == 0
    config = TrainConfig(
        data=other, out=work / "next", widths=(4, 8), init=run, decorrelate=True, epochs=1
    )
    plan = make_plan(config, tiny.pretended_ranks(size=1, local_size=1))
    matrix = keras_file.read_info(run / "model.keras").decorrelation
    assert decorrelated(plan).decorrelation == matrix
    ended = tiny.train("--data", other, "--out", work / "next", "--init", run, *TRAIN)
    assert ended.code != 0
    assert "does not fit this run: --decorrelate there alone" in ended.err
    ended = tiny.train("--data", work / "set", "--out", run, *TRAIN, "--resume", "--epochs", 2)
    assert ended.code != 0
    assert "decorrelate was True, is None" in ended.err
