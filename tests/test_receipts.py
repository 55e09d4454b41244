"""Notes of prepare, doctored: nothing is written or deleted but a scene's own file in a split."""

import dataclasses
import hashlib
import json
import os
import shutil

import pytest
import sen3
from test_prepare import run

from cloudmask.data.prepare import command, receipts
from cloudmask.data.prepare.plan import make_plan
from cloudmask.data.prepare.receipts import forget, read_receipts, write_receipt
from cloudmask.data.slstr import Reading

OPTIONS = {"patch_size": 16, "stride": 16, "split": "train=0.8,valid=0.2"}
OPTIONS |= {"split_by": "random", "label": "any", "seed": 42, **Reading().record()}


@pytest.fixture
def out(archive, tmp_path):
    """A patch set of ten scenes whose manifest is lost, so that notes are what counts."""
    assert run(archive, tmp_path / "out") == 0
    (tmp_path / "out/manifest.json").unlink()
    return tmp_path / "out"


def note(out, name="S3A_00"):
    return out / f".prepare/{name}.json"


def doctor(place, **changes):
    """Change an entry, and the key so that the scene is one to forget: whoever doctors notes can
    take a checksum too."""
    values = json.loads(place.read_text())
    values["entry"] |= changes
    del values["checksum"]
    values["key"] = "old"
    place.write_text(json.dumps(values | {"checksum": receipts._checksum(values)}))


def test_a_note_says_where_its_own_scene_lies_and_no_other(archive, out, tmp_path, tree):
    for name in ("S3A_00.h5", "precious.h5"):
        (tmp_path / name).write_bytes(b"x")
    (out / "mine").mkdir()
    (out / "mine/thesis.txt").write_bytes(b"x")
    (out / "notes.txt").write_bytes(b"x")
    (out / "X9").mkdir()
    (out / "X9/S3A_00.h5").write_bytes(b"x")
    before = tree(tmp_path)
    for path in (
        str(tmp_path / "precious.h5"),
        "/S3A_00.h5",
        "../precious.h5",
        "../S3A_00.h5",
        "train/../../S3A_00.h5",
        "train/S3A_01.h5",  # of another scene
        "mine/thesis.txt",
        "notes.txt",
        "S3A_00.h5",
        "X9/S3A_00.h5",  # no split is called so
        ".prepare/S3A_01.json",
        "",
    ):
        doctor(note(out), path=path)
        assert "S3A_00" not in read_receipts(out), path
        assert not note(out).exists()
        assert run(archive, out) == 0
        (out / "manifest.json").unlink()
        assert tree(tmp_path) == before, path


def test_a_note_cannot_speak_for_another_scene(out, tmp_path):
    shutil.copy(note(out), note(out, "S3A_01"))
    outside = tmp_path / "elsewhere.json"
    outside.write_text("{}")
    doctor(note(out), scene="../../elsewhere")
    found = read_receipts(out)
    assert sorted(found) == [f"S3A_{number:02d}" for number in range(2, 10)]
    assert outside.exists()


