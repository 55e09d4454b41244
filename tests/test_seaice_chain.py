"""From a GeoTIFF to labels, patches and masks: each knows where it lies, and what is there now."""

import json
import shutil

import h5py
import numpy as np
import pytest
import rasterio
import safe2
from test_seaice_label import scene, write
from test_seaice_masks import write_raster

from cloudmask import __main__ as cloudmask_cli
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.read import read_scene
from cloudmask.model import keras_file
from seaice import __main__ as cli
from seaice import ground
from seaice.colour import CLASSES
from seaice.io import classmap
from seaice.io import grid as grids
from seaice.io.grid import Grid

OWN_CRS = rasterio.crs.CRS.from_string("+proj=laea +lat_0=80 +lon_0=9 +ellps=WGS84").to_wkt()
POLAR = Grid("EPSG:3413", (100.0, 0.0, 3e5, 0.0, -100.0, -1.2e6))


def run(*words):
    return cli.main([str(word) for word in words])


def write_geotiff(path, image, grid):
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {"height": image.shape[0], "width": image.shape[1], "count": 3, "dtype": "uint8"}
    with rasterio.open(
        path, "w", driver="GTiff", photometric="rgb", **layout, **grids.placing(grid)
    ) as file:
        file.write(np.moveaxis(image, -1, 0))
    return path


def write_network(folder):
    """One that nobody has trained."""
    info = keras_file.ModelInfo(
        channels=("red", "green", "blue"),
        classes=CLASSES,
        mean=(120.0,) * 3,
        std=(60.0,) * 3,
        widths=(4, 8),
        dropout=(),
        patchset="none",
    )
    weights = [v.numpy() for v in keras_file.build(info, seed=3).trainable_variables]
    folder.mkdir()
    keras_file.save(folder / "model.keras", weights, info)


@pytest.mark.parametrize("form", ["netcdf", "geotiff"])
def test_a_mask_of_a_geotiff_lies_where_the_geotiff_lies(tmp_path, form):
    for number in range(2):
        write_geotiff(tmp_path / f"scenes/s{number}.tif", scene(number), POLAR)
    assert run("label", tmp_path / "scenes", "--out", tmp_path / "labels") == 0
    words = ("--labels", tmp_path / "labels", "--out", tmp_path / "patches", "--patch-size", 32)
    assert run("prepare", tmp_path / "scenes", *words, "--split", "train=0.5,valid=0.5") == 0
    npz = read_scene(tmp_path / "patches-scenes/s0.npz")
    assert (npz.crs, npz.transform) == (POLAR.crs, POLAR.transform)
    assert np.isnan(npz.image).any()
    for entry in open_patchset(tmp_path / "patches").files:
        with h5py.File(tmp_path / "patches" / entry.path) as file:
            assert file.attrs["crs"] == POLAR.crs
            assert tuple(file.attrs["transform"]) == POLAR.transform
    write_network(tmp_path / "run")
    words = ["predict", tmp_path / "run/model.keras", tmp_path / "patches-scenes", "--format", form]
    assert cloudmask_cli.main([str(w) for w in (*words, "--out", tmp_path / "masks")]) == 0
    mask = classmap.of_scene(tmp_path / "masks", "s0")
    known = classmap.of_scene(tmp_path / "labels", "s0")
    assert mask.grid.transform == known.grid.transform == POLAR.transform
    assert mask.grid.crs == known.grid.crs == POLAR.crs
    assert np.array_equal(mask.label == 255, known.label == 255)
    areas = ground.class_areas(mask.label, mask.grid)
    record = json.loads((tmp_path / "labels/records/s0.json").read_text())
    total = sum(record["area_km2"].values())
    assert sum(areas[name] for name in CLASSES) == pytest.approx(total)
    assert areas["unknown"] == pytest.approx(record["unknown_km2"])
    assert 1.03 < total / (0.01 * (known.label != 255).sum()) < 1.05  # which 100 m would not say


def test_eight_bit_scenes_stay_eight_bit_where_pixels_are_missing(tmp_path):
    image = scene()
    write(tmp_path / "scenes/a.png", image)
    assert run("scenes", tmp_path / "scenes", "--out", tmp_path / "npz") == 0
    with np.load(tmp_path / "npz/a.npz") as file:
        assert file["image"].dtype == np.uint8
        assert np.array_equal(file["image"], image)
        assert file["missing"].dtype == bool
        assert file["missing"].sum() == 78
    read = read_scene(tmp_path / "npz/a.npz", need_label=False)
    assert np.array_equal(np.isnan(read.image).all(axis=2), (image == 0).all(axis=2))


@pytest.fixture
def archive(tmp_path):
    """Four scenes with labels, cut."""
    for number in range(4):
        write(tmp_path / f"scenes/s{number}.png", scene(number))
    assert run("label", tmp_path / "scenes", "--out", tmp_path / "labels") == 0
    assert prepare(tmp_path) == 0
    shutil.rmtree(tmp_path / "patches")
    return tmp_path


