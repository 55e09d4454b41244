"""`cloudmask refurbish`: a patch set again, with soft targets from networks that never saw it.

Every scene is judged by the runs that left out its fold. First all ranks predict, and what they
find is kept in `OUT/.refurbish/`, so that a run that was broken off goes on where it was. Then the
counts of all scenes together give eta, and each scene's file is written with its targets beside
what it held; no file depends on the order of work or on the number of ranks. The manifest comes
last. A patch is predicted as it was cut: what lies beyond its edges is not there to be seen.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.errors import AgreedError, the_same_on_all_ranks
from cloudmask.cli.options import RefurbishConfig
from cloudmask.data import parallel
from cloudmask.data.patchset.encoding import FILL
from cloudmask.data.patchset.files import FilePatches, read_patches, write_soft
from cloudmask.data.patchset.index import write_index
from cloudmask.data.patchset.manifest import build_manifest, read_manifest, write_manifest
from cloudmask.data.patchset.model import MANIFEST, FileEntry, PatchSet
from cloudmask.data.patchset.open import is_patchset, open_patchset, problem_of, verify_files
from cloudmask.files import parse_json, remove_leftovers, sha256_of, write_json, write_whole
from cloudmask.labels import refurbish as labels
from cloudmask.labels.judges import Judge, judges_of, probability_of, warn_of_other_reading
from cloudmask.model.keras_file import path_of
from cloudmask.record import warn
from cloudmask.text import plural

NOTES = ".refurbish"
"""folder of what has been predicted, until all is done"""
RECORD = "refurbished"
"""among the manifest's options: what the targets were made from"""
VERSION = 2
"""it grows when the same runs and options give other targets"""


@dataclass(frozen=True)
class Work:
    """What is to be done, the same on every rank."""

    patchset: PatchSet
    runs: tuple[Path, ...]
    """by the checksums of their models: however they are named, sums are the same"""
    made_from: dict[str, Any]
    """what the probabilities depend on"""
    finished: bool


def refurbish(config: RefurbishConfig) -> int:
    """Write the patch set `out` on all ranks; a line for each group of pixels. ValueError, OSError.

    AgreedError on every rank for what the user has to mend and for a full disk.
    """
    world = parallel.world()
    parallel.take_cores(world)
    work = world.on_root(lambda: _look(config))
    if work.finished:
        world.on_root(lambda: shutil.rmtree(config.out / NOTES, ignore_errors=True))
        world.on_root(lambda: print(f"{config.out} is complete, nothing to do"))
        return 0
    with the_same_on_all_ranks():
        runs = list(zip(work.runs, work.made_from["runs"], strict=True))
        judges = judges_of(runs, work.patchset, config.precision)
    if world.is_root:
        warn_of_other_reading(work.patchset, judges)
    world.on_root(lambda: _begin(config.out, work.made_from))

    sums = _on_all(
        lambda entry: _predict(config, work.patchset, entry, judges),
        work.patchset,
        world,
        "predict",
    )
    eta = labels.eta_of(np.sum(sums, axis=0))
    written = _on_all(
        lambda entry: _write(config, work.patchset, entry, eta), work.patchset, world, "write"
    )
    return world.on_root(lambda: _finish(config, work, judges, eta, written))


def _look(config: RefurbishConfig) -> Work:
    """The patch set, and whether its targets are there already. ValueError, OSError."""
    if len(config.sources) < 2:
        raise ValueError("name the runs and then the patch set: RUN ... PATCHES --out PATCHES2")
    for path in config.runs:
        if is_patchset(path):
            raise ValueError(
                f"{path} is a patch set, which comes last: RUN ... {path} --out PATCHES2"
            )
    patchset = open_patchset(config.patches)
    strip, out = config.strip, config.out
    if len(patchset.classes) != 2:
        raise ValueError(
            f"{config.patches} has {len(patchset.classes)} classes; soft targets are of two"
        )
    if strip is not None and not 0 <= strip[0] < strip[1]:
        raise ValueError(f"--strip {strip[0]} {strip[1]} must be a first column and a later end")
    if not 0 <= config.least_logit < labels.MOST_LOGIT:
        raise ValueError(
            f"--least-logit {config.least_logit:g} must be from 0 to below {labels.MOST_LOGIT:g}"
        )
    by_sum = {sha256_of(path_of(path)): path for path in config.runs}
    if len(by_sum) < len(config.runs):
        raise ValueError("two of the runs have the same model; name each once")
    made_from = {
        "version": VERSION,
        "patchset": patchset.fingerprint,
        "runs": sorted(by_sum),
        "precision": config.precision,
    }
    runs = tuple(by_sum[sha256] for sha256 in sorted(by_sum))
    return Work(patchset, runs, made_from, _is_finished(out, made_from | _options(config)))


def _options(config: RefurbishConfig) -> dict[str, Any]:
    """What the targets depend on beside the probabilities."""
    return {
        "fill": config.fill,
        "least_logit": config.least_logit,
        "strip": None if config.strip is None else list(config.strip),
        "most_logit": labels.MOST_LOGIT,
        "eta_from_to": [labels.LEAST_ETA, labels.MOST_ETA],
    }


