"""`label`: plan, label on an engine, sum up. A second run does what is not done yet."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudmask.data.parallel import Outcome
from cloudmask.files import write_json
from cloudmask.record import now
from cloudmask.text import plural
from seaice import colour, one_scene, opencv
from seaice.colour import Thresholds
from seaice.engines import Engine
from seaice.io import maps, sources
from seaice.io.sources import Source
from seaice.one_scene import Done, Settings
from seaice.options import LabelConfig
from seaice.rule import Rule

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Plan:
    todo: tuple[Source, ...]
    done: tuple[Done, ...]


def label(config: LabelConfig) -> int:
    """Label every scene; exit code 1 if one failed. ValueError, OSError."""
    engine = Engine(config.engine, config.workers, config.master)
    world = engine.world()
    settings = world.on_root(lambda: settings_of(config))
    plan = world.on_root(lambda: make_plan(config, settings, engine))
    outcomes = engine.map_items(
        functools.partial(one_scene.label_source, settings=settings),
        plan.todo,
        world=world,
        weights=[float(source.size_bytes) for source in plan.todo],
        progress="label",
    )
    failed = any(outcome is None or outcome.error is not None for outcome in outcomes)

    def finish() -> None:
        record = summary(config, settings, engine, plan, outcomes, ranks=world.size)
        write_json(config.out / SUMMARY, record)
        print(closing_line(record, config.out))

    world.on_root(finish)  # before any rank leaves with a failure, which would end rank 0
    return 1 if failed else 0


def settings_of(config: LabelConfig) -> Settings:
    """What the flags say, checked, and whether there is what it takes."""
    opencv.load()
    if not config.scenes:
        raise ValueError("give scenes to label: pictures, folders, or URIs with --engine spark")
    if config.stretch is not None and not config.stretch[0] < config.stretch[1]:
        raise ValueError(f"--stretch {config.stretch}: the first value must be below the second")
    if config.pixel_metres is not None and config.pixel_metres <= 0:
        raise ValueError(f"--pixel-metres {config.pixel_metres} must be above 0")
    if config.land is not None and not config.land.is_dir():
        raise ValueError(f"--land {config.land} is not a folder")
    adaptive = config.thresholds == "adaptive"
    named = config.thresholds in ("paper", "adaptive")
    thresholds = colour.PAPER if named else read_thresholds(Path(config.thresholds))
    return Settings(
        out=str(config.out.absolute()),
        rule=Rule(thresholds, adaptive, config.filter),
        stretch=config.stretch,
        pixel_metres=config.pixel_metres,
        land=str(config.land.absolute()) if config.land else None,
    )


def read_thresholds(path: Path) -> Thresholds:
    """A YAML file of water_max and thick_min. ValueError."""
    wanted = "--thresholds takes paper, adaptive, or a YAML file with water_max and thick_min"
    try:
        values = yaml.safe_load(path.read_text())
        bounds = int(values["water_max"]), int(values["thick_min"])
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror}); {wanted}") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise ValueError(f"{path} does not hold thresholds; {wanted}") from None
    return Thresholds(*bounds)


def make_plan(config: LabelConfig, settings: Settings, engine: Engine) -> Plan:
    """Find the scenes, and those of them that are done."""
    uris = [place for place in config.scenes if sources.is_uri(place)]
    if uris and len(uris) < len(config.scenes):
        raise ValueError("give either paths or URIs, not both")
    if uris:
        if config.engine != "spark":
            raise ValueError(f"{uris[0]} is a URI, which Spark alone reads; add --engine spark")
        from seaice import spark

        found = spark.listed(uris, engine.master or spark.default_master(engine.workers))
    else:
        found = sources.find(config.scenes, apart_from=config.out)
    if config.out.exists() and not config.out.is_dir():
        raise ValueError(f"{config.out} is a file; choose another --out")
    for folder in (maps.LABELS, maps.PICTURES, maps.RECORDS):
        (config.out / folder).mkdir(parents=True, exist_ok=True)
    (config.out / SUMMARY).unlink(missing_ok=True)
    states = [(source, one_scene.already_done(source, settings)) for source in found]
    return Plan(
        todo=tuple(source for source, state in states if state is None),
        done=tuple(state for _, state in states if state is not None),
    )


def summary(
    config: LabelConfig,
    settings: Settings,
    engine: Engine,
    plan: Plan,
    outcomes: Sequence[Outcome[Done] | None],
    *,
    ranks: int,
) -> dict[str, Any]:
    """What summary.json holds: counts added over scenes and divided once, failures, times."""
    new = [o.value for o in outcomes if o is not None and o.value is not None]
    scenes = sorted([*plan.done, *new], key=lambda done: done.name)
    places = range(len(colour.CLASSES) + 1)
    totals = tuple(sum(done.counts[place] for done in scenes) for place in places)
    sized = [done for done in scenes if done.km2_per_pixel is not None]
    areas = {
        name: sum(done.counts[index] * (done.km2_per_pixel or 0) for done in sized)
        for index, name in enumerate(colour.CLASSES)
    }
    return {
        "scenes": len(scenes),
        "labelled_now": len(new),
        "were_there": len(plan.done),
        "failed": {
            source.place: "not reached" if outcome is None else outcome.error
            for source, outcome in zip(plan.todo, outcomes, strict=True)
            if outcome is None or outcome.error is not None
        },
        **colour.statistics(totals, None),
        "area_km2": areas if sized else None,
        "scenes_with_area": len(sized),
        "options": settings.options(),
        "engine": {
            "kind": config.engine,
            "workers": engine.num_workers if config.engine == "processes" else config.workers,
            "master": config.master,
            "ranks": ranks,
        },
        "seconds": {
            **engine.seconds,
            "decode": sum(done.decode_seconds for done in new),
            "label": sum(done.label_seconds for done in new),
            "write": sum(done.write_seconds for done in new),
        },
        "date": now(),
    }


def closing_line(record: dict[str, Any], out: Path) -> str:
    """One line for people."""
    shares = ", ".join(
        f"{name} {share:.3f}" for name, share in record["fractions"].items() if share is not None
    )
    parts = [
        f"{plural(record['labelled_now'], 'scene')} labelled in {record['seconds']['total']:.1f} s",
        f"{record['were_there']} were there",
        f"{len(record['failed'])} failed",
        shares or "no labelled pixel",
        f"in {out}",
    ]
    return " | ".join(parts)
