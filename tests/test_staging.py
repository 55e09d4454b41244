"""A host's part of the patch set on its own disk: whole files, copied once, whoever else copies."""

import dataclasses
import json
import resource
import shutil
import threading

import pytest
import tiny

from cloudmask.cli.errors import AgreedError
from cloudmask.cli.options import TrainConfig
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.train import staging
from cloudmask.train.plan import make_plan
from cloudmask.train.ranks import OneRank
from cloudmask.train.schedule import PAD
from cloudmask.train.stall import FIRST_TIMES, Watch
from cloudmask.train.state import State

ALONE = OneRank(0, 1, 0, 1, 1, 1, (0,), "CPU", "none")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Eight scenes of three patches: six for training, two for validation."""
    return tiny.make_patchset(tmp_path_factory.mktemp("staging") / "set", scenes=8, patches=3)


@pytest.fixture
def patchset(original, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(original, tmp_path / "set")


def plan(patchset, *, ranks=1, **changes):
    words = {"data": patchset, "out": "out", "widths": (4, 8), "batch_size": 2} | changes
    return make_plan(TrainConfig(**words), tiny.pretended_ranks(size=ranks, local_size=ranks))


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}


def bytes_of(folder, names):
    return {name: (folder / name).read_bytes() for name in names}


def names_of(entries):
    return {entry.path for entry in entries}


# --- Which files, and who copies them -------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("shuffle", ["shard", "global"])
def test_a_host_needs_the_files_that_its_ranks_read_and_no_others(original, ranks, shuffle):
    found = plan(original, ranks=ranks, shuffle=shuffle, batch_size=1)
    with (
        PatchReader(found.patchset, "train") as train,
        PatchReader(found.patchset, "valid") as valid,
    ):
        for here in ([0], [ranks - 1], list(range(ranks))[::2]):
            read = set()
            for rank in here:
                for epoch in range(20 if shuffle == "global" else 1):
                    rows = found.rows(rank, epoch)
                    read |= names_of(train.files_of(rows[rows != PAD]))
                rows = found.validation_rows(rank)
                read |= names_of(valid.files_of(rows[rows != PAD]))
            needed = staging.needed_files(found, here, State())
            assert [entry.path for entry in needed] == sorted(read)


@pytest.mark.parametrize("here", [[0], [2, 3], [4, 5, 9]])
def test_the_ranks_of_a_host_share_the_copying(original, here):
    files = staging.needed_files(plan(original), [0], State())
    parts = [staging.share_of(files, rank, here) for rank in here]
    assert sorted(entry.path for part in parts for entry in part) == [e.path for e in files]
    loads = [sum(entry.bytes for entry in part) for part in parts]
    assert max(loads) - min(loads) <= max(entry.bytes for entry in files)


# --- One run --------------------------------------------------------------------------------------


def test_what_is_staged_is_what_was_prepared_and_is_read_from_there(patchset, tmp_path):
    before = plan(patchset, stage=tmp_path / "near")
    after, staged = staging.stage(before, ALONE, State(), Watch(0))
    folder = tmp_path / "near" / before.patchset.fingerprint
    names = names_of(staging.needed_files(before, [0], State()))
    assert len(names) == 8
    assert set(files_below(folder)) == names
    assert bytes_of(folder, names) == bytes_of(patchset, names)
    size = sum(path.stat().st_size for path in files_below(folder).values())
    assert (staged.folder, staged.files) == (folder, 8)
    assert (staged.bytes, staged.copied_bytes) == (size, size)
    assert staged.record()["copied_bytes_per_second"] == pytest.approx(size / staged.seconds)
    with PatchReader(before.patchset, "train") as reader:
        expected = reader.read(range(18)).image.tobytes()
    shutil.rmtree(patchset)
    with PatchReader(after.patchset, "train") as reader:
        assert reader.read(range(18)).image.tobytes() == expected
    assert (after.info, after.num_patches) == (before.info, before.num_patches)


def test_staged_files_are_used_again_without_a_look_at_the_source(patchset, tmp_path):
    found = plan(patchset, stage=tmp_path / "near")
    _, first = staging.stage(found, ALONE, State(), Watch(0))
    for path in (patchset / "train").iterdir():
        path.write_bytes(b"no longer")
    _, second = staging.stage(found, ALONE, State(), Watch(0))
    assert (second.copied_bytes, second.bytes) == (0, first.bytes)
    assert second.record()["copied_bytes_per_second"] is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "zeroed", "gone", "folder"])
def test_a_staged_file_that_is_not_whole_is_copied_anew(patchset, tmp_path, damage):
    found = plan(patchset, stage=tmp_path / "near")
    _, first = staging.stage(found, ALONE, State(), Watch(0))
    entry = found.patchset.splits["train"].files[2]
    path = first.folder / entry.path
    content = path.read_bytes()
    assert staging.is_staged(first.folder, entry)
    if damage == "flipped":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "zeroed":  # as a power cut may leave what was never flushed
        path.write_bytes(bytes(len(content)))
    else:
        path.unlink()
    if damage == "folder":
        path.mkdir()
        with pytest.raises(AgreedError, match="scene_"):
            staging.stage(found, ALONE, State(), Watch(0))
        path.rmdir()
    assert not staging.is_staged(first.folder, entry)
    _, second = staging.stage(found, ALONE, State(), Watch(0))
    assert second.copied_bytes == entry.bytes
    assert path.read_bytes() == content


def test_another_patch_set_has_a_folder_of_its_own(patchset, tmp_path):
    other = tiny.make_patchset(tmp_path / "other", patches=2)
    staged = [
        staging.stage(plan(data, stage=tmp_path / "near"), ALONE, State(), Watch(0))[1]
        for data in (patchset, other)
    ]
    assert len({each.folder for each in staged}) == 2
    assert all(each.copied_bytes == each.bytes for each in staged)


# --- What goes wrong ------------------------------------------------------------------------------


def test_a_source_that_has_changed_is_told_and_nothing_of_it_is_left(patchset, tmp_path):
    found = plan(patchset, stage=tmp_path / "near")
    victim = found.patchset.splits["train"].files[1].path
    content = (patchset / victim).read_bytes()
    (patchset / victim).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AgreedError, match=f"{victim} has changed: its sha256 differs"):
        staging.stage(found, ALONE, State(), Watch(0))
    assert victim not in files_below(tmp_path / "near" / found.patchset.fingerprint)
    assert not list((tmp_path / "near").rglob("*.part"))


def test_a_disk_without_room_is_told_before_anything_is_copied(tmp_path):
    staging.check_room(tmp_path, 1)
    with pytest.raises(ValueError, match=r"--stage needs 1000000000\.0 GB in .* GB are free; make"):
        staging.check_room(tmp_path, 10**18)


def test_a_disk_that_fills_up_all_the_same_is_told_with_the_file(patchset, tmp_path):
    found = plan(patchset, stage=tmp_path / "near")
    free, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(
            AgreedError, match=r"near/\w+/\w+/scene_\d.h5: the file would be larger"
        ):
            staging.stage(found, ALONE, State(), Watch(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    assert not files_below(tmp_path / "near" / found.patchset.fingerprint)


def test_a_folder_that_cannot_be_is_told(patchset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AgreedError, match="a part of that path is a file"):
        staging.stage(plan(patchset, stage=tmp_path / "file"), ALONE, State(), Watch(0))


def test_a_link_that_leads_out_of_the_folder_is_not_followed(patchset, tmp_path):
    found = plan(patchset, stage=tmp_path / "near")
    folder = tmp_path / "near" / found.patchset.fingerprint
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (folder / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AgreedError, match="leads out of --stage; name another folder"):
        staging.stage(found, ALONE, State(), Watch(0))
    assert not list((tmp_path / "elsewhere").iterdir())


# --- Several runs and several ranks ---------------------------------------------------------------


def test_runs_that_stage_at_the_same_time_do_not_harm_each_other(patchset, tmp_path, monkeypatch):
    """Small pieces, so that they overlap; each finds whole files under their names, always."""
    monkeypatch.setattr(staging, "CHUNK_BYTES", 512)
    found = plan(patchset, stage=tmp_path / "near")
    started, seen, errors = threading.Barrier(5), [], []

    def run():
        started.wait()
        try:
            seen.append(staging.stage(found, ALONE, State(), Watch(0))[1])
        except Exception as error:
            errors.append(error)

    def watch():
        started.wait()
        folder = tmp_path / "near" / found.patchset.fingerprint
        entries = {entry.path: entry for entry in staging.needed_files(found, [0], State())}
        while any(thread.is_alive() for thread in threads[:4]):
            for name, entry in entries.items():
                if (folder / name).exists() and not staging.is_staged(folder, entry):
                    errors.append(f"{name} is there and not whole")

    threads = [threading.Thread(target=run) for _ in range(4)] + [threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(seen) == 4
    assert set(files_below(seen[0].folder)) == names_of(staging.needed_files(found, [0], State()))


class Meeting(OneRank):
    """Notes what the watch is told whenever ranks wait for each other."""

    def gather(self, value, *, name):
        met.append((name, WATCH[0]._phase))
        return [value]


met, WATCH = [], []


def test_a_rank_that_is_done_waits_for_the_others_as_long_as_staging_may_take(patchset, tmp_path):
    """Ranks stage unequally long: one may copy everything and another nothing."""
    limit = 600
    for copied in (True, False):
        met.clear()
        WATCH[:] = [Watch(limit)]
        ranks = Meeting(**dataclasses.asdict(ALONE))
        _, staged = staging.stage(plan(patchset, stage=tmp_path / "near"), ranks, State(), WATCH[0])
        assert (staged.copied_bytes > 0) is copied
        phases = dict(met)
        for name, others in (("look", "staged copies"), ("copy", "staging")):
            phase = phases[f"agree_stage_{name}"]
            assert phase.name == f"{others} of other ranks"
            assert phase.seconds == FIRST_TIMES * limit


RANKS = """
import dataclasses, json, sys
from pathlib import Path
from cloudmask.cli.options import TrainConfig
from cloudmask.train import staging, start
from cloudmask.train.plan import make_plan
from cloudmask.train.stall import FIRST_TIMES, Watch
from cloudmask.train.state import State

