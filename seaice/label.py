"""`label`: plan, label on an engine, sum up. A second run does what is not done yet."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from cloudmask.data.parallel import Outcome
from cloudmask.files import remove_leftovers, write_json
from cloudmask.record import now
from cloudmask.text import plural
from seaice import colour, ground, one_scene, opencv, records
from seaice.colour import Thresholds
from seaice.engines import Engine
from seaice.io import classmap, masks, raster, reading, sources
from seaice.io.masks import MaskSource
from seaice.io.reading import ImageError
from seaice.io.sources import Found, Source
from seaice.one_scene import Done, Settings
from seaice.options import LabelConfig
from seaice.rule import Rule

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Plan:
    todo: tuple[Source, ...]
    done: tuple[Done, ...]
    bytes_each: int
    """memory that a worker takes; 0 where it need not be known"""
    unreadable: tuple[str, ...] = ()
    """folders that could not be listed"""


def label(config: LabelConfig) -> int:
    """Label every scene; exit code 1 if one failed, or a folder could not be listed. ValueError,
    OSError."""
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
        bytes_each=plan.bytes_each,
    )
    failed = any(outcome is None or outcome.error is not None for outcome in outcomes)

    def finish() -> None:
        pairs = zip(plan.todo, outcomes, strict=True)
        found = [_known(source, outcome, settings) for source, outcome in pairs]
        lost = [
            source.name
            for source, outcome in zip(plan.todo, found, strict=True)
            if outcome is None or outcome.error is not None
        ]
        stale = records.set_aside(config.out, lost)
        records.tell(config.out, stale, "that could not be labelled again")
        record = summary(config, settings, engine, plan, found, ranks=world.size)
        write_json(config.out / SUMMARY, record)
        for line in told_of([o.value for o in found if o is not None and o.value is not None]):
            print(line, file=sys.stderr)
        print(closing_line(record, config.out))

    world.on_root(finish)  # before any rank leaves with a failure, which would end rank 0
    return 1 if failed or plan.unreadable else 0


def _known(
    source: Source, outcome: Outcome[Done] | None, settings: Settings
) -> Outcome[Done] | None:
    """What became of a scene: a worker may have been killed when it was done and not told of."""
    if outcome is not None:
        return outcome
    with contextlib.suppress(ValueError):
        if done := one_scene.already_done(source, settings):
            return Outcome(done)
    return None


def settings_of(config: LabelConfig) -> Settings:
    """What the flags say, checked, and whether there is what it takes."""
    opencv.load()
    raster.load()
    if not config.scenes:
        raise ValueError("give scenes to label: pictures, folders, or URIs with --engine spark")
    ground.check_pixel("--pixel-metres", config.pixel_metres)
    return Settings(
        out=str(config.out.absolute()),
        rule=rule_of(config),
        reading=reading.checked(config.stretch, config.nodata, config.bands),
        pixel_metres=config.pixel_metres,
        land=masks.source_of("--land", config.land) if config.land else None,
        clouds=clouds_of(config.clouds),
    )


def rule_of(config: LabelConfig) -> Rule:
    """--rule, --thresholds and --filter. ValueError."""
    if config.rule == "infrared":
        if config.thresholds != "paper" or config.filter == "published":
            raise ValueError(
                "--thresholds and --filter are of the colour rule and have no effect with --rule "
                "infrared; leave them out"
            )
        return Rule(filter="none", kind="infrared")
    adaptive = config.thresholds == "adaptive"
    named = config.thresholds in ("paper", "adaptive")
    thresholds = colour.PAPER if named else read_thresholds(Path(config.thresholds))
    return Rule(thresholds, adaptive, config.filter)


def clouds_of(word: str) -> MaskSource | Literal["scl"] | None:
    """--clouds: none, scl, or where masks are. ValueError, OSError."""
    if word == "none":
        return None
    return one_scene.SCL if word == one_scene.SCL else masks.source_of("--clouds", Path(word))


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

        found = Found(
            tuple(spark.listed(uris, engine.master or spark.default_master(engine.workers)))
        )
    else:
        laid = [m for m in (settings.land, settings.clouds) if isinstance(m, MaskSource)]
        apart_from = [config.out, *(Path(mask.path) for mask in laid)]
        found = sources.find(config.scenes, apart_from=apart_from)
    if config.out.exists() and not config.out.is_dir():
        raise ValueError(f"{config.out} is a file; choose another --out")
    states = [(source, _state(source, settings)) for source in found]
    # From here on nothing is refused.
    remove_leftovers(config.out)
    gone = records.withdrawn(config.out, config.scenes, {source.name for source in found})
    gone = records.set_aside(config.out, gone)
    records.tell(config.out, gone, "whose pictures are not there any more")
    for folder in (classmap.LABELS, classmap.PICTURES, classmap.RECORDS):
        (config.out / folder).mkdir(parents=True, exist_ok=True)
    (config.out / SUMMARY).unlink(missing_ok=True)
    todo = tuple(source for source, state in states if state is None)
    return Plan(
        todo=todo,
        done=tuple(state for _, state in states if state is not None),
        bytes_each=engine.bytes_each(todo, settings.reading),
        unreadable=found.unreadable,
    )


def _state(source: Source, settings: Settings) -> Done | None:
    """See `one_scene.already_done`. What is wrong with one scene is told when it is worked on."""
    try:
        return one_scene.already_done(source, settings)
    except ImageError:
        return None


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
    sized = [done.km2 for done in scenes if done.km2 is not None]
    km2 = tuple(math.fsum(areas) for areas in zip(*sized, strict=True)) if sized else None
    return {
        "scenes": len(scenes),
        "labelled_now": len(new),
        "were_there": len(plan.done),
        "failed": {
            source.place: "not reached" if outcome is None else outcome.error
            for source, outcome in zip(plan.todo, outcomes, strict=True)
            if outcome is None or outcome.error is not None
        },
        "folders_not_listed": list(plan.unreadable),
        **colour.statistics(totals, km2),
        "scenes_with_area": len(sized),
        "scenes_without": {
            f"--{what}": sum(f"--{what}" in done.without for done in scenes)
            for what in ("land", "clouds")
            if getattr(settings, what) is not None
        },
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


def told_of(scenes: Sequence[Done]) -> list[str]:
    """What is to be known of scenes, in one line for all of which the same is."""
    lines: dict[str, list[str]] = {}
    for done in scenes:
        for line in done.told:
            lines.setdefault(line, []).append(done.name)
    return [
        f"{names[0]}: {line}"
        if len(names) == 1
        else f"{len(names)} scenes ({names[0]}, ...): {line}"
        for line, names in lines.items()
    ]


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
        *(f"{count} without {flag}" for flag, count in record["scenes_without"].items() if count),
        f"in {out}",
    ]
    return " | ".join(parts)
