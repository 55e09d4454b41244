"""The series where class maps are broken, where longitudes end, and where regions are not seen."""

import csv
import functools
import json

import h5py
import numpy as np
import pytest
from test_seaice_series import DAY, classes, grid, pixels, regions, rows, run, write

from cloudmask.data.parallel import Outcome
from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SceneMask, write_mask
from seaice import __main__ as cli
from seaice import engines
from seaice.colour import CLASSES
from seaice.ground import pixel_km2
from seaice.io import classmap
from seaice.io.grid import Grid
from seaice.series import command, layers
from seaice.series.count import count

pyproj, shapely = pytest.importorskip("pyproj"), pytest.importorskip("shapely")
rasterio = pytest.importorskip("rasterio")

STEP, SIDE = 25, 40
"""columns from one scene of a strip to the next, and rows and columns of a scene"""


def strip(folder, seeds=(1, 2, 3)):
    """Scenes t0, t1, t2, of which neighbours overlap, as they are written."""
    places = {f"t{n}": grid(500_000 + 100 * STEP * n, 7_800_000) for n in range(len(seeds))}
    labels = {name: classes(seed) for name, seed in zip(places, seeds, strict=True)}
    for name, label in labels.items():
        write(folder, name, label, places[name])
    return labels, places


def mosaic_of(labels, names):
    """What a strip of these scenes counts: classes by pixel, 250 where nobody looks."""
    whole = np.full((SIDE, STEP * (len(labels) - 1) + SIDE), 250)
    for name in names:
        first = STEP * int(name[1:])
        part = whole[:, first : first + SIDE]
        better = (part == 250) | ((part == UNKNOWN) & (labels[name] != UNKNOWN))
        part[better] = labels[name][better]
    return whole


def told_pixels(whole):
    return np.count_nonzero(whole < 3), np.count_nonzero(whole == UNKNOWN)


def series_of(folder, lines=None):
    """Tallies and failures of the class maps of a folder, without table and picture."""
    found, left_out = layers.find([str(folder)], date_in_name=None)
    assert not left_out

    def count_all(todo):
        return [engines.attempt(functools.partial(count, places=()), task) for task in todo]

    return command.counted(found, count_all, pytest.fail if lines is None else lines.append)


def sums(tallies):
    """Pixels with a class, and without."""
    counted = np.sum([tally.pixels["all"] for tally in tallies], axis=0)
    return counted[:3].sum(), counted[3]


def spoil(path, where):
    """Make a class map one that fails when it is read, not when it is found."""
    if where is None:
        content = bytearray(path.read_bytes())
        content[-300:] = bytes(300)  # of the compressed pixels
        path.write_bytes(content)
    elif path.suffix == ".nc":
        with h5py.File(path, "r+") as file:
            file["mask"][where] = 7
    else:
        label = classmap.read(path).label.copy()
        label[where] = 7
        path.write_bytes(classmap.encode(label, classmap.read(path).grid, date=f"{DAY}T00:00:00Z"))


def as_mask(folder, name, label, where):
    """What `cloudmask predict` leaves of the scene, in the place of its label."""
    (folder / f"labels/{name}.tif").unlink()
    probability = np.full((*label.shape, 3), np.nan, np.float32)
    rows_of, columns = np.nonzero(label < 3)
    probability[rows_of, columns] = 0.2
    probability[rows_of, columns, label[rows_of, columns]] = 0.6
    place = {"crs": where.crs, "transform": where.transform, "start": f"{DAY}T13:20:11Z"}
    path = folder / f"labels/{name}.nc"
    write_mask(path, SceneMask(name, CLASSES, probability, None, label, **place))
    return path


