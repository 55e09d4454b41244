"""Scenes to a patch set: one file per scene, then the manifest.

Rank 0 plans, all ranks cut, rank 0 writes the manifest. After each scene a receipt is left in
`OUT/.prepare/`, which names the scene's file and the options and the source it was made from. A
run that was broken off therefore goes on where it was; as no file depends on the order of work,
the result is the same to the byte. With the manifest there and every receipt right, nothing is
left to do. Scenes that failed leave no receipt: they are tried again.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import AgreedError, the_same_on_all_ranks
from cloudmask.cli.options import PatchSetConfig, PrepareConfig, VerifyConfig
from cloudmask.data import dual, parallel, slstr, survey
from cloudmask.data.archive import search
from cloudmask.data.entry import Entry
from cloudmask.data.patchset.files import write_patches
from cloudmask.data.patchset.index import index_problems, write_index
from cloudmask.data.patchset.manifest import (
    build_manifest,
    class_pixels,
    read_manifest,
    write_manifest,
)
from cloudmask.data.patchset.message import pack, unpack
from cloudmask.data.patchset.model import FileEntry, PatchFile
from cloudmask.data.patchset.open import verify_files
from cloudmask.data.prepare.plan import Job, Plan, make_plan
from cloudmask.data.prepare.receipts import LONGEST_NAME, Receipt, forget, path_of, write_receipt
from cloudmask.data.prepare.split import parse_split
from cloudmask.data.read import read_scene, read_stored
from cloudmask.data.scene import Scene, SceneError, StoredScene
from cloudmask.files import remove_leftovers
from cloudmask.record import warn
from cloudmask.text import plural

MapItems = Callable[..., "list[parallel.Outcome[Receipt] | None]"]
"""takes what `parallel.map_items` takes, with a function that can be pickled"""
ReadLabelled = Callable[[Job, Mapping[str, Any], bool], Scene | StoredScene]
"""a job, the options, and whether to verify -> its scene with a label; it can be pickled"""


def prepare(config: PrepareConfig, *, map_items: MapItems = parallel.map_items) -> int:
    """Cut scenes into the patch set `out`, on all ranks. The exit code: 1 if a scene failed.

    AgreedError on every rank for what the user has to mend and for a full disk.
    """
    return make_patch_set(config, {"label": config.label}, _read, map_items=map_items)


def make_patch_set(
    config: PatchSetConfig,
    labelling: Mapping[str, str],
    read: ReadLabelled,
    *,
    scenes: Sequence[Entry] | None = None,
    map_items: MapItems = parallel.map_items,
) -> int:
    """Like `prepare`, of what `read` gives. `labelling` is all that the label depends on beside the
    scene: its `label` names the label's source, and a `model` the network that helped.
    `scenes` are those of the archive where it was searched before."""
    world = parallel.world()
    if world.size == 1 and os.environ.get("HOROVOD_SIZE", "1") != "1":
        raise AgreedError("horovodrun --gloo joins no MPI ranks; start it with mpirun instead")
    out = config.out
    names = ("patch_size", "stride", "split", "split_by", "seed")
    options = {name: getattr(config, name) for name in names} | dict(labelling)
    with the_same_on_all_ranks():
        options |= slstr.Reading.of(config).record()
    if config.stride is None:
        options["stride"] = config.patch_size
    if options["label"] == "dual":
        found = world.on_root(lambda: search(config.scenes).scenes)
        options["strips"] = dual.as_json(survey.strips_of(found, world))
    plan = world.on_root(
        lambda: make_plan(config.scenes, out, options, labelling=labelling, found=scenes)
    )
    if plan.finished:
        if world.is_root:
            print(f"{out} is complete: {plural(len(plan.jobs), 'scene')}, nothing to do")
        return 0
    todo = [job for job in plan.jobs if job.name not in plan.done]
    outcomes = map_items(
        functools.partial(
            _prepare_scene, read=read, out=out, options=options, verify=config.verify
        ),
        todo,
        world=world,
        weights=[float(job.scene.bytes) for job in todo],
        progress="scenes",
        stop_at_error=config.strict,
    )
    receipts, failed = dict(plan.done), {}
    for job, outcome in zip(todo, outcomes, strict=True):
        if outcome is not None and outcome.value is not None:
            receipts[job.name] = outcome.value
        elif outcome is not None:
            failed[job.name] = outcome.error or ""
    lost = sum(1 for outcome in outcomes if outcome is None)
    if lost and not (config.strict and failed):
        raise AgreedError(
            f"{plural(lost, 'scene')} not reached; run the same command again: what is done is kept"
        )
    return world.on_root(lambda: _finish(out, options, plan, receipts, failed, config.strict))


def verify(config: VerifyConfig) -> int:
    """Check all checksums and say what was found; exit code 1 if anything differs.

    The ranks share the files, and the threads of a rank its cores; rank 0 tells. AgreedError.
    """
    world = parallel.world()
    message = world.on_root(lambda: pack(read_manifest(config.patchset)))
    patchset = unpack(message, config.patchset)
    files = patchset.files
    cores = len(parallel.take_cores(world).cores)
    mine = parallel.deal([float(entry.bytes) for entry in files], world.size)[world.rank]
    found = verify_files(patchset, [files[number] for number in mine], threads=cores)
    gathered = world.gather(found)
    problems = [problem for part in gathered or () for problem in part]
    if world.is_root:
        problems = [*problems, *index_problems(config.patchset, message)]
        print("\n".join(sorted(problems)) if problems else _all_match(files))
    return world.broadcast(1 if problems else 0)


def _all_match(files: Sequence[PatchFile]) -> str:
    patches = sum(entry.patches for entry in files)
    return f"{plural(len(files), 'file')}, {plural(patches, 'patch')}: all checksums match"


def _read(job: Job, options: Mapping[str, Any], verify: bool) -> Scene | StoredScene:
    stored = read_stored(job.source, label=options["label"])
    return stored or read_scene(
        job.source,
        label=options["label"],
        verify=verify,
        reading=slstr.recorded(options),
        strips=dual.from_json(options.get("strips")),
    )


def _prepare_scene(
    job: Job, *, read: ReadLabelled, out: Path, options: Mapping[str, Any], verify: bool
) -> Receipt:
    if len(os.fsencode(job.name)) > LONGEST_NAME:
        problem = "has a name that is too long for the files that are made of it"
        raise SceneError(job.source, problem, "give it a shorter one")
    scene = read(job, options, verify)
    path = path_of(job.split, job.name)
    size, stride = options["patch_size"], options["stride"]
    try:
        entry = write_patches(out, path, scene, patch_size=size, stride=stride)
    except ValueError as error:
        problem, _, advice = str(error).partition("; ")
        raise SceneError(job.source, problem, advice or "mend it, or leave it out") from error
    receipt = Receipt(job.key, scene.channels, scene.classes, entry)
    write_receipt(out, receipt)
    return receipt


def _finish(
    out: Path,
    options: Mapping[str, Any],
    plan: Plan,
    receipts: dict[str, Receipt],
    failed: dict[str, str],
    strict: bool,
) -> int:
    """Check that all scenes fit together, write the manifest, say what there is."""
    _fail_strangers(out, plan, receipts, failed)
    good = [job for job in plan.jobs if job.name in receipts]
    if failed and strict:
        done = f"{len(good)} of {plural(len(plan.jobs), 'scene')} are done"
        print(f"stopped at a broken scene; {done}", file=sys.stderr)
        return 1
    splits = {
        name: [receipts[job.name].entry for job in good if job.split == name]
        for name in parse_split(options["split"])
    }
    skipped = [entry for entries in splits.values() for entry in entries if not entry.patches]
    splits = {name: [e for e in entries if e.patches] for name, entries in splits.items()}
    for name, entries in splits.items():
        if not entries:
            raise ValueError(
                f"split '{name}' holds no patch: all of its scenes failed or have no labelled "
                "patch; mend or add scenes, or change --split"
            )
    first = receipts[good[0].name]
    _check_classes(splits.get("train", []), first.classes)
    for line in _coarse([receipts[job.name].entry for job in good], first.channels):
        warn(line)
    for entry in skipped:
        print(f"skipped: {entry.scene} {_why_skipped(entry)}", file=sys.stderr)
    sources = {job.name: job.source for job in plan.jobs}
    text = build_manifest(
        splits,
        channels=first.channels,
        classes=first.classes,
        patch_size=options["patch_size"],
        stride=options["stride"],
        label_source=options["label"],
        options={**options, "scenes": list(sources)},
        skipped={entry.scene: _why_skipped(entry) for entry in skipped},
        # Without the path: where the scenes lie must not change the manifest.
        failed={name: why.removeprefix(f"{sources[name]}: ") for name, why in failed.items()},
    )
    remove_leftovers(out)
    write_index(out, text.encode())
    write_manifest(out, text)
    print(_summary(splits, skipped, len(failed), first.classes))
    return 1 if failed else 0


def _fail_strangers(
    out: Path, plan: Plan, receipts: dict[str, Receipt], failed: dict[str, str]
) -> None:
    """Move the scenes that do not have the channels and classes of the first to the failed ones."""
    good = [job for job in plan.jobs if job.name in receipts]
    for job in good:
        first, receipt = receipts[good[0].name], receipts[job.name]
        for what in ("channels", "classes"):
            expected, found = getattr(first, what), getattr(receipt, what)
            if expected != found:
                problem = f"has the {what} {found}, but {good[0].name} has {expected}"
                failed[job.name] = str(SceneError(job.source, problem, "prepare them apart"))
                print(f"left out: {failed[job.name]}", file=sys.stderr)
                forget(out, receipts.pop(job.name))
                break


def _check_classes(entries: Sequence[FileEntry], classes: Sequence[str]) -> None:
    pixels = class_pixels(entries, len(classes))
    occurring = [name for name, count in zip(classes, pixels, strict=True) if count]
    if entries and len(occurring) == 1:
        raise ValueError(
            f"only class '{occurring[0]}' occurs in the training labels; a network cannot learn "
            "from it: add scenes or choose another --label"
        )


def _coarse(entries: Sequence[FileEntry], channels: Sequence[str]) -> list[str]:
    """A line for each SLSTR channel of which patch files lose more than they may."""
    lines: list[str] = []
    if tuple(channels[: len(slstr.CHANNELS)]) != slstr.CHANNELS:
        return lines  # of another sensor, whose units are not known
    for index, channel in enumerate(channels):
        most = slstr.LARGEST_LOSS.get(channel, math.inf)
        # Where nothing was measured, as at night, the step stands for nothing.
        steps = {e.scene: e.scale_factor[index] for e in entries if e.valid_pixels[index]}
        coarse = [name for name, step in steps.items() if step / 2 > most * (1 + 1e-9)]
        if coarse:
            worst = max(coarse, key=steps.__getitem__)
            lines.append(
                f"{channel} of {plural(len(coarse), 'scene')} is stored in steps of up to "
                f"{steps[worst]:g}, which lose more than {most:g} of a value ({worst}): its range "
                "is too wide; look at what is in it, lower --max-solar-zenith, or leave it out"
            )
    return lines


def _why_skipped(entry: FileEntry) -> str:
    return (
        f"gives no patch: {entry.left_out_no_measurement} without measurement, "
        f"{entry.left_out_no_label} without label"
    )


def _summary(
    splits: Mapping[str, Sequence[FileEntry]],
    skipped: Sequence[FileEntry],
    num_failed: int,
    classes: Sequence[str],
) -> str:
    entries = [entry for files in splits.values() for entry in files]
    pixels = class_pixels(entries, len(classes))
    looked_at = [*entries, *skipped]
    parts = [
        plural(len(entries), "scene"),
        *(f"{name} {plural(sum(e.patches for e in s), 'patch')}" for name, s in splits.items()),
        f"left out {sum(e.left_out_no_measurement for e in looked_at)} without measurement, "
        f"{sum(e.left_out_no_label for e in looked_at)} without label",
        f"clipped {plural(sum(e.clipped_pixels for e in entries), 'value')}",
        ", ".join(f"{name} {n / sum(pixels):.3f}" for name, n in zip(classes, pixels, strict=True)),
    ]
    if skipped:
        parts.append(f"{plural(len(skipped), 'scene')} skipped")
    if num_failed:
        parts.append(f"{plural(num_failed, 'scene')} failed")
    return " | ".join(parts)
