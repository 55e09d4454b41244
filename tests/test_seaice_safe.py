"""Sentinel-2 products as they lie in archives: folders and zip files, whole and damaged."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safe2
from test_seaice_label import run

from seaice import __main__ as cli
from seaice.io import metadata, product, sources
from seaice.io.picture import ImageError, Reading, open_scene
from seaice.io.safe import TCI_STRETCH

KINDS = [(level, baseline) for level in ("L1C", "L2A") for baseline in ("0208", "0400")]


def source_of(path):
    return sources.find([str(path)], apart_from=Path("out"))[0]


def forms(product):
    """The same product as a folder, as zip files, and as bytes that somebody has fetched."""
    zipped = source_of(safe2.packed(product))
    flat = source_of(safe2.packed(product, product.with_suffix(".SAFE.zip"), inside=False))
    place = f"s3a://bucket/{Path(zipped.place).name}"
    fetched = replace(zipped, place=place, content=Path(zipped.place).read_bytes())
    return [source_of(product), zipped, flat, fetched]


@pytest.mark.parametrize(("level", "baseline"), KINDS)
def test_a_product_is_its_true_colour_image_however_it_is_packed(level, baseline, tmp_path):
    product = safe2.build(tmp_path, level=level, baseline=baseline, seed=3)
    expected = safe2.true_colour(3, level)
    for source in forms(product):
        assert source.name == product.stem
        with open_scene(source, Reading()) as scene:
            found = scene.picture()
            assert np.array_equal(found.image, expected)
            assert np.array_equal(found.missing, ~expected.any(axis=2))
            assert (scene.date, scene.tile) == ("2019-11-03T20:49:21Z", "58CEU")
            assert scene.grid.crs == "EPSG:32758"
            assert scene.grid.transform == (10, 0, safe2.CORNER[0], 0, -10, safe2.CORNER[1])
            assert scene.told == ()


@pytest.mark.parametrize(("level", "baseline"), KINDS)
def test_without_it_the_bands_are_stretched_as_it_is(level, baseline, tmp_path):
    product = safe2.build(tmp_path, level=level, baseline=baseline, tci=False)
    expected = safe2.true_colour(0, level)
    assert TCI_STRETCH[level] == (0, safe2.TCI_TOP[level])
    for source in forms(product):
        with open_scene(source, Reading()) as scene:
            found = scene.picture()
            # A half is rounded up or down, as floating numbers have it.
            assert np.abs(found.image.astype(int) - expected).max() <= 1
            assert np.array_equal(found.missing, ~expected.any(axis=2))
            assert "it has no TCI: B04, B03, B02 are taken" in scene.told[0]


@pytest.mark.parametrize(("level", "baseline"), KINDS)
def test_another_stretch_is_one_of_reflectance(level, baseline, tmp_path):
    product = safe2.build(tmp_path, level=level, baseline=baseline)
    bands = safe2.reflectance()
    value = np.stack([bands[band] for band in ("B04", "B03", "B02")], axis=-1)
    expected = np.clip((value - 0.02) / 0.5 * 255, 1, 255)
    with open_scene(source_of(product), Reading((0.02, 0.52))) as scene:
        found = scene.picture()
        assert np.abs(found.image - expected)[~found.missing].max() <= 0.51
        assert scene.told == ()


@pytest.mark.parametrize(("level", "baseline"), KINDS)
def test_reflectance_is_in_physical_units_at_10_metres(level, baseline, tmp_path):
    product = safe2.build(tmp_path, level=level, baseline=baseline)
    names = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08", "swir": "B11"}
    rows = slice(31, 78)
    expected = np.stack([safe2.reflectance()[band][rows] for band in names.values()], axis=-1)
    expected[:, : safe2.NO_DATA] = np.nan
    for source in forms(product):
        with open_scene(source, Reading()) as scene:
            found = scene.reflectance(list(names), rows)
            assert found.dtype == np.float32
            assert np.allclose(found, expected, atol=1e-7, equal_nan=True)


def test_clouds_and_their_shadows_are_those_of_the_scene_classification(tmp_path):
    scl = np.isin(safe2.classification(), (3, 8, 9, 10)).repeat(2, axis=0).repeat(2, axis=1)
    for source in forms(safe2.build(tmp_path, level="L2A")):
        with open_scene(source, Reading()) as scene:
            for rows in (slice(0, 120), slice(21, 26)):
                assert np.array_equal(scene.clouds(rows), scl[rows])
    with open_scene(source_of(safe2.build(tmp_path, level="L1C")), Reading()) as scene:
        assert scene.clouds(slice(0, 9)) is None


def test_dark_water_of_a_corrected_product_is_not_missing(tmp_path):
    """Where the atmosphere is taken out, 0 in all bands may be water: SCL knows no data."""
    product = safe2.build(tmp_path, level="L2A")
    image = next(product.rglob("R10m/*TCI_10m.jp2"))
    array = safe2.true_colour(0, "L2A")
    array[80:100, 30:50] = 0
    safe2.jp2(image, array, 10)
    with open_scene(source_of(product), Reading()) as scene:
        missing = scene.picture().missing
        assert missing[:, : safe2.NO_DATA].all()
        assert not missing[:, safe2.NO_DATA :].any()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Products as folders and zip files at several depths, and what lies beside them."""
    top = tmp_path_factory.mktemp("products") / "archive"
    safe2.build(top / "2019/11", level="L1C", seed=1)
    packed = safe2.build(top / "zips", level="L2A", baseline="0400", seed=2)
    safe2.packed(packed)
    shutil.rmtree(packed)
    packed = safe2.build(top / "zips", level="L1C", baseline="0500", tci=False, seed=4)
    safe2.packed(packed)
    shutil.rmtree(packed)
    (top / "2019/notes.txt").write_text("none")
    return top


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory):
    """Label bytes by name, of one process."""
    out = tmp_path_factory.mktemp("serial")
    assert cli.main(["label", str(archive), "--out", str(out)]) == 0
    return labels(out)


