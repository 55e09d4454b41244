"""Sentinel-3 SLSTR products, real and miniature, against satpy and against plain arithmetic."""

import logging
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import sen3

from cloudmask.data import slstr
from cloudmask.data.archive import find_scenes
from cloudmask.data.formats.safe import product as safe
from cloudmask.data.formats.safe import radiometry
from cloudmask.data.formats.safe.arrays import read_raw
from cloudmask.data.formats.safe.grid import block_means, interpolate_ties
from cloudmask.data.patchset.encoding import decode
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError
from cloudmask.metrics import UNKNOWN

REAL_PRODUCT = (
    "slstr/S3A_SL_1_RBT____20170315T113420_20170315T113720_20170315T135348_0179_015_237_1439_SVL_O_"
    "NR_002.SEN3"
)
REAL_DATA = os.environ.get("CLOUDMASK_REAL_DATA")


@pytest.fixture
def values():
    """A miniature product to change before it is written: real values where there are any."""
    return sen3.make_values(Path(REAL_DATA) if REAL_DATA else None)


def satpy_arrays(product, files, *names, grid="i", **query):
    """What satpy makes of these files, by name."""
    from satpy import DataQuery, Scene

    logger = logging.getLogger("satpy")
    logger.setLevel(logging.CRITICAL)
    try:
        scene = Scene(filenames=[str(product / file) for file in files], reader="slstr_l1b")
        resolution = {"i": 1000, "a": 500}[grid]
        query = {"view": "nadir", "resolution": resolution} | query
        queries = [DataQuery(name=name, **query) for name in names]
        scene.load(queries)
        return [scene[query].to_numpy() for query in queries]
    finally:
        logger.setLevel(logging.NOTSET)


def plain_zenith(values, row, column, *, resolution, track_offset):
    """The sun's angle at one pixel in degrees: on a straight line between two tie points."""
    place = (column - track_offset) * resolution / 16000 + 64
    left = math.floor(place)
    low, high = values.solar_zenith[row, left], values.solar_zenith[row, left + 1]
    return low + (high - low) * (place - left)


def plain_reflectance(values, band, row, column, gain):
    """One 1 km pixel of S1 to S6: the mean over those of its four 500 m pixels that are valid."""
    found = []
    for r, c in ((2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)):
        packed = int(values.radiance[band][r, c])
        zenith = plain_zenith(values, row, c, resolution=500, track_offset=sen3.TRACK_OFFSET_AN)
        if packed == -32768 or values.exception_an[band][r, c] & 0b10110000 or zenith >= 88:
            continue
        detector = values.detector[r, c]
        of_detector = values.irradiance[band]
        irradiance = of_detector[detector] if detector < 4 else sum(of_detector) / 4
        radiance = packed * sen3.SCALES[band] * gain
        found.append(math.pi * radiance / (irradiance * math.cos(math.radians(zenith))))
    return sum(found) / len(found) if found else math.nan


def plain_image(values, gains):
    """All nine channels, pixel by pixel."""
    height, width = values.confidence.shape
    image = np.empty((height, width, 9))
    for row in range(height):
        for column in range(width):
            for band in range(6):
                image[row, column, band] = plain_reflectance(values, band, row, column, gains[band])
            for band in range(3):
                packed = int(values.bt[band][row, column])
                bad = packed == -32768 or values.exception_in[band][row, column] & 0b10110000
                image[row, column, 6 + band] = math.nan if bad else 283.73 + packed * 0.01
    return image


