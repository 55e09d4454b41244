"""Areas on the ground against geodesic polygons, and where there are none."""

import numpy as np
import pyproj
import pytest

from seaice import ground
from seaice.colour import CLASSES
from seaice.io.grid import Grid

RADIUS = 6378137


def mercator(latitude):
    """y of Web Mercator, metres."""
    return RADIUS * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))


def place(crs, longitude, latitude):
    return pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, latitude)


def north_up(crs, size, longitude, latitude):
    x, y = place(crs, longitude, latitude)
    return Grid(f"EPSG:{crs}", (size, 0, x, 0, -size, y))


GRIDS = {
    "web mercator at 75 N": (Grid("EPSG:3857", (100, 0, 1e6, 0, -100, mercator(75))), (500, 700)),
    "polar stereographic, over the pole": (
        Grid("EPSG:3413", (1000, 0, -3e5, 0, -1000, 5e5)),
        (900, 800),
    ),
    "polar stereographic at 78 S": (north_up(3031, 10, 20, -78), (500, 400)),
    "polar stereographic, over the date line": (north_up(3413, 200, 179.5, 72), (300, 300)),
    "UTM at its edge": (north_up(32633, 10, 18.2, 77), (500, 400)),
    "UTM beyond the date line": (north_up(32601, 100, 179, 70), (700, 700)),
    "degrees": (Grid("EPSG:4326", (0.01, 0, 20, 0, -0.01, 80)), (400, 500)),
    "coarse degrees, over the date line": (
        Grid("EPSG:4326", (0.25, 0, 179, 0, -0.25, 88)),
        (60, 50),
    ),
    "turned": (Grid("EPSG:32633", (7, 7, 5e5, 7, -7, 8.5e6)), (300, 400)),
    "feet": (Grid("EPSG:2263", (100, 0, 9e5, 0, -100, 2e5)), (90, 80)),
    "another ellipsoid": (Grid("+proj=stere +lat_0=90 +R=6.37e6", (9e3, 0, 0, 0, -9e3, 0)), (9, 9)),
}


def geodesic_km2(grid, shape):
    """Of the whole scene: its rim as a polygon of geodesics."""
    a, b, c, d, e, f = grid.transform
    (rows, columns), share = shape, np.linspace(0, 1, 301)[:-1]
    nothing, all_of_it = np.zeros_like(share), np.ones_like(share)
    row = rows * np.concatenate([nothing, share, all_of_it, 1 - share])
    column = columns * np.concatenate([share, all_of_it, 1 - share, nothing])
    crs = pyproj.CRS(grid.crs)
    base = crs.geodetic_crs
    to_degrees = pyproj.Transformer.from_crs(crs, base, always_xy=True)
    degrees = to_degrees.transform(a * column + b * row + c, d * column + e * row + f)
    earth = pyproj.Geod(a=base.ellipsoid.semi_major_metre, b=base.ellipsoid.semi_minor_metre)
    return abs(earth.polygon_area_perimeter(*degrees)[0]) / 1e6


