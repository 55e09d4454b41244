"""Scenes of several folders of class maps against each other: counts of each, then of all.

Few maps of one scene are in memory at once, each with a byte a pixel.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.evaluate.agreement import known
from cloudmask.files import parse_json
from seaice import colour, ground, spread
from seaice.colour import CLASSES
from seaice.io import classmap
from seaice.io.classmap import RECORDS, ClassMap
from seaice.io.grid import Grid
from seaice.scores import FIGURES, Score, joint_counts, of_known, score

CLOUDY = 0.1
"""from this cloud and shadow cover on, a scene counts as cloudy; as published"""
HELD = 4
"""maps of a scene that are kept in memory"""
ALL = "all"
RANGES = {"accuracy": (0.0, 1.0), "mean_iou": (0.0, 1.0), "kappa": (-1.0, 1.0)}
"""what figures cannot leave"""
DIFFERENCES = {name: (low - high, high - low) for name, (low, high) in RANGES.items()}


@dataclass(frozen=True, eq=False)
class Compared:
    """What is kept of one scene: counts."""

    name: str
    date: str | None
    cloud_cover: float | None
    predicted: dict[str, Any]
    """statistics of each prediction"""
    scores: dict[tuple[str, str], Score]
    """by prediction and reference"""
    joint: dict[tuple[str, str, str], np.ndarray] = field(default_factory=dict)
    """(K, K, K) pixels that all know, by reference and two predictions"""

    @property
    def groups(self) -> tuple[str, ...]:
        if self.cloud_cover is None:
            return (ALL,)
        return ALL, "cloudy" if self.cloud_cover >= CLOUDY else "clear"


def compare(
    name: str,
    predictions: Mapping[str, Path],
    references: Mapping[str, Path],
    pixel_metres: float | None,
) -> Compared:
    """Every prediction of a scene against every reference. ValueError: a map of it cannot be
    used."""
    held = functools.lru_cache(HELD)(classmap.of_scene)
    scores: dict[tuple[str, str], Score] = {}
    joint: dict[tuple[str, str, str], np.ndarray] = {}
    statistics: dict[str, Any] = {}
    date, grid = None, None
    for key, folder in references.items():
        reference = held(folder, name)
        date, grid = date or reference.date, grid or reference.grid
        for label, place in predictions.items():
            predicted = held(place, name)
            date = date or predicted.date
            if reference.label.shape != predicted.label.shape:
                raise ValueError(
                    f"{name}: {label} has {_size(predicted)} pixels, {key} has {_size(reference)}"
                )
            scores[label, key] = score(reference.label, predicted.label)
            if label not in statistics:
                statistics[label] = _statistics(predicted, grid, pixel_metres)
        for a, b in itertools.combinations(predictions, 2):
            maps = (reference.label, held(predictions[a], name).label)
            joint[key, a, b] = known(joint_counts(*maps, held(predictions[b], name).label), 0, 1, 2)
    cover = cloud_cover([*references.values(), *predictions.values()], name)
    return Compared(name, date, cover, statistics, scores, joint)


def _size(found: ClassMap) -> str:
    return " x ".join(map(str, found.label.shape))


def _statistics(found: ClassMap, grid: Grid | None, pixel_metres: float | None) -> dict[str, Any]:
    """Pixels and fractions of a map; areas on its own ground, else that of its reference."""
    counts = colour.count(found.label)
    km2 = tuple(pixels * pixel_metres**2 / 1e6 for pixels in counts) if pixel_metres else None
    place = found.grid or grid
    if place is not None:
        with contextlib.suppress(ground.NoAreaError):
            km2 = tuple(ground.class_areas(found.label, place).values())
    return colour.statistics(counts, km2)


def cloud_cover(places: Sequence[Path], name: str) -> float | None:
    """Share of a scene under cloud or shadow: known for synthetic ones, else what a filter saw.

    The filter's share of changed pixels is a stand-in: it sees shadow on snow, and little else.
    """
    for place in places:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return float(parse_json((place / f"{name}.json").read_bytes())["cloud_cover"])
    for place in places:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = parse_json((place / RECORDS / f"{name}.json").read_bytes())
            return float(record["done"]["filter"]["share_of_pixels_changed"])
    return None


def figures(scenes: Sequence[Compared]) -> dict[str, Any]:
    """Scores of all scenes, with intervals, and differences between predictions."""
    units, kind = spread.units_of([one.name for one in scenes], [one.date for one in scenes])
    unit_of = dict(zip((one.name for one in scenes), units, strict=True))
    return {
        "unit": kind,
        "units": len(set(units)),
        "least_units": spread.LEAST_UNITS,
        "scores": list(_scores(scenes, unit_of)),
        "differences": list(_differences(scenes, unit_of)),
    }


def _scores(scenes: Sequence[Compared], unit_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for (label, key), group in itertools.product(scenes[0].scores, (ALL, "clear", "cloudy")):
        members = [one for one in scenes if group in one.groups]
        if not members:
            continue
        total = Score()
        for one in members:
            total.add(one.scores[label, key])
        tables = [one.scores[label, key].counts[:, : len(CLASSES)] for one in members]
        yield {
            "prediction": label,
            "against": key,
            "scenes_of": group,
            **total.as_dict(),
            "intervals": spread.of_figures(
                spread.summed(tables, [unit_of[one.name] for one in members]),
                of_known,
                within=RANGES,
            ),
        }


def _differences(
    scenes: Sequence[Compared], unit_of: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The first prediction less the second, over the pixels that both and the reference know."""

    def difference(table: np.ndarray) -> dict[str, float | None]:
        a, b = of_known(table.sum(axis=2)), of_known(table.sum(axis=1))
        found = {name: (a[name], b[name]) for name in FIGURES}
        return {
            name: None if one is None or two is None else one - two
            for name, (one, two) in found.items()
        }

    for key, a, b in scenes[0].joint:
        tables = [one.joint[key, a, b] for one in scenes]
        total = np.sum(tables, axis=0)
        yield {
            "prediction": a,
            "less": b,
            "against": key,
            "pixels": int(total.sum()),
            **difference(total),
            "intervals": spread.of_figures(
                spread.summed(tables, [unit_of[one.name] for one in scenes]),
                difference,
                within=DIFFERENCES,
            ),
        }