SOURCES = ["seeded", pytest.param("real", marks=pytest.mark.real)]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("collection", "gains"),
    [("002", (0.97, 0.98, 0.98, 1, 1.11, 1.13)), ("004", radiometry.GAINS), ("005", (1,) * 6)],
)
def test_all_nine_channels_equal_a_plain_computation(tmp_path, source, collection, gains, request):
    folder = request.getfixturevalue("real_data") if source == "real" else None
    values = sen3.make_values(folder)
    values.detector[::5, ::3] = 255
    rng = np.random.default_rng(1)
    for exception in (*values.exception_an, *values.exception_in):
        exception |= rng.choice([0, 0, 0, 1, 2, 4, 8, 16, 32, 64], exception.shape).astype(np.uint8)
    scene = safe.read_safe(sen3.write_product(tmp_path, values, collection=collection))
    expected = plain_image(values, gains)
    assert (scene.image.dtype, scene.image.shape) == (np.float32, (24, 30, 9))
    assert 0.1 < np.isnan(expected[..., :6]).mean() < 0.5
    np.testing.assert_allclose(scene.image, expected, rtol=1e-6)
    assert scene.channels == ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9")
    assert scene.classes == ("clear", "cloud")


def test_reflectance_is_satpys_over_the_cosine_of_the_sun(tmp_path, values):
    product = sen3.write_product(tmp_path, values, collection="004")
    scene = safe.read_safe(product)
    names = [f"S{n}" for n in range(1, 7)]
    files = [f"{name}_radiance_an.nc" for name in names]
    found = satpy_arrays(product, files, *names, grid="a", stripe="a", calibration="reflectance")
    columns = (np.arange(60) - 28) * 500 / 16000 + 64
    for band, percent in enumerate(found):
        for row in (0, 11, 20):
            zenith = np.interp(columns, np.arange(130), values.solar_zenith[row])
            fine = percent[2 * row : 2 * row + 2] / 100 / np.cos(np.radians(zenith))
            blocks = fine.reshape(2, 30, 2).mean(axis=(0, 2))
            whole = ~np.isnan(blocks)
            assert whole.sum() > 10
            np.testing.assert_allclose(scene.image[row, whole, band], blocks[whole], rtol=1e-6)


def test_night_and_its_edge_have_temperatures_and_labels_but_no_reflectance(tmp_path, values):
    values.solar_zenith[:8] = 87.99
    values.solar_zenith[8:16] = 88.0
    values.solar_zenith[16:] = 105.0
    scene = safe.read_safe(sen3.write_product(tmp_path, values))
    assert np.isfinite(scene.image[:8, :, :6]).mean() > 0.9
    assert np.isnan(scene.image[8:, :, :6]).all()
    assert np.isfinite(scene.image[8:, :, 7:]).mean() > 0.7
    measured = np.isfinite(scene.image[8:]).any(axis=2)
    assert ((scene.label[8:] != UNKNOWN) == measured).all()


def test_invalid_pixels_of_a_block_are_left_out_of_its_mean(tmp_path, values):
    values.solar_zenith[:] = 60.0
    values.radiance[0][:2, :10] = np.array([[1000, 2000] * 5, [3000, 6000] * 5])
    values.exception_an[0][:2, :10] = 0
    values.radiance[0][1, 1] = sen3.FILL
    for column, bit in ((3, 16), (5, 32), (7, 128)):
        values.exception_an[0][1, column] = bit
    values.exception_an[0][1, 9] = 1 | 2 | 4 | 8 | 64  # cosmetic matters: the value is there
    values.radiance[1][:2, :2] = sen3.FILL
    values.exception_an[2][:2, :2] = 32
    values.detector[:] = 0
    for bt, exception in zip(values.bt, values.exception_in, strict=True):
        bt[0, :3], exception[0, :3] = 100, [0, 16, 4]
    scene = safe.read_safe(sen3.write_product(tmp_path, values, collection="005"))
    unit = math.pi * sen3.SCALES[0] / values.irradiance[0][0] / 0.5
    np.testing.assert_allclose(scene.image[0, :5, 0], [2000 * unit] * 4 + [3000 * unit], rtol=1e-6)
    assert np.isnan(scene.image[0, 0, 1:3]).all()
    assert (np.isnan(scene.image[0, :3, 6:]).T == [False, True, False]).all()
    assert scene.image[0, 2, 8] == np.float32(284.73)