@pytest.mark.parametrize("name", GRIDS)
def test_areas_are_those_of_geodesic_polygons(name):
    grid, shape = GRIDS[name]
    label = np.zeros(shape, np.uint8)
    label[: shape[0] // 2, : shape[1] // 3] = 2
    label[-1] = 255
    areas = ground.class_areas(label, grid)
    assert list(areas) == [*CLASSES, "unknown"]
    assert sum(areas.values()) == pytest.approx(geodesic_km2(grid, shape), rel=2e-6)
    part = geodesic_km2(grid, (shape[0] // 2, shape[1] // 3))
    assert areas["open_water"] == pytest.approx(part, rel=2e-6)
    assert areas["thin_ice"] == 0


def test_a_pixel_of_web_mercator_at_75_north_is_26_metres_wide():
    grid, _ = GRIDS["web mercator at 75 N"]
    side = np.sqrt(ground.pixel_km2(grid, slice(0, 1), 1)[0, 0] * 1e6)
    assert side == pytest.approx(100 * np.cos(np.radians(75)), rel=0.004)


@pytest.mark.parametrize("crs", [3413, 3031, 32633, 6933])
def test_pixels_are_what_the_areal_scale_of_the_projection_says(crs):
    grid = north_up(crs, 50, 16, -70 if crs == 3031 else 70)
    found = ground.pixel_km2(grid, slice(100, 300), 130)
    assert found.shape == (200, 130)
    assert found.dtype == np.float32
    a, _, c, _, e, f = grid.transform
    x, y = np.meshgrid(c + a * (np.arange(130) + 0.5), f + e * (np.arange(100, 300) + 0.5))
    degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    scale = pyproj.Proj(crs).get_factors(*degrees).areal_scale
    assert np.allclose(found, 0.0025 / scale, rtol=2e-6)


def test_bands_of_rows_have_the_pixels_of_the_whole():
    grid, (rows, columns) = GRIDS["degrees"]
    whole = ground.pixel_km2(grid, slice(0, rows), columns)
    for start, stop in ((0, 1), (31, 70), (64, 65), (rows - 1, rows)):
        part = ground.pixel_km2(grid, slice(start, stop), columns)
        assert np.allclose(part, whole[start:stop], rtol=1e-6)


def test_a_scene_of_one_pixel_has_an_area():
    grid = north_up(32633, 10, 15, 75)
    assert ground.pixel_km2(grid, slice(0, 1), 1)[0, 0] == pytest.approx(1e-4 / 0.9996**2)


def test_pixels_beyond_the_edge_of_the_earth_have_no_area():
    grid = Grid("+proj=geos +h=35785831 +lon_0=0", (5e4, 0, -6e6, 0, -5e4, 6e6))
    found = ground.pixel_km2(grid, slice(0, 240), 240)
    assert found[0, 0] == 0
    assert found[120, 120] == pytest.approx(2500, rel=0.02)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("crs", "problem"),
    [
        ('LOCAL_CS["a hall",UNIT["metre",1]]', "Engineering CRS a hall.* is no place on the Earth"),
        ("EPSG:4978", "is no place on the Earth"),
        ("EPSG:1", "'EPSG:1' is not understood"),
        ("nonsense", "'nonsense' is not understood"),
    ],
)
def test_a_crs_that_is_unknown_or_nowhere_has_no_areas_and_says_so(crs, problem):
    grid = Grid(crs, (10, 0, 0, 0, -10, 0))
    with pytest.raises(ground.NoAreaError, match=problem) as caught:
        ground.class_areas(np.zeros((3, 3), np.uint8), grid)
    assert "\n" not in str(caught.value)


def test_a_grid_lies_on_itself_whatever_its_crs_is_called():
    known = pyproj.CRS("+proj=laea +lat_0=90 +lon_0=10 +datum=WGS84").to_wkt()
    named = known.replace('"unknown"', '"My polar laea"', 1)
    one, other = (Grid(crs, (100.0, 0, 0, 0, -100.0, 0)) for crs in (known, named))
    assert one.crs != other.crs
    assert one.lies_on(other, (120, 120))
    assert not one.from_row(1).lies_on(other, (120, 120))


def test_a_grid_from_a_row_on_is_the_grid_without_the_rows_above():
    """Turned and sheared: each number counts."""
    a, b, c, d, e, f = turned = (9.0, 2.0, 5e5, 3.0, -8.0, 7e6)
    below = Grid("EPSG:32622", turned).from_row(11).transform
    row, column = np.indices((4, 5))
    for here, there in ((below[:3], (a, b, c)), (below[3:], (d, e, f))):
        moved = here[0] * column + here[1] * row + here[2]
        assert np.array_equal(moved, there[0] * column + there[1] * (row + 11) + there[2])