data, near, out = map(Path, sys.argv[1:4])
world = start.start(threads=1)
copied = []

def copy(source, folder, entry, real=staging.copy):
    copied.append(entry.path)
    real(source, folder, entry)

staging.copy = copy
found = {}
# One disk for both ranks, as on one host, and then a disk for each, as on two.
for case, stage in (("one", near / "one"), ("two", near / f"two-{world.rank}")):
    plan = make_plan(TrainConfig(data=data, out=near, batch_size=1, stage=stage), world)
    copied.clear()
    _, staged = staging.stage(plan, world, State(), Watch(0))
    there = sorted(p.relative_to(staged.folder).as_posix() for p in staged.folder.rglob("*.h5"))
    files = [staging.needed_files(plan, here, State()) for here in ([0], [1], [0, 1])]
    needed = [[entry.path for entry in each] for each in files]
    found[case] = {"copied": list(copied), "there": there, "needed": needed, "bytes": staged.bytes}
# A source that has gone bad for one rank is an error for all.
victim = plan.patchset.splits["train"].files[-1].path
world.broadcast(None, name="before")
if world.is_root:
    (data / victim).write_bytes(bytes((data / victim).stat().st_size))
world.broadcast(None, name="after")
config = TrainConfig(data=data, out=near, batch_size=1, stage=near / f"x-{world.rank}")
plan = make_plan(config, world)
try:
    staging.stage(plan, world, State(), Watch(0))
    found["error"] = None
