"""`--stage DIR`: a host's part of the patch set on its own disk, before anything reads it.

The ranks that share DIR share the work: each file that any of them will read is copied once, into
DIR/FINGERPRINT, aside and then under its name, so a file that is there is whole. Its sha256 is
taken while the bytes pass, so checking costs no second read. Nothing is flushed to the disk: what
was staged before is read and checked again before it is used, so what a power cut has spoilt is
copied anew. Runs that stage into one DIR at the same time copy side by side; the last rename wins,
of equal files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmask import host
from cloudmask.data.parallel import deal
from cloudmask.data.patchset.model import PatchFile
from cloudmask.data.patchset.reader import PatchReader
from cloudmask.files import naming, remove_leftovers, sha256_of, whole_file
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.stall import Watch
from cloudmask.train.state import State, patches_to_read

CHUNK_BYTES = 8 * 2**20
BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Staged:
    """What was brought near, all hosts together."""

    folder: Path
    files: int
    bytes: int
    copied_bytes: int
    """the rest was there already, and whole"""
    seconds: float

    def record(self) -> dict[str, Any]:
        rate = self.copied_bytes / self.seconds if self.copied_bytes else None
        values = dataclasses.asdict(self) | {"copied_bytes_per_second": rate}
        return values | {"folder": str(self.folder)}

    def line(self) -> str:
        """For people."""
        return (
            f"staged {self.files} files, {self.bytes / 1e9:.3g} GB, in {self.folder}: "
            f"{self.copied_bytes / 1e9:.3g} GB copied, the rest was there; {self.seconds:.1f} s"
        )


def stage(plan: Plan, ranks: Ranks, state: State, watch: Watch) -> tuple[Plan, Staged]:
    """Copy and check what the hosts' ranks will read; returns the plan that reads it from there.

    Collective. Raises AgreedError for a disk that has no room, a file that has changed, ...
    """
    assert plan.config.stage is not None
    began = time.perf_counter()
    source, folder = plan.patchset.folder, plan.config.stage / plan.patchset.fingerprint
    place = ranks.on_all(lambda: _place(folder), name="stage_folder")
    places = ranks.gather(place, name="stage_places")
    here = [rank for rank, other in enumerate(places) if other == place]
    mine = share_of(needed_files(plan, here, state), ranks.rank, here)

    ranks.on_all(lambda: remove_leftovers(folder), name="stage_clean")
    missing = ranks.on_all(lambda: missing_files(folder, mine, watch), name="stage_look")
    lacking = ranks.gather(sum(entry.bytes for entry in missing), name="stage_lacking")
    ranks.on_all(lambda: check_room(folder, sum(lacking[rank] for rank in here)), name="stage_room")
    ranks.on_all(lambda: copy_all(source, folder, missing, watch), name="stage_copy")

    counts = ranks.gather((len(mine), sum(entry.bytes for entry in mine)), name="stage_counts")
    staged = Staged(
        folder=folder,
        files=sum(files for files, _ in counts),
        bytes=sum(size for _, size in counts),
        copied_bytes=sum(lacking),
        seconds=time.perf_counter() - began,
    )
    near = dataclasses.replace(plan.patchset, folder=folder)
    return dataclasses.replace(plan, patchset=near), staged


def needed_files(plan: Plan, here: Sequence[int], state: State) -> list[PatchFile]:
    """The files, for training and validation, that any of these ranks will read; sorted by path."""
    found: set[PatchFile] = set()
    wanted = {
        "train": lambda rank: patches_to_read(plan, rank, state),
        "valid": plan.validation_patches,
    }
    for split, patches in wanted.items():
        if split in plan.patchset.splits:
            with PatchReader(plan.patchset, split) as reader:
                for rank in here:
                    found |= set(reader.files_of(patches(rank)))
    return sorted(found, key=lambda entry: entry.path)


def share_of(files: Sequence[PatchFile], rank: int, here: Sequence[int]) -> list[PatchFile]:
    """A rank's part of the copying: about as many bytes as its neighbours'."""
    parts = deal([entry.bytes for entry in files], len(here))
    return [files[index] for index in parts[list(here).index(rank)]]


def is_staged(folder: Path, entry: PatchFile) -> bool:
    """Whether a file is there with the manifest's bytes; all of them are read."""
    path = _inside(folder, entry)
    if not path.is_file() or path.stat().st_size != entry.bytes:
        return False
    return sha256_of(path) == entry.sha256


def missing_files(folder: Path, entries: Sequence[PatchFile], watch: Watch) -> list[PatchFile]:
    found = []
    for entry in entries:
        watch.at("staged copy of", entry.path)
        found += [] if is_staged(folder, entry) else [entry]
    watch.at("staged copies of other ranks")
    return found


def check_room(folder: Path, needed: int) -> None:
    """ValueError, before anything is copied, when the disk has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"--stage needs {needed / 1e9:.1f} GB in {folder} on {host.name()}, "
            f"{free / 1e9:.1f} GB are free; make room, name another folder, or leave it out"
        )


def copy_all(source: Path, folder: Path, entries: Sequence[PatchFile], watch: Watch) -> None:
    for entry in entries:
        watch.at("staging of", entry.path)
        copy(source, folder, entry)
    # Another name than above: what is waited for the first time may take as long as its first time.
    watch.at("staging of other ranks")


def copy(source: Path, folder: Path, entry: PatchFile) -> None:
    """One file of the patch set into `folder`, whole and as the manifest says, or not at all.

    ValueError if it is not what was prepared; OSError that names the file it could not read or
    write.
    """
    target = _inside(folder, entry)
    digest = hashlib.sha256()
    with whole_file(target, durable=False) as writing, (source / entry.path).open("rb") as reading:
        while True:
            with naming(source / entry.path):
                chunk = reading.read(CHUNK_BYTES)
            if not chunk:
                break
            digest.update(chunk)
            writing.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise ValueError(
                f"{source / entry.path} has changed: its sha256 differs; "
                "prepare the patch set again"
            )


def _place(folder: Path) -> tuple[str, int, int]:
    """The folder, made if need be, and what tells it from one of the same name on another host."""
    folder.mkdir(parents=True, exist_ok=True)
    found = folder.stat()
    return BOOT.read_text().strip(), found.st_dev, found.st_ino


def _inside(folder: Path, entry: PatchFile) -> Path:
    """Where a file is staged. The manifest's paths are checked; links in DIR are others' doing."""
    path = folder / entry.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} leads out of --stage; name another folder")
    return path
