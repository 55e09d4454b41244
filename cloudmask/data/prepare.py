"""Scenes to a patch set: one file per scene, then the manifest.

Rank 0 plans, all ranks cut, rank 0 writes the manifest. After each scene a receipt is left in
`OUT/.prepare/`, which names the scene's file and the options and the source it was made from. A
run that was broken off therefore goes on where it was; as no file depends on the order of work,
the result is the same to the byte. With the manifest there and every receipt right, nothing is
left to do. Scenes that failed leave no receipt: they are tried again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cloudmask.data import parallel
from cloudmask.data.patchfile import WORK_FOLDER, FileEntry
from cloudmask.data.patchset import (
    MANIFEST,
    PatchSet,
    build_manifest,
    read_manifest,
    verify,
    write_manifest,
    write_patches,
)
from cloudmask.data.receipts import (
    Receipt,
    forget,
    is_there,
    key_of,
    read_receipts,
    remove_leftovers,
    write_receipt,
)
from cloudmask.data.scene import LabelChoice, SceneError, find_scenes, read_scene
from cloudmask.data.split import parse_split, split_scenes


@dataclass(frozen=True)
class _Job:
    """One scene and where it goes."""

    source: Path
    split: str
    key: str
    bytes: int

    @property
    def name(self) -> str:
        return self.source.stem


@dataclass(frozen=True)
class _Plan:
    """What rank 0 tells the others."""

    jobs: tuple[_Job, ...]
    """all scenes, sorted by name"""
    done: dict[str, Receipt]
    finished: bool
    """there is nothing to do"""


def prepare(
    scenes: Sequence[Path],
    out: Path,
    *,
    patch_size: int = 256,
    stride: int | None = None,
    split: str = "train=0.8,valid=0.2",
    split_by: Literal["random", "blocks"] = "random",
    label: LabelChoice = "any",
    seed: int = 42,
    strict: bool = False,
) -> int:
    """Cut scenes into the patch set `out`, on all ranks. The exit code: 1 if a scene failed.

    ValueError for what the user has to mend, OSError for the file system; both on rank 0 only,
    the others leave by SystemExit(1).
    """
    world = parallel.world()
    if world.size == 1 and os.environ.get("HOROVOD_SIZE", "1") != "1":
        raise ValueError("horovodrun --gloo joins no MPI ranks; start prepare with mpirun instead")
    out = Path(out)
    options = {
        "patch_size": patch_size,
        "stride": stride or patch_size,
        "split": split,
        "split_by": split_by,
        "label": label,
        "seed": seed,
    }
    plan = world.on_root(lambda: _plan(scenes, out, options))
    if plan.finished:
        if world.is_root:
            print(f"{out} is complete: {len(plan.jobs)} scenes, nothing to do")
        return 0
    todo = [job for job in plan.jobs if job.name not in plan.done]
    outcomes = parallel.map_items(
        lambda job: _prepare_scene(job, out, options),
        todo,
        world=world,
        weights=[float(job.bytes) for job in todo],
        progress="scenes",
        stop_at_error=strict,
    )
    receipts, failed = dict(plan.done), {}
    for job, outcome in zip(todo, outcomes, strict=True):
        if outcome is not None and outcome.value is not None:
            receipts[job.name] = outcome.value
        elif outcome is not None:
            failed[job.name] = outcome.error or ""
    return world.on_root(lambda: _finish(out, options, plan, receipts, failed, strict))


def verify_command(folder: Path) -> int:
    """Check all checksums and say what was found; exit code 1 if anything differs."""
    problems = verify(folder)
    splits = read_manifest(folder).splits.values()
    for problem in problems:
        print(problem)
    if not problems:
        files, patches = sum(len(s.files) for s in splits), sum(s.patches for s in splits)
        print(f"{files} files, {patches} patches: all checksums match")
    return 1 if problems else 0


def _plan(scenes: Sequence[Path], out: Path, options: Mapping[str, Any]) -> _Plan:
    """Look at sources and at what is there. Removes files of an earlier run that no longer fit."""
    if min(options["patch_size"], options["stride"]) < 1:
        raise ValueError(
            f"patch size {options['patch_size']} and stride {options['stride']} must be at least 1"
        )
    shares = parse_split(options["split"])
    sources = find_scenes(scenes)
    names = [source.stem for source in sources]
    splits = split_scenes(names, shares, by=options["split_by"], seed=options["seed"])
    relevant = {key: options[key] for key in ("patch_size", "stride", "label")}
    jobs = tuple(
        _Job(source, split, key_of(source, {**relevant, "split": split}), source.stat().st_size)
        for source, split in zip(sources, splits, strict=True)
    )
    existing = _existing(out, options, names)
    (out / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    receipts = read_receipts(out)
    done: dict[str, Receipt] = {}
    for job in jobs:
        receipt = receipts.get(job.name) or _receipt_of(existing, job)
        if existing and receipt and receipt.key != job.key:
            raise ValueError(
                f"{job.source} has changed since {out} was made from it; choose another --out or "
                f"delete {out}"
            )
        if receipt and receipt.key == job.key and is_there(out, receipt.entry):
            done[job.name] = receipt
    for name, receipt in receipts.items():
        if name not in done:
            forget(out, receipt)
    return _Plan(jobs, done, finished=existing is not None and len(done) == len(jobs))


def _existing(out: Path, options: Mapping[str, Any], names: Sequence[str]) -> PatchSet | None:
    """The finished patch set that is there, or None; ValueError if `out` cannot be used."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose another --out")
    if not (out / MANIFEST).exists():
        if out.exists() and any(out.iterdir()) and not (out / WORK_FOLDER).is_dir():
            raise ValueError(f"{out} is not empty and no patch set; choose another --out")
        return None
    patchset = read_manifest(out)
    for key, asked in options.items():
        found = patchset.options.get(key)
        if found != asked:
            raise ValueError(
                f"{out} holds a patch set made with other options ({key} {found}, asked {asked}); "
                "choose another --out or delete it"
            )
    differing = set(patchset.options.get("scenes", ())) ^ set(names)
    if differing:
        raise ValueError(
            f"{out} holds a patch set of other scenes ({len(differing)} differ, such as "
            f"{min(differing)}); choose another --out or delete it"
        )
    return patchset