def test_a_broken_class_map_takes_no_ground_with_it(tmp_path, capsys):
    labels, _ = strip(tmp_path / "l")
    spoil(tmp_path / "l/labels/t1.tif", (20, 20))
    run(tmp_path / "l", "--out", tmp_path / "out", code=1)
    expected = told_pixels(mosaic_of(labels, ["t0", "t2"]))
    assert pixels(rows(tmp_path / "out")[DAY, "all", "all"]) == expected
    path = f"{tmp_path}/l/labels/t1.tif"
    reason = f"{path} holds the value 7; classes are 0 to 2, 255 is unknown"
    assert capsys.readouterr().err.splitlines() == [f"left out: {reason}"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["left_out"] == {path: reason}


@pytest.mark.parametrize("suffix", [".tif", ".nc"])
@pytest.mark.parametrize("where", [(20, 20), (20, 3), (20, 37), None])
@pytest.mark.parametrize("bad", ["t0", "t1", "t2"])
def test_wherever_it_is_broken(bad, where, suffix, tmp_path):
    """Where its neighbours look, where it alone looks, and in the packed pixels."""
    if suffix == ".nc" and where is None:
        where = (0, 0)
    labels, places = strip(tmp_path)
    path = tmp_path / f"labels/{bad}.tif"
    if suffix == ".nc":
        path = as_mask(tmp_path, bad, labels[bad], places[bad])
    spoil(path, where)
    tallies, failed = series_of(tmp_path)
    good = [name for name in labels if name != bad]
    assert [tally.layer.name for tally in tallies] == good
    assert sums(tallies) == told_pixels(mosaic_of(labels, good))
    assert list(failed) == [str(path)]
    reason = failed[str(path)]
    assert f"{bad}{suffix}" in reason
    assert not any(f"{name}.tif" in reason for name in good)


@pytest.mark.parametrize("gone", [("t1",), ("t0", "t1"), ("t2", "t1"), ("t1", "t0")])
def test_scenes_that_were_not_reached_leave_their_overlap_to_others(gone, tmp_path):
    """A worker that was ended: nothing came of a scene at the first go, of another at the next."""
    labels, _ = strip(tmp_path)
    apart = classes(9)
    write(tmp_path, "apart", apart, grid(500_000, 7_800_000), moment="2019-11-05T00:00:00Z")
    found, _ = layers.find([str(tmp_path)], date_in_name=None)
    waiting, asked = list(gone), []

    def count_all(todo):
        lost = waiting.pop(0) if waiting else None
        asked.append([task.layer.name for task in todo])
        return [
            None if task.layer.name == lost else Outcome(value=count(task, places=()))
            for task in todo
        ]

    tallies, failed = command.counted(found, count_all, pytest.fail)
    left = [tally.layer.name for tally in tallies]
    assert left == [*(name for name in labels if name not in gone), "apart"]
    assert set(failed.values()) == {"not reached"}
    assert sums(tallies[:-1]) == told_pixels(mosaic_of(labels, left[:-1]))
    assert asked[0] == [*labels, "apart"]
    assert not any("apart" in names for names in asked[1:])  # it stands


def test_a_neighbour_that_cannot_be_read_once_is_left_out_by_all(tmp_path):
    """Else the two would not agree on who counts the ground they share."""
    labels, _ = strip(tmp_path / "l")
    found, _ = layers.find([str(tmp_path / "l")], date_in_name=None)
    path, lines, before = tmp_path / "l/labels/t1.tif", [], {}

    def count_all(todo):
        outcomes = []
        for task in todo:
            before.setdefault(path, path.read_bytes())
            path.write_bytes(b"" if task.layer.name == "t0" and not outcomes else before[path])
            outcomes.append(Outcome(value=count(task, places=())))
        return outcomes

    tallies, failed = command.counted(found, count_all, lines.append)
    assert [tally.layer.name for tally in tallies] == ["t0", "t2"]
    assert list(failed) == [str(path)]
    assert len(lines) == 1
    assert sums(tallies) == told_pixels(mosaic_of(labels, ["t0", "t2"]))


def test_a_class_map_on_no_earth_is_left_out_alone(tmp_path, capsys):
    labels, _ = strip(tmp_path / "l")
    hall = 'ENGCRS["a hall",EDATUM["x"],CS[Cartesian,2],AXIS["e",east],AXIS["n",north],UNIT["m",1]]'
    write(tmp_path / "l", "hall", classes(9), Grid(hall, (10.0, 0.0, 5.0, 0.0, -10.0, 7.0)))
    run(tmp_path / "l", "--out", tmp_path / "out", code=1)
    assert "hall.tif has no place on the ground" in capsys.readouterr().err
    assert pixels(rows(tmp_path / "out")[DAY, "all", "all"]) == told_pixels(
        mosaic_of(labels, labels)
    )


DEGREES = (0.005, 0.002)
"""of a pixel, east and north"""


def degrees(left, top):
    east, north = DEGREES
    return Grid("EPSG:4326", (east, 0.0, left, 0.0, -north, top))


def utm(longitude, shape=(60, 60), metres=300):
    """A scene of the zone that ends or begins at 180, around a place at 72 N."""
    crs = "EPSG:32601" if longitude > 180 else "EPSG:32660"
    to = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    x, y = to.transform(longitude, 72)
    half = metres * shape[0] / 2
    return grid(round(x, -2) - half, round(y, -2) + half, crs, float(metres))


def at(label, where, longitude, latitude):
    """What a class map has at places, whatever longitude they go by; 250 beyond it."""
    to = pyproj.Transformer.from_crs(4326, where.crs, always_xy=True)
    a, _, c, _, e, f = where.transform
    found = np.full(longitude.shape, 250)
    x, y = to.transform(longitude, latitude)
    for by in (-360, 0, 360) if where.crs == "EPSG:4326" else (0,):
        column, row = (np.floor(v).astype(int) for v in ((x + by - c) / a, (y - f) / e))
        inside = (column >= 0) & (column < label.shape[1]) & (row >= 0) & (row < label.shape[0])
        found[inside] = label[row[inside], column[inside]]
    return found


@pytest.mark.parametrize("left", [179.2, -180.8, 179.95, -180.05])
@pytest.mark.parametrize("beside", [179.9, 180.1, "degrees"])
def test_maps_in_degrees_that_cross_the_date_line_count_as_their_mosaic(left, beside, tmp_path):
    """A mosaic on a fine grid of equal areas, looked up place by place."""
    pairs = [(np.kron(classes(11, (20, 30)), np.ones((10, 10), np.uint8)), degrees(left, 72.2))]
    if beside == "degrees":  # the same ground by its other longitudes
        other = degrees(left - 359.5 if left > 0 else left + 360.5, 72.1)
        pairs.append((np.kron(classes(12, (10, 10)), np.ones((10, 10), np.uint8)), other))
    else:
        pairs.append((np.kron(classes(12, (6, 6)), np.ones((10, 10), np.uint8)), utm(beside)))
    axis = np.arange(-45_000, 75_000, 150.0) + 13
    x, y = np.meshgrid(axis, axis)
    equal = f"+proj=laea +lat_0=72 +lon_0={left + 0.4} +datum=WGS84"
    places = pyproj.Transformer.from_crs(equal, 4326, always_xy=True).transform(x, y)
    # The first in order counts what both know, so each is looked at from the other.
    for order in (pairs, pairs[::-1]):
        mosaic = np.full(x.shape, 250)
        for name, (label, where) in zip("ab", order, strict=True):
            write(tmp_path, name, label, where)
            seen = at(label, where, *places)
            better = (mosaic == 250) | ((mosaic == UNKNOWN) & (seen < 3))
            mosaic[better] = seen[better]
        tallies, _ = series_of(tmp_path)
        assert sum(tally.elsewhere for tally in tallies) > 1_000
        km2 = np.sum([tally.km2["all"] for tally in tallies], axis=0)
        for kind, value in enumerate((0, 1, 2, UNKNOWN)):
            expected = np.count_nonzero(mosaic == value) * 0.15**2
            assert km2[kind] == pytest.approx(expected, rel=0.01)


AROUND = {
    "over": shapely.box(179.5, 71.9, 180.5, 72.1),
    "split": shapely.MultiPolygon(
        [shapely.box(179.5, 71.9, 180, 72.1), shapely.box(-180, 71.9, -179.5, 72.1)]
    ),
    "below": shapely.box(-180.5, 71.9, -179.5, 72.1),
}
"""one region by three names"""


@pytest.mark.parametrize("place", ["polar", "degrees", "degrees below"])
def test_a_region_across_the_date_line_is_whole_by_any_longitudes(place, tmp_path):
    if place == "polar":
        x, y = pyproj.Transformer.from_crs(4326, 3413, always_xy=True).transform(180, 72)
        where, shape = grid(x - 50_000, y + 50_000, "EPSG:3413", 500.0), (200, 200)
    else:
        where, shape = degrees(179.2 if place == "degrees" else -180.8, 72.2), (200, 320)
    label = classes(13, shape)
    write(tmp_path / "l", "scene", label, where)
    path = regions(tmp_path / "r.geojson", AROUND, "EPSG:4326")
    run(tmp_path / "l", "--out", tmp_path / "out", "--regions", path)
    found = rows(tmp_path / "out")
    a, _, c, _, e, f = where.transform
    x, y = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    longitude, latitude = pyproj.Transformer.from_crs(where.crs, 4326, always_xy=True).transform(
        a * x + c, e * y + f
    )
    inside = (np.abs(longitude % 360 - 180) < 0.5) & (np.abs(latitude - 72) < 0.1)
    size = pixel_km2(where, slice(0, shape[0]), shape[1])
    for name in AROUND:
        row = found[DAY, name, "all"]
        assert float(row["region_km2"]) == pytest.approx(size[inside].sum(), rel=0.02), name
        assert sum(pixels(row)) == pytest.approx(np.count_nonzero(inside), rel=0.003), name
        assert row["quality"] == "good"


def test_regions_by_longitudes_up_to_360_are_seen(tmp_path, capsys):
    label = classes(14)
    write(tmp_path / "l", "scene", label, grid(500_000, 7_800_000, "EPSG:32604"))  # at 159 W
    shapes = {
        "pacific": shapely.box(180, 60, 230, 80),
        "long way": shapely.Polygon([(179, 60), (-179, 60), (-179, 80), (179, 80)]),
        "ring": shapely.box(-180, 60, 180, 80),
    }
    path = regions(tmp_path / "r.geojson", shapes, "EPSG:4326")
    run(tmp_path / "l", "--out", tmp_path / "out", "--regions", path)
    size = pixel_km2(grid(500_000, 7_800_000, "EPSG:32604"), slice(0, 40), 40)
    row = rows(tmp_path / "out")[DAY, "pacific", "all"]
    assert pixels(row) == told_pixels(label)
    assert float(row["known_km2"]) == pytest.approx(size[label < 3].sum(), rel=1e-5)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:45] for line in lines] == ["the region long way is 358 degrees wide; if i"]


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """A region of which little is seen, one that no scene reaches, and more than fit the chart."""
    folder = tmp_path_factory.mktemp("unseen")
    label = classes(15)
    write(folder / "l", "scene", label, grid(500_000, 7_800_000), tile="22WEA")
    write(folder / "l", "later", label, grid(700_000, 7_800_000), moment="2019-12-04T00:00:00Z")
    shapes = {f"part {n}": shapely.box(500_000, 7_799_000, 501_000, 7_800_000) for n in range(9)}
    shapes |= {
        "wide": shapely.box(450_000, 7_700_000, 550_000, 7_850_000),
        "elsewhere": shapely.box(900_000, 7_000_000, 910_000, 7_100_000),
    }
    path = regions(folder / "r.gpkg", shapes, "EPSG:32622")
    return folder, label, [folder / "l", "--out", folder / "out", "--regions", path]


