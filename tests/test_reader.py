"""The reader: how often it opens files, how many it keeps, and what it says of damaged ones."""

import os
import resource
import threading

import h5py
import numpy as np
import pytest
from test_patchset import make_scene, open_files, write_set

from cloudmask.data.patchset import reader as module
from cloudmask.data.patchset.open import open_patchset
from cloudmask.data.patchset.reader import PatchReader

FILES = 80


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    scenes = [make_scene(f"s{number:02d}", seed=number) for number in range(FILES)]
    return write_set(tmp_path_factory.mktemp("many") / "set", {"train": scenes})


@pytest.fixture
def opened(monkeypatch):
    """Paths that the reader has opened."""
    found = []

    class Counted(module._OpenFile):
        def __init__(self, path):
            found.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(module, "_OpenFile", Counted)
    return found


def test_a_shuffled_epoch_opens_each_file_once(many, opened):
    reader = PatchReader(open_patchset(many), "train")
    for epoch in range(2):
        for row in np.random.default_rng(epoch).permutation(len(reader)).reshape(-1, 8):
            reader.read(row)
    assert sorted(opened) == [f"s{number:02d}.h5" for number in range(FILES)]


@pytest.mark.parametrize(
    ("soft", "hard", "kept", "raised_to"),
    [
        (1024, 1_048_576, 24_000, 30_512),
        (1_048_576, 1_048_576, 24_000, 1_048_576),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 24_000, resource.RLIM_INFINITY),
        (1024, resource.RLIM_INFINITY, 24_000, 30_512),
        (1024, 20_512, 16_000, 20_512),
        (1024, 1024, 409, 1024),
        (256, 256, 32, 256),
    ],
)
def test_the_bound_on_open_files_is_what_the_system_allows(
    soft, hard, kept, raised_to, monkeypatch
):
    """Of 30,000 files, 24,000 are this reader's: it takes four fifths of what there is."""
    limits = [soft, hard]

    def change(kind, new):
        limits[0] = new[0]

    monkeypatch.setattr(module.resource, "getrlimit", lambda kind: tuple(limits))
    monkeypatch.setattr(
        module.resource, "setrlimit", lambda kind, new: limits.__setitem__(0, new[0])
    )
    assert module._allowed(24_000, 30_000) == kept
    assert limits == [raised_to, hard]


def test_low_descriptors_are_left_to_select(many):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        reader = PatchReader(open_patchset(many), "train")
        reader.read(range(len(reader)))
        numbers = [file.descriptor for file in reader._open.values()]
        assert len(numbers) == FILES
        assert min(numbers) >= 1024
        reader.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_more_files_are_kept_than_allowed_whatever_the_threads(many, opened, monkeypatch):
    monkeypatch.setattr(module, "_allowed", lambda *files: 7)
    reader = PatchReader(open_patchset(many), "train")
    before = open_files()

    def work(seed):
        for index in np.random.default_rng(seed).permutation(len(reader))[:300]:
            reader.read([index])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert open_files() == before + 7
    assert len(opened) > 500, "most patches lie in another file than is open"


def test_a_file_that_is_slow_to_open_holds_up_nobody_else(many, monkeypatch):
    """Another thread reads on while one waits for its file, as of a busy network file system."""
    reader = PatchReader(open_patchset(many), "train")
    reader.read([0])
    waiting, go_on = threading.Event(), threading.Event()

    def slow(path, real=module.read_layout, **which):
        waiting.set()
        assert go_on.wait(60)
        return real(path, **which)

    monkeypatch.setattr(module, "read_layout", slow)
    thread = threading.Thread(target=reader.read, args=([795],))
    thread.start()
    assert waiting.wait(60)
    assert reader.read([1]).label.shape == (1, 16, 16)
    go_on.set()
    thread.join()


def rewritten(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def other_offset(file):
    file.attrs["add_offset"] = np.ones(2)


def compressed(file):
    stored = file["image"][...]
    del file["image"]
    file.create_dataset("image", data=stored, compression="gzip")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "is no patch file"),
        (lambda path: os.truncate(path, 100), "is no patch file"),
        (lambda path: rewritten(path, other_offset), "not those of the channels"),
        (lambda path: rewritten(path, compressed), "not plain int16"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 4000), "is no patch file"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage, message):
    folder = write_set(tmp_path / "set", {"train": [make_scene("a"), make_scene("b", seed=1)]})
    reader = PatchReader(open_patchset(folder), "train")
    damage(folder / "train/b.h5")
    with pytest.raises(ValueError, match=rf"train/b\.h5.*{message}.*prepare again") as told:
        reader.read([15])
    assert "\n" not in str(told.value)
    assert reader.read([3]).label.shape == (1, 16, 16)


def test_a_file_that_cannot_be_opened_is_an_error_of_the_system_with_its_name(tmp_path):
    folder = write_set(tmp_path / "set", {"train": [make_scene("a")]})
    reader = PatchReader(open_patchset(folder), "train")
    (folder / "train/a.h5").unlink()
    with pytest.raises(FileNotFoundError) as told:
        reader.read([0])
    assert told.value.filename == str(folder / "train/a.h5")