def labels(out):
    return {path.stem: path.read_bytes() for path in sorted((out / "labels").iterdir())}


def test_an_archive_of_products_is_labelled_product_by_product(archive, expected, tmp_path):
    code, out, err = run("label", archive, "--out", tmp_path / "out", "--engine", "processes")
    assert code == 0
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "warning: left out, being no scenes: .txt files 1"
    assert "it has no TCI: B04, B03, B02 are taken" in lines[1]
    assert "3 scenes labelled" in out
    assert labels(tmp_path / "out") == expected
    levels = [("L1C", "0208"), ("L1C", "0500"), ("L2A", "0400")]
    names = [safe2.NAME.format(level=level, baseline=baseline) for level, baseline in levels]
    assert list(expected) == names
    record = json.loads((tmp_path / f"out/records/{names[1]}.json").read_text())
    assert "it has no TCI" in record["told"][0]


def test_unpacked_products_get_the_labels_that_their_zip_files_get(archive, expected, tmp_path):
    shutil.copytree(archive, tmp_path / "archive")
    for path in (tmp_path / "archive/zips").iterdir():
        shutil.unpack_archive(path, tmp_path / "archive/zips")
        path.unlink()
    assert cli.main(["label", str(tmp_path / "archive"), "--out", str(tmp_path / "out")]) == 0
    assert labels(tmp_path / "out") == expected


@pytest.mark.mpi
def test_two_ranks_label_products_as_one_process_does(archive, expected, tmp_path, start):
    code = "import sys; from seaice.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = ("label", archive, "--out", tmp_path / "mpi", "--engine", "mpi")
    process = start(code, *words, ranks=2)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert labels(tmp_path / "mpi") == expected


@pytest.mark.slow
def test_zip_files_behind_a_uri_are_fetched_by_spark(archive, expected, tmp_path):
    """Of a folder behind a URI nothing is read, as it cannot be fetched in one piece."""
    words = ["label", archive.as_uri(), "--out", tmp_path / "out", "--engine", "spark"]
    code, out, err = run(*words, seconds=240)
    assert code == 0, err
    assert "2 scenes labelled" in out
    assert "files of .SAFE folders, which are read from disks alone" in err
    found = labels(tmp_path / "out")
    assert found == {name: expected[name] for name in expected if "N0208" not in name}


def broken(product, how):
    image = next(product.rglob("*_TCI*.jp2"))
    mtd = next(product.glob("MTD_MSI*.xml"))
    text = mtd.read_text()
    if how == "image":
        image.write_bytes(image.read_bytes()[:900])
    elif how == "no image":
        shutil.rmtree(product / "GRANULE")
    elif how == "a band is lacking":
        image.unlink()
        next(product.rglob("*B03.jp2")).unlink()
    elif how == "metadata":
        mtd.write_text(text[:300])
    elif how == "entities":
        bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]>"
        mtd.write_text(text.replace("<n1:Level", f"{bomb}<n1:Level", 1))
    elif how == "offsets":
        mtd.write_text(re.sub(r"(<PROCESSING_BASELINE>)[\d.]+", r"\g<1>04.00", text))
    elif how == "large":
        mtd.write_text(text + " " * metadata.LARGEST_BYTES)
    elif how == "two tiles":
        shutil.copytree(product / "GRANULE", product / "GRANULE/two/GRANULE", symlinks=True)
        one = next((product / "GRANULE").glob("L1C*"))
        shutil.copytree(one, product / "GRANULE/L1C_T59CEU_A1_2")
    elif how == "small band":
        image.unlink()
        safe2.jp2(next(product.rglob("*B03.jp2")), np.ones((50, 50), np.uint16), 10)


