"""Scenes in one file: what is read of them, what of it is missing, what is told of bad ones."""

import io
import itertools
import re
import struct
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from seaice import colour
from seaice.io import png, reading
from seaice.io.picture import ImageError, Reading, open_scene
from seaice.io.sources import Source

RNG = np.random.default_rng(2)
RGB = RNG.integers(3, 256, (30, 40, 3), dtype=np.uint8)
SMOOTH = cv2.GaussianBlur(RNG.integers(0, 256, (90, 110, 3), dtype=np.uint8), (0, 0), 4)
BANDS_NAMED = ("red", "green", "blue", "nir", "swir")
PLACE = {"crs": "EPSG:3031", "transform": Affine(10, 0, 1000, 0, -20, 500)}


def encoded(array, suffix=".png", *options):
    bgr = array if array.ndim == 2 else array[..., [2, 1, 0, *range(3, array.shape[2])]]
    return cv2.imencode(suffix, np.ascontiguousarray(bgr), options)[1].tobytes()


def raster(array, driver="GTiff", **options):
    """(H, W, C) as GDAL writes it: bytes."""
    height, width, count = array.shape
    layout = {"height": height, "width": width, "count": count, "dtype": array.dtype}
    described, colours = options.pop("descriptions", None), options.pop("colours", None)
    mask = options.pop("mask", None)
    facts = {name: options.pop(name) for name in ("scales", "offsets") if name in options}
    palette = options.pop("palette", None)
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
        tempfile.TemporaryDirectory() as folder,
    ):
        path = Path(folder, "scene.jp2" if driver == "JP2OpenJPEG" else "scene.tif")
        with rasterio.open(path, "w", driver=driver, **layout, **options) as file:
            if colours is not None:
                file.colorinterp = [ColorInterp[name] for name in colours]
            if described is not None:
                file.descriptions = described
            for name, values in facts.items():
                setattr(file, name, values)
            if palette is not None:
                file.write_colormap(1, palette)
            if mask is not None:
                file.write_mask(mask)
            file.write(np.moveaxis(array, 2, 0))
        return path.read_bytes()


def tagged(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **({"photometric": "rgb"} | options))
    return stream.getvalue()


def opened(content, name="folder/scene.png", **how):
    return open_scene(Source(name, len(content), 0, "scene", content), Reading(**how))


def read(content, name="folder/scene.png", **how):
    with opened(content, name, **how) as scene:
        return scene.picture()


def outcome(content):
    """A picture, or the line that tells why there is none."""
    try:
        return read(content)
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_lossless_pictures_are_what_opencv_decodes(suffix, kind):
    array = RGB.astype(kind) * (1 if kind == np.uint8 else 200)
    content = encoded(array, suffix)
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert np.array_equal(expected, array)
    deep = {} if kind == np.uint8 else {"stretch": (0, 51000)}
    found = read(content, **deep)
    assert np.array_equal(found.image, RGB)
    assert not found.missing.any()


def test_a_jpeg_is_what_opencv_decodes():
    """Where its colours are as fine as its brightness; else decoders spread them as they like."""
    for sampling, most in ((0x111111, 0), (0x221111, 8)):
        content = encoded(SMOOTH, ".jpg", cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
        expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(read(content).image.astype(int) - expected).max() <= most


LAYOUTS = [
    *itertools.product(("pixel", "band"), ("none", "deflate", "zstd", "lzma"), (False, True)),
    *itertools.product(("pixel",), ("lzw", "packbits", "webp"), (True,)),
]


@pytest.mark.parametrize(("interleave", "compress", "tiled"), LAYOUTS)
def test_tiffs_of_every_layout_hold_the_same_pixels(interleave, compress, tiled):
    options = {"interleave": interleave, "compress": compress, "photometric": "rgb"}
    if tiled:
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 16}
    if compress == "webp":
        options |= {"webp_lossless": True}
        assert np.array_equal(read(raster(RGB, **options)).image, RGB)
        return
    assert np.array_equal(read(raster(RGB, **options)).image, RGB)
    deep = RGB.astype(np.uint16) * 39
    assert np.array_equal(read(raster(deep, **options), stretch=(0, 9945)).image, RGB)
    floats = RGB.astype(np.float32) / np.float32(255)
    assert np.array_equal(read(raster(floats, **options), stretch=(0, 1)).image, RGB)


