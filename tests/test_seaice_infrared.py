"""The infrared rule against one pixel at a time, at its bounds, and from a file to labels."""

import itertools
import json
import warnings

import numpy as np
import pytest
import rasterio

from cloudmask.metrics import UNKNOWN
from seaice import __main__ as cli
from seaice.colour import THICK, THIN, WATER
from seaice.infrared import BANDS, BOUNDS, Bounds, by_rows, infrared
from seaice.io import classmap

# Green, red, near infrared, 1.6 um: about what each reflects.
SURFACES = {
    "snow": ((0.85, 0.84, 0.75, 0.08), THICK),
    "bare first-year ice": ((0.62, 0.58, 0.4, 0.04), THICK),
    "grey-white ice": ((0.38, 0.33, 0.22, 0.02), THIN),
    "grey ice": ((0.29, 0.25, 0.17, 0.01), THIN),
    "water": ((0.06, 0.04, 0.02, 0.005), WATER),
    "turbid water": ((0.12, 0.11, 0.05, 0.01), WATER),
    "below zero": ((-0.002, -0.003, -0.004, 0.0), WATER),
    "cloud of droplets": ((0.7, 0.7, 0.68, 0.5), UNKNOWN),
    "cloud of ice": ((0.8, 0.79, 0.75, 0.25), UNKNOWN),
    "bare ground": ((0.15, 0.2, 0.28, 0.35), UNKNOWN),
    "haze over water": ((0.2, 0.19, 0.1, 0.15), UNKNOWN),
}


def of_one(green, red, nir, swir, bounds=BOUNDS):
    """A pixel, in the words of the module."""
    if not np.isfinite((green, red, nir, swir)).all() or swir > bounds.swir_max:
        return UNKNOWN
    if nir <= bounds.nir_min:
        return WATER if swir <= bounds.nir_min else UNKNOWN
    if green + swir <= 0 or (green - swir) / (green + swir) <= bounds.ndsi_min:
        return UNKNOWN
    return THICK if (green + red) / 2 >= bounds.thick_min else THIN


@pytest.mark.parametrize("name", SURFACES)
def test_surfaces_are_what_they_are(name):
    bands, expected = SURFACES[name]
    assert infrared(*np.array(bands)[:, None]).tolist() == [expected]


def test_the_rule_is_that_of_one_pixel_at_a_time():
    values = [
        np.nan,
        np.inf,
        -np.inf,
        -0.01,
        0.0,
        0.05,
        0.11,
        0.1101,
        0.2,
        0.2001,
        0.3,
        0.5,
        0.7,
        1.2,
    ]
    pixels = np.array(list(itertools.product(values, repeat=4)))
    for bounds in (BOUNDS, Bounds(ndsi_min=0.6, nir_min=0.05, swir_max=0.3, thick_min=0.4)):
        expected = [of_one(*pixel, bounds) for pixel in pixels.tolist()]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert infrared(*pixels.T, bounds=bounds).tolist() == expected
        assert set(expected) == {THICK, THIN, WATER, UNKNOWN}


def test_rows_in_blocks_are_the_rows(monkeypatch):
    monkeypatch.setattr("seaice.infrared.BLOCK_PIXELS", 70)
    bands = np.random.default_rng(0).random((33, 20, 4))
    asked = []

    def rows_of(rows):
        asked.append(rows)
        return bands[rows]

    assert np.array_equal(by_rows(rows_of, (33, 20)), infrared(*np.moveaxis(bands, -1, 0)))
    assert len(asked) == 11


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_a_scene_without_pixels_has_no_labels(shape):
    assert by_rows(lambda rows: np.zeros((*shape, 4)), shape).shape == shape


@pytest.fixture
def picture():
    """(H, W) classes, and (5, H, W) red, green, blue, nir and swir of them."""
    kinds = list(SURFACES.values())
    number = np.arange(40 * 30).reshape(40, 30) // 7 % len(kinds)
    expected = np.array([kind for _, kind in kinds], np.uint8)[number]
    green, red, nir, swir = np.moveaxis(np.array([b for b, _ in kinds])[number], -1, 0)
    return expected, np.stack([red, green, green, nir, swir]).astype(np.float32)


def write(path, bands, names, **more):
    layout = {"height": 40, "width": 30, "count": len(bands), "dtype": bands.dtype}
    place = {"crs": "EPSG:3031", "transform": rasterio.Affine(20, 0, 1e5, 0, -20, -1e6)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", **layout, **place) as file:
        file.write(bands)
        file.descriptions = names
        for key, value in more.items():
            setattr(file, key, (value,) * len(bands))


def label(tmp_path, *words):
    out = tmp_path / "labels"
    line = ["label", tmp_path / "scenes", "--out", out, "--stretch", 0, 1, *words]
    return cli.main([str(word) for word in line]), out


def test_a_file_of_reflectance_gets_labels_by_it(tmp_path, picture):
    expected, bands = picture
    bands[3, 5, 5] = np.nan
    expected[5, 5] = UNKNOWN
    write(tmp_path / "scenes/a.tif", bands, ("red", "green", "blue", "nir", "swir"))
    code, out = label(tmp_path, "--rule", "infrared")
    assert code == 0
    assert np.array_equal(classmap.of_scene(out, "a").label, expected)
    record = json.loads((out / "records/a.json").read_text())
    assert record["rule"]["kind"] == "infrared"
    assert record["done"]["bounds"] == {
        "ndsi_min": 0.4,
        "nir_min": 0.11,
        "swir_max": 0.2,
        "thick_min": 0.5,
    }
    assert record["unknown_pixels"] == (expected == UNKNOWN).sum()
    assert record["done"]["cloud_or_no_band_pixels"] <= record["unknown_pixels"]


def test_a_scene_without_these_bands_is_one_line_and_the_others_are_labelled(
    tmp_path, picture, capsys
):
    _, bands = picture
    write(tmp_path / "scenes/a.tif", bands[:3], ("red", "green", "blue"))
    write(tmp_path / "scenes/b.tif", bands, ("red", "green", "blue", "nir", "swir"))
    code, out = label(tmp_path, "--rule", "infrared")
    assert code == 1
    assert "has no reflectance of nir, swir" in capsys.readouterr().err
    assert [path.stem for path in sorted((out / "records").iterdir())] == ["b"]


@pytest.mark.parametrize("words", [("--filter", "published"), ("--thresholds", "adaptive")])
def test_options_of_the_colour_rule_are_refused_with_the_infrared_one(tmp_path, words):
    (tmp_path / "scenes").mkdir()
    with pytest.raises(ValueError, match="have no effect with --rule infrared"):
        label(tmp_path, "--rule", "infrared", *words)


def test_bands_are_asked_for_by_the_names_that_scenes_have():
    assert BANDS == ("green", "red", "nir", "swir")
