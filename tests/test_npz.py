"""Place and time of `.npz` scenes, and archives that are damaged."""

import contextlib
import datetime
import io
import re
import resource
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError

UTM = 'PROJCRS["WGS 84 / UTM zone 33N",BASEGEOGCRS["WGS 84",DATUM["d"]],CONVERSION["c"]]'
GRID = {"crs": "EPSG:32633", "transform": [30.0, 0, 5e5, 0, -30, 6e6]}
SWATH = {"latitude": np.full((4, 5), 89.5), "longitude": np.full((4, 5), 359, np.int16)}
TIMES = {"start": "2017-03-13T11:00:00Z", "stop": "2017-03-13T12:03:00+01:00"}


def write(path, **more):
    np.savez(path, image=np.ones((4, 5, 2)), label=np.zeros((4, 5), np.uint8), **more)
    return path


def test_place_and_time_of_an_npz_are_the_scenes(tmp_path):
    scene = read_scene(write(tmp_path / "a.npz", **GRID, **SWATH, **TIMES))
    assert (scene.crs, scene.transform) == ("EPSG:32633", (30, 0, 5e5, 0, -30, 6e6))
    assert scene.latitude.dtype == scene.longitude.dtype == np.float32
    assert (scene.latitude == 89.5).all()
    assert (scene.longitude == 359).all()
    assert (scene.start, scene.stop) == ("2017-03-13T11:00:00Z", "2017-03-13T11:03:00Z")
    nothing = read_scene(write(tmp_path / "b.npz"))
    fields = ("crs", "transform", "latitude", "longitude", "start", "stop")
    assert [getattr(nothing, name) for name in fields] == [None] * 6


def test_place_and_time_may_have_other_forms(tmp_path):
    latitude = SWATH["latitude"].copy()
    latitude[0, 0] = np.nan
    matrix = np.array([[10, 1, 7], [2, -10, 8], [0, 0, 1]])
    moment = np.datetime64("2017-03-13T11:00:00.250")
    changes = {"crs": UTM, "transform": matrix, "latitude": latitude, "start": moment}
    path = write(tmp_path / "a.npz", **{**SWATH, **changes})
    scene = read_scene(path)
    assert (scene.crs, scene.transform) == (UTM, (10, 1, 7, 2, -10, 8))
    assert np.isnan(scene.latitude).sum() == 1
    assert (scene.start, scene.stop) == ("2017-03-13T11:00:00.250000Z", None)
    assert datetime.datetime.fromisoformat(scene.start).microsecond == 250_000


def test_whole_numbers_are_missing_where_a_mask_says_so(tmp_path):
    image, missing = np.full((4, 5, 2), 7, np.uint8), np.zeros((4, 5), bool)
    missing[1, 2] = True
    path = tmp_path / "a.npz"
    np.savez(path, image=image, label=np.ones((4, 5), np.uint8), missing=missing)
    scene = read_scene(path)
    assert np.array_equal(np.isnan(scene.image), np.repeat(missing[..., None], 2, axis=2))
    assert scene.image[0, 0].tolist() == [7, 7]
    assert np.array_equal(scene.label == 255, missing)
    for wrong in (missing[:3], missing.astype(np.uint8), np.array("yes")):
        with pytest.raises(SceneError, match=r"'missing' is .*; store bool"):
            read_scene(write(path, missing=wrong))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crs": "EPSG:32633"}, "holds 'crs' but no 'transform', it is read without 'crs'"),
        ({"transform": GRID["transform"]}, "holds 'transform' but no 'crs'"),
        ({"longitude": SWATH["longitude"]}, "holds 'longitude' but no 'latitude'"),
        ({"stop": TIMES["stop"]}, "holds 'stop' but no 'start'"),
        (GRID | {"crs": 32633}, r"'crs' is int64 of shape \(\), it is .*; store it as one text"),
        (GRID | {"crs": "the usual one"}, "'crs' is 'the usual one'.*; store EPSG:NUMBER, or"),
        (GRID | {"crs": UTM[:-1]}, "'crs' is 'PROJCRS.*; store EPSG:NUMBER"),
        (GRID | {"crs": [{}]}, "cannot read 'crs' .*is stored as Python objects"),
        (GRID | {"transform": np.eye(2)}, r"'transform' is float64 of shape \(2, 2\)"),
        (GRID | {"transform": [1, 0, 0, 0, 0, 0]}, "places no pixels"),
        (GRID | {"transform": [1, 0, np.nan, 0, 1, 0]}, "places no pixels"),
        (GRID | {"transform": np.ones((3, 3))}, "places no pixels"),
        (SWATH | {"latitude": np.zeros((5, 4))}, r"'latitude' is float64 of shape \(5, 4\)"),
        (SWATH | {"latitude": np.full((4, 5), "N")}, "'latitude' is <U1"),
        (
            SWATH | {"latitude": np.full((4, 5), 91)},
            "'latitude' holds 91.* without 'lat.* and 'lon.*'; store degrees",
        ),
        (SWATH | {"longitude": np.full((4, 5), np.inf)}, "'longitude' holds inf"),
        (SWATH | {"longitude": np.linspace(0, 999, 20).reshape(4, 5)}, "'longitude' holds"),
        (SWATH | {"latitude": np.arange(4)}, r"'latitude' is int64 of shape \(4,\)"),
        (SWATH | {"latitude": np.full((4, 5), np.nan)}, "'latitude' holds no place"),
        ({"start": 1489402800}, "'start' is int64"),
        ({"start": "yesterday"}, "'start' is 'yesterday'.*; store a time like 2017"),
        ({"start": np.datetime64("NaT")}, "'start' is 'NaT'"),
        ({"start": TIMES["stop"], "stop": TIMES["start"]}, "'stop' is before 'start'"),
    ],
)
def test_a_place_or_time_that_cannot_be_is_left_out_with_a_line(tmp_path, changes, message, capsys):
    path = write(tmp_path / "a.npz", **changes)
    scene = read_scene(path)
    lines = capsys.readouterr().err.splitlines()
    assert re.search(message, lines[0])
    assert all(line.startswith(f"warning: {path}: ") for line in lines)
    assert len(lines) == 1 + (changes.get("crs") == [{}])  # whose transform is then alone
    fields = (scene.crs, scene.transform, scene.latitude, scene.longitude, scene.start, scene.stop)
    assert fields == (None,) * 6


