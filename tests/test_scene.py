import warnings
import zipfile

import h5py
import numpy as np
import pytest

from cloudmask.data.archive import find_scenes
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError, missing_pixels
from cloudmask.data.slstr import CHANNELS
from cloudmask.metrics import UNKNOWN


def test_hdf_scene_has_the_files_values_in_nine_float32_channels(tmp_path, write_hdf, scene_arrays):
    scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf", seed=3))
    arrays = scene_arrays(64, 80, 3)
    inside = np.s_[:, 2:-2]
    assert (scene.name, scene.channels, scene.classes) == ("S3A_x", CHANNELS, ("clear", "cloud"))
    assert (scene.image.dtype, scene.image.shape) == (np.float32, (64, 80, 9))
    assert (scene.image[inside][..., :6] == arrays["refs"][inside].astype(np.float32)).all()
    assert (scene.image[inside][..., 6:] == arrays["bts"][inside]).all()


def test_zero_borders_are_missing_and_unlabelled(tmp_path, write_hdf):
    scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf"))
    border = missing_pixels(scene.image)
    assert border[:, :2].all()
    assert border[:, -2:].all()
    assert not border[:, 2:-2].any()
    for mask in (scene.label, scene.summary, scene.truth):
        assert ((mask == UNKNOWN) == border).all()


def test_night_scene_has_no_reflectance_but_temperatures_and_labels(tmp_path, write_hdf):
    scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf", refs=np.zeros((64, 80, 6))))
    assert np.isnan(scene.image[..., :6]).all()
    assert not np.isnan(scene.image[:, 2:-2, 6:]).any()
    assert (scene.label[:, 2:-2] != UNKNOWN).all()


def test_zero_in_some_channels_is_a_measurement(tmp_path, write_hdf, scene_arrays):
    refs = scene_arrays(64, 80, 0)["refs"]
    refs[10, 10, :5] = 0
    scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf", refs=refs))
    assert (scene.image[10, 10, :5] == 0).all()


def test_nan_infinite_and_zero_kelvin_are_missing_in_their_channel_alone(
    tmp_path, write_hdf, scene_arrays
):
    arrays = scene_arrays(64, 80, 0)
    arrays["refs"][5, 5, 1], arrays["refs"][5, 6, 2] = np.nan, np.inf
    arrays["refs"][5, 8, 3] = 1e300  # beyond float32
    arrays["bts"][5, 7, 0] = 0
    scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf", **arrays))
    missing = np.argwhere(np.isnan(scene.image[:, 2:-2]))
    missing[:, 1] += 2
    assert missing.tolist() == [[5, 5, 1], [5, 6, 2], [5, 7, 6], [5, 8, 3]]
    assert (scene.label[5, 5:9] != UNKNOWN).all()


def test_radiances_under_refs_are_taken_as_they_are(tmp_path, write_hdf, scene_arrays):
    refs = scene_arrays(64, 80, 0)["refs"] * 500
    scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf", refs=refs))
    assert (scene.image[:, 2:-2, :6] == refs[:, 2:-2].astype(np.float32)).all()


@pytest.mark.parametrize(
    ("label", "cloudy"),
    [("any", [1, 2, 4, 8, 3, 15]), ("single_moderate", [2, 3, 15])],
)
def test_bits_of_bayes_become_labels_and_255_is_unknown(
    tmp_path, write_hdf, scene_arrays, label, cloudy
):
    values = [0, 1, 2, 4, 8, 3, 15, 255]
    bayes = scene_arrays(64, 80, 0)["bayes"]
    bayes[0, 2:10, 0] = values
    for kind in (np.uint8, np.float64):
        path = write_hdf(tmp_path / "S3A_x.hdf", bayes=bayes.astype(kind))
        found = read_scene(path, label=label).label[0, 2:10].tolist()
        assert found == [255 if v == 255 else int(v in cloudy) for v in values]


@pytest.mark.parametrize("label", ["summary", "truth"])
def test_other_masks_can_be_the_label(tmp_path, write_hdf, scene_arrays, label):
    mask = scene_arrays(64, 80, 9)[label]
    scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf", bayes=None, **{label: mask}), label=label)
    assert (scene.label[:, 2:-2] == mask[:, 2:-2, 0]).all()