def test_regions_that_are_not_seen_are_told_and_stand_in_the_table(unseen, capsys):
    folder, _, words = unseen
    run(*words)
    err = capsys.readouterr().err
    assert "no class map reaches 1 region: elsewhere" in err
    assert "without room in the picture: part 7, part 8, wide" in err
    summary = json.loads((folder / "out/summary.json").read_text())
    assert summary["regions_not_seen"] == ["elsewhere"]
    assert summary["regions_without_room_in_the_chart"] == ["part 7", "part 8", "wide"]
    found = rows(folder / "out")
    for period in (DAY, "2019-12-04"):
        row = found[period, "elsewhere", "all"]
        assert (row["scenes"], row["dates"], row["quality"]) == ("0", "0", "none")
        assert (row["concentration"], row["coverage"], row["known_km2"]) == ("", "", "0")
    assert found["2019-12-04", "part 0", "all"]["quality"] == "none"
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(folder / "out/series.nc") as data:
        names = {region for _, region, _ in found}
        assert set(data["region_name"].values.tolist()) == names
        place = data["region_name"].values.tolist().index("elsewhere")
        assert np.isnan(data["sea_ice_area"].values[place]).all()
        told = {row["region_coverage"] for row in found.values() if row["region"] == "wide"}
        there = data["region_coverage"].values[data["region_name"].values.tolist().index("wide")]
        assert {f"{value:.4g}" for value in there[np.isfinite(there)]} >= {
            f"{float(value):.4g}" for value in told if float(value)
        }


