"""Files are whole or absent; locks exclude where there are locks, and hinder nowhere else."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from cloudmask import files
from cloudmask.files import (
    check_heaps,
    locked,
    open_hdf5,
    parse_json,
    remove_leftovers,
    whole_file,
    write_json,
    write_whole,
)


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(tmp_path):
    path = tmp_path / "deep" / "a.bin"
    write_whole(path, b"first")
    write_whole(path, memoryview(b"second"))
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_raised_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_whole(path, b"old")

    def broken_off():
        with whole_file(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_an_error_names_the_file_that_was_asked_for(tmp_path, monkeypatch, call):
    path = tmp_path / "a.bin"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)

    def write():
        with whole_file(path) as file:
            file.write(b"x")
            if call == "write":
                full()

    with pytest.raises(OSError, match="No space") as told:
        write()
    assert told.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_becomes_null(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.5], "p": tmp_path})
    assert (tmp_path / "a.json").read_text().split() == [
        *("{", '"x":', "null,", '"y":', "[", "null,", "1.5", "],", '"p":', f'"{tmp_path}"', "}")
    ]


WRITES = """
import sys
from pathlib import Path
from cloudmask.files import whole_file
with whole_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("number", sorted(files.BUSY))
def test_a_file_is_written_where_locks_are_denied(tmp_path, monkeypatch, number):
    """As if another process held every lock: so a security module may answer."""

    def denied(*words):
        raise OSError(number, "denied")

    monkeypatch.setattr(files.fcntl, "flock", denied)
    write_whole(tmp_path / "a.bin", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("done", [True, False])
def test_a_file_that_was_taken_for_a_leftover_is_begun_again(tmp_path, monkeypatch, done):
    """Another process may clean up between the opening of a file and its locking; or be at it, with
    the file's lock, when this one wants to lock it."""
    seen = []
    open_files = contextlib.ExitStack()

    def try_lock(handle, real=files._try_lock):
        seen.append(Path(f"/proc/self/fd/{handle}").readlink())
        if len(seen) == 1:
            other = open_files.enter_context(seen[0].open("rb"))
            assert real(other.fileno())
            seen[0].unlink()
            if done:
                open_files.close()
        return real(handle)

    monkeypatch.setattr(files, "_try_lock", try_lock)
    with open_files:
        write_whole(tmp_path / "a.bin", b"whole")
    assert len(set(seen)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def test_leftovers_of_the_killed_go_and_those_of_the_living_stay(tmp_path):
    killed, alive = (
        subprocess.Popen(
            [sys.executable, "-c", WRITES, str(tmp_path / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("killed", "alive")
    )
    for process in (killed, alive):
        assert process.stdout.readline() == "writing\n"
    killed.kill()
    killed.wait()
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".alive.")
    alive.communicate("go on\n")
    assert [path.name for path in tmp_path.iterdir()] == ["alive"]
    killed.stdin.close()
    killed.stdout.close()


def test_one_lock_has_one_holder(tmp_path):
    again = locked(tmp_path / "lock")
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError, match="another process"):
        again.__enter__()
    with locked(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524])
def test_a_file_system_without_locks_excludes_nobody(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "lock"), locked(tmp_path / "lock"):
        write_whole(tmp_path / "a", b"a")
    assert (tmp_path / "a").read_bytes() == b"a"
    assert files.sha256_of(tmp_path / "a").startswith("ca978112ca1bbdca")


def test_hdf5_is_read_whoever_holds_its_lock(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a"] = 7
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="lock"):
            h5py.File(path, "r", locking=True)
        with open_hdf5(path) as file:
            assert file["a"][()] == 7
    with pytest.raises(OSError, match="none"):
        open_hdf5(tmp_path / "none.h5")


def test_a_heap_that_hdf5_would_never_leave_is_found(tmp_path):
    """Its free space at the end has a size of 0: HDF5 1.14 goes round for ever."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["texts"] = ["a", "bc", "def"]
        file["more"] = np.arange(1000)
    check_heaps(path)
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL")
    place = start + 16
    while content[place : place + 2] != bytes(2):
        place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
    content[place + 8 : place + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(OSError, match="no end"):
        check_heaps(path)
    path.write_bytes(b"")
    check_heaps(path)


def test_json_that_is_nested_too_deeply_is_an_error_of_the_file():
    assert parse_json(b'{"a": [1]}') == {"a": [1]}
    for text in ("[" * 100_000, "{", b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_json(text)
