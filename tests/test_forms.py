"""The forms in which products arrive: every one gives the same scene; none does harm."""

import dataclasses
import errno
import io
import json
import shutil
import signal
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import forms
import fsspec
import netCDF4
import numpy as np
import pytest
import sen3
import zarr

from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import PrepareConfig
from cloudmask.data import parallel
from cloudmask.data.archive import find_scenes
from cloudmask.data.formats.safe import product as safe
from cloudmask.data.formats.safe import sources
from cloudmask.data.formats.safe.members import open_product
from cloudmask.data.formats.scratch import ScratchError
from cloudmask.data.kinds import scene_name
from cloudmask.data.prepare.command import prepare
from cloudmask.data.read import read_scene
from cloudmask.data.scene import SceneError
from cloudmask.data.slstr import Reading

REAL_PRODUCT = (
    "slstr/S3A_SL_1_RBT____20170315T113420_20170315T113720_20170315T135348_0179_015_237_1439_SVL_O_"
    "NR_002.SEN3"
)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """A product in a folder, as it is downloaded unpacked."""
    values = sen3.make_values(repeat=2)
    values.oblique = sen3.make_oblique()
    return sen3.write_product(tmp_path_factory.mktemp("product"), values)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Where scratch folders are made; empty after every test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def in_memory(product, place, *, pack=None):
    """Put a product where only fsspec finds it; its URL."""
    system = fsspec.filesystem("memory")
    if pack is not None:
        system.pipe(f"/{place}/{product.name}.zip", pack.read_bytes())
        return f"memory://{place}/{product.name}.zip"
    for member in product.iterdir():
        system.pipe(f"/{place}/{product.name}/{member.name}", member.read_bytes())
    return f"memory://{place}/{product.name}"


