"""What a start asks of the file system on all ranks together: nothing that grows with the ranks."""

import json
import os
import tracemalloc
from pathlib import Path

import pytest
import tiny

from cloudmask.data.patchset import index, message
from cloudmask.data.patchset.handed import open_for_all
from cloudmask.data.patchset.manifest import read_manifest

FILES = 26_000

COUNTED = """
import builtins, io, json, os, sys
from pathlib import Path

data, out = sys.argv[1:3]
counts = dict(stat=0, read=0, parsed=0)

def count(module, name, what, size=lambda path: 1):
    real = getattr(module, name)
    def counted(path, *args, **options):
        if isinstance(path, bytes) or str(path).startswith(data):
            counts[what] += size(path)
        return real(path, *args, **options)
    setattr(module, name, counted)

count(os, "stat", "stat")
count(os, "lstat", "stat")
count(json, "loads", "parsed", len)
count(Path, "read_bytes", "read", lambda path: os.path.getsize(path))

import train_hvd
from cloudmask.cli.errors import AgreedError, launched_rank
from cloudmask.train.loop import Functions

def build(plan):
    where = Path(out, f"{launched_rank()}.json")
    where.write_text(json.dumps(counts | {"files": len(plan.patchset.files)}))
    raise AgreedError("seen enough")

words = ["--data", data, "--out", out + "/run", "--widths", "4", "8", "--threads", "1"]
try:
    train_hvd.main([*words, "--no-verify", "--no-tensorboard"], Functions(build=build))
except AgreedError as error:
    assert "seen enough" in str(error), error
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A patch set of so many scenes: one file under many names."""
    folder = tiny.make_patchset(tmp_path_factory.mktemp("large") / "set", patches=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    others = sum(len(split["files"]) for split in manifest["splits"].values()) - len(train["files"])
    first = train["files"][0]
    train["files"] = [
        {**first, "scene": f"S3A_{number:08d}", "path": f"train/S3A_{number:08d}.h5"}
        for number in range(FILES - others)
    ]
    train["patches"] = len(train["files"])
    train["class_pixels"] = [count * len(train["files"]) for count in first["class_pixels"]]
    for entry in train["files"]:
        os.link(folder / first["path"], folder / entry["path"])
    text = json.dumps(manifest, indent=1)
    (folder / "manifest.json").write_text(text)
    index.write_index(folder, text.encode())
    return folder


def test_a_large_patch_set_is_handed_on_in_a_short_message(large):
    sent = message.pack(read_manifest(large))
    assert len(sent) < 80 * FILES
    assert len(message.unpack(sent, large).files) == FILES


def test_a_large_patch_set_is_opened_by_its_index_in_little_memory(large, monkeypatch):
    """44 MB of manifest would be several hundred, parsed."""
    monkeypatch.setattr(index, "parse_manifest", None)
    tracemalloc.start()
    opened = open_for_all(large, lambda function: function())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(opened.files) == FILES
    assert peak < 40e6


@pytest.mark.slow
@pytest.mark.mpi
def test_each_file_is_looked_at_once_whatever_the_ranks(large, start, tmp_path):
    totals = {}
    for ranks in (1, 2, 4):
        out = tmp_path / str(ranks)
        out.mkdir()
        ended = tiny.finish(start(COUNTED, large, out, ranks=ranks))
        assert ended.code == 0, ended.err
        found = [json.loads(path.read_text()) for path in out.glob("?.json")]
        assert [each.pop("files") for each in found] == [FILES] * ranks
        totals[ranks] = {name: sum(each[name] for each in found) for name in found[0]}
    for ranks, counts in totals.items():
        assert counts.pop("parsed") < 2000 * (ranks + 2), "a line of JSON each"
    assert totals[1]["read"] == Path(large, "manifest.index").stat().st_size
    assert FILES <= totals[1]["stat"] < FILES + 50
    assert totals[1] == totals[2] == totals[4]