BROKEN = {
    "image": "is damaged",
    "no image": "lacks B04; get the product again",
    "a band is lacking": "lacks B03; get the product again",
    "metadata": "has metadata that cannot be used",
    "entities": "it declares a document type",
    "offsets": "its baseline is 04.00, and it lacks offsets",
    "large": "it has more than",
    "two tiles": "products of several tiles",
    "small band": "B03 has 50 x 50 pixels, the picture 120 x 120",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_product_is_one_line(how, tmp_path, capfd):
    product = safe2.build(tmp_path)
    broken(product, how)
    for source in (source_of(product), source_of(safe2.packed(product))):
        with (
            pytest.raises(ImageError, match=BROKEN[how]) as caught,
            open_scene(source, Reading()) as scene,
        ):
            scene.picture()
        assert str(caught.value).startswith(source.place)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damaged_products_do_not_stop_the_others(tmp_path):
    for number, how in enumerate(BROKEN):
        broken(safe2.build(tmp_path / f"archive/{number}", baseline=f"03{number:02d}"), how)
    whole = safe2.build(tmp_path / "archive", level="L2A")
    code, out, err = run("label", tmp_path / "archive", "--out", tmp_path / "out")
    assert code == 1
    assert "1 scene labelled" in out
    assert len(err.splitlines()) == len(BROKEN), err
    assert list(labels(tmp_path / "out")) == [whole.stem]


def test_a_zip_file_is_checked_by_its_checksums(tmp_path):
    """JPEG 2000 has none of its own: a wrong byte would be read as other pixels."""
    content = bytearray(safe2.packed(safe2.build(tmp_path)).read_bytes())
    with zipfile.ZipFile(next(tmp_path.glob("*.zip"))) as file:
        info = next(info for info in file.infolist() if info.filename.endswith("_TCI.jp2"))
    content[info.header_offset + 200 + info.compress_size // 2] ^= 255
    path = tmp_path / next(tmp_path.glob("*.zip")).name
    path.write_bytes(content)
    for damaged in (content, content[: len(content) // 2], b"", b"PK"):
        path.write_bytes(damaged)
        with (
            pytest.raises(ImageError, match=r"is damaged \(.*get the product again"),
            open_scene(source_of(path), Reading()) as scene,
        ):
            scene.picture()


def test_names_in_a_zip_file_lead_nowhere(tmp_path):
    """Nothing is unpacked, and what leads out of the archive is no part of the product."""
    path = tmp_path / f"{safe2.NAME.format(level='L1C', baseline='0208')}.zip"
    product = safe2.build(tmp_path / "elsewhere")
    for start in ("../", "/etc/", "a/../../", "..\\"):
        with zipfile.ZipFile(path, "w") as file:
            for one in product.rglob("*"):
                if one.is_file():
                    name = zipfile.ZipInfo(start + one.relative_to(product).as_posix())
                    file.writestr(name, one.read_bytes())
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ImageError, match="lacks"), open_scene(source_of(path), Reading()):
            pass
        assert sorted(tmp_path.rglob("*")) == before


def members(product):
    """Name in a zip file -> content, as downloaded."""
    with zipfile.ZipFile(safe2.packed(product)) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def rezipped(folder, files):
    """A zip file of a product's name that holds these names and contents."""
    path = folder / f"{safe2.NAME.format(level='L1C', baseline='0208')}.zip"
    folder.mkdir()
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name, content in files:
            file.writestr(name, content)
    return path


def problem_of(path):
    """The line in which it ends."""
    with pytest.raises(ImageError) as caught, open_scene(source_of(path), Reading()) as scene:
        scene.picture()
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_zip_file_of_several_products_is_none(tmp_path):
    files = members(safe2.build(tmp_path))
    moved = [(f"other/{name}", content) for name, content in files.items() if "TCI" in name]
    kept = [(name, content) for name, content in files.items() if "TCI" not in name]
    both = [*files.items(), *((f"B{name}", content) for name, content in files.items())]
    for number, held in enumerate((kept + moved, both)):
        path = rezipped(tmp_path / f"{number}", held)
        assert "holds more than one product, in " in problem_of(path)


def test_a_name_that_a_zip_file_holds_twice_is_refused(tmp_path):
    """The one whose checksum is compared need not be the one that GDAL reads."""
    files = members(safe2.build(tmp_path))
    for number, what in enumerate(("TCI", "MTD_MSI")):
        again = [(name, content[:200]) for name, content in files.items() if what in name]
        told = problem_of(rezipped(tmp_path / f"{number}", [*files.items(), *again]))
        assert "twice under one name" in told


def test_an_image_that_is_larger_than_any_is_not_unpacked(tmp_path, monkeypatch):
    files = members(safe2.build(tmp_path))
    monkeypatch.setattr(product, "LARGEST_BYTES", 1 << 20)
    bomb = [(name, bytes(2 << 20) if "TCI" in name else held) for name, held in files.items()]
    assert "larger than any image of a product" in problem_of(rezipped(tmp_path / "bomb", bomb))


def test_a_zip_file_that_needs_a_password_is_not_called_damaged(tmp_path):
    path = rezipped(tmp_path / "zip", members(safe2.build(tmp_path)).items())
    content = bytearray(path.read_bytes())
    for found in re.finditer(rb"PK\x01\x02", bytes(content)):
        content[found.start() + 8] |= 1
    path.write_bytes(content)
    assert problem_of(path) == f"{path} is encrypted; unpack it"
    for found in re.finditer(rb"PK\x01\x02", bytes(content)):
        content[found.start() + 8] &= 254
        content[found.start() + 10] = 97  # a way to pack that zipfile does not know
    path.write_bytes(content)
    assert "cannot be unpacked here" in problem_of(path)


def test_a_product_that_holds_a_copy_of_itself_is_read_once_and_that_is_told(tmp_path):
    folder = safe2.build(tmp_path)
    shutil.copytree(folder, tmp_path / "copy")
    shutil.move(tmp_path / "copy", folder / folder.name)
    for path in (folder, safe2.packed(folder)):
        with open_scene(source_of(path), Reading()) as scene:
            assert np.array_equal(scene.picture().image, safe2.true_colour(0))
            assert scene.told == ("another product lies in its folder, which is not read",)


def test_images_that_a_folder_links_to_are_its_images(tmp_path):
    folder = safe2.build(tmp_path)
    images = next(folder.rglob("IMG_DATA"))
    shutil.move(images, tmp_path / "pool")
    images.symlink_to(tmp_path / "pool")
    (folder / "GRANULE/round").symlink_to(folder)
    os.mkfifo(folder / "pipe.xml")
    with open_scene(source_of(folder), Reading()) as scene:
        assert np.array_equal(scene.picture().image, safe2.true_colour(0))


OPEN_AS_NOBODY = """
import os, sys
from seaice.io import raster, sources
from seaice.io.picture import Reading, open_scene
raster.load()
if os.getuid() == 0:  # who may read everything; nobody may not
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
(source,) = sources.find([sys.argv[1]], apart_from=[])
try:
    with open_scene(source, Reading()) as scene:
        print(scene.clouds(slice(0, 9)))
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("closed", ["R20m", "T58CEU_20191103T204921_TCI_10m.jp2", "MTD_MSIL2A.xml"])
def test_what_may_not_be_read_of_a_product_is_not_taken_for_lacking(closed):
    with tempfile.TemporaryDirectory() as top:  # which any user may enter, unlike those of pytest
        folder = safe2.build(top, level="L2A")
        Path(top).chmod(0o755)
        path = next(folder.rglob(closed))
        path.chmod(0)
        try:
            words = [sys.executable, "-c", OPEN_AS_NOBODY, str(folder)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        finally:
            path.chmod(0o755)
    assert done.stdout.startswith(f"{folder} cannot be read ({path}: Permission denied)")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (">10000<", ">inf<", "its quantification value is no number"),
        (">10000<", "> <", "it states no quantification value"),
        (">10000<", ">1e-300<", "its quantification value 1e-300 is none of 16-bit values"),
        (">10000<", ">-10000<", "its quantification value -10000 is none"),
        ("'3'>-1000<", "'3'><", "it states no offset of B04"),
        ("'3'>-1000<", "'3'>nan<", "its offset of B04 is no number"),
        ("'3'>-1000<", "'3'>1e9<", r"its offset of B04 1e\+09 is none of 16 bits"),
    ],
)
def test_metadata_of_no_finite_number_are_refused(old, new, problem, tmp_path):
    text = safe2.metadata("x", "L1C", "0400")
    assert old in text
    with pytest.raises(ValueError, match=problem):
        metadata.parse(text.replace(old, new, 1).encode())
    folder = safe2.build(tmp_path, baseline="0400", tci=False)
    (folder / "MTD_MSIL1C.xml").write_text(text.replace(old, new, 1))
    assert re.search(rf"metadata that cannot be used \({problem}", problem_of(folder))


def test_a_product_of_its_image_alone_has_the_date_of_its_name(tmp_path):
    product = safe2.build(tmp_path, bands=False)
    next(product.glob("MTD_*")).unlink()
    with open_scene(source_of(product), Reading()) as scene:
        assert scene.date == "2019-11-03T20:49:21Z"
        assert scene.told == ("it has no metadata: the date is that of its name",)
        assert scene.picture().image.shape == (120, 120, 3)
        with pytest.raises(ValueError, match="no reflectance of nir"):
            scene.reflectance(["nir"], slice(0, 9))
