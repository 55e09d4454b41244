"""`cloudmask evaluate`: a run on a patch set, or masks on whole scenes; a table and a JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudmask.cli import errors
from cloudmask.cli.options import EvaluateConfig, PredictConfig
from cloudmask.data import parallel
from cloudmask.data.archive import find_scenes
from cloudmask.data.patchset.model import MANIFEST
from cloudmask.data.patchset.open import is_patchset
from cloudmask.evaluate import patches as evaluate_patches
from cloudmask.evaluate import scenes as evaluate_scenes
from cloudmask.files import write_json
from cloudmask.model.keras_file import refuse_emulated
from cloudmask.predict.command import predict


def evaluate(config: EvaluateConfig) -> int:
    """Measure, print a table on rank 0 and write the JSON file; exit code 1 if a scene failed.

    Raises ValueError and OSError.
    """
    world = parallel.world()
    first = config.against[0]
    if len(config.against) == 1 and (is_patchset(first) or first.name == MANIFEST):
        return _on_patches(config, world)
    return _on_scenes(config, world)


def _on_patches(config: EvaluateConfig, world: parallel.World) -> int:
    parallel.take_cores(world)
    record = evaluate_patches.measure(config, world)
    if world.is_root:
        folder = config.what if config.what.is_dir() else Path.cwd()
        out = config.out or folder / f"evaluation-{config.split}.json"
        write_json(out, record)
        print("\n".join(evaluate_patches.table(record)))
        print(f"figures: {out}")
    return 0


def _on_scenes(config: EvaluateConfig, world: parallel.World) -> int:
    with errors.the_same_on_all_ranks():
        scenes = find_scenes(config.against)
        masks = masks_folder(config)
    if masks != config.what:
        predict(
            PredictConfig(
                run=config.what,
                scenes=config.against,
                out=masks,
                threshold=0.5 if config.threshold is None else config.threshold,
                precision=config.precision,
                verify=config.verify,
            )
        )
    record = evaluate_scenes.measure(
        masks,
        scenes,
        label=config.label,
        threshold=config.threshold,
        verify=config.verify,
        world=world,
    )
    if world.is_root:
        out = config.out or masks / "evaluation.json"
        write_json(out, record)
        print("\n".join(table(record)))
        print(f"figures: {out}")
    return 1 if record["failed"] else 0


def masks_folder(config: EvaluateConfig) -> Path:
    """Where the masks are or, of a run, will be. ValueError if `what` is neither."""
    what = config.what
    if not what.exists():
        raise ValueError(f"{what} does not exist; give a run, a model or a folder of masks")
    if what.is_dir() and not (what / "model.keras").exists():
        refuse_emulated(what)
        if not any(what.glob("*.nc")) and not any(what.glob("*.h5")):
            raise ValueError(
                f"{what} holds no masks (.nc or .h5) and is not a finished run; predict or train "
                "first"
            )
        return what
    if config.masks is None and not what.is_dir():
        raise ValueError(f"{what} is a model file; say with --masks where its masks shall go")
    return config.masks or what / "masks"


def table(record: dict[str, Any]) -> list[str]:
    """Lines for people: what was compared, and how it came out."""
    titles = record["members"]
    rows: list[tuple[str, dict[str, Any]]] = [
        (f"{titles[pair['of']]} against {titles[pair['against']]}", pair)
        for pair in record["pairs"]
    ]
    for region, against in record["regions"].items():
        for reference, figures in against.items():
            rows.append((f"  {region}: network against {titles[reference]}", figures))
    legacy = "legacy accuracy (whole frames, mean of scenes)"
    width = max(len(legacy), *(len(name) for name, _ in rows))
    failed = f", {len(record['failed'])} failed" if record["failed"] else ""
    lines = [
        f"{record['num_scenes']} scenes{failed}; classes {', '.join(record['classes'])}",
        f"  {'':<{width}}  accuracy  majority  mean IoU  kappa     pixels",
    ]
    for name, figures in rows:
        keys = ("accuracy", "majority", "mean_iou", "kappa")
        values = "    ".join(_number(figures[key]) for key in keys)
        lines.append(f"  {name:<{width}}  {values}    {figures['pixels']}")
    if record["legacy"]:
        lines.append(f"  {legacy:<{width}}  {_number(record['legacy']['accuracy'])}")
    return lines + [line for duel in record["comparisons"] for line in _verdict(duel, titles)]


def _verdict(duel: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    a, b, reference = (titles[duel[key]] for key in ("a", "b", "reference"))
    interval = duel["interval"]
    spread = "too few scenes for an interval"
    if interval:
        spread = f"95 % interval over scenes {interval[0]:+.4f} to {interval[1]:+.4f}"
    yield (
        f"  against {reference}: {a} {_number(duel['accuracy_a'])}, {b} "
        f"{_number(duel['accuracy_b'])}, difference {duel['difference']:+.4f} ({spread})"
    )
    p = duel["clustered_p"]
    yield (
        f"    alone right: {a} {duel['a_only']}, {b} {duel['b_only']} pixels; better in "
        f"{duel['scenes_a_better']} and {duel['scenes_b_better']} of {duel['scenes']} scenes; "
        f"McNemar by scenes p = {'-' if p is None else f'{p:.2g}'}"
    )


def _number(value: float | None) -> str:
    return "   -  " if value is None else f"{value:.4f}"
