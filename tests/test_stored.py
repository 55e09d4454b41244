"""Large scenes whose image stays in its file: the same values, and the same masks."""

import h5py
import numpy as np
import pytest

from cloudmask import __main__ as cli
from cloudmask.data.formats import stored
from cloudmask.data.read import read_scene, read_stored
from cloudmask.model import keras_file

CHANNELS = ("red", "green", "blue")
SHAPE = (1100, 75)


def image(dtype=np.uint8, shape=SHAPE):
    return np.random.default_rng(4).integers(0, 256, (*shape, 3)).astype(dtype)


def corner(shape=SHAPE):
    rows, columns = np.indices(shape)
    return rows + columns < 60


@pytest.fixture
def small(monkeypatch):
    """As if small scenes were large."""
    monkeypatch.setattr(stored, "LARGE_BYTES", 1)


@pytest.mark.parametrize("more", [{}, {"missing": corner()}], ids=["all measured", "a corner"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, ">u2"])
def test_rows_that_are_read_where_they_lie_are_those_of_the_scene(tmp_path, small, dtype, more):
    place = {"crs": "EPSG:32633", "transform": [10.0, 0, 5e5, 0, -10, 6e6], "start": "2024-10-01"}
    path = tmp_path / "scene.npz"
    np.savez(path, label=corner(), image=image(dtype), channels=CHANNELS, **more, **place)
    found, scene = read_stored(path), read_scene(path, need_label=False)
    assert found.image.shape == scene.image.shape
    for rows in (slice(0, 7), slice(130, 400), slice(1090, 1200), slice(0, None)):
        for columns in (slice(0, 75), slice(13, 40)):
            part = found.image[rows, columns]
            assert part.dtype == np.float32
            np.testing.assert_array_equal(part, scene.image[rows, columns])
    for name in ("name", "channels", "crs", "transform", "start", "stop", "latitude"):
        assert getattr(found, name) == getattr(scene, name)


def test_what_cannot_stay_in_its_file_is_read_as_ever(tmp_path, small):
    cases = {
        "floating": {"image": image(np.float32)},
        "by columns": {"image": np.asfortranarray(image())},
        "no image": {"label": corner()},
        "another corner": {"image": image(), "missing": corner((9, 9))},
        "nothing measured": {"image": image(), "missing": np.ones(SHAPE, bool)},
    }
    for name, arrays in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        assert read_stored(tmp_path / f"{name}.npz") is None
    np.savez_compressed(tmp_path / "packed.npz", image=image())
    assert read_stored(tmp_path / "packed.npz") is None
    assert read_stored(tmp_path / "not there.npz") is None


def test_a_damaged_pixel_is_noticed(tmp_path, small):
    path = tmp_path / "scene.npz"
    np.savez(path, image=image())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert read_stored(path) is None
    with pytest.raises(ValueError, match="Bad CRC"):
        read_scene(path, need_label=False)


def test_a_small_scene_is_no_large_one(tmp_path):
    np.savez(tmp_path / "scene.npz", image=image())
    assert read_stored(tmp_path / "scene.npz") is None


def contents(path):
    """Everything in an HDF5 file but its history."""
    with h5py.File(path) as file:
        found = {"": {key: str(file.attrs[key]) for key in file.attrs if key != "history"}}
        for name, part in file.items():
            about = {key: str(part.attrs[key]) for key in part.attrs}
            found[name] = (part.dtype, part.shape, part.chunks, part[...].tobytes(), about)
    return found


@pytest.mark.parametrize(("kinds", "networks"), [(3, 1), (2, 2)])
def test_masks_written_band_by_band_are_those_of_the_scene_at_once(
    tmp_path, monkeypatch, kinds, networks
):
    info = keras_file.ModelInfo(
        channels=CHANNELS,
        classes=("thick_ice", "thin_ice", "open_water")[:kinds],
        widths=(4, 8),
        dropout=(),
        mean=(128.0,) * 3,
        std=(70.0,) * 3,
        patchset="none",
        always_there=CHANNELS,
    )
    models = []
    for seed in range(networks):
        weights = keras_file.build(info, seed=seed).trainable_variables
        models.append(tmp_path / f"model{seed}.keras")
        keras_file.save(models[-1], [np.asarray(v.value) for v in weights], info)
    path = tmp_path / "scene.npz"
    np.savez(path, image=image(), missing=corner(), channels=CHANNELS)
    words = ["predict", models[0], path, "--tile", 192, "--precision", "float32"]
    words += ["--models", *models[1:]] if networks > 1 else []

    def predict(out):
        assert cli.main([*map(str, words), "--out", str(out)]) == 0
        return contents(out / "scene.nc")

    at_once = predict(tmp_path / "whole")
    monkeypatch.setattr(stored, "LARGE_BYTES", 1)
    assert read_stored(path) is not None
    assert predict(tmp_path / "bands") == at_once
    assert ("spread_cloud" in at_once or "spread_thin_ice" in at_once) == (networks > 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_scene_in_its_file_is_cut_into_the_same_patches(tmp_path, monkeypatch, tree, dtype):
    """Whatever its labels are, and whatever its values span."""
    label = np.random.default_rng(5).integers(0, 4, SHAPE).astype(np.uint8)
    label[label == 3] = 255
    wide = image(dtype) * dtype(200 if dtype is np.uint16 else 1)
    names = {"channels": CHANNELS, "classes": ("thick", "thin", "water")}
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", label=label, image=wide, missing=corner(), **names)
    np.savez(tmp_path / "mute.npz", image=wide, missing=corner(), **names)
    for folder, large in (("whole", 2**40), ("stored", 1)):
        monkeypatch.setattr(stored, "LARGE_BYTES", large)
        words = ("--patch-size", "32", "--split", "train=1", "--out")
        scenes = [str(tmp_path / f"{name}.npz") for name in ("a", "b", "mute")]
        assert cli.main(["prepare", *scenes, *words, str(tmp_path / folder)]) == 1
        found = read_stored(tmp_path / "a.npz", label="any")
        assert (found is not None) == (folder == "stored")
        assert read_stored(tmp_path / "mute.npz", label="any") is None  # it has no label
    assert tree(tmp_path / "whole") == tree(tmp_path / "stored")
