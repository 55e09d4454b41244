"""How often projected seconds hold the true time, in simulated studies whose constants are known.

As simulated_studies.py does it for rates: runs of weak scaling follow USL but for noise. Their
start-up scatters, and may grow with the ranks, of which no law knows. `scaling check`'s projection
to twice the most ranks is asked for the same work. Told apart are those that are called 95 % and
those that say why they are not. Nothing is timed here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench

STUDIES = 300
RATE, CONTENTION, NOISE = 10.0, 0.02, 0.01
STARTUP, SCATTER, REST = 60.0, 0.1, 2.0
"""seconds on one rank, normal standard deviation of their logarithm, and what comes after"""
BATCH, STEPS = 4, 100
"""of each rank"""


@dataclass(frozen=True)
class Case:
    ranks: tuple[int, ...]
    repeats: int
    growth: float
    """seconds of start-up for each rank"""

    def __str__(self) -> str:
        counts = f"{self.ranks[0]} to {self.ranks[-1]} ranks"
        return f"{counts}, repeats {self.repeats}, start-up grows by {self.growth:g} s a rank"


COUNTS = ((1, 2, 4, 8), (1, 2, 4, 8, 16, 32))
CASES = tuple(
    Case(ranks, repeats, growth)
    for ranks in COUNTS
    for repeats in (1, 2, 3, 6)
    for growth in (0.0, 0.25, 1.0)
)


def main() -> None:
    with ProcessPoolExecutor(2) as pool:
        rows = list(pool.map(functools.partial(row, studies=STUDIES), CASES))
    for one in rows:
        print("; ".join(f"{name} {value}" for name, value in one.items()), flush=True)
    bench.keep("simulated_seconds", studies=STUDIES, rows=rows)


def row(case: Case, *, studies: int) -> dict[str, Any]:
    """Studies that projected to twice the ranks; of these, those called 95 %, and how many held."""
    from scaling.laws import projection
    from scaling.record.store import Study

    rng = np.random.default_rng([case.ranks[-1], case.repeats, int(100 * case.growth)])
    far = 2 * case.ranks[-1]
    work = {"training_patches": far * BATCH * STEPS, "validation_patches": 0, "epochs": 1}
    true = STARTUP + case.growth * far + REST + work["training_patches"] / _rate(far)
    count = {"projected": 0, "called 95 %": 0, "of these held": 0, "others held": 0}
    for _ in range(studies):
        found = projection.project(Study(Path("simulated"), {}, [*_runs(case, rng)]), work)
        bounds = found.at(far) if found else None
        if found is None or bounds is None:
            continue
        low, _, high = bounds
        count["projected"] += 1
        count["called 95 %"] += not found.doubt
        count["others held" if found.doubt else "of these held"] += low <= true <= high
    return {"case": str(case), "studies": studies, **count}


def _rate(ranks: int) -> float:
    return RATE * ranks / (1 + CONTENTION * (ranks - 1))


def _runs(case: Case, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for ranks in case.ranks:
        for repeat in range(case.repeats):
            rate = _rate(ranks) * math.exp(NOISE * rng.standard_normal())
            startup = STARTUP + case.growth * ranks
            startup *= math.exp(SCATTER * rng.standard_normal())
            trained = ranks * BATCH * STEPS
            yield {
                **{"mode": "weak", "kind": "ranks", "ranks": ranks, "repeat": repeat + 1},
                **{"point": f"weak-{ranks}-{repeat}", "status": "ok", "patches_per_second": rate},
                **{"global_batch": ranks * BATCH, "batch_per_rank": BATCH, "steps_run": STEPS},
                **{"patches_trained": trained, "epochs_run": 1, "startup_seconds": startup},
                "wall_seconds": startup + trained / rate + REST,
            }