def test_coordinates_and_flags_are_those_of_the_files(tmp_path, values):
    values.latitude[0, 0] = -(2**31)
    product = sen3.write_product(tmp_path, values)
    scene = safe.read_safe(product)
    found = satpy_arrays(product, ["geodetic_in.nc"], "latitude", "longitude", stripe="i")
    np.testing.assert_array_equal(scene.latitude, found[0].astype(np.float32))
    np.testing.assert_array_equal(scene.longitude, found[1].astype(np.float32))
    assert np.isnan(scene.latitude[0, 0])
    latitude, longitude = values.latitude.ravel()[1:], values.longitude.ravel()
    np.testing.assert_allclose(scene.latitude.ravel()[1:], latitude / 1e6, atol=2e-6)
    np.testing.assert_allclose(scene.longitude.ravel(), longitude / 1e6, atol=2e-6)
    assert scene.confidence.dtype == np.uint16
    assert (scene.confidence == values.confidence).all()
    day = scene.confidence & slstr.Confidence.DAY > 0
    assert day.all() == (values.confidence & 1024 > 0).all()


def measure_everything(values):
    """Give every pixel of the 1 km grid a temperature, so that its label depends on flags alone."""
    values.confidence &= 0xFFFF - 32
    for bt, exception in zip(values.bt, values.exception_in, strict=True):
        bt[bt == sen3.FILL] = 0
        exception[:] = 0


@pytest.mark.parametrize(
    ("label", "cloudy"), [("any", [1, 2, 4, 8, 15]), ("single_moderate", [2, 15])]
)
def test_bits_of_bayes_become_labels(tmp_path, values, label, cloudy):
    bits = [0, 1, 2, 4, 8, 15, 255]
    values.bayes[0, :7] = bits
    measure_everything(values)
    values.confidence[0, 8] |= 32
    for array in (*values.radiance, *values.bt):
        array[:2, 18:20] = sen3.FILL
    for bt in values.bt:
        bt[0, 9] = sen3.FILL
    scene = read_scene(sen3.write_product(tmp_path, values), label=label)
    assert scene.label[0, :7].tolist() == [255 if b == 255 else int(b in cloudy) for b in bits]
    assert scene.label[0, 8:10].tolist() == [UNKNOWN, UNKNOWN]  # unfilled, not measured
    assert scene.label_source == label


def test_summary_cloud_is_read_beside_any_label_and_can_be_the_label(tmp_path, values):
    values.confidence[0, 0] |= 32 | 16384
    product = sen3.write_product(tmp_path, values)
    scene = read_scene(product, label="summary")
    assert (scene.label == scene.summary).all()
    assert (scene.summary == read_scene(product).summary).all()
    assert scene.summary[0, 0] == UNKNOWN
    known = scene.summary != UNKNOWN
    assert known.mean() > 0.9
    assert (scene.summary[known] == (values.confidence[known] & 16384) / 16384).all()
    assert set(scene.summary[known]) == {0, 1}


def test_probability_becomes_a_label_at_one_half(tmp_path, values):
    values.probability = np.full((24, 30), 60, np.int16)
    values.probability[0, :5] = [-100, -1, 0, 100, sen3.FILL]
    values.bayes = None
    measure_everything(values)
    scene = read_scene(sen3.write_product(tmp_path, values), label="probability")
    assert scene.label[0, :5].tolist() == [0, 0, 1, 1, UNKNOWN]


def test_bayes_that_was_not_computed_is_no_label(tmp_path, values):
    values.bayes[:] = 255
    product = sen3.write_product(tmp_path / "a", values)
    values.bayes = None
    without = sen3.write_product(tmp_path / "b", values)
    for path in (product, without):
        for label in ("any", "single_moderate"):
            message = "bayes_in.* not computed.*choose --label summary"
            with pytest.raises(SceneError, match=message) as caught:
                read_scene(path, label=label)
            assert one_line_of(path, caught)
        assert read_scene(path, need_label=False).label is None
        assert read_scene(path, label="summary").label is not None


