"""`series`: find class maps, count each on an engine, add up, write table, NetCDF and picture."""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudmask.data.parallel import Outcome
from cloudmask.files import parse_json, remove_leftovers, write_json, write_whole
from cloudmask.record import now
from cloudmask.text import listed, percent, plural
from cloudmask.version import __version__
from seaice.engines import Engine
from seaice.io import classmap
from seaice.options import SeriesConfig
from seaice.series import chart, layers, netcdf, overlap, regions, table
from seaice.series.count import Tally, Task, count
from seaice.series.layers import NO_TILE, Layer
from seaice.series.regions import Region

SUMMARY = "summary.json"
WORKER_BYTES = 2**29
"""of a process that counts: a full tile with two neighbours took 290 MB"""
SHOWN = 8
"""regions that a line names"""


def series(config: SeriesConfig) -> int:
    """Write the series; exit code 1 if a class map was left out. ValueError, OSError."""
    engine = Engine(config.engine, config.workers, config.master)
    world = engine.world()

    def plan() -> tuple[list[Region], list[Layer], dict[str, str]]:
        if not config.labels:
            raise ValueError("give folders of labels, or of masks of `cloudmask predict`")
        check_out(config.out, config.labels)
        table.rows([], [], by=config.by, min_coverage=config.min_coverage)  # looks at its options
        places: list[Region] = []
        if config.regions is not None:
            places = regions.read_regions(config.regions, config.region_field)
        for line in regions.wide(places):
            print(line, file=sys.stderr)
        found, left_out = layers.find(config.labels, date_in_name=config.date_from_name)
        for reason in left_out.values():
            print(f"left out: {reason}", file=sys.stderr)
        if not found:
            raise ValueError(
                f"none of {plural(len(left_out), 'class map')} has a date and a place; see above"
            )
        return places, found, left_out

    places, found, left_out = world.on_root(plan)
    seconds: collections.Counter[str] = collections.Counter()

    def count_all(todo: Sequence[Task]) -> list[Outcome[Tally] | None]:
        outcomes = engine.map_items(
            functools.partial(count, places=tuple(places)),
            todo,
            world=world,
            weights=[float(task.layer.rows) * task.layer.columns for task in todo],
            progress="count",
            bytes_each=WORKER_BYTES,
        )
        seconds.update(engine.seconds)
        return outcomes

    def tell(line: str) -> None:
        if world.is_root:
            print(line, file=sys.stderr)

    tallies, uncounted = counted(found, count_all, tell)
    failed = left_out | uncounted

    def finish() -> None:
        if not tallies:
            raise ValueError("no class map could be counted; see above")
        rows = table.rows(tallies, places, by=config.by, min_coverage=config.min_coverage)
        twice = seen_twice([tally.layer for tally in tallies])
        for text in twice:
            print(f"seen twice: {text}", file=sys.stderr)
        seen = {row.region for row in rows if row.scenes}
        unseen = [region.name for region in places if region.name not in seen]
        if unseen:
            told = listed(unseen, most=SHOWN)
            print(f"no class map reaches {plural(len(unseen), 'region')}: {told}", file=sys.stderr)
        remove_leftovers(config.out)
        (config.out / SUMMARY).unlink(missing_ok=True)
        write_whole(config.out / "series.csv", table.to_csv(rows))
        netcdf.write(config.out / "series.nc", rows, places, facts(config))
        hidden = chart.write(config.out / "series", rows)
        if hidden:
            told = listed(hidden, most=SHOWN)
            print(f"without room in the picture: {told}", file=sys.stderr)
        record = summary(config, tallies, failed, twice, rows, seconds)
        record |= {"regions_not_seen": unseen, "regions_without_room_in_the_chart": hidden}
        write_json(config.out / SUMMARY, record)
        print(closing_line(rows, tallies, failed, config))

    world.on_root(finish)  # before any rank leaves with a failure, which would end rank 0
    return 1 if failed else 0


