"""The channel TS: the surface's temperature that comes with a product, or with a benchmark file."""

import json

import forms
import numpy as np
import pytest
import sen3

from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import PrepareConfig
from cloudmask.data import slstr
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.data.prepare.command import prepare
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError
from cloudmask.data.slstr import CHANNELS, Reading

SKIN = Reading(skin_temperature=True)
TEN = (*CHANNELS, "TS")


@pytest.fixture
def values():
    """Tie points that all differ, one of them without a temperature; pixels without measurement."""
    values = sen3.make_values()
    rows = len(values.confidence)
    values.skin = (280 + 10 * np.random.default_rng(3).random((rows, 130))).astype(np.float32)
    values.skin[7, 64] = -9999
    for array in (*values.exception_in, *values.exception_an):
        step = array.shape[0] // rows
        array[5 * step : 6 * step, 3 * step : 5 * step] = 128
    return values


def expected_skin(values):
    """Pixel by pixel: column 14 of 1 km lies on tie column 64, and 16 km on lies the next."""
    found = np.full(values.confidence.shape, np.nan)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            left, metres = divmod(1000 * (column - 14), 16000)
            a, b = (float(values.skin[row, 64 + left + step]) for step in (0, 1))
            if a != -9999 and b != -9999 and not (row == 5 and column in (3, 4)):
                found[row, column] = a + (b - a) * metres / 16000
    return found


@pytest.mark.parametrize("form", ["folder", "zip", "zarr"])
def test_skin_temperature_lies_between_the_tie_points_where_something_was_measured(
    tmp_path, values, form
):
    product = sen3.write_product(tmp_path / "in", values)
    place = product
    if form == "zip":
        place = forms.zipped(product, tmp_path / "zip")
    if form == "zarr":
        place = forms.stored(product, tmp_path / "zarr")
    scene = read_scene(place, label="summary", reading=SKIN)
    assert scene.channels == TEN
    np.testing.assert_allclose(scene.image[..., 9], expected_skin(values), rtol=1e-6)
    assert np.isnan(scene.image[7, :, 9]).sum() == 30
    plain = read_scene(place, label="summary")
    np.testing.assert_array_equal(scene.image[..., :9], plain.image)
    np.testing.assert_array_equal(scene.label, plain.label)


def test_it_goes_behind_the_oblique_view_and_tells_of_pixels_that_this_alone_measured(
    tmp_path, values
):
    values.oblique = sen3.make_oblique()
    values.oblique.bt[0][5, :] = 100
    for array in (*values.exception_in, *values.exception_an):
        step = array.shape[0] // 24
        array[5 * step : 6 * step] = 128
    product = sen3.write_product(tmp_path, values)
    scene = read_scene(product, reading=Reading(oblique=True, skin_temperature=True))
    assert scene.channels == (*CHANNELS, "S5o", "S8o", "S9o", "TS")
    found = np.isfinite(scene.image[5, :, 12])
    assert found.tolist() == [8 <= column < 24 for column in range(30)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: setattr(values, "skin", None), r"needed files are missing: met_tx\.nc"),
        (lambda values: values.leave_out.add("met_tx.nc"), r"are missing: met_tx\.nc"),
        (
            lambda values: setattr(values, "skin", values.skin[:9]),
            r"skin_temperature_tx has shape \(1, 9, 130\), the flags 24 rows",
        ),
    ],
)
def test_a_product_without_it_is_told_of_in_a_line(tmp_path, values, change, message):
    change(values)
    product = sen3.write_product(tmp_path, values)
    assert read_scene(product).channels == CHANNELS
    with pytest.raises(SceneError, match=message):
        read_scene(product, reading=SKIN)


def test_of_a_benchmark_file_it_is_the_dataset_skin(tmp_path, write_hdf):
    skin = np.random.default_rng(0).uniform(250, 310, (64, 80))
    skin[3, 4], skin[5, 6], skin[7, 8] = 0, 1e20, np.nan
    expected = skin.astype(np.float32)
    expected[[3, 5, 7], [4, 6, 8]] = np.nan
    expected[:, :2] = expected[:, -2:] = np.nan
    for number, stored in enumerate((skin, skin[..., None])):
        path = write_hdf(tmp_path / f"S3A_{number}.hdf", skin=stored)
        scene = read_scene(path, reading=SKIN)
        assert scene.channels == TEN
        np.testing.assert_array_equal(scene.image[..., 9], expected)
        plain = read_scene(path)
        assert plain.channels == CHANNELS
        np.testing.assert_array_equal(scene.image[..., :9], plain.image)
        np.testing.assert_array_equal(scene.label, plain.label)
    without = write_hdf(tmp_path / "S3A_without.hdf")
    with pytest.raises(SceneError, match=r"holds no 'skin' .* --skin-temperature needs it"):
        read_scene(without, reading=SKIN)
    wrong = write_hdf(tmp_path / "S3A_wrong.hdf", skin=skin[:5])
    with pytest.raises(SceneError, match=r"'skin' has shape \(5, 80\), the image \(64, 80\)"):
        read_scene(wrong, reading=SKIN)


def test_a_patch_set_keeps_it_to_a_hundredth_of_a_kelvin_and_knows_of_it(
    tmp_path, write_hdf, capsys
):
    skins = [np.random.default_rng(n).uniform(230, 320, (64, 80)) for n in range(3)]
    for number, skin in enumerate(skins):
        write_hdf(tmp_path / f"in/S3A_{number}.hdf", seed=number, skin=skin)

    def run(out, *, skin_temperature=True):
        options = {"patch_size": 16, "split": "train=1", "skin_temperature": skin_temperature}
        return prepare(PrepareConfig((tmp_path / "in",), tmp_path / out, **options))

    assert run("out") == 0
    patchset = open_patchset(tmp_path / "out")
    assert patchset.channels == TEN
    assert patchset.reading == SKIN.record()
    assert slstr.recorded(patchset.reading) == SKIN
    batch = PatchReader(patchset, "train").read([1])
    image = decode(batch.image, batch.scale, batch.offset)[0]
    assert np.abs(image[..., 9] - skins[0][:16, 16:32]).max() < slstr.LARGEST_LOSS["TS"] == 0.01
    assert capsys.readouterr().err == ""
    assert run("out") == 0
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(AgreedError, match="skin_temperature True, asked False"):
        run("out", skin_temperature=False)
    assert run("plain", skin_temperature=False) == 0
    manifest = json.loads((tmp_path / "plain/manifest.json").read_text())
    assert "skin_temperature" not in manifest["options"], "whose bytes are those of before"
    with pytest.raises(AgreedError, match="skin_temperature False, asked True"):
        run("plain")
    (tmp_path / "plain/manifest.json").unlink()
    assert run("plain") == 0, "files of the other channels are cut anew"
    files = [tmp_path / f"{name}/train/S3A_1.h5" for name in ("plain", "out")]
    assert files[0].read_bytes() == files[1].read_bytes()
