"""The series against mosaics that are made by hand, pixel by pixel."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloudmask.metrics import UNKNOWN
from cloudmask.predict.masks import SceneMask, write_mask
from seaice import __main__ as cli
from seaice.colour import CLASSES
from seaice.ground import pixel_km2
from seaice.io import classmap
from seaice.io.grid import Grid

pyogrio, pyproj = pytest.importorskip("pyogrio"), pytest.importorskip("pyproj")
shapely = pytest.importorskip("shapely")

DAY = "2019-11-04"


def grid(x, y, crs="EPSG:32622", metres=100.0):
    return Grid(crs, (metres, 0.0, float(x), 0.0, -metres, float(y)))


def classes(seed, shape=(40, 40), unknown=0.2):
    """Classes of every pixel by chance, so that a pixel that is off by one is found."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, shape).astype(np.uint8)
    label[rng.random(shape) < unknown] = UNKNOWN
    return label


def write(folder, name, label, where, *, moment=f"{DAY}T13:20:11Z", tile=None, date=True):
    """What `label` leaves of a scene, as far as the series looks at it."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    (folder / "records").mkdir(exist_ok=True)
    when = moment if date else None
    (folder / f"labels/{name}.tif").write_bytes(classmap.encode(label, where, date=when))
    record = {"scene": name, "date": when, "tile": tile}
    (folder / f"records/{name}.json").write_text(json.dumps(record))
    return folder


def run(*words, code=0):
    assert cli.main(["series", *map(str, words)]) == code


def rows(out):
    with (out / "series.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    keys = ("period", "region", "tile")
    assert found == sorted(
        found, key=lambda r: [(r[k] != "all" or k == "period", r[k]) for k in keys]
    )
    return {tuple(row[key] for key in keys): row for row in found}


def pixels(row):
    return int(row["known_pixels"]), int(row["unknown_pixels"])


def check(row, counted, km2):
    """A row against (N,) classes of all that counts, and their areas."""
    sums = np.bincount(np.minimum(counted, 3), km2, 4)
    known = sums[:3].sum()
    names = ("thick_ice_km2", "thin_ice_km2", "open_water_km2", "unknown_km2", "known_km2")
    for name, value in zip(names, [*sums, known], strict=True):
        assert float(row[name]) == pytest.approx(value, rel=1e-5), name
    assert float(row["concentration"]) == pytest.approx(sums[:2].sum() / known, rel=1e-5)
    assert float(row["coverage"]) == pytest.approx(known / sums.sum(), rel=1e-5)
    assert pixels(row) == (
        np.count_nonzero(counted != UNKNOWN),
        np.count_nonzero(counted == UNKNOWN),
    )


def test_overlapping_tiles_of_one_zone_count_as_their_mosaic(tmp_path):
    """Three tiles, 10 pixels of overlap, and a place that all of them see."""
    places = {"22WEA": (0, 0), "22WEB": (0, 30), "22WFA": (25, 15)}
    mosaic = np.full((65, 70), 250)
    sizes = np.zeros(mosaic.shape)
    for seed, (tile, (row, column)) in enumerate(places.items()):
        label = classes(seed)
        where = grid(500_000 + 100 * column, 7_800_000 - 100 * row)
        write(tmp_path / "labels", f"scene_{seed}", label, where, tile=tile)
        part = mosaic[row : row + 40, column : column + 40]
        better = (part == 250) | ((part == UNKNOWN) & (label != UNKNOWN))
        part[better] = label[better]
        sizes[row : row + 40, column : column + 40] = pixel_km2(where, slice(0, 40), 40)
    run(tmp_path / "labels", "--out", tmp_path / "out")
    found = rows(tmp_path / "out")
    assert list(found) == [(DAY, "all", tile) for tile in ("all", *places)]
    seen = mosaic != 250
    check(found[DAY, "all", "all"], mosaic[seen], sizes[seen])
    # The tiles together are the sum of the tiles, and each place stands in one of them.
    tiles = [row for (_, _, tile), row in found.items() if tile != "all"]
    together = found[DAY, "all", "all"]
    for name in ("known_pixels", "unknown_pixels", "ice_km2", "known_km2", "unknown_km2"):
        total = sum(float(row[name]) for row in tiles)
        assert total == pytest.approx(float(together[name]), rel=1e-6)
    assert [row["scenes"] for row in tiles] == ["1"] * 3
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    counted = [scene["pixels_counted_in_another_scene"] for scene in summary["scenes"].values()]
    assert sum(counted) == 3 * 1600 - np.count_nonzero(seen)


def test_tiles_of_two_zones_count_as_their_mosaic(tmp_path):
    """Zones 21 and 22 meet at 54 W. Every pixel is carried over by hand."""
    across = pyproj.Transformer.from_crs(32621, 32622, always_xy=True)
    x, y = across.transform(615_000, 7_770_000)
    one = grid(607_000, 7_776_000, "EPSG:32621")
    other = grid(round(x, -2) - 6_000, round(y, -2) + 6_000)
    first, second = classes(1, (120, 130)), classes(2, (110, 120))
    write(tmp_path / "labels", "a", first, one, tile="21WXT")
    write(tmp_path / "labels", "b", second, other, tile="22WDC")
    run(tmp_path / "labels", "--out", tmp_path / "out")
    found = rows(tmp_path / "out")

    def seen_by(label, where, mine, shape):
        """What `label` has at the pixels of another grid; 250 where it lies elsewhere."""
        a, _, c, _, e, f = mine.transform
        columns, lines = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
        to = pyproj.Transformer.from_crs(mine.crs, where.crs, always_xy=True)
        px, py = to.transform(a * columns + c, e * lines + f)
        a, _, c, _, e, f = where.transform
        column, line = (np.floor(v).astype(int) for v in ((px - c) / a, (py - f) / e))
        inside = (column >= 0) & (column < label.shape[1]) & (line >= 0) & (line < label.shape[0])
        there = np.full(shape, 250)
        there[inside] = label[line[inside], column[inside]]
        return there

    there = seen_by(second, other, one, first.shape)
    mine = ~((first == UNKNOWN) & (there < 3))
    there = seen_by(first, one, other, second.shape)
    own = ~((there < 3) | ((second == UNKNOWN) & (there == UNKNOWN)))
    assert 1_000 < np.count_nonzero(~own) < own.size
    sizes = [pixel_km2(one, slice(0, 120), 130)[mine], pixel_km2(other, slice(0, 110), 120)[own]]
    everything = np.concatenate([first[mine], second[own]])
    check(found[DAY, "all", "all"], everything, np.concatenate(sizes))
    check(found[DAY, "all", "21WXT"], first[mine], sizes[0])
    check(found[DAY, "all", "22WDC"], second[own], sizes[1])
    # The ground that is seen is that of both outlines together, to a pixel along the rim.
    corners = [
        (607_000, 7_776_000),
        (620_000, 7_776_000),
        (620_000, 7_764_000),
        (607_000, 7_764_000),
    ]
    outline = shapely.transform(
        shapely.segmentize(shapely.Polygon(corners), 100),
        lambda p: np.stack(across.transform(p[:, 0], p[:, 1]), axis=1),
    )
    left, top = other.transform[2], other.transform[5]
    square = shapely.box(left, top - 11_000, left + 12_000, top)
    union = shapely.union(outline, square)
    row = found[DAY, "all", "all"]
    seen = float(row["known_km2"]) + float(row["unknown_km2"])
    assert seen == pytest.approx(union.area / 1e6, rel=0.01)
    assert seen < 0.9 * (outline.area + square.area) / 1e6


def test_one_tile_twice_on_a_date_counts_once_and_is_told(tmp_path, capsys):
    label = classes(3)
    for name, when in (("first", "10"), ("second", "15")):
        write(tmp_path / "l", name, label, grid(0, 0), moment=f"{DAY}T{when}:00:00Z", tile="22WEA")
    run(tmp_path / "l", "--out", tmp_path / "out")
    first, second = (f"{tmp_path}/l/labels/{name}.tif" for name in ("first", "second"))
    assert f"seen twice: tile 22WEA on {DAY}: {first}, {second};" in capsys.readouterr().err
    row = rows(tmp_path / "out")[DAY, "all", "all"]
    assert sum(pixels(row)) == label.size
    assert json.loads((tmp_path / "out/summary.json").read_text())["seen_twice"]


def regions(path, shapes, crs, field="name"):
    geometry = np.array([shapely.to_wkb(shape) for shape in shapes.values()], object)
    names = np.array(list(shapes), object)
    kind = {"geometry_type": "Polygon", "crs": crs}
    pyogrio.raw.write(path, geometry, [names], [field], **kind)
    return path


@pytest.mark.parametrize("suffix", ["gpkg", "shp"])
def test_a_region_holds_the_pixels_whose_centres_lie_in_it(suffix, tmp_path):
    label = classes(4)
    write(tmp_path / "labels", "scene", label, grid(500_000, 7_800_000))
    east = shapely.box(502_000, 7_790_000, 900_000, 7_900_000)  # the right half, and much beside
    corner = shapely.box(500_000, 7_799_000, 501_000, 7_800_000)  # 10 x 10 pixels of the left half
    path = regions(
        tmp_path / f"r.{suffix}", {"östlich": east, "corner": corner}, "EPSG:32622", "label"
    )
    words = ["--out", tmp_path / "out", "--regions", path, "--region-field", "label"]
    run(tmp_path / "labels", *words)
    found = rows(tmp_path / "out")
    size = pixel_km2(grid(500_000, 7_800_000), slice(0, 40), 40)
    check(found[DAY, "östlich", "all"], label[:, 20:].ravel(), size[:, 20:].ravel())
    check(found[DAY, "corner", "all"], label[:10, :10].ravel(), size[:10, :10].ravel())
    check(found[DAY, "all", "none"], label.ravel(), size.ravel())
    row = found[DAY, "corner", "all"]
    # On the ellipsoid a UTM kilometre is longer than one away from the lines of true scale.
    assert float(row["region_km2"]) == pytest.approx(size[:10, :10].sum(), rel=1e-5)
    assert float(row["region_coverage"]) == pytest.approx(float(row["coverage"]), rel=1e-5)
    assert found[DAY, "all", "all"]["region_km2"] == ""


def test_regions_in_degrees_bend_and_reach_around_the_pole(tmp_path):
    """All of the Earth north of 89 N, over the pole, which is no polygon on any other map."""
    where = grid(-200_000 + 1_300, 200_000, "EPSG:3413", 5_000)
    label = classes(5, (80, 80))
    write(tmp_path / "labels", "scene", label, where)
    shapes = {"north": shapely.box(-180, 89, 180, 90), "west": shapely.box(-180, 89, 0, 90)}
    path = regions(tmp_path / "r.geojson", shapes, "EPSG:4326")
    run(tmp_path / "labels", "--out", tmp_path / "out", "--regions", path)
    found = rows(tmp_path / "out")
    centres = np.arange(80) * 5_000 - 200_000 + 2_500
    x, y = np.meshgrid(centres + 1_300, -centres)
    longitude, latitude = pyproj.Transformer.from_crs(3413, 4326, always_xy=True).transform(x, y)
    for name, inside in (("north", latitude > 89), ("west", (latitude > 89) & (longitude < 0))):
        counted = sum(pixels(found[DAY, name, "all"]))
        assert counted == pytest.approx(np.count_nonzero(inside), abs=8), name
        row = found[DAY, name, "all"]
        seen = float(row["known_km2"]) + float(row["unknown_km2"])
        assert seen == pytest.approx(float(row["region_km2"]), rel=0.01)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("r.kml", "<kml/>", "is no file of regions"),
        ("r.geojson", "<OGRVRTDataSource/>", "does not begin like a .geojson file"),
        ("none.gpkg", None, "does not exist"),
        ("r.geojson", '{"type": "FeatureCollection", "features": []}', "has no field 'name'"),
        (
            "r.json",
            '{"type": "Feature", "properties": {"name": "x"}, "geometry": {"type": "Point",'
            ' "coordinates": [0, 0]}}',
            "the region x is Point, not a polygon",
        ),
    ],
)
def test_a_file_of_no_regions_is_one_line(name, content, told, tmp_path):
    write(tmp_path / "labels", "scene", classes(0), grid(0, 0))
    if content is not None:
        (tmp_path / name).write_text(content)
    words = ["--out", tmp_path / "out", "--regions", tmp_path / name]
    with pytest.raises(ValueError, match=told) as raised:
        run(tmp_path / "labels", *words)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """Two months: a clear day, one half seen, one of clouds alone, and one in December."""
    folder = tmp_path_factory.mktemp("season") / "labels"
    half = classes(7, unknown=0)
    half[20:] = UNKNOWN
    days = {
        "2019-11-04": classes(6, unknown=0),
        "2019-11-14": half,
        "2019-11-24": np.full((40, 40), UNKNOWN, np.uint8),
        "2019-12-04": classes(8, unknown=0.75),
    }
    for day, label in days.items():
        write(folder, f"scene_{day}", label, grid(500_000, 7_800_000), moment=f"{day}T23:30:00Z")
    shapes = {"bay": shapely.box(500_000, 7_798_000, 504_000, 7_800_000)}
    path = regions(folder.parent / "regions.gpkg", shapes, "EPSG:32622")
    run(folder, "--out", folder.parent / "out", "--regions", path)
    return folder.parent, days


def test_a_day_that_is_half_seen_says_so(season):
    folder, days = season
    found = {
        row["period"]: row for key, row in rows(folder / "out").items() if key[1:] == ("all",) * 2
    }
    assert [row["quality"] for row in found.values()] == ["good", "good", "none", "low"]
    shares = [float(row["coverage"]) for row in found.values()]
    assert shares == pytest.approx([1, 0.5, 0, 0.25], abs=0.02)
    assert found["2019-11-24"]["concentration"] == ""
    label = days["2019-11-14"][:20]
    expected = np.count_nonzero(label < 2) / label.size
    assert float(found["2019-11-14"]["concentration"]) == pytest.approx(expected, abs=1e-4)
    assert (folder / "out/series.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "out/series.svg").read_text()


def test_a_month_is_the_mean_of_its_dates(season, tmp_path):
    folder, days = season
    run(folder / "labels", "--out", tmp_path / "out", "--by", "month")
    by_date, found = rows(folder / "out"), rows(tmp_path / "out")
    november = found["2019-11", "all", "all"]
    dates = [by_date[day, "all", "all"] for day in days if day.startswith("2019-11")]
    for name in ("ice_km2", "known_km2", "unknown_km2"):
        mean = sum(float(row[name]) for row in dates) / 3
        assert float(november[name]) == pytest.approx(mean, rel=1e-6)
    ice, known = (sum(float(row[key]) for row in dates) for key in ("ice_km2", "known_km2"))
    assert float(november["concentration"]) == pytest.approx(ice / known, rel=1e-6)
    assert (november["dates"], november["scenes"]) == ("3", "3")
    assert found["2019-12", "all", "all"]["quality"] == "low"


def test_netcdf_holds_what_the_table_holds(season):
    xarray = pytest.importorskip("xarray")
    folder, _ = season
    with xarray.open_dataset(folder / "out/series.nc") as data:
        fraction = data["sea_ice_area_fraction"]
        assert dict(fraction.sizes) == {"region": 2, "tile": 2, "time": 4}
        assert data["region_name"].values.tolist() == ["all", "bay"]
        assert data["tile_name"].values.tolist() == ["all", "none"]
        assert data["time"].values[0] == np.datetime64("2019-11-04T12:00")
        for (period, region, tile), row in rows(folder / "out").items():
            place = {
                "time": data["time"]
                .values.astype("datetime64[D]")
                .astype(str)
                .tolist()
                .index(period),
                "region": data["region_name"].values.tolist().index(region),
                "tile": data["tile_name"].values.tolist().index(tile),
            }
            told = float(row["concentration"] or "nan")
            assert float(fraction.isel(place)) == pytest.approx(told, rel=1e-6, nan_ok=True)
            area = float(data["sea_ice_area"].isel(place))
            assert area == pytest.approx(float(row["ice_km2"]), rel=1e-6)
        meanings = data["quality"].attrs["flag_meanings"].split()
        flags = [meanings[flag] for flag in data["quality"].values[0, 0]]
        assert flags == ["good", "good", "none", "low"]


@pytest.mark.slow
def test_a_cf_checker_finds_nothing_in_a_series(season, tmp_path):
    pytest.importorskip("compliance_checker")
    program = Path(sys.executable).with_name("compliance-checker")
    report = tmp_path / "report.json"
    words = ["--test=cf:1.8", "--criteria=strict", "--format=json", f"--output={report}"]
    done = subprocess.run(
        [program, *words, season[0] / "out/series.nc"], capture_output=True, text=True, timeout=240
    )
    assert report.exists(), done.stderr
    found = json.loads(report.read_text())["cf:1.8"]
    told = [
        message
        for priority in ("high_priorities", "medium_priorities", "low_priorities")
        for check in found[priority]
        for message in check["msgs"]
    ]
    assert told == []


def test_class_maps_without_date_or_place_are_told_and_left_out(tmp_path, capsys):
    label = classes(9)
    write(tmp_path / "l", "good", label, grid(0, 0))
    write(tmp_path / "l", "dateless_20191107", label, grid(9_000, 0), date=False)
    write(tmp_path / "l", "placeless", label, None)
    write(tmp_path / "l", "cut", label, grid(0, 0))
    path = tmp_path / "l/labels/cut.tif"
    path.write_bytes(path.read_bytes()[:400])
    write(tmp_path / "l", "undone", label, grid(0, 0))
    (tmp_path / "l/records/undone.json").unlink()
    run(tmp_path / "l", "--out", tmp_path / "out", code=1)
    err = capsys.readouterr().err
    for name, reason in {
        "dateless_20191107": "has no date; --date-from-name",
        "placeless": "has no place on the ground",
        "cut": "is damaged",
        "undone": "has no record",
    }.items():
        lines = [line for line in err.splitlines() if name in line]
        assert len(lines) == 1
        assert reason in lines[0]
    assert pixels(rows(tmp_path / "out")[DAY, "all", "all"])[0] == np.count_nonzero(label < 3)
    run(tmp_path / "l", "--out", tmp_path / "out", "--date-from-name", r"_(\d{8})$", code=1)
    assert ("2019-11-07", "all", "all") in rows(tmp_path / "out")
    assert len(json.loads((tmp_path / "out/summary.json").read_text())["left_out"]) == 3
    for text, told in ((r"\d{8}", "needs one group"), ("(", "is no regular expression")):
        with pytest.raises(ValueError, match=told):
            run(tmp_path / "l", "--out", tmp_path / "out", "--date-from-name", text)


def test_a_series_of_nothing_is_one_line(tmp_path):
    write(tmp_path / "l", "placeless", classes(9), None)
    with pytest.raises(ValueError, match="none of 1 class map has a date and a place"):
        run(tmp_path / "l", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match="does not exist"):
        run(tmp_path / "nowhere", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match="holds no class maps"):
        run(tmp_path, "--out", tmp_path / "out")


@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_masks_of_predict_count_like_labels(suffix, tmp_path):
    """The name of the product tells the tile, the mask where and when."""
    label, where = classes(10), grid(500_000, 7_800_000)
    name = "S2B_MSIL1C_20191104T132011_N0208_R081_T22WEA_20191104T150000"
    probability = np.full((*label.shape, 3), 0.2, np.float32)
    rows_of, columns = np.nonzero(label < 3)
    probability[rows_of, columns, label[rows_of, columns]] = 0.6
    probability[label == UNKNOWN] = np.nan
    mask = SceneMask(
        name, CLASSES, probability, None, label,
        crs=where.crs, transform=where.transform, start=f"{DAY}T13:20:11Z",
    )  # fmt: skip
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / f"masks/{name}{suffix}", mask)
    run(tmp_path / "masks", "--out", tmp_path / "out")
    size = pixel_km2(where, slice(0, 40), 40).ravel()
    check(rows(tmp_path / "out")[DAY, "all", "22WEA"], label.ravel(), size)


def test_processes_write_what_one_process_writes(season, tmp_path):
    folder, _ = season
    words = ["--regions", folder / "regions.gpkg", "--engine", "processes", "--workers", 2]
    run(folder / "labels", "--out", tmp_path / "out", *words)
    for name in ("series.csv", "series.svg", "series.png"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "out" / name).read_bytes()


@pytest.mark.mpi
def test_two_ranks_write_what_one_process_writes(season, tmp_path, start):
    folder, _ = season
    code = "import sys; from cloudmask.cli import errors; from seaice.__main__ import main\n"
    code += "sys.exit(errors.run(main, sys.argv[1:], program='seaice'))"
    words = ["--regions", folder / "regions.gpkg", "--engine", "mpi", "--out", tmp_path / "out"]
    process = start(code, "series", folder / "labels", *words, ranks=2)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    for name in ("series.csv", "series.svg"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "out" / name).read_bytes()
