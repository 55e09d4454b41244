"""Labelling on Spark's local cluster, over executors x cores: start-up, load, map and reduce.

The form of the published table. Executors and cores beyond those of the machine share them: the
table then shows what Spark costs, not how it scales.
"""

from __future__ import annotations

import os
import statistics

from benchmarks import bench
from benchmarks.label_seaice import SIZE, label, synthetic_scenes

SCENES, REPEATS, MEGABYTES = 32, 1, 1024
SHAPES = ((1, 1), (1, 2), (2, 1), (2, 2))
PHASES = ("start_up", "load", "map_reduce")


def main() -> None:
    folder = bench.linked(synthetic_scenes(), SCENES, hard=True)
    rows = []
    for executors, cores in SHAPES:
        master = f"local-cluster[{executors},{cores},{MEGABYTES}]"
        runs = [
            label(folder, "--engine", "spark", "--master", master)["seconds"]
            for _ in range(REPEATS)
        ]
        phases = {phase: statistics.median(run[phase] for run in runs) for phase in PHASES}
        rows.append({"executors": executors, "cores": cores, **phases})
    first = rows[0]
    print(f"{SCENES} scenes of {SIZE} x {SIZE}, {os.cpu_count()} cores in this machine")
    print("executors  cores  start-up s  load s  map-reduce s  speed-up of map-reduce")
    for row in rows:
        gain = first["map_reduce"] / row["map_reduce"]
        print(
            f"{row['executors']:>9}  {row['cores']:>5}  {row['start_up']:>10.1f}  "
            f"{row['load']:>6.1f}  {row['map_reduce']:>12.1f}  {gain:>10.2f}"
        )
    bench.keep("spark_seaice", scenes=SCENES, size=SIZE, rows=rows)