@pytest.mark.parametrize("driver", ["COG", "JP2OpenJPEG"])
def test_optimised_tiffs_and_jpeg_2000_are_read_with_their_place(driver):
    options = {"quality": "100", "reversible": "yes"} if driver == "JP2OpenJPEG" else {}
    for array, how in ((RGB, {}), (RGB.astype(np.uint16) * 39, {"stretch": (0, 9945)})):
        with opened(raster(array, driver, **options, **PLACE), **how) as scene:
            assert np.array_equal(scene.picture().image, RGB)
            assert scene.shape == (30, 40)
            assert scene.grid.crs == "EPSG:3031"
            assert scene.grid.transform == tuple(PLACE["transform"])[:6]


def test_a_file_beside_a_scene_is_not_read(tmp_path):
    """Neither a place nor a mask: what a scene is depends on its own file alone."""
    (tmp_path / "scene.png").write_bytes(encoded(RGB))
    (tmp_path / "scene.pgw").write_text("10\n0\n0\n-10\n5\n5\n")
    nodata = "<PAMRasterBand band='1'><NoDataValue>7</NoDataValue></PAMRasterBand>"
    (tmp_path / "scene.png.aux.xml").write_text(f"<PAMDataset>{nodata}</PAMDataset>")
    source = Source(str(tmp_path / "scene.png"), 1, 1, "scene")
    with open_scene(source, Reading()) as scene:
        assert scene.grid is None
        assert not scene.picture().missing.any()


