"""What prepare has to do, from the scenes and from what is there: plans and receipts."""

import hashlib
import json

import pytest

from cloudmask.data.entry import entry_of
from cloudmask.data.patchset.files import write_patches
from cloudmask.data.prepare.plan import make_plan
from cloudmask.data.prepare.receipts import (
    Receipt,
    forget,
    is_there,
    key_of,
    read_receipts,
    write_receipt,
)
from cloudmask.data.read import read_scene
from cloudmask.data.slstr import Reading

OPTIONS = {
    **{"patch_size": 16, "stride": 16, "label": "any", "seed": 42},
    **{"split": "train=0.8,valid=0.2", "split_by": "random"},
    **Reading().record(),
}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def do(job, out):
    """What prepare does with a scene."""
    scene = read_scene(job.source)
    entry = write_patches(out, f"{job.split}/{job.name}.h5", scene, patch_size=16, stride=16)
    receipt = Receipt(job.key, scene.channels, scene.classes, entry)
    write_receipt(out, receipt)
    return receipt


def test_a_new_plan_has_every_scene_by_name_with_its_split_and_size(archive, out):
    plan = make_plan([archive], out, OPTIONS)
    assert [job.name for job in plan.jobs] == [f"S3A_{number:02d}" for number in range(10)]
    assert [job.split for job in plan.jobs].count("valid") == 2
    assert [job.scene.bytes for job in plan.jobs] == [
        job.source.stat().st_size for job in plan.jobs
    ]
    assert (plan.done, plan.finished) == ({}, False)


def test_what_has_a_receipt_and_its_file_is_done(archive, out):
    first, second, third = make_plan([archive], out, OPTIONS).jobs[:3]
    kept = do(first, out)
    for job in (second, third):
        do(job, out)
    (out / second.split / f"{second.name}.h5").unlink()
    (out / third.split / f"{third.name}.h5").write_bytes(b"cut short")
    assert make_plan([archive], out, OPTIONS).done == {first.name: kept}
    assert list(read_receipts(out)) == [first.name]


def test_other_options_undo_what_was_done_with_the_old_ones(archive, out):
    job = make_plan([archive], out, OPTIONS).jobs[0]
    do(job, out)
    plan = make_plan([archive], out, OPTIONS | {"label": "single_moderate"})
    assert plan.done == {}
    assert not (out / job.split / f"{job.name}.h5").exists()
    assert read_receipts(out) == {}


def test_a_key_changes_with_the_options_and_with_the_scene(tmp_path):
    scene = tmp_path / "S3A.hdf"
    scene.write_bytes(b"scene")
    key = key_of(entry_of(scene), {"stride": 16})
    assert key_of(entry_of(scene), {"stride": 16}) == key != key_of(entry_of(scene), {"stride": 8})
    scene.write_bytes(b"longer scene")
    assert key_of(entry_of(scene), {"stride": 16}) != key


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": "a"}'])
def test_a_damaged_receipt_is_as_good_as_none_and_goes(archive, out, damage):
    job = make_plan([archive], out, OPTIONS).jobs[0]
    receipt = do(job, out)
    assert read_receipts(out) == {job.name: receipt}
    note = out / f".prepare/{job.name}.json"
    note.write_text(damage)
    assert read_receipts(out) == {}
    assert not note.exists()


def test_a_forgotten_scene_is_gone_with_its_receipt(archive, out):
    receipt = do(make_plan([archive], out, OPTIONS).jobs[0], out)
    path = out / receipt.entry.path
    assert is_there(out, receipt.entry)
    forget(out, receipt)
    assert not path.exists()
    assert not is_there(out, receipt.entry)
    assert not list(out.glob(".prepare/*"))


def test_a_receipt_is_json_that_a_later_field_does_not_break(archive, out):
    job = make_plan([archive], out, OPTIONS).jobs[0]
    receipt = do(job, out)
    note = out / f".prepare/{job.name}.json"
    values = json.loads(note.read_text())
    values["entry"]["of a later version"] = 1
    del values["checksum"]
    values["checksum"] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    note.write_text(json.dumps(values))
    assert read_receipts(out) == {job.name: receipt}


@pytest.mark.parametrize("changed", ["teacher", "densities"])
def test_all_that_a_label_depends_on_is_in_the_key(archive, out, changed):
    """A run that was broken off goes on with no file that another teacher or fit labelled."""
    labelling = {"label": "densities", "teacher": "any", "densities": "a"}
    job = make_plan([archive], out, OPTIONS | labelling, labelling=labelling).jobs[0]
    do(job, out)
    same = make_plan([archive], out, OPTIONS | labelling, labelling=labelling)
    assert list(same.done) == [job.name]
    other = OPTIONS | labelling | {changed: "b"}
    assert make_plan([archive], out, other, labelling=labelling).done == {}