FORMS = {
    "manifest": lambda product, folder: product / "xfdumanifest.xml",
    "zip": forms.zipped,
    "zip, nested": lambda product, folder: forms.zipped(
        product, folder, inside=f"{product.name}/{product.name}"
    ),
    "zip without a folder": lambda product, folder: forms.zipped(product, folder, inside=""),
    "zip without .SEN3 in its name": lambda product, folder: forms.zipped(product, folder).rename(
        folder / f"{product.stem}.zip"
    ),
    "folder, nested": forms.nested,
    "zarr": forms.stored,
    "zarr at a URL": lambda product, folder: forms.stored(
        product, folder, url=f"memory://stores/{product.stem}.zarr"
    ),
    "folder at a URL": lambda product, folder: in_memory(product, "folders"),
    "manifest at a URL": lambda product, folder: f"{in_memory(product, 'm')}/xfdumanifest.xml",
    "zip at a URL": lambda product, folder: in_memory(
        product, "zips", pack=forms.zipped(product, folder)
    ),
    "file URL": lambda product, folder: f"file://{product}",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_scene_bit_for_bit(product, tmp_path, form):
    place = FORMS[form](product, tmp_path / "form")
    expected, found = (read_scene(p, label="summary") for p in (product, place))
    assert_equal(found, expected)
    assert (found.start, found.stop) == forms.TIMES
    assert [entry.name for entry in find_scenes([place])] == [product.stem] == [found.name]


def assert_equal(found, expected):
    for field in dataclasses.fields(expected):
        values, others = getattr(expected, field.name), getattr(found, field.name)
        if isinstance(values, np.ndarray):
            assert (values.dtype, values.shape) == (others.dtype, others.shape), field.name
            assert values.tobytes() == others.tobytes(), field.name
        else:
            assert values == others, field.name


@pytest.mark.parametrize("form", ["zip", "folder at a URL", "zarr"])
def test_oblique_view_dropped_pixels_and_tie_points_are_the_same_too(product, tmp_path, form):
    part = tmp_path / "part" / product.name
    shutil.copytree(product, part)
    (part / "geodetic_in.nc").unlink()
    sen3.write_manifest(part)
    fsspec.filesystem("memory").store.clear()
    place = FORMS[form](part, tmp_path / "form")
    reading = Reading(oblique=True, drop_flagged=("cosmetic", "duplicate"))
    expected, found = (read_scene(p, label="summary", reading=reading) for p in (part, place))
    assert_equal(found, expected)
    assert np.isfinite(found.image[..., 9:]).any(axis=(0, 1)).all()
    assert np.isfinite(found.latitude).all()


def test_patch_files_of_all_forms_have_the_same_bytes(product, tmp_path):
    files = []
    for form in ("zip", "folder, nested", "zarr"):
        place = FORMS[form](product, tmp_path / form)
        out = tmp_path / f"{form} out"
        options = {"patch_size": 16, "split": "train=1", "label": "summary"}
        assert prepare(PrepareConfig((place,), out, **options)) == 0
        (file,) = out.glob("train/*.h5")
        files.append((file.name, file.read_bytes()))
    assert files[0] == files[1] == files[2]


def test_store_named_after_eopf_is_read_by_its_record(product, tmp_path):
    name = "S03SLSRBT_20170313T110000_0180_A208_S123.zarr"
    store = forms.stored(product, tmp_path, name=name)
    scene = read_scene(store, need_label=False)
    assert scene.name == Path(name).stem
    expected = read_scene(product, need_label=False)
    np.testing.assert_array_equal(scene.image, expected.image)
    root = zarr.open_group(str(store), mode="r+", use_consolidated=False)
    root.attrs["stac_discovery"] = root.attrs["stac_discovery"] | {"id": "of the service's own"}
    zarr.consolidate_metadata(str(store), zarr_format=2)
    again = read_scene(store, need_label=False)
    np.testing.assert_array_equal(again.image, expected.image)
    assert again.start == forms.TIMES[0]


def test_record_that_names_a_path_is_no_name_of_a_folder(product, tmp_path):
    store = forms.stored(product, tmp_path, name="S03SLSRBT_20170313T110000_0180_A208_S123.zarr")
    root = zarr.open_group(str(store), mode="r+", use_consolidated=False)
    doctored = product.name.replace("_2520_", "_a/bc_")
    assert doctored != product.name
    root.attrs["stac_discovery"] = root.attrs["stac_discovery"] | {"id": doctored}
    n = "measurements/inadir/s7_bt_in"
    zarr.consolidate_metadata(str(store), zarr_format=2)
    read_scene(store, need_label=False)
    shape = root[n].shape
    del root[n]
    root.create_array(n, data=np.full(shape, 270, np.float16))
    zarr.consolidate_metadata(str(store), zarr_format=2)
    with pytest.raises(SceneError) as caught:
        read_scene(store, need_label=False)
    assert one_line_of(store, caught)


def test_store_without_coordinates_in_metres_has_the_usual_ground_track(product, tmp_path):
    store = forms.stored(product, tmp_path)
    for name in ("anadir/x", "inadir/x"):
        shutil.rmtree(store / "measurements" / name)
    zarr.consolidate_metadata(str(store), zarr_format=2)
    with open_product(store, lambda _: ["S7_BT_in.nc", "S1_radiance_an.nc"], verify=True) as found:
        for file, column in zip(found.files, (998, 1996), strict=True):
            with netCDF4.Dataset(found.folder / file) as opened:
                assert opened.track_offset == column


def test_no_bayesian_mask_comes_with_a_store(product, tmp_path, capsys):
    store = forms.stored(product, tmp_path)
    with pytest.raises(SceneError, match="no bayes_in: it was not computed; choose"):
        read_scene(store)
    with pytest.raises(AgreedError, match="split 'train' holds no patch"):
        prepare(PrepareConfig((store,), tmp_path / "out", patch_size=16, split="train=1"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"left out: {store}: ")
    assert "no bayes_in" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda store: (store / ".zmetadata").write_text("{"), "cannot be read"),
        (lambda store: (store / ".zattrs").write_text("{}"), "no stac_discovery"),
        (
            lambda store: shutil.rmtree(store / "measurements"),
            "needed files are missing",
        ),
        (
            lambda store: (store / "measurements/inadir/s8_bt_in/0.0").write_bytes(b"no blosc"),
            "s8_bt_in cannot be read",
        ),
        (lambda store: forged(store, shape=[10**6, 10**6]), "its shape is"),
        (lambda store: forged(store, chunks=[10**6, 10**6]), "its shape is"),
        (lambda store: forged(store, dtype="|S5"), "cannot be read"),
    ],
)
def test_damaged_store_is_refused_in_one_line(product, tmp_path, change, message):
    store = forms.stored(product, tmp_path)
    change(store)
    if (store / ".zmetadata").read_text() != "{":
        (store / ".zmetadata").unlink()
    with pytest.raises(SceneError, match=message) as caught:
        read_scene(store)
    assert one_line_of(store, caught)


