"""Real pictures: Sentinel-2 over Greenland, MODIS over the Sea of Okhotsk and Liaodong Bay."""

import json

import numpy as np
import pytest
from test_seaice_engines import files
from test_seaice_label import run

from cloudmask import __main__ as cloudmask_cli
from cloudmask.data.patchset.open import open_patchset
from cloudmask.metrics import UNKNOWN
from seaice.colour import THICK
from seaice.io import classmap

pytestmark = pytest.mark.real


def test_real_pictures_get_the_same_labels_on_every_engine(real_data, tmp_path, start):
    folder = real_data / "seaice"
    for engine in ("serial", "processes"):
        code, _, err = run("label", folder, "--out", tmp_path / engine, "--engine", engine)
        assert (code, err) == (0, "")
    code = "import sys; from seaice.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = ("label", folder, "--out", tmp_path / "mpi", "--engine", "mpi")
    process = start(code, *words, ranks=2)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    expected = files(tmp_path / "serial")
    assert len(expected) == 9
    assert files(tmp_path / "processes") == expected
    assert files(tmp_path / "mpi") == expected


def test_what_was_done_to_real_pictures_is_what_it_should_be(real_data, tmp_path):
    code, _, err = run("label", real_data / "seaice", "--out", tmp_path)
    assert (code, err) == (0, "")
    records = {path.stem[:3]: json.loads(path.read_text()) for path in tmp_path.glob("records/*")}
    # Bright cloud over pack ice: the filter finds the floes that brightness alone does not.
    assert records["466"]["done"]["filter"]["used"]
    okhotsk = classmap.read(next(tmp_path.glob("labels/466*"))).label
    assert (okhotsk[:, 250:] == THICK).mean() > 0.95
    assert not (okhotsk == UNKNOWN).any()
    # Land ice and a green sea: no snow in the background, so the filter keeps away.
    for name in ("S2_", "boh"):
        assert not records[name]["done"]["filter"]["used"]
    assert records["boh"]["fractions"]["thin_ice"] == max(records["boh"]["fractions"].values())


def test_a_labelled_real_scene_becomes_a_patch_set_of_its_two_classes(real_data, tmp_path):
    scene = real_data / "seaice/bohai_date1.npz"
    words = ["prepare", scene, "--out", tmp_path / "patches", "--split", "train=1"]
    assert cloudmask_cli.main([*map(str, words), "--patch-size", "128", "--stride", "32"]) == 0
    patchset = open_patchset(tmp_path / "patches")
    assert patchset.classes == ("open water", "sea ice")
    assert patchset.splits["train"].patches == 13 * 17
    assert np.isclose(sum(patchset.splits["train"].class_fractions), 1)
