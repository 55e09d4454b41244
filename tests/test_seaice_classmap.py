"""Class maps on disk: what is written comes back, and what others write is understood."""

import json

import cv2
import numpy as np
import pytest
import rasterio

from cloudmask.predict.masks import SceneMask, write_mask
from seaice import colour
from seaice.colour import CLASSES, COLOURS
from seaice.io import classmap, png
from seaice.io import grid as grids
from seaice.io.grid import Grid

RNG = np.random.default_rng(4)
DATE = "2019-11-04T18:01:02Z"
UTM = Grid("EPSG:32733", (10.0, 0.0, 5e5, 0.0, -10.0, 3e6))
TURNED = Grid("EPSG:3031", (7.0, 7.0, -1e6, 7.0, -7.0, 2e6))
OWN = Grid(rasterio.crs.CRS.from_string("+proj=laea +lat_0=80 +lon_0=9").to_wkt(), UTM.transform)


def label(rows=90, columns=70):
    return RNG.choice(np.array([0, 1, 2, 255], np.uint8), (rows, columns))


@pytest.mark.parametrize("grid", [None, UTM, TURNED, OWN], ids=["none", "utm", "turned", "own"])
def test_a_class_map_comes_back_with_its_place_and_date(tmp_path, grid):
    known = label()
    content = classmap.encode(known, grid, date=DATE)
    (tmp_path / "a.tif").write_bytes(content)
    found = classmap.read(tmp_path / "a.tif")
    assert np.array_equal(found.label, known)
    assert found.date == DATE
    if grid is None or grid is not OWN:
        assert found.grid == grid
    else:
        assert found.grid.transform == grid.transform
        assert rasterio.crs.CRS.from_user_input(found.grid.crs) == rasterio.crs.CRS.from_wkt(
            OWN.crs
        )
    assert classmap.encode(known, grid, date=DATE) == content


def test_a_large_one_has_tiles_overviews_and_colours(tmp_path):
    known = label(1300, 1100)
    (tmp_path / "a.tif").write_bytes(classmap.encode(known, UTM))
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE") == {
            **file.tags(ns="IMAGE_STRUCTURE"),
            **{"LAYOUT": "COG", "COMPRESSION": "DEFLATE"},
        }
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2, 4]
        assert file.nodata == 255
        assert {index: file.colormap(1)[index][:3] for index in COLOURS} == COLOURS
        halved = file.read(1, out_shape=(650, 550))
    assert set(np.unique(halved)) <= {0, 1, 2, 255}  # classes are never averaged


def test_a_quicklook_is_small_and_in_colours():
    known = label(2100, 900)
    content = np.frombuffer(classmap.quicklook(known), np.uint8)
    shown = cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(shown, colour.picture(known[::3, ::3]))
    small = label(90, 1024)
    content = np.frombuffer(classmap.quicklook(small), np.uint8)
    assert cv2.imdecode(content, cv2.IMREAD_COLOR).shape == (90, 1024, 3)


def test_masks_by_hand_may_be_gray_coloured_or_of_a_palette(tmp_path):
    known = label()
    swapped = np.array([2, 0, 1, *[7] * 253], np.uint8)[known]
    shown = colour.picture(known)
    contents = {
        "gray": png.encode(known),
        "coloured": png.encode(shown),
        "ours": classmap.quicklook(known),
        "palette": png.encode_palette(
            swapped, {2: (255, 0, 0), 0: (0, 0, 255), 1: (0, 255, 0), 7: (0, 0, 0)}
        ),
        "gray_palette": png.encode_palette(known, {value: (value,) * 3 for value in range(256)}),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.png").write_bytes(content)
        assert np.array_equal(classmap.read(tmp_path / f"{name}.png").label, known), name
    transparent = np.dstack([shown, np.where(known == 255, 0, 255).astype(np.uint8)])
    transparent[known == 255, :3] = 99
    content = cv2.imencode(".png", transparent[..., (2, 1, 0, 3)])[1]
    (tmp_path / "alpha.png").write_bytes(content.tobytes())
    assert np.array_equal(classmap.read(tmp_path / "alpha.png").label, known)


def write_tiff(path, bands, grid=UTM, **more):
    layout = {"height": bands.shape[1], "width": bands.shape[2], "count": len(bands)}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=bands.dtype, **layout, **grids.placing(grid), **more
    ) as file:
        file.write(bands)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiffs_of_others_are_understood(tmp_path):
    known = label()
    wide = known.astype(np.int16)
    wide[known == 255] = -9
    found = classmap.read(write_tiff(tmp_path / "a.tif", wide[None], nodata=-9))
    assert np.array_equal(found.label, known)
    assert found.grid == UTM
    shown = np.moveaxis(colour.picture(known), -1, 0)
    found = classmap.read(write_tiff(tmp_path / "b.tif", shown, None))
    assert np.array_equal(found.label, known)
    assert found.grid is None


