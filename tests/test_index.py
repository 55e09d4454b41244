"""The manifest's index: the same patch set sooner, and never another one."""

import json

import pytest
from test_prepare import run

from cloudmask.cli.options import VerifyConfig
from cloudmask.data.patchset import handed, index
from cloudmask.data.patchset.message import pack, unpack
from cloudmask.data.patchset.model import PatchSetError
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.prepare.command import verify


@pytest.fixture
def folder(archive, tmp_path):
    assert run(archive, tmp_path / "out") == 0
    return tmp_path / "out"


def opened(folder):
    return handed.open_for_all(folder, lambda function: function())


def test_the_index_says_what_the_manifest_says(folder, monkeypatch):
    expected = pack(open_patchset(folder))
    monkeypatch.setattr(handed, "open_patchset", None)
    assert pack(opened(folder)) == index.read_index(folder) == expected


def test_an_index_that_is_not_of_this_manifest_is_not_looked_at(folder):
    manifest = folder / "manifest.json"
    values = json.loads(manifest.read_text())
    values["label_source"] = "summary"
    manifest.write_text(json.dumps(values))
    assert index.read_index(folder) is None
    assert opened(folder).label_source == "summary"


@pytest.mark.parametrize("place", [0, 27, 40, 70, 200, -1])
def test_a_damaged_index_is_as_good_as_none(folder, place, capsys):
    path = folder / "manifest.index"
    content = bytearray(path.read_bytes())
    expected = pack(opened(folder))
    content[place] ^= 16
    path.write_bytes(content)
    assert index.read_index(folder) is None
    assert pack(opened(folder)) == expected
    capsys.readouterr()
    assert verify(VerifyConfig(folder)) == 1
    assert "manifest.index is not that of manifest.json; remove it" in capsys.readouterr().out
    path.unlink()
    assert verify(VerifyConfig(folder)) == 0


def test_an_index_cannot_lead_out_of_its_folder(folder, monkeypatch):
    """Nor can it run anything: it is JSON and numbers."""
    patchset = unpack(index.read_index(folder), folder)
    entry = patchset.splits["train"].files[0]
    for path in ("/etc/passwd", "../x.h5", "train/../../x.h5", patchset.files[1].path):
        object.__setattr__(entry, "path", path)
        monkeypatch.setattr(index, "parse_manifest", lambda *_: patchset)
        index.write_index(folder, b"")
        with pytest.raises(PatchSetError, match="outside of the patch set or is listed twice"):
            opened(folder)


def test_files_are_looked_at_also_with_an_index(folder):
    (folder / "train/S3A_00.h5").unlink()
    with pytest.raises(PatchSetError, match=r"S3A_00\.h5 is missing"):
        opened(folder)
