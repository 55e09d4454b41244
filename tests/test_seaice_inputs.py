"""Small files that once failed, as their README says, and real pictures against OpenCV."""

import json

import cv2
import numpy as np
import pytest

from seaice import __main__ as cli
from seaice import colour
from seaice.io import sources
from seaice.io.picture import Reading, open_scene

pytestmark = pytest.mark.real

COUNTS = {"thick_ice": 25600, "thin_ice": 20480, "open_water": 19456}
FIRST = "bands 1, 2, 3 of {} are taken as red, green, blue"
STRETCHES = {"u8": (), "u16": ("--stretch", "0", "10000"), "f32": ("--stretch", "0", "1")}
TOLD = {
    "s2_u16_contig": [],
    "s2_u16_bandinterleaved": [],
    "s2_f32_contig": [FIRST.format(3)],
    "s2_f32_bandinterleaved": [FIRST.format(3)],
    "gdal_u16_rgb_band": [],
    "gdal_u16_default": [FIRST.format(3)],
    "gdal_u16_5bands": [FIRST.format(5)],
    "gdal_u8_zstd": [],
    "gdal_u8_lerc": [],
    "rgb_nir_u8": [],
    "epsg3857": [],
    "epsg3413": [],
}


@pytest.fixture
def inputs(real_data):
    folder = real_data.parent / "inputs"
    if not folder.is_dir():
        pytest.skip(f"the small inputs are not beside {real_data}")
    return folder


@pytest.mark.parametrize("name", TOLD)
def test_each_small_input_has_its_right_outcome(name, inputs, tmp_path, capsys):
    stretch = next((words for kind, words in STRETCHES.items() if kind in name), ())
    words = ["label", str(inputs / f"{name}.tif"), "--out", str(tmp_path), "--filter", "none"]
    code = cli.main([*words, *stretch])
    if name == "gdal_u8_lerc" and code:  # a GDAL without it
        assert "compressed by LERC, which GDAL cannot read" in capsys.readouterr().err
        return
    assert code == 0
    record = json.loads((tmp_path / f"records/{name}.json").read_text())
    assert (record["pixels"], record["unknown_pixels"]) == (COUNTS, 0)
    assert record["told"] == TOLD[name]


def test_real_pictures_are_what_opencv_decodes(real_data):
    """What both read: PNG, 8-bit TIFF."""
    found = sources.find([str(real_data / "seaice")], apart_from=real_data / "out")
    names = []
    for source in found:
        if not source.place.endswith(".npz"):
            expected = cv2.imread(source.place, cv2.IMREAD_COLOR)[..., ::-1]
            with open_scene(source, Reading()) as scene:
                picture = scene.picture()
            assert np.array_equal(picture.image, expected)
            # Missing is a part of what is black, or next to it.
            assert (colour.brightness(picture.image)[picture.missing] <= 2).all()
            names.append(source.name)
    assert len(names) == 2
