"""Land and cloud masks: folders, rasters anywhere, outlines in vector files."""

import json

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely

from seaice.io import grid as grids
from seaice.io import masks, png
from seaice.io.grid import Grid

SHAPE = (60, 80)


def placed(crs, size, longitude, latitude):
    """A grid whose middle is at this place."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, latitude)
    return Grid(f"EPSG:{crs}", (size, 0, x - 40 * size, 0, -size, y + 30 * size))


GRIDS = {
    "UTM": placed(32633, 1000, 15, 75),
    "degrees": placed(4326, 0.01, 15, 75),
    "UTM over the date line": placed(32601, 1000, 179.9, 72),
    "degrees over the date line": placed(4326, 0.01, 179.9, 72),
    "polar over the date line": placed(3413, 1000, 179.9, 72),
    "polar over the pole": placed(3413, 5000, 0, 90),
    "south": placed(3031, 1000, 20, -78),
}


def centres(grid, shape=SHAPE):
    """Longitude and latitude of the pixels' centres."""
    row, column = np.indices(shape) + 0.5
    a, b, c, d, e, f = grid.transform
    to_degrees = pyproj.Transformer.from_crs(grid.crs, 4326, always_xy=True)
    return to_degrees.transform(a * column + b * row + c, d * column + e * row + f)


def write_raster(path, values, grid, **more):
    layout = {"height": values.shape[0], "width": values.shape[1], "count": 1}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype, **layout, **grids.placing(grid), **more
    ) as file:
        file.write(values, 1)
    return path


def write_outlines(path, polygons, crs="EPSG:4326", kind="Polygon", **more):
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array(polygons)),
        field_data=[],
        fields=[],
        geometry_type=kind,
        crs=crs,
        **more,
    )
    return path


def lay(path, grid, name="scene", shape=SHAPE):
    return masks.lay(masks.source_of("--land", path), name, grid, shape)


# Land at odd places, in degrees: west, south, east, north.
LANDS = [(14.2, 74.9, 15.1, 75.2), (-180, 71.9, -179.8, 72.1), (179.5, 71.8, 180, 71.95)]
LANDS += [(-30, 88.9, 40, 90), (19, -78.1, 20.3, -77.9), (-100, 10, -90, 20)]


def expected_land(grid):
    longitude, latitude = centres(grid)
    land = np.zeros(SHAPE, bool)
    for west, south, east, north in LANDS:
        along = (longitude - west) % 360 <= east - west
        land |= along & (latitude >= south) & (latitude <= north)
    return land


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp"])
@pytest.mark.parametrize("name", GRIDS)
def test_outlines_are_burnt_into_any_grid(tmp_path, name, suffix):
    """Their edges follow parallels, with no vertices between the corners."""
    path = write_outlines(tmp_path / f"land{suffix}", [shapely.box(*land) for land in LANDS])
    laid = lay(path, GRIDS[name])
    expected = expected_land(GRIDS[name])
    assert laid.told == ""
    assert 0 < expected.sum() < expected.size
    # A pixel whose centre is on the edge may go either way.
    assert (laid.mask != expected).sum() <= 3


def test_outlines_may_count_longitudes_from_0_to_360(tmp_path):
    path = write_outlines(tmp_path / "land.gpkg", [shapely.box(179.5, 71.9, 180.4, 72.05)])
    for name in ("UTM over the date line", "degrees over the date line"):
        longitude, latitude = centres(GRIDS[name])
        expected = (longitude % 360 > 179.5) & (longitude % 360 < 180.4)
        expected &= (latitude > 71.9) & (latitude < 72.05)
        assert (lay(path, GRIDS[name]).mask != expected).sum() <= 3


def test_outlines_in_another_projection_and_across_themselves(tmp_path):
    grid = GRIDS["south"]
    _, _, x, _, _, y = grid.transform
    bow = [(x, y), (x + 4e4, y - 4e4), (x + 4e4, y), (x, y - 4e4)]
    path = write_outlines(tmp_path / "land.gpkg", [shapely.Polygon(bow)], "EPSG:3031")
    mask = lay(path, grid).mask
    assert 0.2 < mask[:40, :40].mean() < 0.8
    assert not mask[41:].any()