def one_line_of(product, caught):
    """Whether the error is a single line, with the product's path in front and an advice behind."""
    text = str(caught.value)
    return text.startswith(f"{product}: ") and "\n" not in text and "; " in text


def test_labels_that_a_file_does_not_have_are_refused(tmp_path, values, write_hdf):
    values.probability = np.full((24, 30), sen3.FILL, np.int16)
    product = sen3.write_product(tmp_path / "a", values)
    values.probability = None
    without = sen3.write_product(tmp_path / "b", values)
    np.savez(tmp_path / "c.npz", image=np.ones((2, 2, 1)), label=np.ones((2, 2), int))
    for path, label, message in (
        (product, "probability", "probability_cloud_single_in was not computed"),
        (without, "probability", "holds no probability_cloud_single_in"),
        (without, "truth", "knows no truth"),
        (write_hdf(tmp_path / "S3A_x.hdf"), "probability", "holds no 'probability'"),
        (tmp_path / "c.npz", "probability", "holds no 'probability'"),
    ):
        with pytest.raises(SceneError, match=message) as caught:
            read_scene(path, label=label)
        assert one_line_of(path, caught)


def damage(product, file):
    """Change one byte in the middle, so that the size stays."""
    content = bytearray((product / file).read_bytes())
    content[len(content) // 2] ^= 1
    (product / file).write_bytes(content)


@pytest.mark.parametrize(
    "file", ["S3_radiance_an.nc", "S9_BT_in.nc", "viscal.nc", "S1_quality_an.nc"]
)
def test_file_that_is_not_the_manifests_is_refused_by_name(tmp_path, values, file):
    product = sen3.write_product(tmp_path, values)
    damage(product, file)
    with pytest.raises(SceneError, match=rf"{file} is damaged.*MD5.*--no-verify") as caught:
        read_scene(product)
    assert one_line_of(product, caught)
    with (product / file).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(SceneError, match=rf"{file} has \d+ bytes, \d+ by the manifest"):
        read_scene(product)


def test_unverified_product_is_read_without_its_manifest(tmp_path, values):
    product = sen3.write_product(tmp_path, values)
    expected = read_scene(product)
    with (product / "S3_radiance_an.nc").open("ab") as stream:
        stream.write(b"harmless")
    with pytest.raises(SceneError):
        read_scene(product)
    found = read_scene(product, verify=False)
    (product / "xfdumanifest.xml").unlink()
    with pytest.raises(SceneError, match=r"xfdumanifest\.xml is missing.*--no-verify"):
        read_scene(product)
    for scene in (found, read_scene(product, verify=False)):
        np.testing.assert_array_equal(scene.image, expected.image)


OUTSIDE = [
    "../secret.nc",
    "/etc/passwd",
    "./a/../../secret.nc",
    "file:///etc/passwd",
    "..\\x.nc",
    "",
]


@pytest.mark.parametrize("href", OUTSIDE)
def test_manifest_with_a_path_out_of_the_folder_is_refused(tmp_path, values, href):
    product = sen3.write_product(tmp_path, values)
    manifest = product / "xfdumanifest.xml"
    extra = sen3.DATA_OBJECT.format(name="x", size=1, md5="0").replace("./x", href)
    text = manifest.read_text()
    manifest.write_text(text.replace("</dataObjectSection>", f"{extra}</dataObjectSection>"))
    with pytest.raises(SceneError, match="does not stay in the folder") as caught:
        read_scene(product)
    assert one_line_of(product, caught)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("<xfdu:XFDU", '<!DOCTYPE x [<!ENTITY a "b">]>\n<xfdu:XFDU', "declares a document type"),
        ("<xfdu:XFDU", '<!DOCTYPE x SYSTEM "http://h/x.dtd">\n<xfdu:XFDU', "document type"),
        ("</xfdu:XFDU>", "", "cannot be used"),
        ('encoding="UTF-8"', 'encoding="none"', "cannot be used"),
        ("./S5_radiance_an.nc", "./S5_other_an.nc", "does not list S5_radiance_an.nc"),
        ('size="', 'size="x', "cannot be used"),
        ('"MD5"', '"CRC"', "no MD5"),
    ],
)
def test_manifest_that_no_ground_segment_wrote_is_refused(tmp_path, values, before, after, message):
    product = sen3.write_product(tmp_path, values)
    manifest = product / "xfdumanifest.xml"
    text = manifest.read_text()
    assert before in text
    manifest.write_text(text.replace(before, after))
    with pytest.raises(SceneError, match=message) as caught:
        read_scene(product)
    assert one_line_of(product, caught)


