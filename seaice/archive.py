"""`synth`: an archive of synthetic scenes on disk, each with its truth."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict
from pathlib import Path

from cloudmask.files import parse_json, remove_leftovers, write_json, write_whole
from cloudmask.text import plural
from seaice import opencv, placed, synthetic
from seaice.engines import Engine
from seaice.io import classmap, geotiff, png
from seaice.options import SynthConfig

SCENES, TRUTH = "scenes", "truth"


def synth(config: SynthConfig) -> int:
    """Write OUT/scenes/NAME.png, OUT/truth/NAME.png and NAME.json. ValueError, OSError.

    Scenes on the ground, and their truth, are NAME.tif.
    """
    engine = Engine(config.engine, config.workers, config.master)
    world = engine.world()

    def check() -> None:
        opencv.load()
        if config.scenes < 1:
            raise ValueError(f"--scenes {config.scenes} must be 1 or more")
        if not 0 < config.exposure[0] <= config.exposure[1] < math.inf:
            raise ValueError(f"--exposure {config.exposure}: give a range of numbers above 0")
        placed.check(config)
        for folder in (SCENES, TRUTH):
            (config.out / folder).mkdir(parents=True, exist_ok=True)
            remove_leftovers(config.out / folder)

    world.on_root(check)
    outcomes = engine.map_items(
        functools.partial(write_scene, config=config),
        range(config.scenes),
        world=world,
        progress="synth",
        stop_at_error=True,
    )
    failed = any(outcome is None or outcome.error is not None for outcome in outcomes)
    if world.is_root and not failed:
        size = f"{config.height} x {config.width}"
        print(f"{plural(config.scenes, 'scene')} of {size} in {config.out / SCENES}")
    return 1 if failed else 0


def write_scene(index: int, config: SynthConfig) -> bool:
    """Write one scene; False if it is there already."""
    name = f"ice_{config.seed}_{index:04d}"
    place = None if config.crs is None else placed.place_of(index, config)
    facts: dict[str, object] = {
        "family": config.family,
        "height": config.height,
        "width": config.width,
        "exposure_range": list(config.exposure),
        "seed": config.seed,
        "index": index,
    }
    if place is not None:
        name = f"{name}_{place.date:%Y%m%d}"
        strip = [config.scenes, config.days]
        facts |= {"crs": place.grid.crs, "transform": list(place.grid.transform), "strip": strip}
        facts["date"] = place.moment
    record = config.out / TRUTH / f"{name}.json"
    if _facts_of(record) == facts:
        return False
    if place is None:
        scene = synthetic.make_scene(
            index,
            height=config.height,
            width=config.width,
            seed=config.seed,
            exposure=config.exposure,
            family=config.family,
        )
        write_whole(config.out / SCENES / f"{name}.png", png.encode(scene.image))
        write_whole(config.out / TRUTH / f"{name}.png", png.encode(scene.truth))
    else:
        scene = placed.make_scene(place, config)
        truth = classmap.encode(scene.truth, place.grid, date=place.moment)
        picture = geotiff.encode(scene.image, place.grid, date=place.moment)
        write_whole(config.out / SCENES / f"{name}.tif", picture)
        write_whole(config.out / TRUTH / f"{name}.tif", truth)
    write_json(
        record,
        {
            "cloud_cover": scene.cloud_cover,
            "exposure": scene.exposure,
            "look": asdict(scene.look),
            "made_from": facts,
        },
    )
    return True


def _facts_of(record: Path) -> object:
    try:
        return parse_json(record.read_bytes())["made_from"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