def test_outlines_of_elsewhere_are_told(tmp_path):
    path = write_outlines(tmp_path / "land.gpkg", [shapely.box(-100, 10, -90, 20)])
    laid = lay(path, GRIDS["UTM"])
    assert (laid.mask, laid.told) == (None, "--land does not reach it")
    laid = lay(path, None)
    assert laid.mask is None
    assert "does not say where it lies" in laid.told


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: write_outlines(path, [shapely.box(0, 0, 1, 1)], None), "has no CRS"),
        (
            lambda path: write_outlines(
                path, [shapely.LineString([(0, 0), (1, 1)])], kind="LineString"
            ),
            "LineString, which encloses nothing",
        ),
        (lambda path: path.write_bytes(b"nothing"), "cannot be read as a vector file"),
        (lambda path: None, "does not exist"),
    ],
)
@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_what_encloses_no_land_is_refused(tmp_path, write, problem):
    path = tmp_path / "land.gpkg"
    write(path)
    with pytest.raises(ValueError, match=problem) as caught:
        masks.source_of("--land", path)
    assert "\n" not in str(caught.value)


def test_a_file_of_two_layers_and_one_of_no_kind_are_refused(tmp_path):
    path = tmp_path / "land.gpkg"
    for layer in ("one", "two"):
        write_outlines(path, [shapely.box(0, 0, 1, 1)], layer=layer, append=path.exists())
    with pytest.raises(ValueError, match="has the layers one, two; give a file of one"):
        masks.source_of("--land", path)
    (tmp_path / "land.doc").write_text("land")
    with pytest.raises(ValueError, match="neither a folder of masks nor one of"):
        masks.source_of("--land", tmp_path / "land.doc")