def _receipt_of(existing: PatchSet | None, job: _Job) -> Receipt | None:
    """For a patch set that was copied without its receipts: its manifest has the same facts."""
    if existing is None:
        return None
    for entry in existing.splits[job.split].files:
        if entry.scene == job.name:
            return Receipt(job.key, existing.channels, existing.classes, entry)
    return None


def _prepare_scene(job: _Job, out: Path, options: Mapping[str, Any]) -> Receipt:
    scene = read_scene(job.source, label=options["label"])
    try:
        entry = write_patches(
            out,
            f"{job.split}/{job.name}.h5",
            scene,
            patch_size=options["patch_size"],
            stride=options["stride"],
        )
    except ValueError as error:
        raise SceneError(job.source, *str(error).split("; ", 1)) from None
    receipt = Receipt(job.key, scene.channels, scene.classes, entry)
    write_receipt(out, receipt)
    return receipt


def _finish(
    out: Path,
    options: Mapping[str, Any],
    plan: _Plan,
    receipts: dict[str, Receipt],
    failed: dict[str, str],
    strict: bool,
) -> int:
    """Check that all scenes fit together, write the manifest, say what there is."""
    good = [job for job in plan.jobs if job.name in receipts]
    for job in good:
        first, receipt = receipts[good[0].name], receipts[job.name]
        for what in ("channels", "classes"):
            expected, found = getattr(first, what), getattr(receipt, what)
            if expected != found and job.name not in failed:
                problem = f"has the {what} {found}, but {good[0].name} has {expected}"
                failed[job.name] = str(SceneError(job.source, problem, "prepare them apart"))
                print(f"left out: {failed[job.name]}", file=sys.stderr)
                forget(out, receipts[job.name])
    good = [job for job in good if job.name not in failed]
    if failed and strict:
        done = f"{len(good)} of {len(plan.jobs)} scenes are done"
        print(f"stopped at a broken scene; {done}", file=sys.stderr)
        return 1
    shares = parse_split(options["split"])
    entries = {
        name: [receipts[job.name].entry for job in good if job.split == name] for name in shares
    }
    files = {name: [e for e in split if e.patches] for name, split in entries.items()}
    for name, split in files.items():
        if not split:
            raise ValueError(
                f"split '{name}' holds no patch: all of its scenes failed or have no labelled "
                "patch; mend or add scenes, or change --split"
            )
    first = receipts[good[0].name]
    _check_classes(files.get("train", []), first.classes)
    skipped = [e for split in entries.values() for e in split if not e.patches]
    for entry in skipped:
        print(f"skipped: {entry.scene} {_why_skipped(entry)}", file=sys.stderr)
    text = build_manifest(
        files,
        channels=first.channels,
        classes=first.classes,
        patch_size=options["patch_size"],
        stride=options["stride"],
        label_source=options["label"],
        options={**options, "scenes": [job.name for job in plan.jobs]},
        skipped={entry.scene: _why_skipped(entry) for entry in skipped},
        failed={
            job.name: failed[job.name].removeprefix(f"{job.source}: ")
            for job in plan.jobs
            if job.name in failed
        },
    )
    remove_leftovers(out)
    write_manifest(out, text)
    print(_summary(files, skipped, failed, first.classes))
    return 1 if failed else 0


def _check_classes(entries: Sequence[FileEntry], classes: tuple[str, ...]) -> None:
    counts = [sum(entry.class_pixels[index] for entry in entries) for index in range(len(classes))]
    occurring = [name for name, count in zip(classes, counts, strict=True) if count]
    if entries and len(occurring) == 1:
        raise ValueError(
            f"only class '{occurring[0]}' occurs in the training labels; a network cannot learn "
            "from it: add scenes or choose another --label"
        )


def _why_skipped(entry: FileEntry) -> str:
    return (
        f"gives no patch: {entry.left_out_no_measurement} without measurement, "
        f"{entry.left_out_no_label} without label"
    )


def _summary(
    splits: Mapping[str, Sequence[FileEntry]],
    skipped: Sequence[FileEntry],
    failed: Mapping[str, str],
    classes: Sequence[str],
) -> str:
    entries = [entry for files in splits.values() for entry in files]
    pixels = [sum(entry.class_pixels[index] for entry in entries) for index in range(len(classes))]
    shares = [f"{name} {n / sum(pixels):.3f}" for name, n in zip(classes, pixels, strict=True)]
    everything = [*entries, *skipped]
    parts = [
        f"{len(entries)} scene{'s' if len(entries) > 1 else ''}",
        *(f"{name} {sum(e.patches for e in files)} patches" for name, files in splits.items()),
        f"left out {sum(e.left_out_no_measurement for e in everything)} without measurement, "
        f"{sum(e.left_out_no_label for e in everything)} without label",
        f"clipped {sum(e.clipped_pixels for e in entries)} values",
        ", ".join(shares),
    ]
    if skipped:
        parts.append(f"{len(skipped)} scenes skipped")
    if failed:
        parts.append(f"{len(failed)} scenes failed")
    return " | ".join(parts)