def test_links_lead_to_what_is_not_ours(archive, out, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (out / "train").rename(elsewhere)
    (out / "train").symlink_to(elsewhere)
    kept = sorted(elsewhere.iterdir())
    for receipt in read_receipts(out).values():
        forget(out, receipt)
    assert sorted(elsewhere.iterdir()) == kept

    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.json").write_text("no note")
    shutil.rmtree(out / ".prepare")
    (out / ".prepare").symlink_to(tmp_path / "letters")
    with pytest.raises(ValueError, match=r"\.prepare is a link; remove it"):
        run(archive, out)
    assert (tmp_path / "letters/dear.json").exists()


def test_a_file_that_became_a_link_is_cut_again_and_its_target_stays(archive, out, tmp_path, tree):
    before = tree(out)
    target = tmp_path / "target.h5"
    (out / "train/S3A_00.h5").rename(target)
    (out / "train/S3A_00.h5").symlink_to(target)
    content = target.read_bytes()
    assert run(archive, out) == 0
    assert not (out / "train/S3A_00.h5").is_symlink()
    assert target.read_bytes() == content
    assert {name: text for name, text in tree(out).items() if name != "manifest.json"} == before


@pytest.mark.parametrize(
    "change",
    [
        {"patches": "ten"},
        {"patches": -1},
        {"patches": 2**70},
        {"bytes": 1.5},
        {"mean": [0.0]},
        {"mean": [float("nan")] * 9},
        {"m2": None},
        {"class_pixels": [1, 2, 3]},
        {"valid_pixels": [[1]] * 9},
        {"sha256": "0123"},
        {"scene": 7},
        {"path": ["train", "S3A_00.h5"]},
    ],
)
def test_a_note_of_other_kinds_means_the_scene_is_done_again(out, change):
    doctor(note(out), **change)
    assert "S3A_00" not in read_receipts(out)
    assert not note(out).exists()


def test_a_figure_that_changed_by_itself_means_the_scene_is_done_again(archive, out, tree):
    before = tree(out)
    text = note(out).read_text()
    place = text.index('"class_pixels": [') + len('"class_pixels": [')
    note(out).write_text(text[:place] + str(9 - int(text[place])) + text[place + 1 :])
    assert "S3A_00" not in read_receipts(out)
    assert run(archive, out) == 0
    assert {name: text for name, text in tree(out).items() if "manifest" not in name} == {
        name: text for name, text in before.items() if "manifest" not in name
    }


def test_a_receipt_comes_back_as_it_was_written(out):
    for name, receipt in read_receipts(out).items():
        written = note(out, name).read_bytes()
        write_receipt(out, receipt)
        assert note(out, name).read_bytes() == written
        assert dataclasses.astuple(read_receipts(out)[name]) == dataclasses.astuple(receipt)


def test_a_scene_that_went_to_another_split_leaves_nothing_in_the_first(archive, out):
    assert run(archive, out, split="learn=0.8,test=0.2") == 0
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        *(".prepare", "learn", "test", "train", "valid")
    ]
    assert not list((out / "train").iterdir()) + list((out / "valid").iterdir())


def test_a_plan_asks_the_manifest_once_for_what_has_no_note(archive, out, monkeypatch):
    """A patch set that was copied without its notes, of any number of scenes, in one pass."""
    assert run(archive, out) == 0
    shutil.rmtree(out / ".prepare")
    monkeypatch.setattr(command, "read_scene", None)
    plan = make_plan([archive], out, OPTIONS)
    assert plan.finished
    assert len(plan.done) == 10
    entries = [receipt.entry for receipt in plan.done.values()]
    assert sorted(entry.scene for entry in entries) == [job.name for job in plan.jobs]


def test_a_changed_scene_is_told_of(archive, out):
    assert run(archive, out) == 0
    plan = make_plan([archive], out, OPTIONS)
    moved = plan.jobs[3].source
    os.utime(moved, ns=(1, 1))
    with pytest.raises(ValueError, match="has changed since"):
        make_plan([archive], out, OPTIONS)


def without_checksum(out, **changes):
    """The notes as they were written before there was a checksum."""
    for place in (out / ".prepare").glob("*.json"):
        values = json.loads(place.read_text())
        del values["checksum"]
        place.write_text(json.dumps(values | changes))


def test_notes_without_a_checksum_count(archive, out, monkeypatch):
    without_checksum(out)
    notes = sorted((out / ".prepare").iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(command, "read_scene", None)
        assert run(archive, out) == 0  # a set that was not finished goes on
    plan = make_plan([archive], out, OPTIONS)
    assert plan.finished
    os.utime(plan.jobs[3].source, ns=(1, 1))
    with pytest.raises(ValueError, match="has changed since"):
        make_plan([archive], out, OPTIONS)
    assert sorted((out / ".prepare").iterdir()) == notes


def test_a_product_whose_key_was_of_all_its_files_has_not_changed(tmp_path):
    """As keys were made when a product was asked for each of its files."""
    product = sen3.write_product(tmp_path / "in", sen3.make_values())
    (product / "time_an.nc").write_bytes(b"read by nobody")
    out = tmp_path / "out"
    assert run(product, out, patch_size=8, split="train=1") == 0
    found = [file.stat() for file in product.iterdir()]
    facts = {
        **{"patch_size": 8, "stride": 8, "label": "any", "split": "train"},
        **{"format_version": 1, "scene": product.name, "max_solar_zenith": 88.0},
        "bytes": sum(f.st_size for f in found),
        "modified_ns": max(f.st_mtime_ns for f in found),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    without_checksum(out, key=key)
    options = OPTIONS | {"patch_size": 8, "stride": 8, "split": "train=1"}
    assert make_plan([product], out, options).finished
    os.utime(product / "S7_BT_in.nc")
    with pytest.raises(ValueError, match="has changed since"):
        make_plan([product], out, options)