except ValueError as error:
    found["error"] = [type(error).__name__, str(error)]
(out / f"{world.rank}.json").write_text(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.mpi
def test_ranks_of_one_disk_share_the_copying_and_those_of_two_copy_their_own(
    start, patchset, tmp_path
):
    ended = tiny.finish(start(RANKS, patchset, tmp_path / "near", tmp_path, ranks=2))
    assert ended.code == 0, ended.out + ended.err
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    one, other = first["one"], second["one"]
    assert sorted(one["copied"] + other["copied"]) == one["needed"][2], "each file once"
    assert one["copied"]
    assert other["copied"]
    assert one["there"] == other["there"] == one["needed"][2]
    for rank, found in enumerate((first, second)):
        assert found["two"]["there"] == found["two"]["needed"][rank]
        assert sorted(found["two"]["copied"]) == found["two"]["needed"][rank]
    assert first["two"]["needed"][0] != first["two"]["needed"][1]
    sizes = {
        entry.path: entry.bytes for entry in staging.needed_files(plan(patchset), [0], State())
    }
    assert one["bytes"] == sum(sizes.values())
    assert first["two"]["bytes"] == sum(
        sizes[name] for found in (first, second) for name in found["two"]["there"]
    )
    assert first["error"] == second["error"]
    assert first["error"][0] == "AgreedError"
    assert "has changed: its sha256 differs" in first["error"][1]


@pytest.mark.slow
@pytest.mark.mpi
def test_patches_dealt_out_anew_in_mid_epoch_are_staged_and_kept_too(original, tmp_path):
    """One rank takes three of nine steps; of what is left, two ranks get patches of either part."""
    words = ("--data", original, "--out", tmp_path / "run", "--widths", 4, 8, "--batch-size", 2)
    words += ("--epochs", 2, "--precision", "float32", "--threads", 1, "--no-tensorboard")
    assert tiny.train(*words, "--max-steps", 3).code == 0
    near = ("--stage", tmp_path / "near", "--cache", "device")
    ended = tiny.train(*words, *near, "--resume", ranks=2)
    assert ended.code == 0, ended.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["patches_trained"], summary["epochs_run"]) == (2 * 18, 2)
    assert summary["staging"]["copied_bytes"] > 0
    assert summary["seconds"]["startup"] > summary["seconds"]["staging"] > 0
    assert summary["ledger"]["staging"] == pytest.approx(2 * summary["seconds"]["staging"])


def test_people_read_what_was_copied(patchset, tmp_path):
    _, staged = staging.stage(plan(patchset, stage=tmp_path / "near"), ALONE, State(), Watch(0))
    assert "staged 8 files, " in staged.line()
    assert open_patchset(patchset).fingerprint in staged.line()
