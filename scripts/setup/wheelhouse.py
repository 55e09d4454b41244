"""A folder with everything that setup fetches, Horovod's wheel too, for machines without network.

wheelhouse.json names each file, or each piece of the same length that they were cut into, with its
sha256. It is written last: a folder without it is no wheelhouse.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import platform
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from horovod_edits import HOROVOD, PATCH_REVISION
from horovod_target import Target, machine, python_tag
from stages import Failure, extract, say

MANIFEST = "wheelhouse.json"
FORMAT = 1
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Wheelhouse:
    """Where pip finds packages, and what Horovod is for. wheel: none while it is not built."""

    files: Path
    target: Target
    wheel: Path | None

    def variables(self) -> dict[str, str]:
        """With them, pip asks for nothing elsewhere, whatever its configuration names."""
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.files.absolute().as_uri()}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What wheelhouse.json says.

    lock: the sha256 of the text of the locks. files: name -> sha256, pieces in their order.
    """

    target: Target
    lock: str
    glibc: str
    in_pieces: bool
    files: dict[str, str]


def read_manifest(folder: Path) -> Manifest:
    damaged = Failure(f"{folder / MANIFEST} is damaged: copy the wheelhouse again")
    try:
        document = json.loads((folder / MANIFEST).read_text())
    except OSError:
        raise Failure(
            f"{folder} is no wheelhouse (it holds no {MANIFEST}): `make wheelhouse "
            f"WHEELHOUSE={folder}` makes one, and a copy is whole with that file"
        ) from None
    except ValueError:
        raise damaged from None
    if not isinstance(document, dict):
        raise damaged
    if document.get("format", FORMAT) != FORMAT:
        raise Failure(
            f"{folder} has format {document['format']}, this setup reads {FORMAT}: "
            "make it anew with this checkout"
        )
    try:
        del document["format"]
        return Manifest(**document | {"target": Target(**document["target"])})
    except (KeyError, TypeError):
        raise damaged from None


def refuse_misfit(folder: Path, manifest: Manifest, *, device: str, lock: str) -> None:
    """Failure, with the way out, when a wheelhouse is for another machine, Python or version."""
    target, here = manifest.target, platform.libc_ver()[1]
    if target.machine != machine():
        problem = f"for {target.machine}, this is {machine()}: make one on such a machine"
    elif target.python_tag != python_tag():
        other = re.sub(r"cp(\d)", r"\1.", target.python_tag)
        problem = (
            f"for Python {other}, this is {platform.python_version()}: use PYTHON=python{other}"
        )
    elif _numbers(manifest.glibc) > _numbers(here):
        problem = f"for glibc {manifest.glibc} or newer, here is {here}: make one on a host as old"
    elif target.device != device:
        problem = f"for DEVICE={target.device}, not {device}: make one with DEVICE={device}"
    elif manifest.lock != sum_of(lock) or (target.horovod, target.patch_revision) != (
        HOROVOD,
        PATCH_REVISION,
    ):
        problem = f"of other locks (TensorFlow {target.tensorflow}): make one from this checkout"
    else:
        return
    raise Failure(f"the wheelhouse {folder} is {problem}")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def sum_of(lock: str) -> str:
    return hashlib.sha256(lock.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def refuse_damage(folder: Path, manifest: Manifest) -> None:
    """Failure that names what is missing or has another sum than when it was made."""
    names = sorted(manifest.files)
    say(f"wheelhouse: check the sums of {len(names)} files in {folder}")
    missing = [name for name in names if not (folder / name).is_file()]
    damaged = [
        name
        for name in names
        if name not in missing and sha256_of(folder / name) != manifest.files[name]
    ]
    for state, found in (("missing", missing), ("damaged", damaged)):
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise Failure(f"wheelhouse: {folder / found[0]}{more} {state}: copy it again")


@contextlib.contextmanager
def opened(folder: Path, *, device: str, lock: str, scratch: Path) -> Iterator[Wheelhouse]:
    """A wheelhouse that fits and is whole. Pieces are joined below `scratch` while it is open."""
    manifest = read_manifest(folder)
    refuse_misfit(folder, manifest, device=device, lock=lock)
    refuse_damage(folder, manifest)
    with contextlib.ExitStack() as stack:
        files = folder
        if manifest.in_pieces:
            scratch.mkdir(parents=True, exist_ok=True)
            files = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch)))
            say(f"wheelhouse: join the pieces in {files}")
            join([folder / name for name in manifest.files], files)
        yield Wheelhouse(files, manifest.target, next(files.glob(f"horovod-{HOROVOD}-*.whl")))