def test_a_region_is_judged_by_how_much_of_all_of_it_is_known(unseen):
    folder, _, words = unseen
    run(*words)
    found = rows(folder / "out")
    wide, tile = found[DAY, "wide", "all"], found[DAY, "wide", "22WEA"]
    assert float(wide["coverage"]) > 0.7
    assert float(wide["region_coverage"]) < 0.001
    assert wide["quality"] == "low"
    assert tile["quality"] == "good"  # of what this tile saw; no tile holds all of a region
    assert found[DAY, "part 0", "all"]["quality"] == "good"
    run(*words, "--min-coverage", "0.0005")
    assert rows(folder / "out")[DAY, "wide", "all"]["quality"] == "good"


def test_a_series_writes_over_nothing_but_a_series(tmp_path):
    write(tmp_path / "l", "scene", classes(16), grid(0, 0))
    (tmp_path / "bare").mkdir()
    made = tmp_path / "l/labels/scene.tif"
    (tmp_path / "bare/scene.tif").write_bytes(made.read_bytes())
    (tmp_path / "run").mkdir()
    for folder, content in ((tmp_path / "l", "{}"), (tmp_path / "run", '{"config": {}}')):
        (folder / "summary.json").write_text(content)
    for source, out, told in (
        ("l", "l", "holds labels/"),
        ("l", "run", "holds the summary.json of another command"),
        ("bare", "bare", "holds the class maps"),
    ):
        with pytest.raises(ValueError, match=told):
            run(tmp_path / source, "--out", tmp_path / out)
        assert sorted((tmp_path / out).glob("series*")) == []
    assert (tmp_path / "run/summary.json").read_text() == '{"config": {}}'
    for _ in range(2):  # and over itself
        run(tmp_path / "l", "--out", tmp_path / "out")


