"""--decorrelate: the matrix is right, travels with the model, and is not trained."""

import json

import keras
import numpy as np
import pytest
import tiny

from cloudmask import __main__ as cli
from cloudmask.data.patchset.open import open_patchset
from cloudmask.model import keras_file
from cloudmask.model.flops import forward, training
from cloudmask.model.unet import unet
from cloudmask.train.decorrelation import of_patches, whitening


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
def results(tmp_path_factory):
    """Runs of two ranks: with a matrix and without, and what goes on from them on other scenes."""
    work = tmp_path_factory.mktemp("decorrelation")
    for name, seed in (("set", 0), ("others", 9)):
        for number in (seed, seed + 1):
            tiny.write_scene(work / f"{name}-in/s{number}.npz", size=32, patches=4, seed=number)
        words = ["prepare", work / f"{name}-in", "--out", work / name, "--patch-size", 32]
        assert cli.main([str(word) for word in words]) == 0
    short = ("--batch-size", 2, "--widths", 4, 8, "--threads", 1, "--no-tensorboard")
    short += ("--lr-decay", "none")  # so one epoch is the first of two

    def case(name, data, *words, out=None):
        out = work / (out or name)
        words = ("--data", work / data, "--out", out, "--epochs", 1, *short, *words)
        return tiny.Case(name, words)

    from_run, gone = ("--init", work / "run"), ("--init", work / "gone")
    found = tiny.run_cases(
        [
            case("run", "set", "--decorrelate"),
            case("plain", "set"),
            case("next", "others", "--decorrelate", *from_run),
            case("without", "others", *from_run),
            case("from plain", "set", "--decorrelate", "--init", work / "plain"),
            case("forgot", "set", "--resume", "--epochs", 2, out="run"),
            case("unbroken", "others", "--decorrelate", *from_run, "--epochs", 2),
            case("lost", "others", "--decorrelate", "--resume", *gone, "--epochs", 2, out="next"),
        ],
        work / "results",
        ranks=2,
    )
    return work, found


@pytest.mark.slow
@pytest.mark.mpi
def test_a_model_holds_the_matrix_of_its_patch_set_and_plain_keras_loads_it(results):
    work, found = results
    assert found["run"].codes == [0, 0], found["run"].err
    run, patchset = work / "run", open_patchset(work / "set")
    info = keras_file.read_info(run / "model.keras")
    assert info.decorrelation == of_patches(patchset, np.array(info.mean), np.array(info.std))
    image = np.random.default_rng(0).normal(200, 20, (1, 32, 32, 3)).astype(np.float32)
    mine, _ = keras_file.load(run)
    plain = keras.saving.load_model(run / "model.keras", compile=False)
    np.testing.assert_allclose(mine(image), plain(image), atol=2e-2, rtol=2e-2)
    np.testing.assert_array_equal(
        plain.get_layer("decorrelate").get_weights()[0][0, 0], np.float32(info.decorrelation)
    )
    described = json.loads((run / "model.json").read_text())
    told = described["properties"]["mlm:hyperparameters"]["decorrelation"]
    assert told == [list(row) for row in info.decorrelation]


@pytest.mark.slow
@pytest.mark.mpi
def test_a_run_that_goes_on_from_a_model_keeps_its_matrix(results):
    work, found = results
    assert found["next"].codes == [0, 0], found["next"].err
    infos = [keras_file.read_info(work / name / "model.keras") for name in ("run", "next")]
    assert infos[0].decorrelation == infos[1].decorrelation
    assert infos[0].mean != infos[1].mean


@pytest.mark.slow
@pytest.mark.mpi
def test_a_resumed_run_has_its_matrix_from_its_checkpoint(results):
    work, found = results
    assert found["lost"].codes == [0, 0], found["lost"].err
    assert f"--init {work / 'gone'} is not read" in found["lost"].out[0]
    (weights, info), (expected, unbroken) = (
        keras_file.read(work / name / "model.keras") for name in ("next", "unbroken")
    )
    assert info == unbroken
    assert info.decorrelation == keras_file.read_info(work / "run/model.keras").decorrelation
    for here, there in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("without", "does not fit this run: --decorrelate there and not here; give it what the"),
        ("from plain", "does not fit this run: --decorrelate here and not there; give it what"),
        ("forgot", "is of another model or patch set: decorrelate was True, is None"),
    ],
)
def test_a_matrix_is_neither_lost_nor_mixed_up(results, name, message):
    _, found = results
    assert 0 not in found[name].codes
    (line,) = found[name].error_lines
    assert message in line
