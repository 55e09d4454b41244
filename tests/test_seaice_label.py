"""`label` as it is used: real processes on real files."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
import tifffile

from cloudmask.cli.errors import UsageError
from cloudmask.files import sha256_of
from cloudmask.metrics import UNKNOWN
from seaice import __main__ as cli
from seaice import colour, one_scene
from seaice.colour import THICK, THIN, WATER
from seaice.engines import Engine
from seaice.io import classmap, sources
from seaice.rule import Rule, label_scene

ROOT = Path(__file__).resolve().parents[1]
UTM = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 1600000.0, 0.0), True),
    (34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32758), True),
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


def run(*words, seconds=240):
    done = subprocess.run(
        [sys.executable, "-m", "seaice", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout, done.stderr


def read_label(path):
    return classmap.read(path).label


def test_labels_pictures_and_records_are_written(archive, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["label", str(archive), "--out", str(out), "--filter", "none"]) == 0
    found = read_label(out / "labels/scene_3.tif")
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


@pytest.mark.parametrize(
    ("kind", "expected"), [("published", THIN), ("guarded", THICK), ("none", THICK)]
)
def test_each_filter_is_the_one_of_its_name(tmp_path, kind, expected):
    """The published one makes even snow thin: everything is as its background."""
    snow = write(tmp_path / "scenes/snow.png", np.full((64, 64, 3), 230, np.uint8))
    assert cli.main(["label", str(snow), "--out", str(tmp_path / "out"), "--filter", kind]) == 0
    assert (read_label(tmp_path / "out/labels/snow.tif") == expected).all()
    record = json.loads((tmp_path / "out/records/snow.json").read_text())
    assert record["rule"]["filter"] == kind
    assert record["done"].get("filter", {}).get("kind", "none") == kind


def test_a_geotiff_gives_a_geotiff_and_areas(archive, tmp_path):
    out = tmp_path / "out"
    cli.main(["label", str(archive), "--out", str(out)])
    with rasterio.open(out / "labels/deep__placed.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.nodata, file.crs.to_epsg()) == (255, 32758)
        assert tuple(file.transform)[:6] == (10, 0, 5e5, 0, -10, 1.6e6)
        colours = file.colormap(1)
        assert {index: colours[index][:3] for index in colour.COLOURS} == colour.COLOURS
        assert json.loads(file.tags()["classes"]) == list(colour.CLASSES)
    record = json.loads((out / "records/deep__placed.json").read_text())
    assert (record["crs"], record["transform"]) == ("EPSG:32758", [10, 0, 5e5, 0, -10, 1.6e6])
    for name, pixels in record["pixels"].items():
        # At the middle meridian of UTM a metre is 0.9996 metres long.
        assert record["area_km2"][name] == pytest.approx(pixels * 1e-4 / 0.9996**2, rel=1e-5)
    assert record["unknown_km2"] == pytest.approx(78e-4 / 0.9996**2, rel=1e-5)
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
    (tmp_path / "out/labels/scene_1.tif").write_bytes(b"damaged")
    write(archive / "scene_2.png", scene(77, 48))
    (tmp_path / "out/records/scene_3.json").unlink()
    assert cli.main(words) == 0
    assert "3 scenes labelled" in capsys.readouterr().out
    after = tree(tmp_path / "out")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "summary.json",
        *("labels/scene_2.tif", "pictures/scene_2.png", "records/scene_2.json"),
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
        {"area_km2": "wide"},
        {"area_km2": dict.fromkeys(values["pixels"], "wide"), "unknown_km2": 1},
        {"area_km2": dict.fromkeys(values["pixels"], 1), "unknown_km2": None},
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


def summary_of(out):
    return json.loads((out / "summary.json").read_text())


def test_land_and_clouds_are_unknown_and_counted_apart(archive, tmp_path, capsys):
    mask = np.zeros((64, 64), np.uint8)
    mask[40:] = 1
    write(tmp_path / "land/scene_0.png", mask)
    write(tmp_path / "land/scene_1.png", mask[:9])
    write(tmp_path / "land/scene_2.png", mask)
    write(tmp_path / "cloud/scene_0.png", mask.T)
    out = tmp_path / "out"
    words = ["label", str(archive), "--out", str(out), "--land", str(tmp_path / "land")]
    assert cli.main([*words, "--clouds", str(tmp_path / "cloud")]) == 1
    label = read_label(out / "labels/scene_0.tif")
    assert (label[40:] == UNKNOWN).all()
    assert (label[:, 40:] == UNKNOWN).all()
    record = json.loads((out / "records/scene_0.json").read_text())
    counts = [record["done"][f"{kind}_pixels"] for kind in ("missing", "land", "cloud")]
    assert counts == [78, 24 * 64, 24 * 40]
    assert record["unknown_pixels"] == sum(counts)
    assert record["without"] == []
    summary = summary_of(out)
    assert [Path(place).name for place in summary["failed"]] == ["scene_1.png"]
    assert summary["scenes_without"] == {"--land": 3, "--clouds": 4}
    told = capsys.readouterr()
    assert "3 scenes (deep__placed, ...): --land has no mask of it" in told.err
    assert "4 scenes (deep__placed, ...): --clouds has no mask of it" in told.err
    assert "3 without --land | 4 without --clouds" in told.out


def test_a_changed_mask_labels_its_scene_again(archive, tmp_path):
    """Whether it lies in a folder, or is one for all scenes."""
    out, land = tmp_path / "out", tmp_path / "land"
    write(land / "scene_0.png", np.ones((64, 64), np.uint8))
    words = ["label", str(archive), "--out", str(out), "--land", str(land)]
    assert cli.main(words) == 0
    assert cli.main(words) == 0
    assert summary_of(out)["labelled_now"] == 0
    assert summary_of(out)["scenes_without"] == {"--land": 5}
    write(land / "scene_0.png", np.zeros((64, 64), np.uint8))
    assert cli.main(words) == 0
    assert summary_of(out)["labelled_now"] == 1
    assert (read_label(out / "labels/scene_0.tif") != UNKNOWN).any()


def test_clouds_of_a_product_are_asked_of_products_alone(archive, tmp_path, capsys):
    words = ["label", str(archive), "--out", str(tmp_path / "out"), "--clouds", "scl"]
    assert cli.main(words) == 0
    told = "6 scenes (deep__placed, ...): it has no scene classification"
    assert told in capsys.readouterr().err
    assert summary_of(tmp_path / "out")["scenes_without"] == {"--clouds": 6}


@pytest.mark.parametrize("crs", ["nowhere", "unknown"])
def test_a_scene_on_no_known_ground_has_no_areas_and_says_so(tmp_path, crs, capsys):
    wkt = {"nowhere": 'LOCAL_CS["a hall",UNIT["metre",1]]', "unknown": None}[crs]
    place = {"crs": wkt, "transform": rasterio.Affine(10, 0, 5, 0, -10, 7)} if wkt else {}
    (tmp_path / "scenes").mkdir()
    layout = {"height": 64, "width": 64, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        path = tmp_path / "scenes/a.tif"
        with rasterio.open(path, "w", driver="GTiff", **layout, **place) as file:
            file.write(np.moveaxis(scene(), -1, 0))
    words = ["label", str(path), "--out"]
    assert cli.main([*words, str(tmp_path / "out")]) == 0
    told = capsys.readouterr().err
    assert ("a: it has no areas: its CRS (Engineering CRS a hall)" in told) == (crs == "nowhere")
    assert summary_of(tmp_path / "out")["area_km2"] is None
    assert cli.main([*words, str(tmp_path / "sized"), "--pixel-metres", "1000"]) == 0
    summary = summary_of(tmp_path / "sized")
    assert summary["area_km2"] == pytest.approx(summary["pixels"])
    assert summary["unknown_km2"] == pytest.approx(78)


def test_areas_of_web_mercator_are_those_of_the_ground(tmp_path):
    """A file that fails lies beside the real data."""
    folder = os.environ.get("CLOUDMASK_REAL_DATA")
    if not folder:
        pytest.skip("CLOUDMASK_REAL_DATA does not name the folder with the real data")
    path = Path(folder).parent / "inputs/epsg3857.tif"
    assert cli.main(["label", str(path), "--out", str(tmp_path / "out")]) == 0
    summary = summary_of(tmp_path / "out")
    pixels = sum(summary["pixels"].values()) + summary["unknown_pixels"]
    km2 = sum(summary["area_km2"].values()) + summary["unknown_km2"]
    assert np.sqrt(km2 / pixels) * 1000 == pytest.approx(25.9, abs=0.3)


def test_a_refused_run_leaves_the_summary(archive, tmp_path):
    out = tmp_path / "out"
    assert cli.main(["label", str(archive), "--out", str(out)]) == 0
    before = (out / "summary.json").read_bytes()
    for more in (["--thresholds", "adaptive"], ["--land", "nowhere"], ["--config", "nowhere"]):
        with pytest.raises(ValueError, match=r"differ\)|does not exist|cannot read"):
            cli.main(["label", str(archive), "--out", str(out), *more])
        assert (out / "summary.json").read_bytes() == before


@pytest.mark.parametrize("uri", ["s3a://bucket/out", "hdfs:/out", "file:///tmp/out"])
def test_results_are_not_written_to_a_uri(archive, tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    needed = {
        "label": [str(archive)],
        "synth": [],
        "scenes": [str(archive)],
        "prepare": [str(archive), "--labels", str(archive)],
        "evaluate": ["--predictions", f"a={archive}", "--against", f"b={archive}"],
        "series": [str(archive)],
    }
    before = sorted(tmp_path.iterdir())
    for command in cli.COMMANDS:
        with pytest.raises(UsageError, match="is a URI, and results are written to folders"):
            cli.main([command, *needed[command], "--out", uri])
    assert sorted(tmp_path.iterdir()) == before


def test_a_doctored_record_reaches_nothing_outside_its_folder(tmp_path):
    path = write(tmp_path / "scenes/a.png", scene())
    words = ["label", str(path), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    record = tmp_path / "out/records/a.json"
    values, content = json.loads(record.read_text()), path.read_bytes()
    for label in ("../scenes/a.png", str(path), "labels/../../scenes/a.png", ["labels/a.png"]):
        doctored = {"label": label, "label_sha256": sha256_of(path), "scene": "../../a"}
        record.write_text(json.dumps(values | doctored))
        assert cli.main(words) == 0
        assert path.read_bytes() == content
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    ours = {"out/labels/a.tif", "out/pictures/a.png", "out/records/a.json", "out/summary.json"}
    assert names == {"scenes/a.png", *ours}


def test_thresholds_come_from_a_file(archive, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("water_max: 10\nthick_min: 100\n")
    words = ["label", str(archive), "--out", str(tmp_path / "out"), "--filter", "none"]
    assert cli.main([*words, "--thresholds", str(path)]) == 0
    value = colour.brightness(scene(1))
    found = read_label(tmp_path / "out/labels/scene_1.tif")
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
    told = set()
    for engine in ("serial", "processes"):
        words = ["label", archive, "--out", tmp_path / engine, "--engine", engine]
        code, _, err = run(*words, "--thresholds", "adaptive")
        assert code == 0, err
        told.add(err)
    assert len(told) == 1  # of the exposure, once for all scenes
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
        (["{scenes}", "--land", "nowhere"], "--land nowhere does not exist"),
        (["{scenes}", "--clouds", "nowhere"], "--clouds nowhere does not exist"),
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
    assert names == ["deep__placed", *(f"scene_{number}" for number in range(5))]
    assert Engine().num_workers >= 1
