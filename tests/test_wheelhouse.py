"""A wheelhouse: whole or in pieces, what is refused in which words, and that pip keeps to it."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import command
import horovod_edits
import horovod_target
import pytest
import wanted
import wheelhouse
from horovod_target import Target
from stages import Failure
from wheelhouse import MANIFEST, Wheelhouse

LOCK = "a==1 \\\n    --hash=sha256:aa\n"
HERE = Target(
    device="cpu",
    tensorflow="2.21.0",
    openmpi="4.1.8",
    compiler="g++-12.2.0",
    python_tag=horovod_target.python_tag(),
    machine=horovod_target.machine(),
)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two packages and Horovod, of lengths that no piece has."""
    (folder := tmp_path / "files").mkdir()
    for name, length in (("a-1.whl", 5000), ("b-2.tar.gz", 0)):
        (folder / name).write_bytes(os.urandom(length))
    (folder / f"horovod-{horovod_edits.HOROVOD}-here.whl").write_bytes(os.urandom(70_001))
    return folder


def make(files: Path, target: Target = HERE, *, piece_bytes: int | None = None) -> Path:
    (folder := files.parent / "wheelhouse").mkdir()
    made = Wheelhouse(files, target, wheel=None)
    wheelhouse.finish(made, folder, lock=LOCK, piece_bytes=piece_bytes)
    return folder


def open_it(folder: Path, *, device: str = "cpu", lock: str = LOCK) -> dict[str, bytes]:
    """What is in an opened wheelhouse."""
    scratch = folder.parent / "scratch"
    with wheelhouse.opened(folder, device=device, lock=lock, scratch=scratch) as opened:
        assert opened.target == wheelhouse.read_manifest(folder).target
        assert opened.wheel
        assert opened.wheel.name.startswith("horovod-")
        found = contents(opened.files)
    assert not scratch.exists() or not list(scratch.iterdir())
    return found


@pytest.mark.parametrize("piece_bytes", [None, 1 << 10, 30_000, 1 << 30])
def test_what_comes_out_is_what_went_in(files: Path, piece_bytes: int | None) -> None:
    before = contents(files)
    folder = make(files, piece_bytes=piece_bytes)
    if piece_bytes:
        *full, last = (path.stat().st_size for path in sorted(folder.glob("piece-*")))
        assert set(full) <= {piece_bytes}
        assert 0 < last <= piece_bytes
    assert open_it(folder) == before


@pytest.mark.parametrize("piece_bytes", [None, 30_000])
def test_damaged_and_missing_files_are_named(files: Path, piece_bytes: int | None) -> None:
    folder = make(files, piece_bytes=piece_bytes)
    victim = max(contents(folder), key=lambda name: (folder / name).stat().st_size)
    content = bytearray((folder / victim).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / victim).write_bytes(content)
    with pytest.raises(Failure, match=f"{victim} damaged: copy it again$"):
        open_it(folder)
    for name in contents(folder):
        (folder / name).unlink()
    with pytest.raises(Failure, match=r"and \d more missing: copy it again$"):
        open_it(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"python_tag": "cp39"}, r"for Python 3\.9, this is 3\..*: use PYTHON=python3\.9"),
        ({"machine": "linux-riscv64"}, "for linux-riscv64, this is "),
        ({"device": "gpu"}, "for DEVICE=gpu, not cpu: make one with DEVICE=cpu"),
        ({"patch_revision": 1, "tensorflow": "2.0"}, r"of other locks \(TensorFlow 2\.0\)"),
    ],
)
def test_wheelhouse_of_another_kind_is_one_line(files: Path, change: dict, message: str) -> None:
    folder = make(files, dataclasses.replace(HERE, **change))
    with pytest.raises(Failure, match=message) as caught:
        open_it(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wheelhouse_of_other_locks_or_a_newer_system_is_refused(files: Path) -> None:
    folder = make(files)
    with pytest.raises(Failure, match="of other locks"):
        open_it(folder, lock=LOCK.replace("a==1", "a==2"))
    document = json.loads((folder / MANIFEST).read_text())
    here = platform.libc_ver()[1]
    assert document["glibc"] == here
    major, minor = map(int, here.split(".")[:2])
    (folder / MANIFEST).write_text(json.dumps(document | {"glibc": f"{major}.{minor + 1}"}))
    with pytest.raises(Failure, match=f"or newer, here is {here}: make one on a host as old"):
        open_it(folder)
    (folder / MANIFEST).write_text(json.dumps(document | {"format": 2}))
    with pytest.raises(Failure, match="has format 2, this setup reads 1"):
        open_it(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no wheelhouse"),
        ('{"format": 1, "tar', "is damaged: copy"),
        ('{"format": 1, "files": {}}', "is damaged: copy"),
        ("[]", "is damaged: copy"),
    ],
)
def test_folder_that_is_no_wheelhouse_is_one_line_and_nothing_is_touched(
    tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    setup = Path(wheelhouse.__file__).with_name("setup.py")
    result = subprocess.run(
        [sys.executable, setup, "--wheelhouse", tmp_path], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    setup = Path(wheelhouse.__file__).with_name("setup.py")
    folder = tmp_path / "file" / "wheelhouse"
    result = subprocess.run(
        [sys.executable, setup, "--make-wheelhouse", folder], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert f"Not a directory: '{folder}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_wheelhouse_that_is_there_is_left_alone_and_another_one_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    want = wanted.read(Path(wheelhouse.__file__).parents[2], "cpu", None)
    (folder := files.parent / "wheelhouse").mkdir()
    wheelhouse.finish(Wheelhouse(files, HERE, None), folder, lock=want.whole_lock, piece_bytes=None)
    before = contents(folder) | {MANIFEST: (folder / MANIFEST).read_bytes()}
    command.make_wheelhouse(folder, want, piece_bytes=None)
    assert "is there already; to make it anew, remove it" in capsys.readouterr().out
    with pytest.raises(Failure, match="of other locks"):
        command.make_wheelhouse(
            folder, dataclasses.replace(want, whole_lock=LOCK), piece_bytes=None
        )
    assert contents(folder) | {MANIFEST: (folder / MANIFEST).read_bytes()} == before


def test_size_of_pieces_is_read_or_refused() -> None:
    assert [wheelhouse.bytes_of(text) for text in ("1K", "50M", "2G")] == [
        1 << 10,
        50 << 20,
        2 << 30,
    ]
    for text in ("50", "0M", "M", "50 MB", "-1M"):
        with pytest.raises(Failure, match="write it like 50M"):
            wheelhouse.bytes_of(text)


def test_pip_takes_packages_from_the_wheelhouse_alone(tmp_path: Path) -> None:
    """A folder with a space, beside a place that the user's settings name and that has more."""
    wanted, other = tmp_path / "my files", tmp_path / "other"
    for folder, name in ((wanted, "here"), (other, "elsewhere")):
        folder.mkdir()
        with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}-1.dist-info/METADATA", f"Name: {name}\nVersion: 1\n")
            wheel.writestr(
                f"{name}-1.dist-info/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{name}-1.dist-info/RECORD", "")
    user = {"PIP_FIND_LINKS": str(other), "PIP_CONFIG_FILE": os.devnull}
    variables = os.environ | user | Wheelhouse(wanted, HERE, None).variables()

    def download(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", name]
        into = ["--dest", tmp_path / "into"]
        return subprocess.run([*command, *into], env=variables, capture_output=True, text=True)

    assert download("here").returncode == 0
    assert download("elsewhere").returncode == 1
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["here-1-py3-none-any.whl"]
