"""Whether a faster recipe counts: no worse, faster, and timed beside the old one.

The rule of RECORDS.md, for two folders of runs that differ in their seeds alone:

    python -m benchmarks.recipe OLD_RUNS NEW_RUNS [--margin 0.002] [--record NAME]

Exit code 0: it counts; 1: it does not, with the reason.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import bench
from scaling.laws import seeds

LEVEL = 0.01
FEWEST = 5
"""runs of each"""
MARGIN = 0.002
"""of accuracy: less than this is no loss"""
HOURS = 24.0
"""that the first and the last run may lie apart: machines change"""
MACHINE = ("host", "cpu", "cores", "allowed_cores", "memory_gib", "gpus")


@dataclass(frozen=True)
class Recipe:
    """Runs of one recipe, an entry each."""

    accuracies: tuple[float, ...]
    """the best validated one"""
    seconds: tuple[float, ...]
    """of the whole run"""
    machines: frozenset[str]
    dates: tuple[datetime.datetime, ...]
    """of their ends"""


@dataclass(frozen=True)
class Verdict:
    """`reasons` are why it does not count; none where it does."""

    reasons: tuple[str, ...]
    quality_p: float | None
    """that a recipe which is worse by the margin would look as good as this one"""
    speed_p: float | None
    """that one which is no faster would look as fast"""

    @property
    def counts(self) -> bool:
        return not self.reasons


def judge(old: Recipe, new: Recipe, *, margin: float = MARGIN) -> Verdict:
    """Hold a new recipe against the old one.

    Quality: a test of non-inferiority, that the new accuracies plus the margin are above the old
    ones; speed: that the new seconds are below the old ones. Both are one-sided permutation tests
    of the means, exact up to 9,999 arrangements, and both must give p < .01. Four runs against four
    cannot; five can. Fewer on one side are not taken either, however many the other has.
    """
    for name, one in (("old", old), ("new", new)):
        if len(one.seconds) < FEWEST:
            few = f"the {name} one has {len(one.seconds)} of the {FEWEST} runs that each must have"
            return Verdict((few,), None, None)
    together = max(*old.dates, *new.dates) - min(*old.dates, *new.dates)
    hours = together.total_seconds() / 3600
    if len(old.machines | new.machines) > 1:
        return Verdict(("the two were not timed on the same machine",), None, None)
    if hours > HOURS:
        far = f"their runs lie {hours:.0f} hours apart, more than {HOURS:g}"
        return Verdict((f"{far}: time the old one again",), None, None)
    quality = _p([value + margin for value in new.accuracies], old.accuracies)
    speed = _p(old.seconds, new.seconds)
    reasons = []
    if quality >= LEVEL:
        reasons.append(f"that it is no worse by {margin:g} is not shown: p = {quality:.2g}")
    if speed >= LEVEL:
        reasons.append(f"that it is faster is not shown: p = {speed:.2g}")
    return Verdict(tuple(reasons), quality, speed)


def _p(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Of the hypothesis that the first are not above the second."""
    test = stats.permutation_test(
        (higher, lower),
        lambda one, other, axis: np.mean(one, axis=axis) - np.mean(other, axis=axis),
        vectorized=True,
        alternative="greater",
        rng=0,
    )
    return float(test.pvalue)


def read(folder: Path) -> Recipe:
    """The finished runs below a folder. Raises ValueError where some have not finished, or were
    resumed: what those took in all is not known."""
    rows, left_out = seeds.read([folder])
    if left_out or not rows:
        raise ValueError(f"{folder} has runs without figures: {'; '.join(left_out)}")
    if any(row["best_accuracy"] is None for row in rows):
        raise ValueError(f"{folder} has runs that were never validated")
    if any(row["before_resume_seconds"] for row in rows):
        raise ValueError(f"{folder} has runs that were resumed; run them anew, in one go")
    return Recipe(
        tuple(row["best_accuracy"] for row in rows),
        tuple(row["total_seconds"] for row in rows),
        frozenset(map(machine, seeds.runs_in([folder]))),
        tuple(datetime.datetime.fromisoformat(row["date"]) for row in rows),
    )


def machine(run: Path) -> str:
    """What a run's environment.json says of its hardware."""
    told: dict[str, Any] = json.loads((run / "environment.json").read_text())
    return json.dumps({name: told.get(name) for name in MACHINE})


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe")
    parser.add_argument("old", type=Path, help="folder of runs")
    parser.add_argument("new", type=Path, help="folder of runs of the recipe that may be faster")
    parser.add_argument("--margin", type=float, default=MARGIN, help="of accuracy")
    parser.add_argument("--record", help="name in benchmarks/results")
    options = parser.parse_args(words)
    old, new = read(options.old), read(options.new)
    found = judge(old, new, margin=options.margin)
    print("it counts" if found.counts else f"it does not count: {'; '.join(found.reasons)}")
    for name, one in (("old", old), ("new", new)):
        accuracy = bench.spread([100 * value for value in one.accuracies])
        print(f"  {name}: {bench.spread(one.seconds)} s, accuracy {accuracy} %")
    if options.record:
        figures = {
            name: {"accuracies": one.accuracies, "seconds": one.seconds}
            for name, one in (("old", old), ("new", new))
        }
        command = f"python -m benchmarks.recipe OLD NEW --margin {options.margin:g}"
        bench.keep(options.record, command=command, verdict=asdict(found), **figures)
    return 0 if found.counts else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