def finish(made: Wheelhouse, folder: Path, *, lock: str, piece_bytes: int | None) -> None:
    """Move the files into `folder`, or cut them into pieces there; the manifest last."""
    files = sorted(made.files.iterdir())
    if piece_bytes is None:
        names = [path.name for path in files]
        for path in files:
            os.replace(path, folder / path.name)
    else:
        names = cut(files, folder, piece_bytes)
    manifest = Manifest(
        target=made.target,
        lock=sum_of(lock),
        glibc=platform.libc_ver()[1],
        in_pieces=piece_bytes is not None,
        files={name: sha256_of(folder / name) for name in names},
    )
    document = {"format": FORMAT} | dataclasses.asdict(manifest)
    aside = folder / f"{MANIFEST}.aside"
    aside.write_text(json.dumps(document, indent=1) + "\n")
    for path in (aside, *(folder / name for name in names)):
        with path.open("rb") as written:
            os.fsync(written.fileno())
    os.replace(aside, folder / MANIFEST)


class _Cutter:
    """Takes bytes and writes files of one length, the last one shorter."""

    def __init__(self, folder: Path, piece_bytes: int) -> None:
        self.folder, self.piece_bytes = folder, piece_bytes
        self.paths: list[Path] = []
        self.room = 0

    def write(self, data: bytes) -> int:
        done = 0
        while done < len(data):
            if not self.room:
                self.paths.append(self.folder / f"piece-{len(self.paths) + 1:04d}")
                self.paths[-1].write_bytes(b"")
                self.room = self.piece_bytes
            part = data[done : done + self.room]
            with self.paths[-1].open("ab") as output:
                output.write(part)
            done, self.room = done + len(part), self.room - len(part)
        return done


def cut(files: Iterable[Path], folder: Path, piece_bytes: int) -> list[str]:
    """Cut files, one behind the other in a tar archive, into pieces; returns their names."""
    cutter = _Cutter(folder, piece_bytes)
    stream: Any = cutter  # a stream archive asks for write() and nothing else
    with tarfile.open(fileobj=stream, mode="w|", bufsize=BLOCK_BYTES) as archive:
        for path in files:
            archive.add(path, arcname=path.name)
    return [path.name for path in cutter.paths]


class _Joined:
    """Files read as one."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.left = list(paths)
        self.current: BinaryIO = io.BytesIO()

    def read(self, size: int) -> bytes:
        while not (data := self.current.read(size)) and self.left:
            self.current.close()
            self.current = self.left.pop(0).open("rb")
        return data

    def close(self) -> None:
        self.current.close()


def join(pieces: Iterable[Path], folder: Path) -> None:
    """Undo `cut`: the files, in a folder."""
    stream: Any = _Joined(pieces)  # a stream archive asks for read() and nothing else
    with (
        contextlib.closing(stream),
        tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES) as archive,
    ):
        extract(archive, folder)


def bytes_of(text: str) -> int:
    """50M -> 52428800, also K and G. Failure for anything else."""
    found = re.fullmatch(r"([1-9]\d*)([KMG])", text)
    if found is None:
        raise Failure(f"PIECES={text} is no size: write it like 50M or 2G")
    return int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]]
