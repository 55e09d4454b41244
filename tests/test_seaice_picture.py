import cv2
import numpy as np
import pytest
import tifffile

from seaice.io import geotiff
from seaice.io.picture import SUFFIXES, ImageError, read

RNG = np.random.default_rng(2)
RGB = RNG.integers(1, 256, (30, 40, 3), dtype=np.uint8)
UTM = [
    (33550, "d", 3, (10.0, 20.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 1600000.0, 0.0), True),
    (34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32758), True),
    (34737, "s", 0, "WGS 84 / UTM zone 58S|", True),
]


def encoded(array, suffix=".png"):
    bgr = array if array.ndim == 2 else array[..., [2, 1, 0, *range(3, array.shape[2])]]
    return cv2.imencode(suffix, np.ascontiguousarray(bgr))[1].tobytes()


def tiff(tmp_path, array, **options):
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, array, photometric="rgb", **options)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_lossless_pictures_come_back_as_red_green_blue(suffix):
    found = read(encoded(RGB, suffix), "scene")
    assert np.array_equal(found.image, RGB)
    assert not found.missing.any()


def test_a_jpeg_comes_back_nearly():
    smooth = np.full((64, 64, 3), (200, 120, 40), np.uint8)
    found = read(encoded(smooth, ".jpg"), "scene").image
    assert np.abs(found.astype(int) - smooth).max() < 6


def test_what_is_transparent_is_missing():
    alpha = np.full((30, 40, 1), 255, np.uint8)
    alpha[:5] = 0
    found = read(encoded(np.concatenate([RGB, alpha], axis=2)), "scene")
    assert found.missing[:5].all()
    assert not found.missing[5:].any()
    assert np.array_equal(found.image, RGB)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_geotiff_keeps_its_place_and_tells_its_pixel_size(tmp_path, compression):
    content = tiff(tmp_path, RGB, extratags=UTM, compression=compression)
    found = read(content, "scene")
    assert np.array_equal(found.image, RGB)
    assert found.reference.pixel_metres == (10.0, 20.0)
    label = RNG.integers(0, 3, (30, 40), dtype=np.uint8)
    written = geotiff.encode(label, found.reference, nodata=255)
    again = geotiff.read(written, "label")
    assert again.tags == found.reference.tags
    assert [tag[:4] for tag in UTM[:3]] == list(again.tags)[:3]
    assert again.nodata == 255
    path = tmp_path / "label.tif"
    path.write_bytes(written)
    assert np.array_equal(tifffile.imread(path), label)
    assert written == geotiff.encode(label, found.reference, nodata=255)


def test_degrees_tell_no_pixel_size(tmp_path):
    keys = (34735, "H", 8, (1, 1, 0, 1, 1024, 0, 1, 2), True)
    content = tiff(tmp_path, RGB, extratags=[UTM[0], UTM[1], keys])
    assert read(content, "scene").reference.pixel_metres is None


def test_declared_nodata_is_missing_wherever_it_lies(tmp_path):
    array = RGB.copy()
    array[10:12, 10:12] = 255
    content = tiff(tmp_path, array, extratags=[*UTM, (42113, "s", 0, "255", True)])
    assert np.array_equal(read(content, "scene").missing, (array == 255).all(axis=2))


def test_reflectance_needs_a_stated_stretch(tmp_path):
    bands = RNG.integers(1000, 11000, (30, 40, 3), dtype=np.uint16)
    bands[:4, :4] = 0
    content = tiff(tmp_path, bands)
    with pytest.raises(ImageError, match=r"scene holds 16-bit values.*--stretch LOW HIGH"):
        read(content, "scene")
    found = read(content, "scene", stretch=(1000, 11000))
    expected = np.rint((bands.astype(float) - 1000) / 10000 * 255)
    assert np.abs(found.image.astype(float) - expected)[4:, 4:].max() <= 1
    assert found.missing[:4, :4].all()
    assert found.missing.sum() == 16


def test_nan_in_all_bands_is_missing_in_a_scene_of_numbers(tmp_path):
    bands = RNG.uniform(0.1, 1, (20, 20, 4)).astype(np.float32)
    bands[:5, :5] = np.nan
    names = np.array(["blue", "green", "red", "nir"])
    np.savez(tmp_path / "scene.npz", image=bands, channels=names)
    content = (tmp_path / "scene.npz").read_bytes()
    found = read(content, "scene", stretch=(0, 1))
    assert found.missing.sum() == 25
    assert np.array_equal(found.image[9, 9], np.rint(bands[9, 9, [2, 1, 0]] * 255))
    with pytest.raises(ImageError, match="32-bit floating"):
        read(content, "scene")


def test_a_stretch_for_8_bit_is_refused():
    with pytest.raises(ImageError, match="8-bit already"):
        read(encoded(RGB), "scene", stretch=(0, 1))


def damaged(content, place=0.5):
    where = int(len(content) * place)
    return content[:where] + bytes([content[where] ^ 255]) + content[where + 1 :]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"GIF89a and so on", "is no PNG, JPEG, TIFF"),
        (encoded(RGB)[:900], "breaks off"),
        (encoded(RGB)[:-12], "breaks off"),
        (damaged(encoded(RGB)), "checksum is wrong"),
        (encoded(RGB, ".jpg")[:700], "breaks off"),
        (encoded(RGB, ".tiff")[:900], "TIFF"),
        (b"II*\0" + bytes(100), "TIFF"),
        (b"PK\x03\x04" + bytes(50), "cannot be read"),
        (encoded(RGB[..., 0]), "has 1 band;"),
        (encoded(RGB[..., 0], ".tiff"), "has 1 band;"),
        (encoded(RGB.astype(np.uint16) * 256), "16-bit"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(content, problem, capfd):
    with pytest.raises(ValueError, match=problem) as caught:
        read(content, "folder/scene.png")
    assert str(caught.value).startswith("folder/scene.png ")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_suffixes_are_those_of_the_kinds_that_are_read():
    assert set(SUFFIXES) == {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npz"}