def check_out(out: Path, labels: Sequence[str]) -> None:
    """ValueError for a folder that something else is in, which the series would write over."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose another --out")
    advice = "choose another --out"
    for name in (classmap.LABELS, classmap.RECORDS):
        if (out / name).is_dir():
            raise ValueError(f"{out} holds {name}/ of `label`; {advice}")
    if out.resolve() in {Path(place).resolve() for place in labels}:
        raise ValueError(f"{out} holds the class maps; {advice}")
    if (out / SUMMARY).exists():
        try:
            ours = "columns" in parse_json((out / SUMMARY).read_bytes())
        except (ValueError, TypeError):
            ours = False
        if not ours:
            raise ValueError(f"{out} holds the {SUMMARY} of another command; {advice}")


def tasks(found: Sequence[Layer]) -> list[Task]:
    """Each scene with those of its date that may overlap it, earlier and later in the order."""
    by_date: dict[str, list[Layer]] = collections.defaultdict(list)
    for layer in found:
        by_date[layer.date].append(layer)
    result = []
    for group in by_date.values():
        beside = overlap.neighbours(group)
        place = {layer.path: index for index, layer in enumerate(group)}
        for layer in group:
            mine = place[layer.path]
            others = beside[layer.path]
            earlier = tuple(other for other in others if place[other.path] < mine)
            later = tuple(other for other in others if place[other.path] > mine)
            result.append(Task(layer, earlier, later))
    return result


def counted(
    found: Sequence[Layer],
    count_all: Callable[[Sequence[Task]], list[Outcome[Tally] | None]],
    tell: Callable[[str], None],
) -> tuple[list[Tally], dict[str, str]]:
    """Tallies of scenes that agree on who counts what, and why others have none, by path.

    Neighbours of a scene that has none are counted again without it, until nothing changes.
    """
    left = {task.place: task for task in tasks(found)}
    tallies: dict[str, Tally] = {}
    failed: dict[str, str] = {}
    todo = list(left.values())
    while todo:
        lost: dict[str, str] = {}
        for task, outcome in zip(todo, count_all(todo), strict=True):
            if outcome is None or outcome.value is None:
                failed[task.place] = "not reached" if outcome is None else str(outcome.error)
            else:
                tallies[task.place] = outcome.value
                lost |= outcome.value.lost
        for path, reason in lost.items():
            if path not in failed:  # it could be read at one time, and not at another
                failed[path] = reason
                tell(f"left out: {reason}")
        left = {path: task for path, task in left.items() if path not in failed}
        todo = [less for task in left.values() if (less := task.without(failed)) != task]
        left |= {task.place: task for task in todo}
    return [tallies[path] for path in left], failed


def seen_twice(found: Sequence[Layer]) -> list[str]:
    """Tiles with several class maps on one date: two orbits, or one product processed twice."""
    groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for layer in found:
        if layer.tile != NO_TILE:
            groups[layer.date, layer.tile].append(layer.path)
    return [
        f"tile {tile} on {date}: {', '.join(paths)}; what the first knows counts"
        for (date, tile), paths in groups.items()
        if len(paths) > 1
    ]


def facts(config: SeriesConfig) -> dict[str, str]:
    """Global attributes of the NetCDF file."""
    return {
        "title": f"Sea-ice concentration and areas by {config.by}, region and tile",
        "source": f"class maps counted by seaice series, cloudmask {__version__}",
        "history": f"{now()} python -m seaice series",
        "comment": "Ice over ice and water of the area whose class is known. Where scenes of one "
        "date overlap, each place on the ground counts once.",
    }


def summary(
    config: SeriesConfig,
    tallies: Sequence[Tally],
    failed: dict[str, str],
    twice: Sequence[str],
    rows: Sequence[table.Row],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What summary.json holds: how the series was made, and of what."""
    return {
        "format_version": table.VERSION,
        "columns": table.COLUMNS,
        "rows": len(rows),
        "scenes": {
            tally.layer.path: {
                "acquired": tally.layer.moment,
                "tile": tally.layer.tile,
                "crs": tally.layer.grid.crs,
                "pixels_counted_in_another_scene": tally.elsewhere,
            }
            for tally in tallies
        },
        "left_out": failed,
        "seen_twice": list(twice),
        "options": {
            "regions": str(config.regions) if config.regions else None,
            "region_field": config.region_field,
            "by": config.by,
            "min_coverage": config.min_coverage,
            "date_from_name": config.date_from_name,
        },
        "seconds": dict(seconds),
        "version": __version__,
        "date": now(),
    }


def closing_line(
    rows: Sequence[table.Row],
    tallies: Sequence[Tally],
    failed: dict[str, str],
    config: SeriesConfig,
) -> str:
    """One line for people."""
    together = [row for row in rows if row.region == regions.ALL and row.tile == table.ALL_TILES]
    known = [row for row in together if row.concentration is not None]
    last = known[-1] if known else None
    parts = [
        f"{plural(len(tallies), 'class map')} of {plural(len(together), config.by)}",
        f"{len(failed)} left out",
        f"ice {percent(last.concentration)} on {last.period}" if last else "nothing known",
        f"in {config.out}",
    ]
    return " | ".join(parts)
