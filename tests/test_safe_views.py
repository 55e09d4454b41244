"""The oblique view on the nadir grid, dropped pixels, and places between tie points."""

import math
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import sen3
from test_safe import REAL_PRODUCT, satpy_arrays

from cloudmask.data.formats.safe import product as safe
from cloudmask.data.formats.safe import views
from cloudmask.data.formats.safe.arrays import read_raw
from cloudmask.data.formats.safe.grid import interpolate_places, placed
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError
from cloudmask.data.slstr import CHANNELS, Reading
from cloudmask.metrics import UNKNOWN

OBLIQUE = Reading(oblique=True)
TWELVE = (*CHANNELS, "S5o", "S8o", "S9o")


@pytest.fixture
def values():
    values = sen3.make_values()
    values.oblique = sen3.make_oblique()
    return values


def plain_oblique_reflectance(view, row, column, gain):
    """One 1 km pixel of S5o: the mean over those of its four 500 m pixels that are lit."""
    found = []
    for r, c in ((2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)):
        place = (c - 2 * view.track_offset) * 500 / 16000 + 64
        left = math.floor(place)
        low, high = view.solar_zenith[row, left : left + 2]
        zenith = low + (high - low) * (place - left)
        packed = int(view.s5[r, c])
        if packed == sen3.FILL or view.exception_ao[r, c] & 0b10110000 or zenith >= 88:
            continue
        radiance = packed * sen3.SCALES[4] * gain
        irradiance = view.irradiance[view.detector[r, c]]
        found.append(math.pi * radiance / (irradiance * math.cos(math.radians(zenith))))
    return sum(found) / len(found) if found else math.nan


def expected_oblique(view, shape, gain, *, row, column):
    """(H, W, 3): S5o, S8o, S9o of a nadir grid, pixel by pixel; row and column of the first."""
    image = np.full((*shape, 3), np.nan)
    rows, columns = view.confidence.shape
    for r in range(rows):
        for c in range(columns):
            y, x = r + row, c + column
            if not (0 <= y < shape[0] and 0 <= x < shape[1]):
                continue
            image[y, x, 0] = plain_oblique_reflectance(view, r, c, gain)
            for band in (0, 1):
                packed = int(view.bt[band][r, c])
                bad = packed == sen3.FILL or view.exception_io[band][r, c] & 0b10110000
                image[y, x, 1 + band] = math.nan if bad else 283.73 + packed * 0.01
    return image


@pytest.mark.parametrize(
    ("collection", "gain", "down", "track"),
    [("004", 1.04, 0, 6), ("005", 1.0, 2, 6), ("004", 1.04, -3, 20)],
)
def test_oblique_channels_stand_where_track_and_start_fall_together(
    tmp_path, values, collection, gain, down, track
):
    view = values.oblique
    view.start_offset, view.track_offset = sen3.START_OFFSET + down, track
    view.s5[0, 0] = sen3.FILL
    view.exception_ao[2:4, 2:4], view.exception_ao[4, 4] = 32, 16
    view.exception_io[0][3, 3], view.bt[1][4, 4] = 128, sen3.FILL
    product = sen3.write_product(tmp_path, values, collection=collection)
    scene = safe.read_safe(product, reading=OBLIQUE)
    assert (scene.channels, scene.image.shape) == (TWELVE, (24, 30, 12))
    expected = expected_oblique(view, (24, 30), gain, row=down, column=14 - track)
    assert 0.25 < np.isfinite(expected).mean() < 0.6
    np.testing.assert_allclose(scene.image[..., 9:], expected, rtol=1e-6)
    nadir = safe.read_safe(product)
    assert nadir.channels == CHANNELS
    np.testing.assert_array_equal(scene.image[..., :9], nadir.image)
    np.testing.assert_array_equal(scene.label, nadir.label)


def test_oblique_channels_are_satpys(tmp_path, values):
    values.oblique.solar_zenith[:] = 60.0
    product = sen3.write_product(tmp_path, values, collection="004")
    scene = safe.read_safe(product, reading=OBLIQUE)
    strip = scene.image[:, 8:24, 9:]
    files = [f"{band}_BT_io.nc" for band in ("S8", "S9")]
    found = satpy_arrays(product, files, "S8", "S9", view="oblique")
    np.testing.assert_array_equal(strip[..., 1:], np.stack(found, axis=-1).astype(np.float32))
    radiance = {"view": "oblique", "stripe": "a", "calibration": "radiance"}
    (fine,) = satpy_arrays(product, ["S5_radiance_ao.nc"], "S5", grid="a", **radiance)
    fine = fine * math.pi / values.oblique.irradiance[values.oblique.detector] / 0.5
    np.testing.assert_allclose(
        strip[..., 0], fine.reshape(24, 2, 16, 2).mean(axis=(1, 3)), rtol=1e-6
    )