@pytest.mark.parametrize("first", [-180, 0])
@pytest.mark.parametrize("name", GRIDS)
def test_a_raster_in_degrees_is_laid_over_any_grid(tmp_path, name, first):
    grid = GRIDS[name]
    _, latitude = centres(grid)
    top = min(90.0, round(latitude.max() + 1))
    rows = int(top - max(-90.0, round(latitude.min() - 1))) * 20
    row, column = np.indices((rows, 7200))
    checks = (((column * 0.05 + first) % 360 // 0.5 + row // 7) % 2).astype(np.uint8)
    source = Grid("EPSG:4326", (0.05, 0, first, 0, -0.05, top))
    path = write_raster(tmp_path / "land.tif", checks, source, compress="deflate")
    laid = lay(path, grid)
    longitude, latitude = centres(grid)
    expected = checks[
        np.clip((top - latitude) / 0.05, 0, rows - 1).astype(int),
        ((longitude - first) % 360 / 0.05).astype(int) % 7200,
    ].astype(bool)
    assert laid.told == ""
    assert (laid.mask != expected).mean() < 0.02  # the warper may be an eighth of a pixel off


def test_a_raster_that_reaches_a_part_or_nothing_is_told(tmp_path):
    a, _, c, _, e, f = GRIDS["UTM"].transform
    half = Grid("EPSG:32633", (a, 0, c + 20 * a, 0, e, f))
    path = write_raster(tmp_path / "half.tif", np.ones(SHAPE, np.int16), half)
    laid = lay(path, GRIDS["UTM"])
    assert laid.mask[:, 20:].all()
    assert not laid.mask[:, :20].any()
    assert laid.told == "--land reaches 75.0% of it"
    laid = lay(path, GRIDS["south"])
    assert (laid.mask, laid.told) == (None, "--land does not reach it")
    floating = np.where(np.indices(SHAPE)[0] < 9, np.nan, 1).astype(np.float32)
    path = write_raster(tmp_path / "nan.tif", floating, GRIDS["UTM"], nodata=np.nan)
    assert np.array_equal(lay(path, GRIDS["UTM"]).mask, np.indices(SHAPE)[0] >= 9)


def test_one_raster_without_a_place_is_refused(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = write_raster(tmp_path / "land.tif", np.ones(SHAPE, np.uint8), None)
    with pytest.raises(ValueError, match="does not say where it lies; one raster"):
        masks.source_of("--land", path)


def test_a_folder_has_masks_of_many_kinds(tmp_path):
    land = np.indices(SHAPE)[1] < 30
    grey = (land * 200).astype(np.uint8)
    shown = np.zeros((*SHAPE, 3), np.uint8)
    shown[land] = (0, 9, 0)
    contents = {
        "grey.png": png.encode(grey),
        "colour.png": png.encode(shown),
        "palette.png": png.encode_palette(3 - land, {2: (0, 80, 0), 3: (0, 0, 0)}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    grid = GRIDS["UTM"]
    write_raster(tmp_path / "same.tif", grey.astype(np.uint16), grid)
    moved = Grid(grid.crs, (500.0, *grid.transform[1:4], -500.0, grid.transform[5]))
    finer = np.repeat(np.repeat(grey, 2, axis=0), 2, axis=1)
    write_raster(tmp_path / "finer.tiff", finer, moved)
    for name in ("grey", "colour", "palette", "same", "finer"):
        laid = lay(tmp_path, grid, name)
        assert np.array_equal(laid.mask, land), name
        assert laid.told == "", name
    assert lay(tmp_path, grid, "absent").told.startswith("--land has no mask of it (NAME.tif, ")
    with pytest.raises(ValueError, match="has 60 x 80 pixels, the scene 9 x 80"):
        lay(tmp_path, grid, "grey", (9, 80))
    (tmp_path / "grey.png").write_bytes(contents["grey.png"][:60])
    with pytest.raises(ValueError, match=r"grey\.png"):
        lay(tmp_path, grid, "grey")


@pytest.mark.parametrize("name", ["mask.nc", "mask.tif"])
def test_masks_of_predict_are_set_where_they_say_cloud(tmp_path, name):
    from cloudmask.predict.masks import SceneMask, write_mask

    grid = GRIDS["polar over the date line"]
    classes = np.indices(SHAPE)[0].astype(np.uint8) % 2
    classes[:, 70:] = 255
    probability = np.where(classes == 255, np.nan, classes).astype(np.float32)[..., None]
    place = {"crs": grid.crs, "transform": grid.transform}
    mask = SceneMask("mask", ("clear", "cloud"), probability, None, classes, **place)
    write_mask(tmp_path / name, mask)
    assert np.array_equal(lay(tmp_path, grid, "mask").mask, classes == 1)
    below = grid.from_row(7)
    expected = np.pad(classes[7:] == 1, ((0, 7), (0, 0)))
    laid = lay(tmp_path, below, "mask")
    assert np.array_equal(laid.mask, expected)
    assert laid.told == f"--land reaches {(classes[7:] != 255).sum() / classes.size:.1%} of it"


def test_the_content_of_masks_counts(tmp_path):
    (tmp_path / "scene.png").write_bytes(png.encode(np.ones(SHAPE, np.uint8)))
    source = masks.source_of("--land", tmp_path)
    before = source.content("scene"), source.content("other")
    (tmp_path / "scene.png").write_bytes(png.encode(np.zeros(SHAPE, np.uint8)))
    after = source.content("scene"), source.content("other")
    assert before[0] != after[0]
    assert before[1] == after[1] == ""
    path = write_outlines(tmp_path / "land.shp", [shapely.box(0, 0, 1, 1)])
    one = masks.source_of("--land", path).content("scene")
    (tmp_path / "land.prj").write_text((tmp_path / "land.prj").read_text() + " ")
    assert masks.source_of("--land", path).content("scene") != one
    json.dumps(one)


def write_bands(path, bands, grid, colours=None, inside=None, **more):
    layout = {"height": bands.shape[1], "width": bands.shape[2], "count": len(bands)}
    place = grids.placing(grid)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", dtype=bands.dtype, **layout, **place, **more
        ) as file,
    ):
        if colours is not None:
            file.colorinterp = [rasterio.enums.ColorInterp[name] for name in colours]
        file.write(bands)
        if inside is not None:
            file.write_mask(inside)
    return path


LAND = np.indices((80, 100))[0] < 30  # of the wider grid, whose rows and columns begin 10 before
BYTE = LAND.astype(np.uint8) * 255
KINDS = {
    "one band": (BYTE[None], {}),
    "NaN that is declared": (np.where(LAND, 1, np.nan)[None], {"nodata": np.nan}),
    "NaN that is not": (np.where(LAND, 1, np.nan)[None].astype(np.float32), {}),
    "a second band of zeros": (np.stack([BYTE, BYTE * 0]), {}),
    "a first band of zeros": (np.stack([BYTE * 0, BYTE]), {}),
    "blue alone": (np.stack([BYTE * 0, BYTE * 0, BYTE]), {"photometric": "rgb"}),
    "infrared of zeros": (
        np.stack([BYTE, BYTE, BYTE, BYTE * 0]),
        {"colours": ("red", "green", "blue", "undefined")},
    ),
    "alpha": (
        np.stack([BYTE | 255, BYTE | 255, BYTE | 255, BYTE]),
        {"colours": ("red", "green", "blue", "alpha")},
    ),
    "gray and alpha": (np.stack([BYTE | 255, BYTE]), {"colours": ("gray", "alpha")}),
    "nodata where it is clear": (np.where(LAND, 7, 9)[None].astype(np.int16), {"nodata": 9}),
    "nodata 0": (np.stack([BYTE * 0, BYTE * 0, BYTE]), {"nodata": 0}),
    "a mask inside": (BYTE[None] | 255, {"inside": LAND}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_means_the_same_on_the_grid_and_warped(tmp_path, kind):
    bands, more = KINDS[kind]
    grid = GRIDS["UTM"]
    a, b, c, d, e, f = grid.transform
    wider = Grid(grid.crs, (a, b, c - 10 * a, d, e, f - 10 * e))
    for folder in ("same", "wider"):
        (tmp_path / folder).mkdir()
    write_bands(tmp_path / "same/scene.tif", bands[:, 10:70, 10:90], grid, **cut(more))
    write_bands(tmp_path / "wider/scene.tif", bands, wider, **more)
    for path in ("same", "wider", "wider/scene.tif"):
        mask = lay(tmp_path / path, grid).mask
        assert np.array_equal(mask, LAND[10:70, 10:90]), path


def cut(more):
    inside = more.get("inside")
    return more if inside is None else {**more, "inside": inside[10:70, 10:90]}


def test_masks_are_found_by_name_and_by_path(tmp_path):
    mask = np.indices(SHAPE)[0] < 5
    content = png.encode(mask.astype(np.uint8))
    for path in ("a/b.png", "a__c.TIF", "a/x__y/d.png", "flat__e.png", "__odd.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    for name in ("a__b", "a__c", "a__x__y__d", "flat__e", "__odd"):
        assert np.array_equal(lay(tmp_path, None, name).mask, mask), name
    # A name leads nowhere else.
    for name in ("..__b", "a__..__flat__e", ".__flat__e", "a__"):
        laid = lay(tmp_path / "a", None, name)
        assert "has no mask of it (NAME.tif, .tiff, .png or .nc, for a__b also a/b)" in laid.told


CROSSING = {
    "bow": shapely.Polygon([(-52, 70), (-50, 71), (-50, 70), (-52, 71)]),
    "loop": shapely.Polygon(
        [
            (-51 + 1.5 * np.cos(2 * t + 0.5), 70.5 + 0.5 * np.sin(3 * t))
            for t in np.arange(0, 6.28, 0.02)
        ]
    ),
    "overlapping": shapely.MultiPolygon(
        [shapely.box(-52, 70.2, -50.8, 70.7), shapely.box(-51.2, 70.3, -50, 70.8)]
    ),
    "with a spike": shapely.Polygon(
        [(-52, 70.2), (-50.6, 70.2), (-50, 70.2), (-50.6, 70.2), (-50.6, 70.8), (-52, 70.8)]
    ),
    "collection": shapely.GeometryCollection(
        [
            shapely.MultiPolygon(
                [shapely.box(-52, 70.2, -51.5, 70.7), shapely.box(-51, 70.3, -50, 70.8)]
            ),
            shapely.Point(-51, 70),
        ]
    ),
}


@pytest.mark.parametrize("kind", CROSSING)
def test_outlines_that_cross_themselves_are_what_they_enclose(tmp_path, kind):
    path = write_outlines(tmp_path / "land.gpkg", [CROSSING[kind]], kind="Unknown")
    enclosed = shapely.unary_union(
        [shapely.make_valid(part) for part in shapely.get_parts(CROSSING[kind])]
    )
    for west, north in ((-52.207, 71.203), (-51.607, 70.803), (-51.207, 70.703)):
        grid = Grid("EPSG:4326", (0.02, 0, west, 0, -0.02, north))
        expected = shapely.contains_xy(enclosed, *centres(grid))
        assert expected.sum() > 0
        assert (lay(path, grid).mask != expected).sum() <= 3


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp"])
def test_outlines_without_features_do_not_reach_a_scene(tmp_path, suffix):
    path = write_outlines(tmp_path / f"land{suffix}", [])
    laid = lay(path, GRIDS["UTM"])
    assert (laid.mask, laid.told) == (None, "--land does not reach it")


def test_outlines_that_are_null_do_not_reach_a_scene(tmp_path):
    feature = {"type": "Feature", "properties": {}, "geometry": None}
    path = tmp_path / "land.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert lay(path, GRIDS["UTM"]).told == "--land does not reach it"


SITE = pyproj.CRS('LOCAL_CS["mine",UNIT["metre",1]]').to_wkt()
MOON = (
    'PROJCS["Moon",GEOGCS["Moon",DATUM["D_Moon",SPHEROID["Moon",1737400,0]],PRIMEM["Reference",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Mollweide"],PARAMETER["central_meridian",0],'
    'PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1]]'
)


@pytest.mark.parametrize("crs", [SITE, MOON], ids=["site", "moon"])
def test_a_scene_to_which_no_way_leads_is_told(tmp_path, crs):
    grid = Grid(crs, (10.0, 0, 0, 0, -10.0, 0))
    outline = write_outlines(tmp_path / "land.gpkg", [shapely.box(-9, -9, 9, 9)])
    raster = write_raster(tmp_path / "scene.tif", np.ones(SHAPE, np.uint8), GRIDS["UTM"])
    for path in (outline, raster, tmp_path):
        laid = lay(path, grid)
        assert laid.mask is None
        assert laid.told.startswith("no way leads from the CRS of --land")