def forged(store, **changes):
    path = store / "measurements/inadir/s8_bt_in/.zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def one_line_of(place, caught):
    text = str(caught.value)
    return text.startswith(f"{place}: ") and "\n" not in text and "; " in text


def test_only_what_is_needed_leaves_the_zip(product, tmp_path, scratch):
    pack = forms.zipped(product, tmp_path / "zip", geodetic_in=b"damaged, and not asked for")
    files = ("S7_BT_in.nc", "flags_in.nc")
    with open_product(pack, lambda held: [f for f in files if f in held], verify=True) as opened:
        assert sorted(path.name for path in scratch.rglob("*.nc")) == sorted(files)
        assert opened.name == product.stem
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("verify", [True, False])
def test_what_a_zip_lacks_and_what_is_damaged_in_it_is_told(product, tmp_path, verify):
    pack = forms.zipped(product, tmp_path / "a")
    rewrite(pack, leave_out=("S3_radiance_an.nc", "flags_in.nc"))
    with pytest.raises(SceneError, match=r"missing: S3_radiance_an.nc, flags_in.nc") as caught:
        read_scene(pack, verify=verify)
    assert one_line_of(pack, caught)
    content = (product / "S9_BT_in.nc").read_bytes()
    cut = forms.zipped(product, tmp_path / "b", S9_BT_in=content[: len(content) // 2])
    message = r"S9_BT_in.nc has \d+ bytes" if verify else "S9_BT_in.nc cannot be read"
    with pytest.raises(SceneError, match=message) as caught:
        read_scene(cut, verify=verify)
    assert one_line_of(cut, caught)
    assert "cloudmask-" not in str(caught.value), "the scratch folder says nothing to anybody"


def rewrite(pack, *, leave_out=(), change=lambda info: None, extra=()):
    """The zip once more, with members left out, changed in their headers, or added."""
    with zipfile.ZipFile(pack) as file:
        members = [(info, file.read(info)) for info in file.infolist()]
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as file:
        for info, content in members:
            if Path(info.filename).name not in leave_out:
                change(info)
                file.writestr(info, content)
        for name, content in extra:
            file.writestr(name, content)


def as_link(info):
    if info.filename.endswith("S7_BT_in.nc"):
        info.external_attr = (stat.S_IFLNK | 0o777) << 16


def patched(pack, old, new):
    """Change bytes of the zip's directory, as an attacker would."""
    content = pack.read_bytes()
    assert old in content
    pack.write_bytes(content.replace(old, new))


def encrypted(pack):
    """Set the flag of every member in the directory."""
    content = bytearray(pack.read_bytes())
    for place in range(len(content) - 4):
        if content[place : place + 4] == b"PK\x01\x02":
            content[place + 8] |= 1
    pack.write_bytes(content)


def bomb(pack, size=2**31):
    """Let a member claim to be large."""
    content = bytearray(pack.read_bytes())
    place = content.rindex(b"S7_BT_in.nc") - len(sen3.NAME + "004.SEN3/")
    struct.pack_into("<I", content, place - 46 + 24, size)
    pack.write_bytes(content)


HOSTILE = {
    "is no whole zip": lambda pack: pack.write_bytes(pack.read_bytes()[:-300]),
    "is no whole zip ": lambda pack: pack.write_bytes(b"<html>not found</html>"),
    "is no whole zip  ": lambda pack: pack.write_bytes(b""),
    r"holds the path '\.\./\.\./x\.nc'": lambda pack: rewrite(pack, extra=[("../../x.nc", b"x")]),
    "holds the path '/x.nc'": lambda pack: rewrite(pack, extra=[("/x.nc", b"x")]),
    "S7_BT_in.nc in it is a link": lambda pack: rewrite(pack, change=as_link),
    "is encrypted": encrypted,
    "2147483648 bytes": bomb,
    "holds 2 products": lambda pack: rewrite(pack, extra=[("b.SEN3/xfdumanifest.xml", b"<a/>")]),
    "holds no products": lambda pack: rewrite(pack, leave_out=("xfdumanifest.xml", "flags_in.nc")),
    "wrong instrument: OL": lambda pack: patched(pack, b"S3A_SL_1_RBT__", b"S3A_OL_1_EFR__"),
}


@pytest.mark.parametrize("problem", HOSTILE)
def test_zip_that_no_archive_packs_is_refused_and_writes_nothing(product, tmp_path, problem):
    pack = forms.zipped(product, tmp_path / "zip")
    HOSTILE[problem](pack)
    before = sorted(tmp_path.rglob("*"))
    for verify in (True, False):
        with pytest.raises(SceneError, match=problem.strip()) as caught:
            read_scene(pack, verify=verify)
        assert one_line_of(pack, caught)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_a_member_twice_is_refused(product, tmp_path):
    pack = forms.zipped(product, tmp_path / "zip")
    rewrite(pack, extra=[(f"{product.name}/flags_in.nc", b"another")])
    with pytest.raises(SceneError, match=r"flags_in\.nc twice"):
        read_scene(pack)


def test_member_that_grows_beyond_every_bound_is_stopped(product, tmp_path, monkeypatch):
    """A server may send more than it says, and a folder's file may grow."""
    url = in_memory(product, "growing")
    monkeypatch.setattr("cloudmask.data.formats.safe.members.LARGEST_MEMBER", 5000)
    with pytest.raises(SceneError, match="is larger than 5000 bytes"):
        read_scene(url, verify=False)


@pytest.mark.parametrize("verify", [True, False])
def test_damaged_bytes_inside_a_zip_are_found(product, tmp_path, verify):
    pack = forms.zipped(product, tmp_path / "zip")
    with zipfile.ZipFile(pack) as file:
        info = file.getinfo(f"{product.name}/S8_BT_in.nc")
    content = bytearray(pack.read_bytes())
    middle = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    content[middle : middle + 20] = b"x" * 20
    pack.write_bytes(content)
    with pytest.raises(SceneError, match=r"S8_BT_in\.nc is damaged") as caught:
        read_scene(pack, verify=verify)
    assert one_line_of(pack, caught)


def test_wrong_md5_in_a_zip_is_found_on_the_way(product, tmp_path):
    content = bytearray((product / "viscal.nc").read_bytes())
    content[len(content) // 2] ^= 1
    pack = forms.zipped(product, tmp_path / "zip", viscal=bytes(content))
    with pytest.raises(SceneError, match=r"viscal\.nc is damaged: its MD5"):
        read_scene(pack)
    read_scene(pack, verify=False)


HOLD = """
import sys, time
from pathlib import Path
from cloudmask.data.formats.safe.members import open_product
with open_product(Path(sys.argv[1]), lambda _: ["flags_in.nc"], verify=True) as product:
    print(product.folder, flush=True)
    while True:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_scratch_is_gone_when_the_process_is_told_to_end(product, tmp_path, start, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored here, as under nohup or in the background of a shell")
    pack = forms.zipped(product, tmp_path / "zip")
    process = start(HOLD, pack, TMPDIR=str(tmp_path / "scratch"))
    folder = Path(process.stdout.readline().strip())
    assert (folder / "flags_in.nc").exists()
    process.send_signal(number)
    process.communicate(timeout=240)
    assert process.returncode == -number
    assert not folder.parent.exists()


def test_full_scratch_ends_the_job_and_is_no_fault_of_the_scene(product, tmp_path, monkeypatch):
    pack = forms.zipped(product, tmp_path / "zip")
    real = Path.open

    def full(path, mode="r", *args, **kwargs):
        if "x" in mode:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ScratchError):
        read_scene(pack)
    with pytest.raises(AgreedError, match="the disk is full"):
        parallel.map_items(read_scene, [pack], world=parallel.World())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_member_that_cannot_be_read_is_a_fault_of_its_scene(
    product, tmp_path, monkeypatch, number, form
):
    place = product if form == "folder" else forms.zipped(product, tmp_path / "zip")

    def fail(*_):
        raise OSError(number, "the server is tired")

    kind = sources.Folder if form == "folder" else sources.Zipped
    monkeypatch.setattr(kind, "open", fail)
    with pytest.raises(SceneError, match="the server is tired") as caught:
        read_scene(place)
    assert one_line_of(place, caught)


@pytest.mark.parametrize("when", ["size", "open"])
def test_product_that_vanishes_is_a_fault_of_its_scene(product, tmp_path, monkeypatch, when):
    copy = Path(shutil.copytree(product, tmp_path / product.name))
    real = getattr(sources.Folder, when)

    def vanish(source, member):
        shutil.rmtree(copy, ignore_errors=True)
        return real(source, member)

    monkeypatch.setattr(sources.Folder, when, vanish)
    with pytest.raises(SceneError, match="No such file") as caught:
        read_scene(copy)
    assert one_line_of(copy, caught)
    with pytest.raises(SceneError, match="No such file"):
        read_scene(copy)


def test_url_of_an_unknown_kind_or_server_is_told_in_one_line(tmp_path):
    for url, message in (
        ("memory://a/scene.npz", "is of no known kind"),
        ("nobody://a/x.SEN3", "cannot be read"),
        ("memory://none/x.SEN3", "holds no xfdumanifest.xml"),
        ("memory://none/x.zarr", "cannot be read"),
        ("memory://none/x.SEN3.zip", "cannot be read"),
    ):
        with pytest.raises(SceneError, match=message) as caught:
            read_scene(url)
        assert one_line_of(url, caught)
    with pytest.raises(ValueError, match="by URL are read"):
        find_scenes(["memory://a/scene.npz"])


def test_what_fsspec_lacks_is_told_in_one_line(product, monkeypatch):
    def lacking(*_, **__):
        raise ImportError("Install s3fs to access S3", name="s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacking)
    with pytest.raises(SceneError, match=r"s3fs is not installed; .*Install s3fs to access S3"):
        read_scene("s3://bucket/x.SEN3.zip")
    assert scene_name(product / "xfdumanifest.xml") == product.stem


@pytest.mark.real
def test_real_partial_product_in_a_zip_has_the_same_temperatures(real_data, tmp_path):
    product = real_data / REAL_PRODUCT
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:  # stored: what is measured here is no compression
        for member in product.iterdir():
            file.write(member, f"{product.name}/{member.name}")
    pack = tmp_path / f"{product.name}.zip"
    pack.write_bytes(stream.getvalue())
    expected, found = safe.read_thermal(product), safe.read_thermal(pack)
    for name in ("bt", "confidence", "solar_zenith"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(SceneError, match=r"\d of 21 needed files are missing") as caught:
        read_scene(pack)
    assert one_line_of(pack, caught)
    with open_product(pack, lambda _: ["flags_in.nc"], verify=True) as opened:
        assert opened.start == "2017-03-15T11:34:20.772776Z"