def test_scene_without_label_can_be_read_where_none_is_needed(tmp_path, write_hdf):
    path = write_hdf(tmp_path / "S3A_x.hdf", bayes=None)
    assert read_scene(path, need_label=False).label is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bayes": None}, "holds no 'bayes'"),
        ({"bts": None}, "holds no 'bts'"),
        ({"bts": np.ones((64, 80, 2))}, r"'bts' \(64, 80, 2\)"),
        ({"refs": np.ones((60, 80, 6))}, r"'refs' has shape \(60, 80, 6\)"),
        ({"refs": np.ones(6)}, r"'refs' has shape \(6,\)"),
        ({"bayes": np.zeros((64, 79, 1), np.uint8)}, r"'bayes' has shape \(64, 79, 1\)"),
        ({"bayes": np.full((64, 80, 1), 255, np.uint8)}, "'bayes' is 255 .* not computed"),
        ({"bts": np.zeros((64, 80, 3)), "refs": np.zeros((64, 80, 6))}, "no measurement at all"),
    ],
)
def test_unusable_hdf_scene_is_refused_in_one_line_with_its_path(
    tmp_path, write_hdf, changes, message
):
    path = write_hdf(tmp_path / "S3A_x.hdf", **changes)
    with pytest.raises(SceneError, match=message) as caught:
        read_scene(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_truncated_and_foreign_files_are_refused_in_one_line(tmp_path, write_hdf):
    whole = write_hdf(tmp_path / "S3A_x.hdf").read_bytes()
    np.save(tmp_path / "array.npy", np.ones(3))
    for name, content in (
        ("S3A_cut.hdf", whole[: len(whole) // 2]),
        ("S3A_empty.hdf", b""),
        ("S3A_text.hdf", b"<html>not found</html>"),
        ("cut.npz", b"PK\x03\x04 and no more"),
        ("text.npz", b"<html>not found</html>"),
        ("empty.npz", b""),
        ("array.npz", (tmp_path / "array.npy").read_bytes()),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SceneError, match="cannot be read") as caught:
            read_scene(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_damaged_compressed_data_is_refused(tmp_path, scene_arrays):
    path = tmp_path / "S3A_x.hdf"
    with h5py.File(path, "w") as file:
        for name, array in scene_arrays(64, 80, 0).items():
            file.create_dataset(name, data=array, compression="gzip", chunks=True)
        offset = file["bts"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = b"x" * 200
    path.write_bytes(content)
    with pytest.raises(SceneError, match="cannot be read as HDF5"):
        read_scene(path)


def test_arrays_that_are_large_by_their_header_alone_are_not_read(tmp_path, write_hdf):
    path = write_hdf(tmp_path / "S3A_x.hdf", bts=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("bts", (10**6, 10**6, 3), "f4", chunks=(64, 80, 3))
    with pytest.raises(SceneError, match="'bts' would have 12000000000000 bytes, made of 0"):
        read_scene(path)
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**9, 3)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file, file.open("image.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, header)
    with pytest.raises(SceneError, match=r"a\.npz: .*; "):
        read_scene(tmp_path / "a.npz")


def write_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_npz_scene_of_any_number_type_is_read_with_its_names(tmp_path):
    label = np.array([[0, 1, 2], [255, 1, 0]])
    for kind in (np.uint8, np.int16, np.uint16, np.float32, np.float64):
        image = np.arange(12).reshape(2, 3, 2).astype(kind)
        path = write_npz(
            tmp_path / "a.b.npz", image=image, label=label, channels=["x", "y"], classes=list("pqr")
        )
        scene = read_scene(path)
        assert (scene.name, scene.channels, scene.classes) == ("a.b", ("x", "y"), ("p", "q", "r"))
        assert scene.image.dtype == np.float32
        assert (scene.image == image).all()
        assert (scene.label == label).all()


def test_npz_names_have_defaults_and_at_least_two_classes(tmp_path):
    image, label = np.ones((2, 2, 3)), np.zeros((2, 2), bool)
    scene = read_scene(write_npz(tmp_path / "a.npz", image=image, label=label))
    assert scene.channels == ("band_1", "band_2", "band_3")
    assert scene.classes == ("class_0", "class_1")


def test_npz_pixel_missing_in_every_channel_is_unlabelled(tmp_path):
    image = np.ones((2, 2, 2))
    image[0, 0], image[0, 1, 0], image[1, 1] = np.nan, np.nan, np.inf
    scene = read_scene(write_npz(tmp_path / "a.npz", image=image, label=np.ones((2, 2), int)))
    assert scene.label.tolist() == [[255, 1], [1, 255]]
    assert np.isnan(scene.image).sum() == 5


def test_npz_truth_can_be_the_label(tmp_path):
    image, label, truth = np.ones((2, 2, 1)), np.zeros((2, 2), int), np.ones((2, 2), int)
    path = write_npz(tmp_path / "a.npz", image=image, label=label, truth=truth)
    assert (read_scene(path).label == 0).all()
    assert (read_scene(path).truth == 1).all()
    assert (read_scene(path, label="truth").label == 1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "holds no 'image'"),
        ({"label": None}, "holds no 'label'"),
        ({"image": np.ones((4, 4))}, r"'image' is float64 of shape \(4, 4\)"),
        ({"image": np.full((4, 4, 2), "a")}, "'image' is <U1"),
        ({"image": np.full((4, 4, 2), np.nan)}, "no measurement at all"),
        ({"image": np.array([{}, {}])}, "cannot be read"),  # would need pickle
        ({"label": np.zeros((4, 5), int)}, r"'label' has shape \(4, 5\)"),
        ({"label": np.zeros((4, 4))}, "label is float64"),
        ({"label": np.full((4, 4), 2)}, "holds the value 2 but there are 2 classes"),
        ({"label": np.full((4, 4), 257)}, "holds the value 257"),
        ({"label": np.full((4, 4), -1)}, "holds the value -1"),
        ({"label": np.full((4, 4), 255)}, "no measured pixel has a label"),
        ({"channels": ["a", "b", "c"]}, "2 channels but 3 names"),
        ({"channels": ["a", "a"]}, "different names"),
        ({"classes": [0, 1]}, "as strings"),
    ],
)
def test_unusable_npz_scene_is_refused_in_one_line_with_its_path(tmp_path, changes, message):
    arrays = {
        "image": np.ones((4, 4, 2)),
        "label": np.eye(4, dtype=int),
        "channels": ["a", "b"],
        "classes": ["no", "yes"],
    } | changes
    kept = {name: array for name, array in arrays.items() if array is not None}
    path = write_npz(tmp_path / "a.npz", **kept)
    with pytest.raises(SceneError, match=message) as caught:
        read_scene(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_file_and_unknown_suffix_are_refused(tmp_path):
    with pytest.raises(SceneError, match="No such file"):
        read_scene(tmp_path / "S3A_gone.hdf")
    with pytest.raises(SceneError, match="known kind"):
        read_scene(tmp_path / "scene.jpg")


def paths_found(paths):
    return [entry.path for entry in find_scenes(paths)]


def test_scenes_are_found_below_folders_and_sorted_by_name(tmp_path):
    for name in (
        "z/day/S3A_2.hdf",
        "a/night/S3B_1.hdf",
        "a/S3A_3.h5",
        "m/x.npz",
        "m/S3A_1.hdf5",
        "m/other.hdf",
        "m/S3A_9.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.name for path in paths_found([tmp_path])]
    assert found == ["S3A_1.hdf5", "S3A_2.hdf", "S3A_3.h5", "S3B_1.hdf", "x.npz"]
    assert paths_found([tmp_path / "m/other.hdf"]) == [tmp_path / "m/other.hdf"]
    assert len(find_scenes([tmp_path / "a", tmp_path / "m/x.npz"])) == 3
    assert len(find_scenes([tmp_path / "a", tmp_path / "m/../a"])) == 2


def test_links_to_folders_are_followed_once_even_in_a_circle(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/S3A_1.hdf").touch()
    (tmp_path / "real/loop").symlink_to(tmp_path / "real")
    (tmp_path / "search").mkdir()
    (tmp_path / "search/link").symlink_to(tmp_path / "real")
    assert paths_found([tmp_path / "search"]) == [tmp_path / "search/link/S3A_1.hdf"]


def test_patch_sets_below_a_folder_are_passed_over(tmp_path):
    (tmp_path / "S3A_1.hdf").touch()
    for name, content in (
        ("done/manifest.json", '{"format": "cloudmask patch set"}'),
        ("unfinished/.prepare/x.json", ""),
        ("download/manifest.json", "{}"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(content)
    for name in ("done/train/S3A_1.h5", "unfinished/train/S3A_1.h5", "download/day/S3A_2.h5"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert paths_found([tmp_path]) == [tmp_path / "S3A_1.hdf", tmp_path / "download/day/S3A_2.h5"]


def test_two_scenes_of_one_name_are_refused_with_both_paths(tmp_path):
    for folder in ("day", "night"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "S3A_1.hdf").touch()
    with pytest.raises(ValueError, match=r"day/S3A_1\.hdf.*night/S3A_1\.hdf|night.*day"):
        find_scenes([tmp_path])


def test_nothing_found_and_nothing_there_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match=r"no scenes found under .*expected S3A\*\.hdf"):
        find_scenes([tmp_path])
    with pytest.raises(ValueError, match="does not exist"):
        find_scenes([tmp_path / "typo"])
    (tmp_path / "x.tif").touch()
    with pytest.raises(ValueError, match="is no scene"):
        find_scenes([tmp_path / "x.tif"])


@pytest.mark.real
def test_real_scenes_of_three_sensors_are_read(real_data):
    cloud = {}
    for name, channels in (
        ("landsat/landsat5", 6),
        ("landsat/landsat7", 6),
        ("seaice/bohai_date1", 3),
    ):
        scene = read_scene(real_data / f"{name}.npz")
        assert scene.image.shape[2] == len(scene.channels) == channels
        assert not np.isnan(scene.image).any()
        cloud[name] = (scene.label == 1).mean()
    expected = {"landsat/landsat5": 0.328, "landsat/landsat7": 0.360, "seaice/bohai_date1": 0.225}
    assert cloud == pytest.approx(expected, abs=1e-3)


@pytest.mark.real
def test_real_file_of_another_layout_is_refused_with_what_it_holds(real_data):
    with pytest.raises(SceneError, match=r"holds no 'image' \(but radiance, bt, "):
        read_scene(real_data / "slstr/slstr_20170313_24x30.npz")


def test_reading_warns_of_nothing(tmp_path, write_hdf, scene_arrays):
    arrays = scene_arrays(64, 80, 0)
    arrays["bayes"] = np.where(arrays["bayes"] > 2, np.nan, arrays["bayes"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = read_scene(write_hdf(tmp_path / "S3A_x.hdf", **arrays))
    assert (scene.label == UNKNOWN).sum() > 64 * 4