def test_missing_files_are_named_together_before_any_is_read(tmp_path, values):
    gone = ["S1_radiance_an.nc", "S6_quality_an.nc", "geodetic_in.nc"]
    values.leave_out = {*gone, "geodetic_tx.nc"}
    product = sen3.write_product(tmp_path, values)
    damage(product, "S7_BT_in.nc")  # not looked at
    for verify in (True, False):
        with pytest.raises(SceneError, match="3 of 21 needed files are missing") as caught:
            read_scene(product, verify=verify)
        assert one_line_of(product, caught)
        assert ", ".join(gone) in str(caught.value)


@pytest.mark.parametrize(
    "file", ["S2_radiance_an.nc", "S8_BT_in.nc", "flags_in.nc", "indices_in.nc", "viscal.nc"]
)
def test_truncated_and_foreign_files_are_refused_by_name(tmp_path, values, file):
    product = sen3.write_product(tmp_path, values)
    whole = (product / file).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>not found</html>"):
        (product / file).write_bytes(content)
        sen3.write_manifest(product)  # as if it had come like this
        for verify in (True, False):
            with pytest.raises(SceneError, match=f"{file} cannot be read") as caught:
                read_scene(product, verify=verify)
            assert one_line_of(product, caught)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("S2_radiance_an.nc", "S2_radiance_an"),
        ("S8_BT_in.nc", "S8_BT_in"),
        ("S8_BT_in.nc", "S8_exception_in"),
        ("geodetic_in.nc", "longitude_in"),
    ],
)
def test_damaged_data_inside_a_whole_file_is_refused(tmp_path, values, file, name):
    product = sen3.write_product(tmp_path, values)
    path = product / file
    with h5py.File(path) as opened:
        chunk = opened[name].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"x" * chunk.size
    path.write_bytes(content)
    with pytest.raises(SceneError, match="cannot be read") as caught:
        read_scene(product, verify=False)
    assert file in str(caught.value)
    assert one_line_of(product, caught)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("S4 has shape", lambda v: shorten(v.radiance, v.exception_an, 3)),
        ("S8 has shape", lambda v: shorten(v.bt, v.exception_in, 1)),
        ("the flags 24 rows", lambda v: setattr(v, "solar_zenith", v.solar_zenith[1:])),
        ("no solar irradiance", lambda v: v.irradiance.__setitem__(0, np.full(4, np.nan))),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path, values, message, change):
    change(values)
    product = sen3.write_product(tmp_path, values)
    with pytest.raises(SceneError, match=message) as caught:
        read_scene(product)
    assert one_line_of(product, caught)


def replaced(file, name, change):
    values = file[name][...]
    del file[name]
    file[name] = change(values)


def claimed(file):
    del file["confidence_in"]
    file.create_dataset("confidence_in", shape=(40_000, 40_000), dtype="u2", chunks=(100, 100))