def test_synthetic_scenes_on_the_ground_make_a_series_without_more_words(tmp_path):
    size = ["--height", "64", "--width", "64"]
    words = ["--scenes", "4", "--days", "2", *size, "--crs", "EPSG:32622"]
    assert cli.main(["synth", "--out", str(tmp_path / "synth"), *words]) == 0
    assert cli.main(["label", str(tmp_path / "synth/scenes"), "--out", str(tmp_path / "l")]) == 0
    run(tmp_path / "l", "--out", tmp_path / "out")
    assert {period for period, _, _ in rows(tmp_path / "out")} == {DAY, "2019-11-14"}
    run(tmp_path / "synth/truth", "--out", tmp_path / "true")
    with (tmp_path / "true/series.csv").open() as file:
        assert {row["period"] for row in csv.DictReader(file)} == {DAY, "2019-11-14"}


@pytest.mark.parametrize(
    ("tag", "date"),
    [
        ("2019-11-04T20:49:21Z", "2019-11-04T20:49:21Z"),
        ("2019-11-04T23:30:00-02:00", "2019-11-05T01:30:00Z"),
        ("last Monday", None),
    ],
)
def test_a_scene_is_dated_by_its_tag(tag, date, tmp_path, capsys):
    (tmp_path / "s").mkdir()
    image = np.full((3, 32, 32), 200, np.uint8)
    form = {"driver": "GTiff", "height": 32, "width": 32, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32622", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 7.8e6)}
    with rasterio.open(tmp_path / "s/a.tif", "w", **form, **place) as file:
        file.write(image)
        file.update_tags(time_coverage_start=tag)
    assert cli.main(["label", str(tmp_path / "s"), "--out", str(tmp_path / "l")]) == 0
    assert json.loads((tmp_path / "l/records/a.json").read_text())["date"] == date
    assert classmap.read(tmp_path / "l/labels/a.tif").date == date
    assert ("is no date, and is ignored" in capsys.readouterr().err) == (date is None)
