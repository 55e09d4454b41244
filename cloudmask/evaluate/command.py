"""`cloudmask evaluate`: a run on a patch set, or masks on whole scenes; a table and a JSON file."""

from __future__ import annotations

from pathlib import Path

from cloudmask.cli.options import EvaluateConfig, PredictConfig
from cloudmask.data import parallel
from cloudmask.data.archive import find_scenes
from cloudmask.data.patchset.model import MANIFEST
from cloudmask.data.patchset.open import is_patchset
from cloudmask.evaluate import patches, scenes
from cloudmask.evaluate.tables import of_patches, of_scenes
from cloudmask.files import write_json
from cloudmask.model.keras_file import refuse_emulated
from cloudmask.predict.command import predict


def evaluate(config: EvaluateConfig) -> int:
    """Measure, print a table on rank 0 and write the JSON file; exit code 1 if a scene failed.

    Raises ValueError and OSError.
    """
    world = parallel.world()
    first = config.against[0]
    on_patches = isinstance(first, Path) and (is_patchset(first) or first.name == MANIFEST)
    if len(config.against) == 1 and on_patches:
        return _on_patches(config, world)
    return _on_scenes(config, world)


def _on_patches(config: EvaluateConfig, world: parallel.World) -> int:
    parallel.take_cores(world)
    record = patches.measure(config, world)
    if world.is_root:
        folder = config.what if config.what.is_dir() else Path.cwd()
        out = config.out or folder / f"evaluation-{config.split}.json"
        write_json(out, record)
        print("\n".join(of_patches(record)))
        print(f"figures: {out}")
    return 0


def _on_scenes(config: EvaluateConfig, world: parallel.World) -> int:
    found, masks = world.on_root(lambda: (find_scenes(config.against), masks_folder(config)))
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
    record = scenes.measure(
        masks,
        found,
        label=config.label,
        threshold=config.threshold,
        verify=config.verify,
        world=world,
    )
    if world.is_root:
        out = config.out or masks / "evaluation.json"
        write_json(out, record)
        print("\n".join(of_scenes(record)))
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
