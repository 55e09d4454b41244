"""`series`: find class maps, count each on an engine, add up, write table, NetCDF and picture."""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Sequence
from typing import Any

from cloudmask.data.parallel import Outcome
from cloudmask.files import remove_leftovers, write_json, write_whole
from cloudmask.record import now
from cloudmask.text import percent, plural
from cloudmask.version import __version__
from seaice.engines import Engine
from seaice.options import SeriesConfig
from seaice.series import chart, layers, netcdf, overlap, regions, table
from seaice.series.count import Tally, Task, count
from seaice.series.layers import NO_TILE, Layer
from seaice.series.regions import Region

SUMMARY = "summary.json"
WORKER_BYTES = 2**29
"""of a process that counts: a full tile with two neighbours took 290 MB"""


def series(config: SeriesConfig) -> int:
    """Write the series; exit code 1 if a class map was left out. ValueError, OSError."""
    engine = Engine(config.engine, config.workers, config.master)
    world = engine.world()

    def plan() -> tuple[list[Region], list[Layer], dict[str, str]]:
        if not config.labels:
            raise ValueError("give folders of labels, or of masks of `cloudmask predict`")
        if config.out.exists() and not config.out.is_dir():
            raise ValueError(f"{config.out} is a file; choose another --out")
        table.rows([], [], by=config.by, min_coverage=config.min_coverage)  # looks at its options
        places: list[Region] = []
        if config.regions is not None:
            places = regions.read_regions(config.regions, config.region_field)
        found, left_out = layers.find(config.labels, date_in_name=config.date_from_name)
        for reason in left_out.values():
            print(f"left out: {reason}", file=sys.stderr)
        if not found:
            raise ValueError(
                f"none of {plural(len(left_out), 'class map')} has a date and a place; see above"
            )
        return places, found, left_out

    places, found, left_out = world.on_root(plan)
    todo = tasks(found)
    outcomes = engine.map_items(
        functools.partial(count, places=tuple(places)),
        todo,
        world=world,
        weights=[float(task.layer.rows) * task.layer.columns for task in todo],
        progress="count",
        bytes_each=WORKER_BYTES,
    )
    failed = left_out | failures(todo, outcomes)

    def finish() -> None:
        tallies = [o.value for o in outcomes if o is not None and o.value is not None]
        if not tallies:
            raise ValueError("no class map could be counted; see above")
        rows = table.rows(tallies, places, by=config.by, min_coverage=config.min_coverage)
        twice = seen_twice(found)
        for text in twice:
            print(f"seen twice: {text}", file=sys.stderr)
        remove_leftovers(config.out)
        (config.out / SUMMARY).unlink(missing_ok=True)
        write_whole(config.out / "series.csv", table.to_csv(rows))
        netcdf.write(config.out / "series.nc", rows, places, facts(config))
        hidden = chart.write(config.out / "series", rows)
        record = summary(config, tallies, failed, twice, rows, engine)
        write_json(config.out / SUMMARY, record | {"regions_without_room_in_the_chart": hidden})
        print(closing_line(rows, tallies, failed, config))

    world.on_root(finish)  # before any rank leaves with a failure, which would end rank 0
    return 1 if failed else 0


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


def failures(todo: Sequence[Task], outcomes: Sequence[Outcome[Tally] | None]) -> dict[str, str]:
    return {
        task.layer.path: "not reached" if outcome is None else str(outcome.error)
        for task, outcome in zip(todo, outcomes, strict=True)
        if outcome is None or outcome.error is not None
    }


def seen_twice(found: Sequence[Layer]) -> list[str]:
    """Tiles with several class maps on one date: two orbits, or one product processed twice."""
    groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for layer in found:
        if layer.tile != NO_TILE:
            groups[layer.date, layer.tile].append(layer.name)
    return [
        f"tile {tile} on {date}: {', '.join(names)}; what the first knows counts"
        for (date, tile), names in groups.items()
        if len(names) > 1
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
    engine: Engine,
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
        "seconds": dict(engine.seconds),
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