def test_a_product_without_oblique_files_lacks_those_channels_and_says_so(tmp_path, values, capsys):
    values.leave_out = {"S5_quality_ao.nc"}
    product = sen3.write_product(tmp_path / "some", values)
    scene = read_scene(product, reading=OBLIQUE)
    assert capsys.readouterr().err == (
        f"warning: {product}: nothing in S5o, as the product lacks S5_quality_ao.nc\n"
    )
    assert np.isnan(scene.image[..., 9]).all()
    assert np.isfinite(scene.image[..., 10:]).any()
    values.oblique = None
    values.leave_out = set()
    product = sen3.write_product(tmp_path / "none", values)
    scene = read_scene(product, reading=OBLIQUE)
    assert scene.channels == TWELVE
    assert np.isnan(scene.image[..., 9:]).all()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {product}: nothing in S5o, S8o, S9o, as the product lacks ")
    assert "S8_BT_io.nc" in line


def test_damaged_oblique_files_are_refused_by_name(tmp_path, values):
    product = sen3.write_product(tmp_path, values)
    whole = (product / "S9_BT_io.nc").read_bytes()
    (product / "S9_BT_io.nc").write_bytes(whole[:-100])
    with pytest.raises(SceneError, match=r"S9_BT_io\.nc has \d+ bytes, \d+ by the manifest"):
        read_scene(product, reading=OBLIQUE)
    assert read_scene(product).channels == CHANNELS  # which does not look at it


def test_benchmark_files_have_no_oblique_view(tmp_path, write_hdf):
    with pytest.raises(SceneError, match=r"no oblique view.*leave --oblique out"):
        read_scene(write_hdf(tmp_path / "S3A_x.hdf"), reading=OBLIQUE)


def test_placing_cuts_what_lies_outside():
    values = np.arange(6.0).reshape(2, 3)
    nan = np.nan
    for row, column, expected in (
        (1, 1, [[nan] * 3, [nan, 0, 1]]),
        (-1, -2, [[5, nan, nan], [nan] * 3]),
        (0, 0, values.tolist()),
        (2, 0, [[nan] * 3] * 2),
        (0, -9, [[nan] * 3] * 2),
    ):
        found = placed(values, (2, 3), row=row, column=column)
        np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize("flags", [("cosmetic",), ("duplicate",), ("cosmetic", "duplicate")])
def test_dropped_pixels_are_missing_on_every_grid_and_have_no_label(tmp_path, values, flags):
    values.confidence[2, 3] |= 256
    values.confidence[4, 5] |= 512
    values.oblique.confidence[6, 7] |= 256
    values.oblique.confidence[8, 9] |= 512
    product = sen3.write_product(tmp_path, values)
    kept = read_scene(product, reading=OBLIQUE)
    reading = Reading(drop_flagged=flags, oblique=True)
    scene = read_scene(product, reading=reading)
    expected = kept.image.copy()
    where = np.zeros((24, 30), bool)
    for name, nadir, oblique in (("cosmetic", (2, 3), (6, 15)), ("duplicate", (4, 5), (8, 17))):
        if name in flags:
            expected[nadir][:9], expected[oblique][9:] = np.nan, np.nan
            where[nadir] = True
    np.testing.assert_array_equal(scene.image, expected)
    np.testing.assert_array_equal(scene.label, np.where(where, UNKNOWN, kept.label))
    values.leave_out = {"flags_an.nc"}
    without = sen3.write_product(tmp_path / "without", values)
    assert read_scene(without).channels == CHANNELS
    with pytest.raises(SceneError, match=r"needed files are missing: flags_an\.nc"):
        read_scene(without, reading=reading)


def on_an_arc(start, heading, kilometres):
    """Latitude and longitude that far along a great circle, by spherical trigonometry."""
    phi, lam, course = (math.radians(v) for v in (*start, heading))
    arc = np.asarray(kilometres) / 6371.0
    sine = math.sin(phi) * np.cos(arc) + math.cos(phi) * np.sin(arc) * math.cos(course)
    turn = np.arctan2(
        math.sin(course) * np.sin(arc) * math.cos(phi), np.cos(arc) - math.sin(phi) * sine
    )
    return np.degrees(np.arcsin(sine)), (np.degrees(lam + turn) + 180) % 360 - 180


def kilometres_apart(a, b):
    x, y = (
        np.stack([np.cos(p) * np.cos(q), np.cos(p) * np.sin(q), np.sin(p)])
        for p, q in (np.radians(a), np.radians(b))
    )
    return 6371.0 * np.linalg.norm(x - y, axis=0)


