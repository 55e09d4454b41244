"""`cloudmask evaluate`: a run on a patch set, or masks on whole scenes; a table and a JSON file."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from cloudmask.cli.errors import the_same_on_all_ranks
from cloudmask.cli.options import EvaluateConfig, PredictConfig
from cloudmask.data import dual, parallel, survey
from cloudmask.data.archive import find_scenes
from cloudmask.data.entry import Entry
from cloudmask.data.patchset.model import MANIFEST
from cloudmask.data.patchset.open import is_patchset
from cloudmask.data.place import Place
from cloudmask.evaluate import figures, listing, patches, scenes, seen, tables
from cloudmask.evaluate.scenes import Measured
from cloudmask.files import write_json
from cloudmask.model.keras_file import refuse_emulated
from cloudmask.predict.command import predict_scenes
from cloudmask.predict.masks import SUFFIXES
from cloudmask.predict.recipe import Recipe, options_of
from cloudmask.record import commit, now, versions, warn

FORMAT, VERSION = "cloudmask-evaluation", 2
MOST_SCENES = 200
"""single scenes, and failed ones, in evaluation.json; the listing has all"""
LISTING = ".csv"
"""ending of the listing, beside the JSON file"""


def evaluate(config: EvaluateConfig) -> int:
    """Measure, print a table on rank 0 and write the JSON file; exit code 1 if a scene failed.

    Raises ValueError and OSError.
    """
    world = parallel.world()
    first = config.against[0]
    on_patches = isinstance(first, Path) and (is_patchset(first) or first.name == MANIFEST)
    on_patches = on_patches and len(config.against) == 1
    with the_same_on_all_ranks():
        _check(config, on_patches)
    return _on_patches(config, world) if on_patches else _on_scenes(config, world)


def _check(config: EvaluateConfig, on_patches: bool) -> None:
    """Refuse with a ValueError, before any work, what could only be refused after it."""
    threshold, out = config.threshold, config.out
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"--threshold {threshold} is not a probability from 0 to 1")
    if out is not None and out.is_dir():
        raise ValueError(f"--out {out} is a folder; give it the name of a file, such as NAME.json")
    if on_patches:
        if config.masks is not None:
            raise ValueError(f"--masks is for scenes, and {config.against[0]} is a patch set")
    elif out is not None and out == out.with_suffix(LISTING):
        raise ValueError(f"{out} is the listing's name; choose another --out, such as NAME.json")


def _on_patches(config: EvaluateConfig, world: parallel.World) -> int:
    parallel.take_cores(world)
    record = patches.measure(config, world)
    if world.is_root:
        folder = config.what if config.what.is_dir() else Path.cwd()
        out = config.out or folder / f"evaluation-{config.split}.json"
        write_json(out, record)
        print("\n".join(tables.of_patches(record)))
        print(f"figures: {out}")
    return 0


def _on_scenes(config: EvaluateConfig, world: parallel.World) -> int:
    found = world.on_root(lambda: find_scenes(config.against))
    masks, of_run = world.on_root(lambda: masks_folder(config))
    strips = survey.strips_of(found, world) if config.label == "dual" else None
    recipe: Recipe | None = None
    left_out: dict[Place, str] = {}
    if of_run:
        recipe, left_out = _predicted(config, masks, found, world)
    measured = scenes.measure(
        masks,
        found,
        label=config.label,
        strips=strips,
        threshold=config.threshold,
        verify=config.verify,
        recipe=recipe,
        left_out=left_out,
        world=world,
    )
    # No rank may leave with a failure while rank 0 is at work: it would be ended (cli/errors.py).
    out = config.out or masks / "evaluation.json"
    world.on_root(lambda: write(out, record_of(config, masks, measured, world, strips), measured))
    return 1 if measured.failed else 0


def _predicted(
    config: EvaluateConfig, masks: Path, found: list[Entry], world: parallel.World
) -> tuple[Recipe, dict[Place, str]]:
    """What a run's masks are made with, and the scenes of which it could make none, with reasons.

    They are made at the plain threshold: another one is applied to their probabilities.
    """
    recipe, outcomes = predict_scenes(
        PredictConfig(
            run=config.what,
            scenes=config.against,
            out=masks,
            precision=config.precision,
            format=scenes.FORMAT_OF_RUNS,
            verify=config.verify,
            overwrite=config.overwrite,
        ),
        found,
        world,
        tell=False,
    )
    return recipe, scenes.problems(found, outcomes)


def record_of(
    config: EvaluateConfig,
    masks: Path,
    measured: Measured,
    world: parallel.World,
    strips: dual.Strips | None = None,
) -> dict[str, Any]:
    """The content of evaluation.json; without what only the listing has."""
    fingerprint = measured.counts[0].fingerprint
    attributes = measured.tally.attributes[fingerprint]
    options = options_of(attributes)
    models = options.pop("models", [])
    shown = figures.worst(measured.counts, MOST_SCENES)
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": "scenes",
        "date": now(),
        "commit": commit(),
        "versions": versions(),
        "ranks": world.size,
        "masks": str(masks),
        "threshold": config.threshold,
        "models": models if isinstance(models, list) else [],
        "fingerprint": fingerprint,
        "training_patchset": attributes.get("training_patchset"),
        "options": options,
        "calibrated_on": seen.calibrated_on(options, [one.name for one in measured.counts]),
        "label_source": config.label,
        **({} if strips is None else {"strips": dual.as_json(strips)}),
        "num_failed": len(measured.failed),
        "failed": dict(itertools.islice(measured.failed.items(), MOST_SCENES)),
        **figures.derive(measured.counts, measured.tally),
        "scenes": list(figures.of_scenes(shown, measured.tally.classes)),
    }


def write(out: Path, record: dict[str, Any], measured: Measured) -> None:
    """The listing, then the JSON file, which says that both are there; and a table for people."""
    listed = out.with_suffix(LISTING)
    classes = measured.tally.classes
    listing.write(
        listed,
        figures.of_scenes(measured.counts, classes),
        measured.failed,
        members=list(record["members"]),
        classes=classes,
    )
    write_json(out, {**record, "listing": listed.name})
    for line in tables.failures(measured.failed, listed):
        print(line, file=sys.stderr)
    print("\n".join(tables.of_scenes(record)))
    if record["calibrated_on"]:
        warn(seen.warning(record["calibrated_on"], record["num_scenes"]))
    print(f"figures: {out}; scenes: {listed}")


def masks_folder(config: EvaluateConfig) -> tuple[Path, bool]:
    """Where the masks are or, of a run, will be; and whether `what` is a run, or a model.

    ValueError if it is neither that nor a folder of masks; OSError.
    """
    what = config.what
    if not what.exists():
        raise ValueError(f"{what} does not exist; give a run, a model or a folder of masks")
    if what.is_dir() and not (what / "model.keras").exists():
        refuse_emulated(what)
        if not any(any(what.glob(f"*{suffix}")) for suffix in SUFFIXES):
            raise ValueError(
                f"{what} holds no masks ({', '.join(SUFFIXES)}) and is not a finished run; predict "
                "or train first"
            )
        if config.masks is not None:
            raise ValueError(
                f"{what} holds the masks that are to be measured; --masks says where those of a "
                "run go, so leave it out"
            )
        return what, False
    if config.masks is None and not what.is_dir():
        raise ValueError(f"{what} is a model file; say with --masks where its masks shall go")
    masks = config.masks or what / "masks"
    if masks.exists() and not masks.is_dir():
        raise ValueError(f"{masks} is a file; choose another --masks")
    masks.mkdir(parents=True, exist_ok=True)
    return masks, True
