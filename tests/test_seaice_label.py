"""`label` as it is used: real processes on real files."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from cloudmask.cli.errors import UsageError
from cloudmask.files import sha256_of
from cloudmask.metrics import UNKNOWN
from seaice import __main__ as cli
from seaice import colour, one_scene
from seaice.colour import THICK, THIN, WATER
from seaice.engines import Engine
from seaice.io import sources
from seaice.rule import Rule, label_scene

ROOT = Path(__file__).resolve().parents[1]
UTM = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 1600000.0, 0.0), True),
    (34735, "H", 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
]


def scene(seed=0, size=64):
    """Snow, a lead of water, a band of thin ice, and a black corner."""
    rng = np.random.default_rng(seed)
    value = np.full((size, size), 232)
    value[:, size // 3 : size // 2] = 100 + seed % 30
    value[size // 3 : size // 2] = 12
    image = np.repeat((value + rng.integers(-3, 4, value.shape))[..., None], 3, axis=2)
    image = image.astype(np.uint8)
    rows, columns = np.indices(value.shape)
    image[rows + columns < 12] = 0
    return image


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path


@pytest.fixture
def archive(tmp_path):
    for number in range(5):
        write(tmp_path / f"scenes/scene_{number}.png", scene(number))
    path = tmp_path / "scenes/deep/placed.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, scene(9), photometric="rgb", extratags=UTM)
    return tmp_path / "scenes"


def run(*words, seconds=120):
    done = subprocess.run(
        [sys.executable, "-m", "seaice", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout, done.stderr


def read_label(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_labels_pictures_and_records_are_written(archive, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["label", str(archive), "--out", str(out), "--filter", "none"]) == 0
    found = read_label(out / "labels/scene_3.png")
    value = colour.brightness(scene(3))
    expected = colour.classify(value)
    rows, columns = np.indices(value.shape)
    expected[rows + columns < 12] = UNKNOWN
    assert np.array_equal(found, expected)
    picture = cv2.imread(str(out / "pictures/scene_3.png"))[..., ::-1]
    assert np.array_equal(picture, colour.picture(expected))
    record = json.loads((out / "records/scene_3.json").read_text())
    assert record["pixels"] == {
        "thick_ice": int((expected == THICK).sum()),
        "thin_ice": int((expected == THIN).sum()),
        "open_water": int((expected == WATER).sum()),
    }
    assert record["unknown_pixels"] == 78
    assert sum(record["fractions"].values()) == pytest.approx(1)
    assert record["area_km2"] is None
    assert record["done"]["missing_pixels"] == 78


def test_a_geotiff_gives_a_geotiff_and_areas(archive, tmp_path):
    out = tmp_path / "out"
    cli.main(["label", str(archive), "--out", str(out)])
    with tifffile.TiffFile(out / "labels/placed.tif") as file:
        tags = file.pages[0].tags
        assert [tags[code].value for code, *_ in UTM] == [value for _, _, _, value, _ in UTM]
        assert tags[42113].value == "255"
    record = json.loads((out / "records/placed.json").read_text())
    for name, pixels in record["pixels"].items():
        assert record["area_km2"][name] == pytest.approx(pixels * 1e-4)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["scenes_with_area"] == 1
    assert summary["scenes"] == 6


def test_a_second_run_does_only_what_is_not_done(archive, tmp_path, capsys, tree):
    words = ["label", str(archive), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    before = tree(tmp_path / "out")
    capsys.readouterr()
    assert cli.main(words) == 0
    assert "0 scenes labelled" in capsys.readouterr().out
    (tmp_path / "out/labels/scene_1.png").write_bytes(b"damaged")
    write(archive / "scene_2.png", scene(77, 48))
    (tmp_path / "out/records/scene_3.json").unlink()
    assert cli.main(words) == 0
    assert "3 scenes labelled" in capsys.readouterr().out
    after = tree(tmp_path / "out")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "summary.json",
        *(f"{folder}/scene_2.png" for folder in ("labels", "pictures")),
        "records/scene_2.json",
    }


def test_a_doctored_record_means_the_scene_is_labelled_again(archive, tmp_path):
    """Whatever files it names: those of another scene, or of elsewhere."""
    out, place = tmp_path / "out", archive / "scene_3.png"
    assert run("label", place, "--out", out)[0] == 0
    settings = one_scene.Settings(str(out), Rule())
    record = out / "records/scene_3.json"
    values = json.loads(record.read_text())
    found = sources.find([str(place)], apart_from=out)[0]
    other = {"label": str(place), "label_sha256": sha256_of(place)}
    for change in (
        other,
        {"label": "../scenes/scene_3.png"} | {"label_sha256": other["label_sha256"]},
        {"label": 7},
        {"label": ["labels"]},
        {"options": "none"},
        {"pixels": dict.fromkeys(values["pixels"], "many")},
        {"label_sha256": None},
        {"km2_per_pixel": "wide"},
    ):
        record.write_text(json.dumps(values | change))
        assert one_scene.already_done(found, settings) is None, change
    record.write_text(json.dumps(values))
    assert one_scene.already_done(found, settings) is not None


def test_other_options_in_the_same_folder_are_refused(archive, tmp_path):
    words = ["label", str(archive), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    with pytest.raises(ValueError, match=r"other options \(rule differ\)"):
        cli.main([*words, "--thresholds", "adaptive"])


def test_labels_inside_the_folder_of_scenes_are_no_scenes(archive, capsys):
    words = ["label", str(archive), "--out", str(archive / "labels")]
    assert cli.main(words) == 0
    assert cli.main(words) == 0
    assert "6 were there" in capsys.readouterr().out


def test_land_is_unknown_where_a_mask_says_so(archive, tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[40:] = 1
    write(tmp_path / "land/scene_0.png", mask)
    write(tmp_path / "land/scene_1.png", mask[:9])
    words = ["label", str(archive), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--land", str(tmp_path / "land")]) == 1
    assert (read_label(tmp_path / "out/labels/scene_0.png")[40:] == UNKNOWN).all()
    failed = json.loads((tmp_path / "out/summary.json").read_text())["failed"]
    assert [Path(place).name for place in failed] == ["scene_1.png"]


def test_thresholds_come_from_a_file(archive, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("water_max: 10\nthick_min: 100\n")
    words = ["label", str(archive), "--out", str(tmp_path / "out"), "--filter", "none"]
    assert cli.main([*words, "--thresholds", str(path)]) == 0
    value = colour.brightness(scene(1))
    found = read_label(tmp_path / "out/labels/scene_1.png")
    known = found != UNKNOWN
    assert np.array_equal(found[known], colour.classify(value, colour.Thresholds(10, 100))[known])
    for text in ("water_max: 10", "- 1", "water_max: 300\nthick_min: 301", "a: [", "water_max: x"):
        path.write_text(text)
        with pytest.raises(ValueError, match="water_max"):
            cli.main([*words, "--thresholds", str(path)])


BROKEN = ("corrupt", "empty", "one_band", "sixteen_bit")


def hundred_files(folder):
    """96 scenes and four files that cannot be used."""
    for number in range(96):
        write(folder / f"scene_{number:02d}.png", scene(number))
    content = (folder / "scene_00.png").read_bytes()
    (folder / "corrupt.png").write_bytes(content[: len(content) // 2])
    (folder / "empty.png").write_bytes(b"")
    write(folder / "one_band.png", scene(1)[..., 0])
    write(folder / "sixteen_bit.png", scene(1).astype(np.uint16) * 256)
    return folder


@pytest.mark.parametrize("engine", [("serial",), ("processes", "--workers", "2")])
def test_four_broken_files_among_100_are_named_and_the_others_labelled(tmp_path, engine):
    folder = hundred_files(tmp_path / "scenes")
    code, out, err = run("label", folder, "--out", tmp_path / "out", "--engine", *engine)
    assert code == 1
    assert "96 scenes labelled" in out
    assert "4 failed" in out
    lines = err.splitlines()
    assert len(lines) == 4
    for name in BROKEN:
        assert sum(f"{name}.png" in line for line in lines) == 1
    assert len(list((tmp_path / "out/labels").iterdir())) == 96
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert sorted(Path(place).stem for place in summary["failed"]) == sorted(BROKEN)


def test_processes_write_the_bytes_that_serial_writes(archive, tmp_path, tree):
    for engine in ("serial", "processes"):
        words = ["label", archive, "--out", tmp_path / engine, "--engine", engine]
        code, _, err = run(*words, "--thresholds", "adaptive")
        assert (code, err) == (0, "")
    expected, found = (tree(tmp_path / engine) for engine in ("serial", "processes"))
    del expected["summary.json"], found["summary.json"]
    assert found == expected
    assert len(expected) == 18


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nowhere"], "does not exist"),
        (["{scenes}", "--workers", "2"], "--workers is for the engines"),
        (["{scenes}", "--engine", "processes", "--workers", "0"], "must be 1 or more"),
        (["{scenes}", "--master", "local[2]"], "add --engine spark"),
        (["{scenes}", "--thresholds", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["{scenes}", "--stretch", "5", "5"], "the first value must be below"),
        (["{scenes}", "--pixel-metres", "0"], "must be above 0"),
        (["{scenes}", "--land", "nowhere"], "is not a folder"),
        (["s3a://bucket/scenes"], "add --engine spark"),
        (["s3a://bucket/scenes", "{scenes}"], "either paths or URIs"),
        (["{scenes}", "{scenes}/../other"], "two scenes are named scene_0"),
        ([], "give scenes to label"),
    ],
)
def test_what_the_user_must_mend_is_one_line(archive, tmp_path, words, problem):
    write(tmp_path / "other/scene_0.png", scene())
    words = [word.format(scenes=archive) for word in words]
    with pytest.raises((ValueError, UsageError), match=problem) as caught:
        cli.main(["label", *words, "--out", str(tmp_path / "out")])
    assert "\n" not in str(caught.value)


def test_a_command_that_is_not_there_is_told():
    code, _, err = run("lable")
    assert code == 2
    assert "there is no command 'lable'" in err


def test_a_full_disk_stops_the_work(archive, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(one_scene, "write_whole", full)
    with pytest.raises(ValueError, match="the disk is full: make room"):
        cli.main(["label", str(archive), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out/summary.json").exists()


def test_a_scene_without_a_measurement_is_all_unknown():
    black = np.zeros((9, 9, 3), np.uint8)
    for rule in (Rule(), Rule(adaptive=True), Rule(filter="none"), Rule(filter="published")):
        assert (label_scene(black, np.ones((9, 9), bool), rule).label == UNKNOWN).all()


def test_sources_are_sorted_by_name(archive):
    found = sources.find([str(archive)], apart_from=Path("out"))
    names = [source.name for source in found]
    assert names == ["placed", *(f"scene_{number}" for number in range(5))]
    assert Engine().num_workers >= 1