def test_what_is_no_picture_is_not_opened_by_another_driver(tmp_path):
    path = tmp_path / "scene.tif"
    (tmp_path / "secret.png").write_bytes(encoded(RGB))
    path.write_text(
        "<VRTDataset rasterXSize='40' rasterYSize='30'><VRTRasterBand dataType='Byte' band='1'>"
        "<SimpleSource><SourceFilename>secret.png</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(ImageError, match="is no PNG, JPEG, TIFF, JPEG 2000"):
        read_path(path)


def read_path(path, **how):
    with open_scene(Source(str(path), 1, 1, path.stem), Reading(**how)) as scene:
        return scene.picture()


def test_what_is_transparent_is_missing():
    alpha = np.full((30, 40, 1), 255, np.uint8)
    alpha[:5] = 0
    found = read(encoded(np.concatenate([RGB, alpha], axis=2)))
    assert found.missing[:5].all()
    assert not found.missing[5:].any()
    assert np.array_equal(found.image, RGB)


@pytest.mark.parametrize(("extra", "alpha"), [("unspecified", False), ("unassalpha", True)])
def test_a_fourth_band_is_alpha_where_the_file_says_so(extra, alpha):
    fourth = np.full((30, 40, 1), 200, np.uint8)
    fourth[:5] = 0
    found = read(tagged(np.concatenate([RGB, fourth], axis=2), extrasamples=(extra,)))
    assert np.array_equal(found.image, RGB)
    assert found.missing[:5].all() == alpha
    assert not found.missing[5:].any()


def test_a_palette_is_read_as_colours():
    label = RNG.choice([0, 1, 2], (37, 53)).astype(np.uint8)
    found = read(png.encode_palette(label, colour.COLOURS))
    assert np.array_equal(found.image, colour.picture(label))
    assert not found.missing.any()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
def test_palettes_of_8_and_16_bits_may_have_alpha(kind, alpha):
    last = np.iinfo(kind).max
    table = {0: (10, 20, 25), 7: (100, 120, 130), last: (235, 238, 240)}
    index = RNG.choice([0, 7, last], (30, 40, 1)).astype(kind)
    seen = np.where(index == 7, 0, last).astype(kind)
    array = np.concatenate([index, seen], axis=2) if alpha else index
    options = {"photometric": "palette", "palette": table} | ({"alpha": "yes"} if alpha else {})
    found = read(raster(array, **options))
    assert np.array_equal(
        found.image, np.array([table[int(i)] for i in index.flat], np.uint8).reshape(30, 40, 3)
    )
    assert np.array_equal(found.missing, (index[..., 0] == 7) & alpha)


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_values_of_fewer_than_8_bits_are_refused(bits):
    """They would all be water."""
    content = raster(RGB >> (8 - bits), nbits=bits, photometric="rgb")
    with pytest.raises(ImageError, match=rf"holds {bits}-bit values; .* -scale 0 {2**bits - 1} 0"):
        read(content)


def test_other_colours_are_converted_and_that_is_told_or_they_are_refused():
    """GDAL knows no more than 8 bits of CMYK, and a gray of CIELAB comes out yellow."""
    lab = np.full((30, 40, 3), 99, np.uint8)
    ink = np.concatenate([255 - RGB, np.zeros((30, 40, 1), np.uint8)], axis=2)
    with opened(tagged(ink, photometric="separated")) as scene:
        assert scene.told == ("its colours are converted from CMYK",)
        assert np.abs(scene.picture().image.astype(int) - RGB).max() <= 1
    for content, number in (
        (tagged(lab, photometric="cielab"), 8),
        (tagged(lab.astype(np.uint16), photometric="cielab"), 8),
        (tagged(ink.astype(np.uint16), photometric="separated"), 5),
        (tagged(lab, photometric="icclab"), 9),
        (tagged(lab, photometric="itulab"), 10),
    ):
        with pytest.raises(ImageError, match=rf"\(photometric interpretation {number}\)"):
            read(content)


def test_the_mask_of_a_file_says_what_is_missing():
    seen = np.full((30, 40), 255, np.uint8)
    seen[7:9, 3:30] = 0
    found = read(raster(RGB, mask=seen))
    assert np.array_equal(found.missing, seen == 0)


def test_declared_nodata_is_missing_wherever_it_lies():
    array = RGB.copy()
    array[10:12, 10:12] = 255
    found = read(raster(array, nodata=255), nodata="none")
    assert np.array_equal(found.missing, (array == 255).all(axis=2))


def corners(kind):
    """(40, 50, 3), and what is zero: a corner, and a square inside."""
    array = RNG.integers(40, 200, (40, 50, 3)).astype(kind)
    row, column = np.indices((40, 50))
    corner, inside = row + column < 12, (abs(row - 25) < 3) & (abs(column - 30) < 3)
    array[corner | inside] = 0
    return array, corner, inside


def test_zeros_are_measured_where_a_file_says_what_else_is_missing():
    """In all bands for the colours, in one for reflectance; what reaches the border may be not."""
    array, corner, inside = corners(np.int16)
    array[20:22, 3:40] = -9999
    array[30:32, 3:9, 0] = -9999
    absent = (array == -9999).any(axis=2)
    bands = {"descriptions": BANDS_NAMED[:3], "scales": (1e-4,) * 3}
    with opened(raster(array, nodata=-9999, **bands), stretch=(0, 255)) as scene:
        assert np.array_equal(scene.picture().missing, absent | corner)
        found = scene.reflectance(["red", "green", "blue"], slice(0, 40))
        assert np.array_equal(np.isnan(found), array == -9999)
        assert (found[inside] == 0).all()
    with opened(raster(array, **bands), stretch=(0, 255)) as scene:
        assert np.array_equal(scene.picture().missing, corner | inside)
        found = scene.reflectance(["red", "green", "blue"], slice(0, 40))
        assert np.array_equal(np.isnan(found), array == 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_without_a_finite_number_in_each_band_is_missing(value):
    floats = RGB.astype(np.float32) / np.float32(255)
    floats[3:9, 4, 1] = value
    found = read(raster(floats, photometric="rgb"), stretch=(0, 1), nodata="none")
    assert np.array_equal(found.missing, ~np.isfinite(floats).all(axis=2))


@pytest.mark.parametrize(
    ("scale", "offset"), [(np.nan, 0.0), (np.inf, 0.0), (0.0, 0.0), (1e-4, np.nan)]
)
def test_a_scale_that_is_none_gives_no_reflectance(scale, offset):
    facts = {"scales": (scale,) * 3, "offsets": (offset,) * 3, "photometric": "rgb"}
    with opened(raster(RGB.astype(np.uint16), **facts), stretch=(0, 255)) as scene:
        assert np.array_equal(scene.picture().image, RGB)
        with pytest.raises(ValueError, match=r"no reflectance of red: it states a scale of"):
            scene.reflectance(["red"], slice(0, 9))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_nodata_is_what_the_option_says(kind):
    array, corner, inside = corners(kind)
    array[20, 3:40] = 77
    content = raster(array, photometric="rgb")
    how = {} if kind == np.uint8 else {"stretch": (0, 255)}
    # Sentinel-2 keeps 0 of its 16 bits for what is not there, wherever that lies.
    anywhere = corner | inside if kind == np.uint16 else corner
    line = (array == 77).all(axis=2)
    expected = {"border": anywhere, "zero": corner | inside, "none": corner & inside, 77: line}
    for nodata, missing in expected.items():
        found = read(content, nodata=nodata, **how)
        assert np.array_equal(found.missing, missing), nodata


def test_a_few_black_pixels_at_the_border_are_water():
    array = RGB.copy()
    array[0, :15] = 0
    assert not read(encoded(array)).missing.any()
    array[1, 0] = 0
    assert read(encoded(array)).missing.sum() == 16


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_rim_of_next_to_nothing_belongs_to_what_is_missing(kind):
    array, corner, _ = corners(kind)
    array[array == 0] = 100
    row, column = np.indices(corner.shape)
    rim = (row + column >= 12) & (row + column < 14)
    array[corner], array[rim] = 0, 2
    array[30:33, 30:33] = 1  # far from it: very dark water
    how = {} if kind == np.uint8 else {"stretch": (0, 255)}
    found = read(raster(array, photometric="rgb"), **how)
    assert np.array_equal(found.missing, corner | rim)
    assert read(raster(array, photometric="rgb"), nodata="none", **how).missing.sum() == 0


def test_the_collar_of_a_jpeg_is_missing_up_to_the_picture():
    array = np.full((160, 160, 3), 225, np.uint8)
    row, column = np.indices((160, 160))
    collar = row + column < 100
    array[collar] = 0
    array[100:130, 100:130] = 8  # dark water inside
    content = encoded(array, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 85)
    found = read(content)
    assert (found.image.max(axis=2)[collar] > 0).sum() > 50  # it is not black everywhere
    assert found.missing[collar].mean() > 0.99
    assert not found.missing[row + column > 104].any()
    water = colour.classify(colour.brightness(found.image)) == colour.WATER
    inside = (row >= 95) & (column >= 95)
    assert (water & ~found.missing & ~inside).sum() < 0.005 * collar.sum()


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_snow_beside_a_bright_fill_of_a_jpeg_is_measured(quality):
    """An edge is drawn over its block, but snow is as bright as what would be taken for its rim."""
    array = RNG.integers(236, 250, (120, 160, 3), dtype=np.uint8)
    array[:, 100:] = 255
    options = {"compress": "jpeg", "jpeg_quality": quality, "photometric": "ycbcr", "nodata": 255}
    missing = read(raster(array, tiled=True, blockxsize=64, blockysize=64, **options)).missing
    assert missing[:, :98].mean() < 0.002
    assert missing[:, 112:].all()
    assert (~missing[:, 100:112]).sum() <= 2 * 120


BANDS = np.stack([np.full((20, 25), value, np.uint8) for value in (10, 60, 110, 160, 210)], axis=2)
BANDS[::2] += 5


@pytest.mark.parametrize(
    ("options", "how", "expected", "told"),
    [
        ({}, {}, (10, 60, 110), "bands 1, 2, 3 of 5 are taken as red, green, blue"),
        ({}, {"bands": ("3", "2", "1")}, (110, 60, 10), None),
        ({"descriptions": ("blue", "green", "red", "nir", "swir")}, {}, (110, 60, 10), None),
        ({"descriptions": ("B02", "B03", "B04", "B08", "B11")}, {}, (110, 60, 10), None),
        ({"descriptions": ("B2", "B3", "B4", "B8", "B8A")}, {}, (110, 60, 10), None),
        ({"descriptions": ("Red edge", "Red", "Green", "Blue", "NIR")}, {}, (60, 110, 160), None),
        (
            {"descriptions": ("B2", "B3", "B4", "B5", "B6")},
            {"bands": ("b4", "b3", "b2")},
            (110, 60, 10),
            None,
        ),
        (
            {"descriptions": tuple(f"Band {n}" for n in range(1, 6))},
            {},
            (10, 60, 110),
            "bands 1, 2, 3 of 5 are taken as red, green, blue",
        ),
        ({"colours": ("blue", "green", "red", "undefined", "alpha")}, {}, (110, 60, 10), None),
    ],
)
def test_bands_are_told_by_option_description_or_colour(options, how, expected, told):
    with opened(raster(BANDS, **options), **how) as scene:
        assert scene.picture().image[1, 1].tolist() == list(expected)
        assert scene.told == ((told,) if told else ())


@pytest.mark.parametrize(
    ("options", "how", "problem"),
    [
        (
            {"descriptions": ("B2", "B3", "B4", "B5", "B6")},
            {},
            r"bands named B2, .* name them: --bands B2 B3 B4",
        ),
        ({"descriptions": ("red", "red", "green", "blue", "x")}, {}, "are not told; name them"),
        ({}, {"bands": ("1", "2", "6")}, "none of them is '6', which --bands names"),
        ({}, {"bands": ("red", "green", "blue")}, r"5 bands \(no names\), none of them is 'red'"),
    ],
)
def test_bands_that_nobody_can_know_are_asked_for(options, how, problem):
    with pytest.raises(ImageError, match=problem) as caught:
        read(raster(BANDS, **options), **how)
    assert str(caught.value).startswith("folder/scene.png has ")


@pytest.mark.parametrize("count", [3, 4])
def test_three_or_four_gray_bands_are_taken_in_their_order_and_that_is_told(count):
    with opened(raster(BANDS[..., :count].astype(np.uint16)), stretch=(0, 255)) as scene:
        assert scene.picture().image[1, 1].tolist() == [10, 60, 110]
        assert scene.told == (f"bands 1, 2, 3 of {count} are taken as red, green, blue",)


def test_reflectance_has_the_names_and_the_scale_of_the_file():
    names = ("blue", "green", "red", "nir", "swir16")
    floats = BANDS.astype(np.float32) / np.float32(250)
    floats[3, 3] = np.nan
    with opened(raster(floats, descriptions=names), stretch=(0, 1)) as scene:
        found = scene.reflectance(["red", "nir", "swir"], slice(2, 9))
        assert found.dtype == np.float32
        assert np.array_equal(found, floats[2:9][..., [2, 3, 4]], equal_nan=True)
        assert scene.clouds(slice(2, 9)) is None
    for content, how, problem in (
        (raster(BANDS, descriptions=names), {}, r"no reflectance of nir: .* states no scale"),
        (raster(floats[..., :3], photometric="rgb"), {"stretch": (0, 1)}, r"--bands RED GREEN"),
    ):
        with opened(content, **how) as scene, pytest.raises(ValueError, match=problem):
            scene.reflectance(["nir"], slice(0, 3))


def test_an_orientation_is_ignored_and_told():
    """Pixels and place stay together: both are of the rows and columns that are stored."""
    for order in "<>":
        content = tagged(RGB, byteorder=order, extratags=[(274, "H", 1, 6, True)])
        with opened(content) as scene:
            assert np.array_equal(scene.picture().image, RGB)
            assert "orientation 6 is ignored" in scene.told[0]
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 274, 3, 1, 6, 0, 0)
    content = encoded(SMOOTH, ".jpg")
    content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    with opened(content) as scene:
        assert np.array_equal(scene.picture().image, read(encoded(SMOOTH, ".jpg")).image)
        assert scene.told == ("orientation 6 is ignored: rows and columns are taken as stored",)


def test_control_points_alone_are_no_place_and_that_is_told():
    points = [
        GroundControlPoint(row, column, column / 1000, 75 - row / 1000)
        for row in (0, 30)
        for column in (0, 40)
    ]
    with opened(raster(RGB, gcps=points, crs="EPSG:4326", photometric="rgb")) as scene:
        assert scene.grid is None
        (line,) = scene.told
        assert "control points" in line


def test_reflectance_needs_a_stated_stretch():
    bands = RNG.integers(1000, 11000, (30, 40, 3), dtype=np.uint16)
    bands[:4, :4] = 0
    content = tagged(bands)
    with pytest.raises(ImageError, match=r"holds 16-bit values.*--stretch LOW HIGH"):
        read(content)
    found = read(content, stretch=(1000, 11000))
    expected = np.rint((bands.astype(float) - 1000) / 10000 * 255)
    assert np.abs(found.image.astype(float) - expected)[4:, 4:].max() <= 1
    assert found.missing[:4, :4].all()
    assert found.missing.sum() == 16


def test_nan_in_all_bands_is_missing_in_a_scene_of_numbers():
    bands = RNG.uniform(0.1, 1, (20, 20, 4)).astype(np.float32)
    bands[:5, :5] = np.nan
    stream = io.BytesIO()
    place = {"crs": "EPSG:3031", "transform": [10, 0, 5, 0, -10, 7], "start": "2019-11-03T20:00:00"}
    np.savez(stream, image=bands, channels=np.array(["blue", "green", "red", "nir"]), **place)
    content = stream.getvalue()
    with opened(content, "scene.npz", stretch=(0, 1)) as scene:
        found = scene.picture()
        assert found.missing.sum() == 25
        assert np.array_equal(found.image[9, 9], np.rint(bands[9, 9, [2, 1, 0]] * 255))
        assert (scene.grid.crs, scene.grid.transform) == ("EPSG:3031", (10, 0, 5, 0, -10, 7))
        assert scene.date == "2019-11-03T20:00:00Z"
        expected = bands[3:7][..., [3, 2]]
        assert np.array_equal(scene.reflectance(["nir", "red"], slice(3, 7)), expected, True)
    with pytest.raises(ImageError, match="32-bit floating"):
        read(content, "scene.npz")
    wanted = {"stretch": (0, 1), "bands": ("1", "green", "red")}
    assert read(content, "scene.npz", **wanted).image[9, 9, 0] == np.rint(bands[9, 9, 0] * 255)


def test_a_scene_of_numbers_may_say_what_is_missing():
    stream, missing = io.BytesIO(), np.zeros((30, 40), bool)
    missing[4:6, 7:9] = True
    np.savez(stream, image=RGB, channels=np.array(["red", "green", "blue"]), missing=missing)
    found = read(stream.getvalue(), "scene.npz")
    assert np.array_equal(found.image, RGB)
    assert np.array_equal(found.missing, missing)
    np.savez(stream := io.BytesIO(), image=RGB, missing=missing[:9])
    with pytest.raises(ImageError, match="not bool of"):
        read(stream.getvalue(), "scene.npz")


def test_a_stretch_for_8_bit_is_refused():
    with pytest.raises(ImageError, match="8-bit already"):
        read(encoded(RGB), stretch=(0, 1))


def damaged(content, place=0.5):
    where = int(len(content) * place)
    return content[:where] + bytes([content[where] ^ 255]) + content[where + 1 :]


def recoded(code):
    """A TIFF that says that it is compressed so."""
    content = tagged(RGB)
    at = content.find(struct.pack("<HHI", 259, 3, 1)) + 8
    return content[:at] + struct.pack("<H", code) + content[at + 2 :]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"GIF89a and so on", "is no PNG, JPEG, TIFF"),
        (damaged(encoded(RGB)), r"libpng: IDAT: .*get the file again"),
        (b"II*\0" + bytes(100), "is no PNG, JPEG, TIFF|damaged"),
        (b"PK\x03\x04" + bytes(50), "cannot be read"),
        (encoded(RGB[..., 0]), "has 1 band;"),
        (encoded(RGB[..., 0], ".tiff"), "has 1 band;"),
        (encoded(RGB.astype(np.uint16) * 256), "16-bit"),
        (recoded(34712), "compressed by JP2000, which GDAL cannot read here.*gdal_translate"),
        (recoded(9999), "compressed by code 9999, which GDAL cannot read"),
        (raster(RGB.astype(np.complex64)), "complex64 values; needed are numbers"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(content, problem, capfd):
    with pytest.raises(ValueError, match=problem) as caught:
        read(content)
    assert str(caught.value).startswith("folder/scene.png ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_says_it_is_larger_than_memory_is_told():
    """It is sparse: a few bytes that would take the machine down."""
    layout = {"driver": "GTiff", "width": 10**6, "height": 10**6, "count": 3, "dtype": "uint8"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scene.tif")
        tiles = {"tiled": True, "blockxsize": 65536, "blockysize": 65536, "sparse_ok": True}
        with warnings.catch_warnings(action="ignore"), rasterio.open(path, "w", **layout, **tiles):
            pass
        with pytest.raises(ImageError, match="1000000 x 1000000 pixels, which take 3725 GiB"):
            read_path(path)


def test_a_scene_that_takes_more_memory_than_the_system_gives_is_told():
    with (
        pytest.raises(ImageError, match=r"scene\.png is larger than the memory there is"),
        opened(encoded(RGB)),
    ):
        np.empty(2**59)


WHOLE = {
    "png": encoded(SMOOTH),
    "jpeg": encoded(SMOOTH, ".jpg"),
    "progressive": encoded(SMOOTH, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "tiff": raster(SMOOTH, photometric="rgb"),
    "tiles": raster(SMOOTH, compress="deflate", tiled=True, blockxsize=32, blockysize=32),
    "lzw": raster(SMOOTH, compress="lzw"),
    "jpeg in tiff": raster(SMOOTH, compress="jpeg", photometric="ycbcr"),
    "cog": raster(SMOOTH, "COG", compress="deflate"),
    "jp2": raster(SMOOTH, "JP2OpenJPEG", quality="100", reversible="yes"),
    "lossy jp2": raster(SMOOTH, "JP2OpenJPEG", quality="30"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_that_breaks_off_is_told_or_all_of_its_pixels_are_there(kind, capfd):
    """Wherever it breaks off. Decoders forgive much: some fill the rest with gray or black."""
    content, told = WHOLE[kind], 0
    expected = read(content)
    cuts = {len(content) * share // 16 for share in range(1, 16)}
    for length in sorted(cuts | {len(content) - short for short in (1, 2, 8, 12, 20, 40)}):
        found = outcome(content[:length])
        if isinstance(found, str):
            told += 1
            assert re.fullmatch(r"folder/scene.png is .*", found)
        else:
            assert np.array_equal(found.image, expected.image), length
    assert told >= 14
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", WHOLE)
def test_whatever_damage_there_is_the_job_goes_on(kind, capfd):
    rng = np.random.default_rng(7)
    for number in range(40):
        content = bytearray(WHOLE[kind])
        for _ in range(rng.integers(1, 6)):  # in its head, or anywhere
            content[rng.integers(400 if number % 2 else len(content))] = rng.integers(256)
        found = outcome(bytes(content))
        assert not isinstance(found, str) or re.fullmatch(r"folder/scene.png .*", found)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "tags",
    [
        [(33550, "d", 1, (10.0,), True), (33922, "d", 6, (0.0,) * 6, True)],
        [(33550, "s", 0, "ten", True), (33922, "d", 2, (0.0, 1.0), True)],
        [(34735, "H", 5, (1, 1, 0, 9, 1024), True)],
        [(34264, "d", 3, (1.0, 2.0, 3.0), True), (42113, "s", 0, "none", True)],
    ],
)
def test_odd_tags_of_place_cost_the_place_or_the_scene_and_never_the_job(tags, capfd):
    content = tagged(RGB, extratags=tags)
    found = outcome(content)
    assert isinstance(found, str) or np.array_equal(found.image, RGB)
    assert capfd.readouterr() == ("", "")


def test_flags_that_say_nothing_are_refused():
    assert reading.checked(None, "-9999").nodata == -9999
    assert reading.checked((0.0, 1e-9)).stretch == (0.0, 1e-9)
    strange = [(5, 5), (0, np.inf), (-np.inf, 0), (0, np.nan), (0, 1e-320), (0, 1e39)]
    for wrong in (
        *({"stretch": stretch} for stretch in strange),
        *({"nodata": word} for word in ("black", "9" * 400)),
        {"bands": ("1", "2")},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            reading.checked(**wrong)
