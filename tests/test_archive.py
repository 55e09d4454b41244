"""What a search finds, what it leaves out and says of it, and what it asks the file system."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import forms
import numpy as np
import pytest
import sen3

from cloudmask.cli.flags import parse
from cloudmask.cli.options import PredictConfig, PrepareConfig
from cloudmask.data.archive import find_scenes, search
from cloudmask.data.entry import entry_of
from cloudmask.data.formats.safe.product import MEMBERS
from cloudmask.data.kinds import scene_name
from cloudmask.data.place import Url, place_of
from cloudmask.data.prepare.command import prepare
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError
from cloudmask.predict.masks import SceneMask, write_hdf5

BEST = (
    "S3A_SL_1_RBT____20191001T113221_20191001T113521_20191002T153049_0179_050_080_1980_LN2_O_NT_003"
)
NEAR = BEST.replace("_LN2_O_NT_", "_MAR_O_NR_").replace("20191002T15", "20191001T13")
NEAR = NEAR.replace("T113221", "T113223").replace("T113521", "T113523")
OLDER = BEST.replace("20191002T153049", "20191001T233049")
REPROCESSED = BEST.replace("20191002T153049", "20201002T153049").replace("O_NT_003", "R_NT_004")
NEXT = BEST.replace("113521", "113821").replace("113221", "113521").replace("_1980_", "_2160_")
OTHER = BEST.replace("S3A", "S3B")
EOPF = "S03SLSRBT_20191001T113221_0180_A080_T123"


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(found):
    return [entry.name for entry in found]


@pytest.mark.parametrize(
    ("there", "best"),
    [
        ((f"{NEAR}.hdf", f"{BEST}.hdf"), f"{BEST}.hdf"),
        ((f"{NEAR}.SEN3", f"{BEST}.zarr"), f"{BEST}.zarr"),
        ((f"{OLDER}.hdf", f"{BEST}.hdf", f"{REPROCESSED}.hdf"), f"{REPROCESSED}.hdf"),
        ((f"{BEST}.hdf", f"{BEST}.SEN3.zip", f"{BEST}.SEN3", f"{BEST}.zarr"), f"{BEST}.SEN3"),
        ((f"{BEST}.hdf", f"{BEST}.zip", f"{BEST}.zarr"), f"{BEST}.zip"),
        ((f"{EOPF}.zarr", f"{NEAR}.h5"), f"{NEAR}.h5"),
        ((f"a/{BEST}.hdf", f"b/{BEST}.hdf"), f"a/{BEST}.hdf"),
    ],
)
def test_of_an_acquisition_the_best_stays_with_its_neighbours(tmp_path, capsys, there, best):
    for name in (*there, f"{NEXT}.hdf", f"{OTHER}.hdf"):
        if name.endswith((".SEN3", ".zarr")):
            (tmp_path / name).mkdir()
        else:
            touch(tmp_path / name)
    found = find_scenes([tmp_path])
    assert {entry.path for entry in found} == {
        tmp_path / name for name in (best, f"{NEXT}.hdf", f"{OTHER}.hdf")
    }
    (line,) = capsys.readouterr().err.splitlines()
    number = len(there) - 1
    assert line.startswith(f"left out: {number} scene")
    assert "whose acquisition is there in a better one: " in line
    assert f"for {Path(best).name}" in line or f"for {tmp_path / best}" in line


def test_what_is_not_there_is_not_better(tmp_path, capsys):
    """A link to the best processing that leads nowhere leaves the next best its place."""
    (tmp_path / f"{NEAR}.hdf").write_bytes(b"there")
    (tmp_path / f"{BEST}.hdf").symlink_to(tmp_path / "nowhere")
    assert names(find_scenes([tmp_path])) == [NEAR]
    assert f"{BEST}.hdf for {NEAR}.hdf" in capsys.readouterr().err


def test_no_acquisition_stands_on_both_sides_of_a_split(tmp_path, write_hdf, capsys):
    for hour in range(6):
        for name in (NEAR, BEST):
            path = tmp_path / f"in/{name.replace('T113', f'T{hour:02d}3')}.hdf"
            write_hdf(path, height=32, width=32, seed=hour)
    out = tmp_path / "out"
    options = {"patch_size": 16, "split": "train=1/2,valid=1/2"}
    assert prepare(PrepareConfig((tmp_path / "in",), out, **options)) == 0
    starts = [path.name.split("____")[1][:11] for path in out.glob("*/*.h5")]
    assert len(starts) == len(set(starts)) == 6
    assert "left out: 6 scenes whose acquisition" in capsys.readouterr().err


def test_what_is_no_scene_is_counted_by_kind_in_one_line(tmp_path, capsys):
    touch(tmp_path / f"{BEST}.hdf", tmp_path / "a.txt", tmp_path / "b.tif", tmp_path / "c.tif")
    touch(tmp_path / "old.tar", tmp_path / f"{NEXT}.SEN3.zip.part", tmp_path / "other.hdf")
    rest = BEST.removeprefix("S3A_SL_1_RBT___")
    for name in ("S3A_OL_1_EFR___", "S3B_SY_2_SYN___", "S3A_SL_2_LST___"):
        (tmp_path / f"{name}{rest}.SEN3").mkdir()
    touch(tmp_path / f"S3A_OL_1_EFR___{rest}.SEN3.zip")
    (tmp_path / "S03SLSLST_20191001T113221_0180_A080_T123.zarr").mkdir()
    (tmp_path / "S02MSIL1C_20191001T113221_0000_A080_T123.zarr").mkdir()
    assert names(find_scenes([tmp_path])) == [BEST]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "left out: 5 files of other kinds (.tif 2, .hdf 1, .part 1, .tar 1), 3 products of other "
        "instruments (OL 2, SY 1), 2 products of other levels (2 LST 1, LST 1), 1 product of "
        "another mission (S2 1)"
    )
    (tmp_path / f"alone/S3A_OL_1_EFR___{rest}.SEN3").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no scenes found .* left out: 1 product of another inst"):
        find_scenes([tmp_path / "alone"])


def test_masks_below_an_archive_are_no_scenes(tmp_path, write_hdf, capsys):
    """predict --format hdf5 gives each mask the name of its scene."""
    write_hdf(tmp_path / f"{BEST}.h5", height=32, width=32)
    values = np.zeros((32, 32), np.float32)
    mask = SceneMask(NEXT, ("clear", "cloud"), values, None, values.astype(np.uint8))
    write_hdf5(tmp_path / f"masks/{NEXT}.h5", mask)
    (tmp_path / "masks/broken").mkdir()
    touch(tmp_path / f"masks/broken/{OTHER}.h5")
    assert names(find_scenes([tmp_path])) == sorted([BEST, OTHER])
    assert capsys.readouterr().err == "left out: 1 mask\n"


def test_satellites_c_and_d_are_found_in_every_form(tmp_path):
    for letter, suffix in zip("ABCD", (".hdf", ".h5", ".SEN3.zip", ".hdf5"), strict=True):
        touch(tmp_path / f"{BEST.replace('S3A', f'S3{letter}')}{suffix}")
    assert len(find_scenes([tmp_path])) == 4


@pytest.fixture
def stricken(monkeypatch):
    """stricken(path, number): asking the file system about a path or opening it fails so."""
    failing = {}
    for name in ("stat", "scandir", "lstat"):
        real = getattr(os, name)

        def ask(path=".", *words, _real=real, **more):
            number = failing.get(os.fspath(path) if not isinstance(path, int) else None)
            if number:
                raise OSError(number, os.strerror(number), os.fspath(path))
            return _real(path, *words, **more)

        monkeypatch.setattr(os, name, ask)
    return lambda path, number: failing.__setitem__(str(path), number)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_bad_entries_belong_to_their_scenes(tmp_path, write_hdf, stricken, capsys, number):
    archive = tmp_path / "in"
    for hour in range(3):
        name = f"{BEST.replace('T113', f'T{hour:02d}3')}.hdf"
        write_hdf(archive / name, height=32, width=32, seed=hour)
    (archive / "S3A_dangling.hdf").symlink_to(archive / "nowhere")
    latin = os.fsencode(archive) + b"/S3A_Sk\xe5ne.hdf"
    shutil.copy(archive / name, latin)
    os.mkfifo(archive / "S3A_pipe.hdf")
    (archive / "S3A_folder.npz").mkdir()
    (archive / f"{NEXT}.SEN3").mkdir()
    (archive / f"{OTHER}.SEN3").symlink_to(archive / "nowhere")
    (archive / "2019/deep").mkdir(parents=True)
    bad = archive / "S3A_bad.hdf"
    shutil.copy(archive / name, bad)
    stricken(archive / "2019/deep", number)
    stricken(bad, number)
    out = tmp_path / "out"
    assert prepare(PrepareConfig((archive,), out, patch_size=16, split="train=1")) == 1
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("left out: ")]
    assert "Traceback" not in text
    assert len(lines) == 7, text
    for name, why in (
        ("S3A_dangling.hdf", "No such file"),
        ("S3A_Sk\\udce5ne.hdf", "a name that is no UTF-8; rename it"),
        ("S3A_pipe.hdf", "is neither a file nor a folder"),
        (f"{NEXT}.SEN3", "needed files are missing"),
        (f"{OTHER}.SEN3", "No such file"),
        ("2019/deep", os.strerror(number)),
        ("S3A_bad.hdf", os.strerror(number)),
    ):
        (line,) = [line for line in lines if f"/{name}: " in line]
        assert why in line
    assert len(list(out.glob("train/*.h5"))) == 3


def test_links_by_name_that_lead_nowhere_belong_to_their_scenes(tmp_path):
    """A shell that expands *.hdf names them all."""
    link = tmp_path / "S3A_x.hdf"
    link.symlink_to(tmp_path / "nowhere")
    (entry,) = find_scenes([link])
    assert (entry.path, entry.bytes, entry.changed) == (link, 0, 0)
    with pytest.raises(SceneError, match="No such file"):
        read_scene(link)


@pytest.fixture
def asked(monkeypatch):
    """Counts of questions to the file system; what DirEntry asks is not among them."""
    counts = {"stat": 0, "lstat": 0, "scandir": 0}
    for name in counts:
        real = getattr(os, name)

        def ask(*words, _real=real, _name=name, **more):
            counts[_name] += 1
            return _real(*words, **more)

        monkeypatch.setattr(os, name, ask)
    return counts


def test_a_product_is_asked_for_what_is_read_of_it_and_no_more(tmp_path, asked):
    """It was asked 223 times, and every path was resolved twice."""
    products = 5
    for hour in range(products):
        folder = tmp_path / f"{BEST.replace('T113', f'T{hour:02d}3')}.SEN3"
        touch(*(folder / f"unread_{number}.nc" for number in range(90)))
        touch(folder / "xfdumanifest.xml", *(folder / f"S{n}_BT_in.nc" for n in (7, 8, 9)))
        touch(*(folder / f"S{n}_radiance_an.nc" for n in range(1, 7)))
    asked.update(dict.fromkeys(asked, 0))
    found = find_scenes([tmp_path])
    assert len(found) == products
    assert asked["stat"] <= 3 + 10 * products
    assert asked["scandir"] <= 1 + products
    assert asked["lstat"] == 0


def test_a_file_is_asked_for_once(tmp_path, asked):
    touch(*(tmp_path / f"deep/er/S3A_{number}.hdf" for number in range(50)))
    asked.update(dict.fromkeys(asked, 0))
    assert len(find_scenes([tmp_path])) == 50
    assert asked["stat"] <= 50 + 5
    assert asked["lstat"] == 0


def test_date_and_size_of_a_product_are_those_of_its_members(tmp_path):
    values = dataclasses.replace(sen3.make_values(), oblique=sen3.make_oblique())
    product = sen3.write_product(tmp_path, values)
    held = [member for member in MEMBERS if (product / member).exists()]
    before = entry_of(product)
    assert before.bytes == sum((product / member).stat().st_size for member in held)
    flags = ("flags_an.nc", "flags_ao.nc", "flags_io.nc")
    for member in ("S7_BT_in.nc", "S8_BT_io.nc", "S5_radiance_ao.nc", "geodetic_tx.nc", *flags):
        before = entry_of(product)
        touch(product / member)
        os.utime(product / member, ns=(0, before.changed + 1))
        assert entry_of(product).changed == before.changed + 1, member
    before = entry_of(product)
    (product / "notes.txt").write_text("read by nobody")
    assert entry_of(product).bytes == before.bytes
    inner = tmp_path / "twice" / product.name
    shutil.copytree(product, inner / product.name)
    assert entry_of(inner).bytes == before.bytes


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a//x.zarr",
        "https://host:8080/x.SEN3.zip?sig=a%2Fb",
        "memory://x.zarr",
        "simplecache::s3://b/x.SEN3",
    ],
)
def test_a_url_stays_as_it_is_from_the_command_line_to_the_entry(text):
    config = parse(PrepareConfig, [text, "a//b", "--out", "o"], prog="x")
    assert config.scenes == (Url(text), Path("a/b"))
    assert config.scenes[0].text == text
    assert "sig" not in str(config.scenes[0])
    assert parse(PredictConfig, ["run", text, "--out", "o"], prog="x").scenes == (Url(text),)
    assert search([text.replace("https://host:8080", "memory://none")]).scenes[0].bytes == 0


def test_secrets_of_a_url_are_for_the_server_alone():
    url = Url("https://me:secret@host/a/x.SEN3?sig=key")
    assert str(url) == "https://host/a/x.SEN3"
    assert (url / "flags_in.nc").text == "https://me:secret@host/a/x.SEN3/flags_in.nc?sig=key"
    assert (url / "flags_in.nc").parent == url
    assert "secret" not in str(SceneError(url, "a", "b"))
    assert repr(url) == "Url('https://host/a/x.SEN3')"


def test_file_urls_are_paths_and_names_are_those_of_the_product(tmp_path):
    assert place_of("file:///data/a%20b.zarr") == Path("/data/a b.zarr")
    for form in (f"{BEST}.SEN3", f"{BEST}.SEN3.zip", f"{BEST}.zip", f"{BEST}.zarr", f"{BEST}.hdf"):
        assert scene_name(Path(form)) == BEST
        assert scene_name(Url(f"s3://b/{form}")) == BEST
    assert scene_name(Path(f"{BEST}.SEN3/xfdumanifest.xml")) == BEST
    assert scene_name(Url(f"s3://b/{BEST}.SEN3/xfdumanifest.xml")) == BEST
    assert scene_name(Path("a.b.npz")) == "a.b"


def test_time_of_a_benchmark_file_is_that_of_its_name(tmp_path, write_hdf):
    scene = read_scene(write_hdf(tmp_path / f"{BEST}.hdf"))
    assert (scene.start, scene.stop) == ("2019-10-01T11:32:21Z", "2019-10-01T11:35:21Z")
    assert read_scene(write_hdf(tmp_path / "S3A_x.hdf")).start is None


def test_tiles_of_a_product_are_scenes_of_their_own(tmp_path):
    tiles = [f"{name}_tile{number}" for name in (BEST, EOPF) for number in range(3)]
    touch(*(tmp_path / f"{tile}.npz" for tile in tiles), tmp_path / f"{EOPF}.npz")
    assert names(find_scenes([tmp_path])) == sorted([*tiles, EOPF])


def test_a_chunk_of_a_store_that_changes_changes_the_store(tmp_path):
    product = sen3.write_product(tmp_path, sen3.make_values())
    store = forms.stored(product, tmp_path)
    before = entry_of(store)
    chunk = store / "measurements/inadir/s7_bt_in/0.0"
    os.utime(chunk, ns=(0, before.changed + 1))
    assert entry_of(store).changed == before.changed + 1
    (store / ".zmetadata").unlink()
    assert entry_of(store).bytes > before.bytes / 2
    deep = store / "measurements/inadir/s8_bt_in/c/0/0"
    touch(deep)
    os.utime(deep, ns=(0, before.changed + 2))
    assert entry_of(store).changed == before.changed + 2


def test_names_as_long_as_a_file_may_have(tmp_path, capsys):
    for number, length in enumerate((3, 245, 251)):
        rng = np.random.default_rng(number)
        label = (rng.random((32, 32)) < 0.5).astype(np.uint8)
        image = rng.normal(size=(32, 32, 2)).astype(np.float32)
        path = tmp_path / f"in/{'x' * length}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, image=image, label=label)
    out = tmp_path / "out"
    assert prepare(PrepareConfig((tmp_path / "in",), out, patch_size=16, split="train=1")) == 1
    assert sorted(len(path.stem) for path in out.glob("train/*.h5")) == [3, 245]
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "left out" in text]
    assert "has a name that is too long" in line


def test_a_product_has_its_name_however_it_is_named(tmp_path, monkeypatch):
    product = sen3.write_product(tmp_path / "in", sen3.make_values())
    link = tmp_path / "latest.SEN3"
    link.symlink_to(product)
    assert [entry.path for entry in find_scenes([link])] == [product]
    assert read_scene(link).name == product.stem
    monkeypatch.chdir(product)
    for form in (".", "xfdumanifest.xml", f"../{product.name}"):
        assert names(find_scenes([form])) == [product.stem], form
    for form in ("xfdumanifest.xml", Path("xfdumanifest.xml"), link / "xfdumanifest.xml"):
        assert read_scene(form).name == product.stem
    monkeypatch.chdir(tmp_path)
    assert (
        read_scene(forms.zipped(product, tmp_path / "zip", inside="product")).name == product.stem
    )
    forms.nested(product, tmp_path / "down").rename(tmp_path / "down/download.SEN3")
    (entry,) = find_scenes([tmp_path / "down"])
    assert entry.path == tmp_path / "down/download.SEN3" / product.name


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("member", ["xfdumanifest.xml", "S7_BT_in.nc"])
def test_a_pipe_in_a_product_is_not_waited_for(tmp_path, member, verify):
    product = sen3.write_product(tmp_path, sen3.make_values())
    (product / member).unlink()
    os.mkfifo(product / member)
    if verify or member.startswith("S7"):
        with pytest.raises(SceneError, match=f"{member} cannot be read .it is no file"):
            read_scene(product, verify=verify)
    else:
        assert read_scene(product, verify=False).name == product.stem


def test_what_is_plainly_broken_is_not_better(tmp_path):
    whole = sen3.write_product(tmp_path, sen3.make_values())
    better = tmp_path / whole.name.replace("_O_NR_", "_O_NT_")
    better.mkdir()
    (better / "xfdumanifest.xml").write_bytes(b"<x/>")
    assert [entry.path for entry in find_scenes([tmp_path])] == [whole]
    shutil.rmtree(better)
    better.with_name(f"{better.name}.zip").write_bytes(b"PK")
    assert [entry.path for entry in find_scenes([tmp_path])] == [whole]