def _is_finished(out: Path, facts: dict[str, Any]) -> bool:
    """Whether `out` holds just these targets, and all of them. ValueError if it holds something
    else."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose another --out")
    if not (out / MANIFEST).exists():
        if out.exists() and any(out.iterdir()) and not (out / NOTES).is_dir():
            raise ValueError(f"{out} is not empty and no patch set; choose another --out")
        return False
    patchset = read_manifest(out)
    found = patchset.options.get(RECORD, {})
    other = [key for key, value in facts.items() if found.get(key) != value]
    if other:
        raise ValueError(
            f"{out} holds a patch set made from something else ({', '.join(other)} differ); "
            "choose another --out or delete it"
        )
    problem = problem_of(patchset)
    if problem:
        warn(f"{problem}: the set is made again")
    return not problem


def _begin(out: Path, made_from: dict[str, Any]) -> None:
    """The folder, and a note of what is predicted there. ValueError if that is something else."""
    note = out / NOTES / "made_from.json"
    if note.exists():
        try:
            found = parse_json(note.read_bytes())
        except ValueError:
            found = None
        if found != made_from:
            raise ValueError(
                f"{out} was begun from other runs, patches or precision; choose another --out or "
                "delete it"
            )
    write_json(note, made_from)
    (out / MANIFEST).unlink(missing_ok=True)  # of a set that has lost files


def _on_all(
    function: Callable[[FileEntry], Any], patchset: PatchSet, world: parallel.World, what: str
) -> list[Any]:
    """A function of every file, shared by the ranks, in the order of the files. AgreedError."""
    entries: Sequence[Any] = patchset.files
    outcomes = parallel.map_items(
        function,
        entries,
        world=world,
        weights=[float(entry.bytes) for entry in entries],
        progress=what,
        stop_at_error=True,
        tell=False,
    )
    problems = [outcome.error for outcome in outcomes if outcome is not None and outcome.error]
    if problems:
        raise AgreedError(problems[0])
    return [outcome.value for outcome in outcomes if outcome is not None]


def _note_of(out: Path, entry: FileEntry) -> Path:
    return out / NOTES / f"{entry.path.removesuffix('.h5')}.npy"


def _noted(out: Path, entry: FileEntry, shape: tuple[int, ...]) -> np.ndarray | None:
    """(n, S, S) float32 that was predicted before, or None."""
    try:
        found = np.load(_note_of(out, entry), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if (found.shape, found.dtype) == (shape, np.float32) else None


def _predict(
    config: RefurbishConfig, patchset: PatchSet, entry: FileEntry, judges: Sequence[Judge]
) -> np.ndarray:
    """(G, 2, 2) sums of a scene; its probabilities are kept."""
    found = _noted(config.out, entry, _shape(patchset, entry))
    if found is None and config.verify:
        problems = verify_files(patchset, [entry])
        if problems:
            raise ValueError(f"{problems[0]}; prepare or copy the patch set again")
    patches = read_patches(patchset.folder / entry.path)
    if found is None:
        of_scene = [judge.model for judge in judges if judge.fold.holds(entry.scene_name)]
        found = probability_of(patches, of_scene)
        stream = io.BytesIO()
        np.save(stream, found)
        write_whole(_note_of(config.out, entry), stream.getbuffer())
    group = _groups(patches, config.strip)
    return labels.sums_of(found, patches.label, group, len(labels.group_names(config.strip)))


def _shape(patchset: PatchSet, entry: FileEntry) -> tuple[int, ...]:
    return entry.patches, patchset.patch_size, patchset.patch_size


def _groups(patches: FilePatches, strip: labels.Strip | None) -> np.ndarray:
    complete = (patches.image != FILL).all(axis=-1)
    column = patches.col[:, None] + np.arange(complete.shape[2])
    return labels.group_of(complete, column, strip)


def _write(
    config: RefurbishConfig, patchset: PatchSet, entry: FileEntry, eta: np.ndarray
) -> tuple[FileEntry, labels.Refurbished]:
    """A scene's file with its targets, and what became of its pixels (without the targets)."""
    patches = read_patches(patchset.folder / entry.path)
    probability = _noted(config.out, entry, patches.label.shape)
    if probability is None:
        raise ValueError(f"{_note_of(config.out, entry)} is gone; run the same command again")
    made = labels.refurbish(
        probability,
        patches.label,
        _groups(patches, config.strip),
        eta,
        least_logit=config.least_logit,
        fill=config.fill,
    )
    written = write_soft(patchset.folder, config.out, entry, made.soft)
    return written, dataclasses.replace(made, soft=made.soft[:0])


def _finish(
    config: RefurbishConfig,
    work: Work,
    judges: Sequence[Judge],
    eta: np.ndarray,
    written: Sequence[tuple[FileEntry, labels.Refurbished]],
) -> int:
    """The manifest, and a line for each group."""
    patchset, out = work.patchset, config.out
    entries = {entry.path: entry for entry, _ in written}
    groups = [
        {
            "name": name,
            "eta": eta[number].tolist() if np.isfinite(eta[number]).all() else None,
            **{
                what: int(sum(getattr(made, what)[number] for _, made in written))
                for what in ("labelled", "changed", "left_out", "filled")
            },
        }
        for number, name in enumerate(labels.group_names(config.strip))
    ]
    models = [
        {"sha256": judge.sha256, "fold": str(judge.fold), "patchset": judge.model.info.patchset}
        for judge in judges
    ]
    before = patchset.options.get(RECORD)
    record = {**work.made_from, **_options(config), "models": models, "groups": groups}
    text = build_manifest(
        {
            name: [entries[entry.path] for entry in split.files]
            for name, split in patchset.splits.items()
        },
        channels=patchset.channels,
        classes=patchset.classes,
        patch_size=patchset.patch_size,
        stride=patchset.stride,
        label_source=patchset.label_source,
        options={**patchset.options, RECORD: record | ({"before": before} if before else {})},
        skipped={},
        failed={},
        target="soft",
    )
    remove_leftovers(out)
    write_index(out, text.encode())
    write_manifest(out, text)
    shutil.rmtree(out / NOTES)
    for group in groups:
        print(labels.line_of(group, patchset.classes))
    print(f"{plural(len(entries), 'scene')} with soft targets in {out}")
    return 0