@pytest.mark.parametrize("name", ["a.nc", "a.tif"])
def test_masks_of_predict_keep_place_and_date(tmp_path, name):
    known = label()
    shares = np.where(known[..., None] == 255, np.nan, known[..., None] == np.arange(3))
    place = {"crs": UTM.crs, "transform": UTM.transform, "start": DATE}
    mask = SceneMask("a", CLASSES, shares.astype(np.float32), None, known, **place)
    write_mask(tmp_path / name, mask)
    found = classmap.read(tmp_path / name)
    assert np.array_equal(found.label, known)
    assert found.grid == UTM
    assert found.date == DATE


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_no_class_map_is_one_line(tmp_path):
    known = label()
    strange = {256 - 7: (9, 9, 9), **COLOURS}
    shares = np.full((3, 3, 1), 0.5, np.float32)
    other = SceneMask("a", ("clear", "cloud"), shares, None, np.zeros((3, 3), np.uint8))
    write_mask(tmp_path / "classes.nc", other)
    write_mask(tmp_path / "classes.tif", other)
    three = np.full((1, 9, 9), 3, np.uint8)
    with rasterio.open(tmp_path / "classes.tif") as file:
        assert json.loads(file.tags()["classes"]) == ["clear", "cloud"]
    (tmp_path / "value.png").write_bytes(png.encode(three[0]))
    (tmp_path / "colour.png").write_bytes(png.encode_palette(three[0] + 246, strange))
    (tmp_path / "shown.png").write_bytes(png.encode(np.full((9, 9, 3), 50, np.uint8)))
    (tmp_path / "broken.png").write_bytes(png.encode(known)[:-30])
    (tmp_path / "text.tif").write_text("no picture")
    (tmp_path / "text.nc").write_text("no picture")
    write_tiff(tmp_path / "floats.tif", three.astype(np.float32))
    write_tiff(tmp_path / "bands.tif", np.repeat(three, 2, axis=0))
    cut = write_tiff(tmp_path / "cut.tif", np.repeat(three, 3, axis=0) * 80, None)
    cut.write_bytes(cut.read_bytes()[:-100])
    problems = {
        "value.png": "holds the value 3; classes are 0 to 2, 255 is unknown",
        "colour.png": "holds the colour .9, 9, 9.; the colours are thick_ice .255, 0, 0.",
        "shown.png": "holds the colour .50, 50, 50.",
        "broken.png": "is damaged .libpng",
        "text.tif": "is no PNG, JPEG, TIFF",
        "text.nc": "is not a mask of this program",
        "floats.tif": "holds float32 values, not whole numbers",
        "bands.tif": "has 2 bands; a class map has one of classes, or red, green",
        "cut.tif": "is damaged",
        "classes.nc": "has the classes .'clear', 'cloud'.; needed are",
        "classes.tif": "has the classes .'clear', 'cloud'.; needed are",
        "absent.tif": "cannot be read .no such file.",
    }
    for name, problem in problems.items():
        with pytest.raises(ValueError, match=problem) as caught:
            classmap.read(tmp_path / name)
        assert "\n" not in str(caught.value), name
        assert name in str(caught.value)


def test_a_folder_tells_its_scenes(tmp_path):
    for name in ("b.tif", "a.png", "a.tif", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert classmap.names(tmp_path) == ["a", "b"]
    assert classmap.find(tmp_path, "a") == tmp_path / "a.tif"
    assert classmap.find(tmp_path, "c") is None
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/c.tif").write_bytes(b"")
    assert classmap.names(tmp_path) == ["c"]
    assert classmap.find(tmp_path, "c") == tmp_path / "labels/c.tif"
    with pytest.raises(ValueError, match="holds no class maps"):
        classmap.names(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no class map of the scene d"):
        classmap.of_scene(tmp_path, "d")


def test_maps_by_hand_are_found_by_name_and_by_path(tmp_path):
    for path in ("a/b.tiff", "a/c/d.png", "e__f.TIF", "labels/g.txt", "a/records/h.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    assert classmap.names(tmp_path) == ["a__b", "a__c__d", "e__f"]
    assert classmap.find(tmp_path, "a__b") == tmp_path / "a/b.tiff"
    assert classmap.find(tmp_path, "a__c__d") == tmp_path / "a/c/d.png"
    assert classmap.find(tmp_path, "e__f") == tmp_path / "e__f.TIF"
    with pytest.raises(
        ValueError, match=r"the scene x__y \(x__y.tif, .tiff, .png, .nc, or x/y.tif"
    ):
        classmap.of_scene(tmp_path, "x__y")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_alpha_is_what_a_file_declares(tmp_path):
    known = label()
    opaque = np.where(known == 255, 0, 9).astype(np.uint8)
    values = np.stack([known % 3, opaque])
    path = write_tiff(tmp_path / "gray.tif", values)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha]
    assert np.array_equal(classmap.read(path).label, known)
    shown = np.moveaxis(colour.picture(known), -1, 0)
    path = write_tiff(tmp_path / "nir.tif", np.stack([*shown, opaque]), photometric="rgb")
    with rasterio.open(path, "r+") as file:
        names = ("red", "green", "blue", "undefined")
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in names]
    with pytest.raises(ValueError, match="has 4 bands; a class map has one of classes"):
        classmap.read(path)


def test_a_palette_that_begins_with_black_is_no_ramp_of_gray(tmp_path):
    """All of it unknown: index 0 alone is used, whose colour is that of nothing known."""
    colours = {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 0, 255), 3: (0, 255, 0)}
    nothing = np.zeros((9, 9), np.uint8)
    (tmp_path / "a.png").write_bytes(png.encode_palette(nothing, colours))
    assert (classmap.read(tmp_path / "a.png").label == 255).all()
