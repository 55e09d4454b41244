"""What `prepare` has to do: which scenes, into which splits, and what of it is done already."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudmask.data.archive import find_scenes
from cloudmask.data.entry import Entry
from cloudmask.data.kinds import Form, form_of
from cloudmask.data.patchset.manifest import read_manifest
from cloudmask.data.patchset.model import MANIFEST, WORK_FOLDER, FileEntry, PatchSet
from cloudmask.data.place import Place
from cloudmask.data.prepare.receipts import (
    Receipt,
    forget,
    is_key_of,
    is_there,
    key_of,
    read_receipts,
)
from cloudmask.data.prepare.split import parse_split, split_scenes
from cloudmask.data.slstr import BEFORE, LATER, READING

_OF_FORM: dict[Form | None, Sequence[str]] = {
    "product": READING,  # the strip of which is its own, and not that of the archive
    "hdf": ("skin_temperature", "strips"),
}
"""the options that say how a scene is read, as far as they matter to its form"""
_FOLLOWS = ("strips", "densities")
"""the options that nobody asks for: they follow from the others and from the scenes"""


@dataclass(frozen=True)
class Job:
    """One scene and where it goes."""

    scene: Entry
    split: str
    key: str
    """of everything that the scene's patch file depends on"""

    @property
    def name(self) -> str:
        return self.scene.name

    @property
    def source(self) -> Place:
        return self.scene.path


@dataclass(frozen=True)
class Plan:
    jobs: tuple[Job, ...]
    """all scenes, sorted by name"""
    done: dict[str, Receipt]
    """by scene name"""
    finished: bool
    """there is nothing to do"""


def make_plan(
    scenes: Sequence[Place],
    out: Path,
    options: Mapping[str, Any],
    *,
    labelling: Collection[str] = ("label",),
    found: Sequence[Entry] | None = None,
) -> Plan:
    """Look at the scenes and at what is in `out`, and remove from it what no longer fits.

    `labelling` names the options that a label depends on, and `found` are the scenes where they
    were searched for before.
    A finished patch set is never changed: with other options or scenes it is a ValueError.
    """
    for name in ("patch_size", "stride"):
        if options[name] < 1:
            raise ValueError(f"{name} {options[name]} must be at least 1")
    sources = find_scenes(scenes) if found is None else found
    names = [source.name for source in sources]
    shares = parse_split(options["split"])
    splits = split_scenes(names, shares, by=options["split_by"], seed=options["seed"])
    relevant = {key: options[key] for key in ("patch_size", "stride", *labelling)}
    # What is read as it always was keeps its key, and so the files of patch sets made before.
    reading = {key: options[key] for key in READING if options.get(key, BEFORE[key]) != BEFORE[key]}
    reading |= {key: options[key] for key in ("strips",) if key in options}
    forms = [form_of(source.path) for source in sources]
    facts = [
        relevant
        | {"split": split}
        | {key: value for key, value in reading.items() if key in _OF_FORM.get(form, ())}
        for split, form in zip(splits, forms, strict=True)
    ]
    jobs = tuple(
        Job(source, split, key_of(source, known))
        for source, split, known in zip(sources, splits, facts, strict=True)
    )
    matter = {key for form in forms for key in _OF_FORM.get(form, ())}
    options = LATER | dict(options)
    options = {key: value for key, value in options.items() if key in matter or key not in READING}
    existing = _existing(out, options, names)
    (out / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    receipts = read_receipts(out)
    listed = _entries(existing)
    done: dict[str, Receipt] = {}
    for job, known in zip(jobs, facts, strict=True):
        receipt = receipts.get(job.name)
        if existing and receipt is None and (job.split, job.name) in listed:
            # Of a patch set that was copied without its receipts: its manifest has the same facts.
            entry = listed[job.split, job.name]
            receipt = Receipt(job.key, existing.channels, existing.classes, entry)
        same = receipt is not None and is_key_of(receipt.key, job.scene, known)
        if existing and receipt and not same:
            raise ValueError(
                f"{job.source} has changed since {out} was made from it; choose another --out or "
                f"delete {out}"
            )
        if receipt and same and is_there(out, receipt.entry):
            done[job.name] = receipt
    for name, receipt in receipts.items():
        if name not in done:
            forget(out, receipt)
    return Plan(jobs, done, finished=existing is not None and len(done) == len(jobs))


def _existing(out: Path, options: Mapping[str, Any], names: Sequence[str]) -> PatchSet | None:
    """The finished patch set that is there, or None; ValueError if `out` cannot be used."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose another --out")
    if not (out / MANIFEST).exists():
        if out.exists() and any(out.iterdir()) and not (out / WORK_FOLDER).is_dir():
            raise ValueError(f"{out} is not empty and no patch set; choose another --out")
        return None
    patchset = read_manifest(out)
    if patchset.target != "label":
        raise ValueError(
            f"{out} holds soft targets, which prepare does not make; choose another --out"
        )
    # Last what follows from the rest: then all that was asked for is the same.
    for key, asked in sorted(options.items(), key=lambda item: item[0] in _FOLLOWS):
        found = patchset.options.get(key, BEFORE.get(key))
        if found != asked and key == "densities":
            raise ValueError(
                f"the scenes that the labels of {out} were fitted to have changed since, or others "
                "of them can be read; choose another --out or delete it"
            )
        if found != asked and key == "strips":
            raise ValueError(
                f"the masks of the scenes have changed since {out} was made: the columns that the "
                f"oblique view sees were {found} and are {asked}; choose another --out or delete it"
            )
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


def _entries(existing: PatchSet | None) -> dict[tuple[str, str], FileEntry]:
    """What the manifest knows of each scene, by split and name."""
    splits = existing.splits.values() if existing else ()
    return {(split.name, entry.scene): entry for split in splits for entry in split.files}