def test_axes_fill_values_and_proj_texts_are_taken_as_they_are_meant(tmp_path, capsys):
    latitude = np.array([60, 59.5, -999, 58.5])
    axes = {"latitude": latitude, "longitude": np.arange(5)}
    proj = "+proj=utm +zone=33 +datum=WGS84 +no_defs"
    scene = read_scene(write(tmp_path / "a.npz", **(GRID | axes | {"crs": proj})))
    rows, columns = np.meshgrid(np.where(latitude < -90, np.nan, latitude), range(5), indexing="ij")
    np.testing.assert_array_equal(scene.latitude, rows)
    np.testing.assert_array_equal(scene.longitude, columns)
    assert scene.crs == proj
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
@pytest.mark.parametrize("key", ["channels", "classes"])
def test_names_that_no_file_can_hold_are_refused(tmp_path, key, name):
    with pytest.raises(SceneError, match=f"'{key}' holds 'a.*', which is no text; rename it"):
        read_scene(write(tmp_path / "a.npz", **{key: [name, "b"]}))


def test_what_unpacks_to_far_more_than_it_is_packed_in_is_refused_before(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, image=np.zeros((3000, 3000, 2), np.float32))
    with pytest.raises(SceneError, match=r"'image' would have 72000128 bytes, made of \d+\)"):
        read_scene(path, need_label=False)
    np.savez(path, image=np.zeros((300, 300, 2), np.float32))
    assert read_scene(path, need_label=False).image.shape == (300, 300, 2)


def test_a_header_that_says_more_than_there_is_takes_no_memory(tmp_path):
    """By a process that may have 3 GB: the array would be 80 GB."""
    content = io.BytesIO()
    np.save(content, np.ones((4, 5, 2)))
    shape, larger = b"(4, 5, 2), }", b"(99999, 99999, 1), }"
    doctored = content.getvalue().replace(shape.ljust(len(larger)), larger)
    assert len(doctored) == len(content.getvalue())
    assert larger in doctored
    path = tmp_path / "a.npz"
    write(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", doctored)
    code = "import sys; from cloudmask.data.read import read_scene; read_scene(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30)),
    )
    assert done.stderr.splitlines()[-1].startswith("cloudmask.data.scene.SceneError: ")
    assert "of shape (99999, 99999, 1), which is not its size" in done.stderr.splitlines()[-1]


def test_damaged_archives_are_scenes_or_one_line(tmp_path):
    """400 of them, seeded: bytes changed, cut out, doubled."""
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    write(path, **GRID, **SWATH, **TIMES)
    plain = path.read_bytes()
    np.savez_compressed(path, image=np.ones((4, 5, 2)), label=np.zeros((4, 5), int), **GRID)
    packed = path.read_bytes()
    refused = 0
    for number in range(400):
        content = bytearray(plain if number % 2 else packed)
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(len(content)))
            match rng.integers(3):
                case 0:
                    content[place] ^= 1 << int(rng.integers(8))
                case 1:
                    del content[place : place + int(rng.integers(1, 200))]
                case 2:
                    content[place:place] = content[place : place + int(rng.integers(1, 200))]
        victim = tmp_path / "b.npz"
        victim.write_bytes(content)
        with contextlib.suppress(SceneError):
            read_scene(victim)
            continue
        refused += 1
    assert refused > 200
