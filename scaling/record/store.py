"""The study folder: study.json says what is studied, results.jsonl has a line per point."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudmask import files
from cloudmask.record import warn
from scaling.record import shapes

FORMAT = "scaling-study"
VERSION = 1
OK = "ok"
SUPERSEDED = "superseded"
"""what a good row reads as whose point has ended well once more since (scaling run --again)"""
REAL = "real device"
HEADER, ROWS, LOCK = "study.json", "results.jsonl", ".lock"

Row = dict[str, Any]


class StudyError(ValueError):
    """A study or a run that cannot be used as it is; the message is one line."""


def is_training(row: Row) -> bool:
    """Whether a row is of the program itself, and not of Horovod's allreduce alone."""
    return row["kind"] != "allreduce"


@dataclass(frozen=True)
class Study:
    """A study as it lies on disk."""

    folder: Path
    header: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    title: str = ""
    """what it is called instead of its folder's name"""

    @property
    def name(self) -> str:
        return self.title or self.folder.resolve().name

    def points(self, mode: str, kind: str = "ranks") -> dict[int, list[Row]]:
        """Rank count -> its measured rows, in the order of the repeats; failed ones left out."""
        found: dict[int, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: (row["ranks"], row["repeat"])):
            if row["mode"] == mode and row["kind"] == kind and row["status"] == OK:
                found.setdefault(row["ranks"], []).append(row)
        return found

    @property
    def modes(self) -> list[str]:
        return [mode for mode in ("strong", "weak") if self.points(mode)]

    @property
    def emulated(self) -> str:
        """'emulated device (0.5 s a step)' where nothing was computed, else empty."""
        devices = {device_of(row) for row in self.measured} - {REAL}
        return " and ".join(sorted(devices))

    @property
    def latest(self) -> list[Row]:
        """A row of each point: its newest good one, else its newest."""
        good = {row["point"]: row for row in self.rows if row["status"] == OK}
        return list(({row["point"]: row for row in self.rows} | good).values())

    @property
    def measured(self) -> list[Row]:
        """Rows of finished runs of the program itself."""
        return [row for row in self.rows if row["status"] == OK and row["kind"] == "ranks"]


def read_header(folder: Path) -> dict[str, Any] | None:
    """study.json; None if there is none. Raises StudyError for one that cannot be used."""
    path = folder / HEADER
    try:
        header = files.parse_json(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise StudyError(f"{path} is not JSON; the study cannot be read") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise StudyError(f"{path} does not describe a study; choose another folder")
    if header.get("version") != VERSION:
        raise StudyError(
            f"{path} is version {header.get('version')}, this program reads version {VERSION}; "
            "run the study again"
        )
    return header


def read_rows(folder: Path) -> list[Row]:
    """Every whole line of results.jsonl; a last line that was cut short is left out."""
    path = folder / ROWS
    if not path.exists():
        return []
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise StudyError(f"{path} is not text; mend it, or run the study again") from None
    for number, line in enumerate(lines[:-1], start=1):
        try:
            rows.append(files.parse_json(line))
        except ValueError:
            raise StudyError(f"{path}, line {number} is not JSON; mend or remove it") from None
    return rows


def checked_rows(folder: Path) -> list[Row]:
    """The same, nothing in them that `scaling run` does not write, superseded ones marked."""
    rows = read_rows(folder)
    for number, row in enumerate(rows, start=1):
        try:
            shapes.check_row(row)
        except ValueError as error:
            place = f"{folder / ROWS}, line {number}"
            raise StudyError(f"{place} {error}; mend or remove it") from None
    return superseded(rows)


def superseded(rows: list[Row]) -> list[Row]:
    """The rows, in their order; of a point's good ones all but the newest say that they are not."""
    newest = {row["point"]: row for row in rows if row["status"] == OK}
    found = []
    for row in rows:
        last = newest.get(row["point"], row)
        if row["status"] == OK and row is not last:
            why = f"measured again: attempt {last.get('attempt')}"
            row = {**row, "status": SUPERSEDED, "error": why}
        found.append(row)
    return found


def append(folder: Path, row: Row) -> None:
    """Add one line, on the disk when this returns; what a crash left of a line before it goes."""
    path = folder / ROWS
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path, *, mixed: bool = False) -> Study:
    """A study with at least one measured point. Raises StudyError."""
    if not folder.is_dir():
        raise StudyError(
            f"there is no folder {folder}; python -m scaling run --out {folder} makes one"
        )
    header = read_header(folder)
    if header is None:
        raise StudyError(f"{folder} holds no study (no study.json in it)")
    study = Study(folder, header, checked_rows(folder))
    if not study.rows:
        raise StudyError(f"{folder} has no finished point yet; run the study's command again")
    if not study.measured:
        row = study.rows[-1]
        raise StudyError(
            f"none of the {len(study.rows)} points in {folder} succeeded; "
            f"the last one: {row['status']}: {row.get('error')}"
        )
    try:
        shapes.check_header(header)
    except ValueError as error:
        raise StudyError(f"{folder / HEADER} {error}; run the study again") from None
    check_hardware(study, mixed=mixed)
    return study


def told_apart(studies: Sequence[Study]) -> list[Study]:
    """The studies under names that differ: with as many parents as it takes, else numbered."""
    places = [study.folder.resolve().parts[1:] for study in studies]
    for depth in range(1, max(map(len, places)) + 1):
        names = ["-".join(place[-depth:]) for place in places]
        if len(set(names)) == len(names):
            break
    else:
        names = [f"{study.name}-{number}" for number, study in enumerate(studies, start=1)]
    return [replace(study, title=name) for study, name in zip(studies, names, strict=True)]


def device_of(row: Row) -> str:
    """'emulated device (0.5 s a step)' of a run whose device was emulated, else REAL."""
    seconds = row.get("emulated_step_seconds")
    return REAL if seconds is None else f"emulated device ({seconds:g} s a step)"


def check_hardware(study: Study, *, mixed: bool) -> None:
    """Raise StudyError if the measured rows come from different hardware, unless that is wished.

    Real and emulated devices, or emulated ones of different speed, never make one curve.
    """
    devices = {device_of(row) for row in study.rows if row["status"] == OK and is_training(row)}
    if len(devices) > 1:
        raise StudyError(
            f"{study.folder} mixes {' and '.join(sorted(devices))}, so its curve would compare "
            "what was computed with what was waited for; study each alone"
        )
    kinds = {", ".join(row.get("hardware") or ["unknown"]) for row in study.measured}
    if len(kinds) > 1 and not mixed:
        raise StudyError(
            f"{study.folder} mixes hardware ({' / '.join(sorted(kinds))}), so its curve would "
            "compare machines; study each alone, or add --mixed"
        )


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Only one process runs a study. Raises StudyError if another one does; a file system without
    locks cannot tell, and a line says so."""
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(files.locked(folder / LOCK))
        except BlockingIOError:
            raise StudyError(f"another process is running the study in {folder}") from None
        if not held:
            warn(f"the file system of {folder} has no locks: run this study in one place at a time")
        yield