SENSELESS = {
    "numbers with a point": ("flags_in.nc", "confidence_in", lambda a: a.astype("f4")),
    "too many detectors": ("S1_quality_an.nc", "S1_solar_irradiance_an", lambda a: np.ones(300)),
    "no tie points": ("geometry_tn.nc", "solar_zenith_tn", lambda a: a[:, :0]),
    "one axis": ("flags_in.nc", "confidence_in", np.ravel),
    "no axis": ("flags_in.nc", "confidence_in", lambda a: a[0, 0]),
}


@pytest.mark.parametrize("what", [*SENSELESS, "text for a number", "a group", "3 GB of nothing"])
def test_content_that_makes_no_sense_is_one_line_with_its_cause(tmp_path, values, what):
    product = sen3.write_product(tmp_path, values)
    file, name, change = SENSELESS.get(what, ("flags_in.nc", "confidence_in", None))
    if what == "text for a number":
        file = "geometry_tn.nc"
    with h5py.File(product / file, "r+") as opened:
        if change is not None:
            replaced(opened, name, change)
        elif what == "text for a number":
            opened.attrs["track_offset"] = "64"
        elif what == "a group":
            del opened[name]
            opened.create_group(name)
        else:
            claimed(opened)
    with pytest.raises(SceneError, match=r"cannot be read|has shape|made of") as caught:
        read_scene(product, verify=False)
    assert one_line_of(product, caught)
    if what in ("numbers with a point", "text for a number"):
        assert "Error: " in str(caught.value)
        assert caught.value.__cause__ is not None


def shorten(arrays, exceptions, index):
    arrays[index], exceptions[index] = arrays[index][:-2], exceptions[index][:-2]


STEM = sen3.NAME.removeprefix("S3A_SL_1_RBT___")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("S3A_OL_1_EFR___" + STEM + "004.SEN3", r"wrong instrument: OL, not SL"),
        ("S3B_SY_2_SYN___" + STEM + "004.SEN3", r"wrong instrument: SY"),
        ("S3A_SL_2_LST___" + STEM + "004.SEN3", r"wrong level: level 2 LST, not level 1"),
        ("S3A_SL_1_RBT.SEN3", "not named like"),
        ("scene.SEN3", "not named like"),
        ("S3A_SL_1_RBT____20170313T110000.SEN3", "shortened or changed name"),
    ],
)
def test_product_of_another_kind_or_name_is_refused(tmp_path, values, name, message):
    sen3.write_product(tmp_path, values).rename(tmp_path / name)
    with pytest.raises(SceneError, match=message) as caught:
        read_scene(tmp_path / name)
    assert one_line_of(tmp_path / name, caught)


def test_names_of_all_stations_and_reprocessings_are_known(tmp_path, values):
    product = sen3.write_product(tmp_path, values)
    for name in (
        "S3A_SL_1_RBT____20170602T090746_20170602T091046_20181003T205946_0179_018_207______LR1_R_NT"
        "_003.SEN3",
        "S3B_SL_1_RBT____20200119T014128_20200119T014428_20200119T034500_0179_034_231_0360_MAR_O_NR"
        "_004.SEN3",
    ):
        product = product.rename(tmp_path / name)
        assert np.isfinite(read_scene(product, label="summary").image).any()


def test_missing_satpy_is_told_in_one_line(tmp_path, values, monkeypatch):
    product = sen3.write_product(tmp_path, values)
    monkeypatch.setitem(sys.modules, "satpy.dataset.dataid", None)
    with pytest.raises(
        SceneError, match=r"satpy is not installed: pip install '.\[products\]'"
    ) as caught:
        read_scene(product)
    assert one_line_of(product, caught)


def test_reading_says_nothing_and_leaves_satpys_log_as_it_was(tmp_path, values, capfd, caplog):
    product = sen3.write_product(tmp_path, values)
    logging.getLogger("satpy").setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read_scene(product)
        assert logging.getLogger("satpy").level == logging.INFO
    finally:
        logging.getLogger("satpy").setLevel(logging.NOTSET)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def found(paths):
    return [entry.path for entry in find_scenes(paths)]


