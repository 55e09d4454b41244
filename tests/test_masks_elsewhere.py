"""Mask files in other people's programs: xarray, netCDF4, rasterio, gdalinfo, a CF checker.

The first row is on top in all of them, and what is said of a pixel is the same.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from cloudmask.predict.masks import SceneMask, classify, read_mask, write_mask

UTM = "EPSG:32633"
ROWS, COLUMNS = 8, 6


def make_mask(**changes):
    """Cloud in the first row alone; nothing measured in the lower right corner."""
    probability = np.full((ROWS, COLUMNS, 1), 0.25, np.float32)
    probability[0] = 0.75
    probability[-1, -1] = np.nan
    values = {
        "name": "scene",
        "classes": ("clear", "cloud"),
        "probability": probability,
        "spread": None,
        "mask": classify(probability, threshold=0.5),
        "start": "2017-03-13T11:00:00Z",
        "stop": "2017-03-13T11:03:00Z",
        "attributes": {"source": "cloudmask test", "history": "2017 cloudmask predict"},
    }
    return SceneMask(**(values | changes))


def swath():
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
    latitude = 70 - 0.01 * rows + 0.002 * columns
    return {"latitude": latitude, "longitude": 179.97 + 0.02 * columns + 0.001 * rows}


def grid(crs=UTM, step=100.0, corner=(4e5, 7e6)):
    return {"crs": crs, "transform": (step, 0.0, corner[0], 0.0, -step, corner[1])}


PLACES = {
    "swath": swath(),
    "nowhere": {},
    "UTM": grid(),
    "polar": grid("EPSG:3413", 100.0, (-1e6, 5e5)),
    "degrees": grid("EPSG:4326", 0.01, (10.0, 60.0)),
    "UTM and degrees": grid() | swath(),
    "turned": {"crs": UTM, "transform": (100.0, 7.0, 4e5, 5.0, -100.0, 7e6)},
}


@pytest.fixture(scope="module", params=PLACES, ids=str)
def files(request, tmp_path_factory):
    """The same mask as NetCDF and, where rasterio is, as GeoTIFF."""
    pytest.importorskip("pyproj")
    folder = tmp_path_factory.mktemp("elsewhere")
    mask = make_mask(**PLACES[request.param])
    write_mask(folder / "scene.nc", mask)
    if _has_rasterio():
        write_mask(folder / "scene.tif", mask)
    return request.param, mask, folder


def _has_rasterio():
    try:
        import rasterio  # noqa: F401
    except ImportError:
        return False
    return True


@dataclasses.dataclass
class Seen:
    """A mask as another program sees it."""

    classes: np.ndarray
    """(H, W), 255 = no measurement"""
    probability: np.ndarray
    """(H, W) with NaN"""


def by_netcdf4(path):
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(path) as file:
        assert file["mask"].dimensions == ("y", "x")
        classes = file["mask"][:].filled(255)
        return Seen(classes, file["probability_cloud"][:].astype(float).filled(np.nan))


def by_xarray(path):
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data["mask"].dims == ("y", "x")
        classes = data["mask"].fillna(255).values
        return Seen(classes, data["probability_cloud"].values)


def by_rasterio(path, name, number):
    """Band of a file; its first row is the one that is drawn on top."""
    rasterio = pytest.importorskip("rasterio")
    address = f"netcdf:{path}:{name}" if path.suffix == ".nc" else path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(address) as file:
            band = number if path.suffix == ".tif" else 1
            values = file.read(band, masked=True).astype(float) * file.scales[band - 1]
            place = (file.crs, tuple(file.transform)[:6], file.get_gcps())
            return values.filled(np.nan), place, file.tags(ns="GEOLOCATION")


@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_all_programs_see_the_same_pixels_with_the_first_row_on_top(files, suffix):
    _, mask, folder = files
    path = folder / f"scene{suffix}"
    rasterio_classes, _, _ = by_rasterio(path, "mask", 1)
    rasterio_probability, _, _ = by_rasterio(path, "probability_cloud", 2)
    seen = {"rasterio": Seen(np.nan_to_num(rasterio_classes, nan=255), rasterio_probability)}
    if suffix == ".nc":
        seen |= {"netCDF4": by_netcdf4(path), "xarray": by_xarray(path)}
    for program, found in seen.items():
        np.testing.assert_array_equal(found.classes, mask.mask, err_msg=program)
        expected = mask.probability[..., 0]
        np.testing.assert_allclose(found.probability, expected, atol=1e-6, err_msg=program)


@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_grids_have_their_crs_and_transform_and_swaths_their_geolocation(files, suffix):
    kind, mask, folder = files
    _, place, arrays = by_rasterio(folder / f"scene{suffix}", "mask", 1)
    crs, transform, (points, point_crs) = place
    if mask.crs is not None:
        assert crs.to_epsg() == int(mask.crs.partition(":")[2])
        np.testing.assert_allclose(transform, mask.transform, rtol=0, atol=1e-9)
    elif kind == "swath" and suffix == ".nc":
        assert arrays["X_DATASET"].endswith(":longitude")
        assert arrays["Y_DATASET"].endswith(":latitude")
    elif kind == "swath":
        assert len(points) == ROWS * COLUMNS
        rows, columns = (np.array([int(getattr(p, key)) for p in points]) for key in ("row", "col"))
        there = [mask.longitude[rows, columns], mask.latitude[rows, columns]]
        off = apart([point.x for point in points], [point.y for point in points], point_crs, *there)
        assert off.max() < 1e-3
    else:
        assert crs is None
        assert points == []


def gdalinfo(*words):
    program = shutil.which("gdalinfo")
    if program is None:
        pytest.skip("gdalinfo is not installed")
    done = subprocess.run([program, "-json", "-stats", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_gdalinfo_tells_size_nodata_crs_and_points(files, suffix, monkeypatch, tmp_path):
    kind, mask, folder = files
    path = folder / f"scene{suffix}"
    if not path.exists():
        pytest.skip("rasterio is not installed")
    monkeypatch.setenv("GDAL_PAM_ENABLED", "NO")
    told = gdalinfo(f"NETCDF:{path}:mask" if suffix == ".nc" else str(path))
    assert told["size"] == [COLUMNS, ROWS]
    band = told["bands"][0]
    assert band["noDataValue"] == (255 if suffix == ".nc" else -32768)
    assert (band["minimum"], band["maximum"]) == (0, 1)
    if mask.crs is not None:
        a, b, c, d, e, f = mask.transform
        np.testing.assert_allclose(told["geoTransform"], [c, a, b, f, d, e], rtol=0, atol=1e-9)
        assert told["stac"]["proj:epsg"] == int(mask.crs.partition(":")[2])
    if suffix == ".tif":
        assert told["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
        assert [band["description"] for band in told["bands"]] == ["mask", "probability_cloud"]
        assert told["bands"][1]["scale"] == pytest.approx(1e-4)
        assert ("gcps" in told) == (kind == "swath")
    elif kind == "swath":
        assert told["metadata"]["GEOLOCATION"]["Y_DATASET"].endswith(":latitude")


def apart(x, y, crs, longitude, latitude):
    """Metres between places in a projection and others in degrees."""
    import pyproj

    to_degrees = pyproj.Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)
    found = to_degrees.transform(np.ravel(x), np.ravel(y))
    return pyproj.Geod(ellps="WGS84").inv(*found, np.ravel(longitude), np.ravel(latitude))[2]


def wide_swath(north, east, size=120, pixel=12e3):
    """Latitude and longitude of 1440 x 1440 km: as wide as SLSTR looks."""
    import pyproj

    flat = f"+proj=aeqd +lat_0={north} +lon_0={east} +datum=WGS84"
    rows, columns = np.mgrid[0:size, 0:size] + 0.5 - size / 2
    degrees = pyproj.Transformer.from_crs(flat, "EPSG:4326", always_xy=True)
    longitude, latitude = degrees.transform(pixel * columns, -pixel * rows)
    return {"latitude": latitude, "longitude": longitude}


def square(swath):
    probability = np.full((*swath["latitude"].shape, 1), 0.25, np.float32)
    return make_mask(probability=probability, mask=classify(probability, threshold=0.5), **swath)


@pytest.mark.skipif(not _has_rasterio(), reason="rasterio is not installed")
@pytest.mark.parametrize(
    ("north", "east"), [(0, 0), (45, 179.5), (-60, -180), (75, 20), (85, 100), (90, 0)]
)
def test_a_swath_lies_where_it_is_by_the_polynomial_of_gdal(tmp_path, north, east):
    """With points in degrees it was missed by 1.4 km at 45 degrees north, by 210 km at 85."""
    pytest.importorskip("pyproj")
    from rasterio.transform import GCPTransformer

    swath = wide_swath(north, east)
    write_mask(tmp_path / "swath.tif", square(swath))
    _, (_, _, (points, crs)), _ = by_rasterio(tmp_path / "swath.tif", "mask", 1)
    rows, columns = np.mgrid[0:120:7, 0:120:7].reshape(2, -1)
    there = swath["longitude"][rows, columns], swath["latitude"][rows, columns]
    with GCPTransformer(points) as lay:
        assert apart(*lay.xy(rows, columns), crs, *there).max() < 600
    program = shutil.which("gdaltransform")
    if program is not None:
        words = "\n".join(
            f"{column + 0.5} {row + 0.5}" for row, column in zip(rows, columns, strict=True)
        )
        done = subprocess.run(
            [program, tmp_path / "swath.tif"], input=words, capture_output=True, text=True
        )
        x, y, _ = np.array([line.split() for line in done.stdout.splitlines()], float).T
        assert apart(x, y, crs, *there).max() < 600


@pytest.mark.skipif(not _has_rasterio(), reason="rasterio is not installed")
def test_points_are_taken_where_the_place_is_known(tmp_path):
    pytest.importorskip("pyproj")
    swath = wide_swath(70, 10)
    nodes = np.linspace(0, 119, 21).round().astype(int)
    holes = {name: degrees.copy() for name, degrees in swath.items()}
    holes["latitude"][nodes] = np.nan
    nowhere = {name: np.full_like(degrees, np.nan) for name, degrees in swath.items()}
    one = {name: degrees.copy() for name, degrees in nowhere.items()}
    one["latitude"][50, 61], one["longitude"][50, 61] = 70, 10
    for name, known, count in (("holes", holes, 441), ("one", one, 1), ("nowhere", nowhere, 0)):
        path = tmp_path / f"{name}.tif"
        write_mask(path, square(known))
        _, (crs, _, (points, point_crs)), _ = by_rasterio(path, "mask", 1)
        assert len(points) == count, name
        for point in points:
            row, column = int(point.row), int(point.col)
            here = known["longitude"][row, column], known["latitude"][row, column]
            assert apart(point.x, point.y, point_crs, *here) < 1e-3
        assert crs is None, name
        assert read_mask(path, classes=()).crs is None


EVERYWHERE = {
    "mask": {
        "_FillValue": 255,
        "long_name": "class of the pixel",
        "standard_name": "cloud_binary_mask",
        "units": "1",
        "flag_values": [0, 1],
        "flag_meanings": "clear cloud",
        "ancillary_variables": "probability_cloud",
    },
    "probability_cloud": {
        "_FillValue": -32768,
        "long_name": "probability of cloud",
        "units": "1",
        "scale_factor": 1e-4,
        "add_offset": 0.0,
    },
    "time": {
        "standard_name": "time",
        "axis": "T",
        "units": "seconds since 1970-01-01 00:00:00",
        "calendar": "standard",
    },
}
DEGREES = {"_FillValue": -(2**31), "scale_factor": 1e-6, "add_offset": 0.0}
PLACED = {
    "swath": {
        "latitude": DEGREES | {"standard_name": "latitude", "units": "degrees_north"},
        "longitude": DEGREES | {"standard_name": "longitude", "units": "degrees_east"},
    },
    "UTM": {
        "y": {"standard_name": "projection_y_coordinate", "units": "metre", "axis": "Y"},
        "x": {"standard_name": "projection_x_coordinate", "units": "metre", "axis": "X"},
    },
    "degrees": {
        "y": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
        "x": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
    },
}


def test_variables_say_in_the_words_of_cf_what_they_are(files):
    netCDF4 = pytest.importorskip("netCDF4")
    kind, mask, folder = files
    with netCDF4.Dataset(folder / "scene.nc") as file:
        file.set_auto_maskandscale(False)
        found = {name: dict(variable.__dict__) for name, variable in file.variables.items()}
        assert file.Conventions == "CF-1.9"
        assert file.title == "Classes of scene"
        assert file.time_coverage_start == mask.start
        assert file.time_coverage_end == mask.stop
        assert file["time"][...] == 1489402800  # date -d 2017-03-13T11:00Z +%s
        coordinates = "latitude longitude time" if mask.latitude is not None else "time"
        for name in ("mask", "probability_cloud"):
            assert found[name].pop("coordinates") == coordinates
            assert found[name].pop("grid_mapping", None) == ("crs" if mask.crs else None)
            assert file[name].filters()["zlib"]
        for name, attributes in EVERYWHERE.items():
            held = {key: np.asarray(value).tolist() for key, value in found[name].items()}
            assert held == attributes, name
    for name, attributes in PLACED.get(kind, {}).items():
        held = {key: np.asarray(value).tolist() for key, value in found[name].items()}
        assert held.items() >= attributes.items(), name


def test_a_cf_checker_finds_nothing(files, tmp_path):
    pytest.importorskip("compliance_checker")
    kind, _, folder = files
    if kind == "turned":
        pytest.skip("CF has no axes for a grid that is turned; GDAL's words place it")
    program = Path(sys.executable).with_name("compliance-checker")
    report = tmp_path / "report.json"
    words = ["--test=cf:1.9", "--criteria=strict", "--format=json", f"--output={report}"]
    done = subprocess.run(
        [program, *words, folder / "scene.nc"], capture_output=True, text=True, timeout=240
    )
    assert report.exists(), done.stderr
    found = json.loads(report.read_text())["cf:1.9"]
    told = [
        message
        for priority in ("high_priorities", "medium_priorities", "low_priorities")
        for check in found[priority]
        for message in check["msgs"]
    ]
    assert told == []


def test_xarray_finds_the_coordinates(files):
    xarray = pytest.importorskip("xarray")
    kind, _, folder = files
    with xarray.open_dataset(folder / "scene.nc", engine="netcdf4") as data:
        coordinates = {"time"} | ({"y", "x"} if kind != "turned" else set())
        if kind in ("swath", "UTM and degrees"):
            coordinates |= {"latitude", "longitude"}
        assert set(data["mask"].coords) == coordinates
        assert data["time"].values == np.datetime64("2017-03-13T11:00:00")
        if kind != "turned":
            assert (np.diff(data["y"]) < 0).all()
        assert np.isnan(data["mask"].values[-1, -1])


@pytest.mark.skipif(not _has_rasterio(), reason="rasterio is not installed")
def test_a_mask_of_before_was_upside_down_and_is_no_more(tmp_path):
    """Without the axes GDAL's driver takes the first row for the lowest."""
    import h5py

    write_mask(tmp_path / "now.nc", make_mask(**swath()))
    shutil.copy(tmp_path / "now.nc", tmp_path / "before.nc")
    with h5py.File(tmp_path / "before.nc", "r+") as file:
        for name in ("y", "x"):
            for key in ("standard_name", "units", "axis"):
                del file[name].attrs[key]
    before, _, _ = by_rasterio(tmp_path / "before.nc", "mask", 1)
    now, _, _ = by_rasterio(tmp_path / "now.nc", "mask", 1)
    assert (before[-1] == 1).all()
    assert (now[0] == 1).all()