def prepare(top):
    words = ("--labels", top / "labels", "--out", top / "patches", "--patch-size", 32)
    return run("prepare", top / "scenes", *words, "--split", "train=0.5,valid=0.5")


def cut(top):
    return sorted(entry.scene for entry in open_patchset(top / "patches").files)


def test_withdrawn_scenes_leave_the_training_set(archive, capsys):
    (archive / "scenes/s1.png").unlink()
    mine = archive / "patches-scenes/mine.npz"
    np.savez(mine, image=np.ones((64, 64, 3), np.uint8), label=np.zeros((64, 64), np.uint8))
    assert prepare(archive) == 0
    assert cut(archive) == ["s0", "s2", "s3"]
    told = capsys.readouterr().err
    assert "removed: 1 scene of pictures that are not there any more, such as" in told
    assert "left out: 1 file that prepare did not write, such as" in told
    names = sorted(path.name for path in (archive / "patches-scenes").iterdir())
    assert names == ["mine.npz", "s0.npz", "s2.npz", "s3.npz"]


@pytest.mark.parametrize("broken", ["scenes/s1.png", "labels/labels/s1.tif"])
def test_scenes_that_broke_leave_the_training_set(archive, capsys, broken):
    (archive / broken).write_bytes(b"broken")
    assert prepare(archive) == 1
    assert cut(archive) == ["s0", "s2", "s3"]
    assert "s1" in capsys.readouterr().err
    assert not (archive / "patches-scenes/s1.npz").exists()


def test_an_archive_without_a_good_scene_is_refused(archive):
    for path in (archive / "scenes").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match="no scene could be made, so there is nothing to cut"):
        prepare(archive)


def test_date_tile_and_clouds_of_a_product_are_kept(tmp_path):
    product = safe2.build(tmp_path / "scenes", level="L2A", bands=False)
    assert run("label", product, "--out", tmp_path / "labels", "--clouds", "scl") == 0
    record = json.loads((tmp_path / f"labels/records/{product.stem}.json").read_text())
    assert record["tile"] == "58CEU"
    assert record["date"].startswith("2019-11-03T20:49:21")
    classes = safe2.classification().repeat(2, axis=0).repeat(2, axis=1)
    clouds = np.isin(classes, (3, 8, 9, 10))
    label = classmap.of_scene(tmp_path / "labels", product.stem)
    assert np.array_equal(label.label == 255, clouds | (classes == 0))
    assert label.date == record["date"]
    assert record["done"]["cloud_pixels"] == clouds.sum()
    assert record["done"]["missing_pixels"] == (classes == 0).sum()
    words = ("--labels", tmp_path / "labels", "--out", tmp_path / "npz")
    assert run("scenes", product, *words) == 0
    npz = read_scene(tmp_path / f"npz/{product.stem}.npz")
    assert npz.start.startswith("2019-11-03T20:49:21")
    assert npz.crs == "EPSG:32758"
    assert np.array_equal(npz.label, label.label)


def test_a_label_that_lies_elsewhere_is_refused(tmp_path, capsys):
    write_geotiff(tmp_path / "scenes/a.tif", scene(), POLAR)
    (tmp_path / "labels").mkdir()
    label = np.zeros((64, 64), np.uint8)
    words = ("--labels", tmp_path / "labels", "--out", tmp_path / "npz")
    for moved, code in ((POLAR.from_row(3), 1), (POLAR, 0)):
        (tmp_path / "labels/a.tif").write_bytes(classmap.encode(label, moved))
        assert run("scenes", tmp_path / "scenes", *words) == code
    assert "lies elsewhere than" in capsys.readouterr().err


@pytest.mark.parametrize("crs", [OWN_CRS, 'LOCAL_CS["a hall",UNIT["metre",1]]'])
def test_a_crs_without_a_number_is_the_same_in_other_words(tmp_path, crs):
    """As a GeoTIFF tells it, names of its parts are lost."""
    grid = Grid(crs, (10.0, 0.0, 5e3, 0.0, -10.0, 7e3))
    write_geotiff(tmp_path / "scenes/a.tif", scene(), grid)
    assert run("label", tmp_path / "scenes", "--out", tmp_path / "labels") == 0
    words = ("--labels", tmp_path / "labels", "--out", tmp_path / "npz")
    assert run("scenes", tmp_path / "scenes", *words) == 0
    moved = Grid("EPSG:32633", grid.transform)
    assert not moved.lies_on(grid, (64, 64))
    assert not grid.lies_on(moved, (64, 64))


def test_masks_beside_the_scenes_are_no_scenes(tmp_path):
    write_geotiff(tmp_path / "scenes/a.tif", scene(), POLAR)
    land = write_raster(tmp_path / "scenes/landmask.tiff", np.ones((64, 64), np.uint8), POLAR)
    words = ("--land", land, "--out", tmp_path / "out")
    assert run("label", tmp_path / "scenes", *words) == 0
    assert [path.name for path in (tmp_path / "out/labels").iterdir()] == ["a.tif"]
    assert (classmap.of_scene(tmp_path / "out", "a").label == 255).all()