def test_products_are_found_but_not_looked_into(tmp_path, values):
    product = sen3.write_product(tmp_path / "deep/er", values)
    np.savez(product / "inside.npz", image=np.ones((2, 2, 1)))
    (tmp_path / "deep/S3A_1.hdf").touch()
    olci = product.with_name(product.name.replace("SL_1_RBT___", "OL_1_EFR___"))
    (olci / "deeper").mkdir(parents=True)
    np.savez(olci / "deeper/inside.npz", image=np.ones((2, 2, 1)))
    assert found([tmp_path]) == sorted([tmp_path / "deep/S3A_1.hdf", product], key=stem)
    assert found([olci]) == [olci], "what is named is tried, and refused by name"
    assert found([product]) == [product]
    link = tmp_path / "links" / product.name
    link.parent.mkdir()
    link.symlink_to(product)
    assert found([link.parent]) == [link]
    assert read_scene(link).name == stem(product) == sen3.NAME + "004"


def stem(path):
    return path.stem


def test_product_becomes_a_patch_set(tmp_path, plain_environment):
    values = sen3.make_values(Path(REAL_DATA) if REAL_DATA else None, repeat=2)
    values.solar_zenith = np.minimum(values.solar_zenith, 80)
    product = sen3.write_product(tmp_path / "in", values)
    words = ["prepare", product, "--out", tmp_path / "out", "--label", "summary"]
    words += ["--split", "train=1", "--patch-size", "16"]
    done = subprocess.run(
        [sys.executable, "-m", "cloudmask", *map(str, words)],
        env=plain_environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 scene | train 9 patches | ")
    patchset = open_patchset(tmp_path / "out")
    assert (patchset.channels, patchset.label_source) == (slstr.CHANNELS, "summary")
    scene = read_scene(product, label="summary")
    with PatchReader(patchset, "train") as reader:
        batch = reader.read([0])
    image = decode(batch.image[0], batch.scale[0], batch.offset[0])
    expected = scene.image[:16, 6:22]  # the patches lie in the middle
    np.testing.assert_allclose(image[..., 6:], expected[..., 6:], atol=0.01)
    assert (batch.label[0] == scene.label[:16, 6:22]).all()


def test_tie_points_are_joined_by_straight_lines():
    ties = np.array([[0.0, 16.0, 48.0], [5.0, 5.0, np.nan]])
    found = interpolate_ties(ties, 6, resolution=8000, track_offset=2, tie_offset=1)
    assert found[0].tolist()[:5] == [0, 8, 16, 32, 48]
    assert np.isnan(found[0, 5])
    assert found[1].tolist()[:2] == [5, 5]
    assert np.isnan(found[1, 3:]).all()


def test_block_means_count_what_is_there():
    nan = np.nan
    fine = np.array([[1, 3, nan, nan, 5, nan], [5, 7, nan, nan, nan, 8]])
    found = block_means(fine)
    assert found.shape == (1, 3)
    np.testing.assert_array_equal(found, [[4, nan, 6.5]])


@pytest.fixture
def real_product(real_data):
    return real_data / REAL_PRODUCT


@pytest.mark.real
def test_real_temperatures_and_flags_are_satpys(real_product):
    thermal = safe.read_thermal(real_product)
    files = [f"S{n}_BT_in.nc" for n in (7, 8, 9)]
    found = satpy_arrays(real_product, files, "S7", "S8", "S9")
    flags = satpy_arrays(real_product, ["flags_in.nc"], "confidence", "bayes", stripe="i")
    assert thermal.bt.shape == (1198, 1500, 3)
    np.testing.assert_array_equal(thermal.bt, np.stack(found, axis=-1).astype(np.float32))
    assert np.isnan(thermal.bt).mean() == pytest.approx(48134 / (1198 * 1500))
    assert (thermal.confidence.dtype, flags[0].dtype) == (np.uint16, np.uint16)
    assert (thermal.confidence == flags[0]).all()
    assert (read_raw(real_product, "flags_in.nc", "bayes_in") == flags[1]).all()


@pytest.mark.real
def test_real_sun_angles_are_satpys(real_product, tmp_path):
    """satpy wants the cartesian grids, which the product lacks: they follow from the tie points'.

    At the tie points both must be the same. Between them satpy draws a spline, which overshoots
    by hundredths of a degree where the tie points are jagged; we a line.
    """
    copy = tmp_path / real_product.name
    copy.mkdir()
    for path in real_product.iterdir():
        (copy / path.name).symlink_to(path)
    along = read_raw(real_product, "cartesian_tx.nc", "y_tx")[:, :1]
    across = (998 - np.arange(1500)) * 1000.0
    for name, shape in (("i", (1198, 1500)), ("a", (2, 2))):
        with netCDF4.Dataset(copy / f"cartesian_{name}n.nc", "w") as file:
            for dimension, size in zip(("rows", "columns"), shape, strict=True):
                file.createDimension(dimension, size)
            for axis, grid in (("x", across[None]), ("y", along)):
                variable = file.createVariable(f"{axis}_{name}n", "f8", ("rows", "columns"))
                variable[:] = np.broadcast_to(grid, (1198, 1500))[: shape[0], : shape[1]]
    (theirs,) = satpy_arrays(copy, ["geometry_tn.nc"], "solar_zenith_angle")
    ours = safe.read_thermal(real_product).solar_zenith
    assert ours.shape == theirs.shape == (1198, 1500)
    at_ties = np.arange(998 % 16, 1500, 16)
    np.testing.assert_allclose(ours[:, at_ties], theirs[:, at_ties], rtol=1e-9)
    apart = np.abs(ours - theirs)
    assert apart.max() < 0.06
    assert np.median(apart) < 0.005


@pytest.mark.real
def test_real_product_without_radiances_is_refused_in_one_line(real_product):
    with pytest.raises(SceneError, match="needed files are missing") as caught:
        read_scene(real_product)
    assert one_line_of(real_product, caught)
    absent = [f"S{n}_radiance_an.nc" for n in range(1, 7)]
    assert ", ".join([*absent, "indices_an.nc"]) in str(caught.value)
    assert "geodetic" not in str(caught.value)  # the tie points will do


@pytest.mark.real
@pytest.mark.slow
def test_real_product_with_radiances_added_is_no_bayesian_label(real_product, tmp_path):
    product = tmp_path / real_product.name
    product.mkdir()
    for path in real_product.iterdir():
        (product / path.name).symlink_to(path)
    values = sen3.make_values()
    shape = (1198, 1500)
    values.radiance = [np.full((2396, 3000), 1000, np.int16)] * 6
    values.exception_an = [np.zeros((2396, 3000), np.uint8)] * 6
    values.detector = np.zeros((2396, 3000), np.uint8)
    values.latitude = values.longitude = np.zeros(shape, np.int32)
    sen3.write_files(product, values, ["indices_an.nc", "geodetic_in.nc"])
    sen3.write_files(product, values, [f"S{n}_radiance_an.nc" for n in range(1, 7)], offset=1996)
    with pytest.raises(SceneError, match=r"S1_radiance_an\.nc has \d+ bytes"):
        read_scene(product, label="summary")
    with pytest.raises(SceneError, match="bayes_in was not computed") as caught:
        read_scene(product, verify=False)
    assert one_line_of(product, caught)
    scene = read_scene(product, label="summary", verify=False)
    thermal = safe.read_thermal(product, verify=False)
    np.testing.assert_array_equal(scene.image[..., 6:], thermal.bt)
    assert (scene.label == 1).mean() == pytest.approx(0.9721, abs=0.03)
    lit = np.isfinite(scene.image[..., 0])
    near = np.abs(thermal.solar_zenith - 88) < 0.01
    assert ((thermal.solar_zenith < 88) == lit)[~near].all()
    assert 0.1 < lit.mean() < 0.9