@pytest.mark.parametrize(
    ("start", "heading"),
    [((10.0, 20.0), 80), ((-40.0, 179.9), 95), ((89.9, 30.0), 10), ((-89.99, 0.0), 180)],
    ids=["tropics", "antimeridian", "over the north pole", "over the south pole"],
)
def test_places_between_tie_points_lie_on_the_arc(start, heading):
    ties = [on_an_arc(start, heading, 16.0 * (np.arange(130) - 64))]
    latitude, longitude = (np.stack(part) for part in zip(*ties, strict=True))
    found = interpolate_places(
        latitude, longitude, 1500, resolution=1000, track_offset=998, tie_offset=64
    )
    expected = on_an_arc(start, heading, np.arange(1500.0) - 998)
    assert kilometres_apart(found, np.array(expected)[:, None]).max() < 0.001


def test_a_product_without_pixel_places_takes_those_of_its_tie_points(tmp_path, values):
    values.tie_longitude += 203  # the ground track runs along the antimeridian
    values.tie_longitude = (values.tie_longitude + 180) % 360 - 180
    values.leave_out = {"geodetic_in.nc"}
    product = sen3.write_product(tmp_path, values)
    scene = read_scene(product)
    columns = (np.arange(30) - 14) / 16
    np.testing.assert_allclose(scene.latitude[5], 31 - 2.5 + 0.01 * columns, atol=1e-4)
    assert (np.sign(scene.longitude[5]) == np.where(columns < 0, 1, -1)).all()
    np.testing.assert_allclose(np.abs(scene.longitude[5]), 180 - np.abs(0.15 * columns), atol=1e-4)
    values.leave_out = set()
    other = read_scene(sen3.write_product(tmp_path / "whole", values))
    np.testing.assert_allclose(other.latitude, values.latitude / 1e6, atol=2e-6)
    np.testing.assert_array_equal(scene.image, other.image)


@pytest.mark.real
def test_real_places_between_tie_points_are_where_the_next_finer_ties_are(real_data):
    """Every other tie point left out and found again: 32 km instead of 16, so four times as far.

    The product's own tie points jump here and there at the edge of the swath.
    """
    product = real_data / REAL_PRODUCT
    latitude, longitude = (read_raw(product, "geodetic_tx.nc", f"{n}_tx") for n in LAT_LON)
    found = interpolate_places(
        latitude[:, ::2], longitude[:, ::2], 130, resolution=8000, track_offset=0, tie_offset=0
    )
    apart = kilometres_apart(np.array(found)[..., :129], np.stack([latitude, longitude])[..., :129])
    assert latitude.max() > 85
    assert apart[:, ::2].max() < 1e-6
    assert np.median(apart[:, 1::2]) < 0.0002
    assert np.quantile(apart[:, 1::2], 0.99) < 0.02


LAT_LON = ("latitude", "longitude")


@pytest.mark.real
def test_real_products_place_the_oblique_view_as_their_manifest_says(real_data, tmp_path):
    """The product lacks the files; its manifest tells of both grids."""
    product = real_data / REAL_PRODUCT
    sizes = {}
    for element in ElementTree.parse(product / "xfdumanifest.xml").iter():
        if element.tag.endswith("ImageSize") and element.get("grid") == "1 km":
            view = element.tag.rpartition("}")[2].removesuffix("ImageSize")
            sizes[view] = {part.tag.rpartition("}")[2]: int(part.text) for part in element}
    nadir, oblique = sizes["nadir"], sizes["oblique"]
    assert nadir["trackOffset"] - oblique["trackOffset"] == 548
    assert nadir["startOffset"] == oblique["startOffset"]
    copy = tmp_path / product.name
    shutil.copytree(product, copy)
    values = sen3.make_values()
    view = values.oblique = sen3.make_oblique()
    shape = oblique["rows"], oblique["columns"]
    view.bt = [np.full(shape, 100, np.int16)] * 2
    view.exception_io = [np.zeros(shape, np.uint8)] * 2
    view.detector = np.zeros((2 * shape[0], 2 * shape[1]), np.uint8)
    view.track_offset = oblique["trackOffset"]
    sen3.write_files(copy, values, ["S8_BT_io.nc", "indices_io.nc"])
    found = views.oblique(copy, "S8o", (1198, 1500), 2, OBLIQUE)
    assert np.isnan(found[:, :548]).all()
    assert (found[:, 548:1448] == np.float32(284.73)).all()
    assert np.isnan(found[:, 1448:]).all()
