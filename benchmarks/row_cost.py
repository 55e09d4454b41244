"""What the study costs a point of many ranks: seconds to make its row, files and bytes it leaves.

No rank is started. A stand-in for mpirun leaves what so many ranks of a training of STEPS steps
leave: their notes and logs, the events and times of rank 0, and the summary. What the study then
takes beyond the stand-in's own time is what it costs, on one core and on a local disk.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import bench
from cloudmask.record import EventLog
from scaling.measure import plan_points
from scaling.measure.inside import rank
from scaling.measure.notes import USAGE
from scaling.measure.point import run_point
from scaling.measure.points import Point
from scaling.options import RunConfig
from scaling.record import store

RANKS, STEPS, REPEATS, ON_A_HOST = (16, 64, 256), 1800, 3, 64
PARTS = ("step_seconds", "data_wait_seconds", "compute_seconds", "exposed_communication_seconds")


def main() -> None:
    folder = bench.fresh(bench.WORK / "rows")
    rows = []
    for ranks in RANKS:
        found = [cost(ranks, folder / f"{ranks}-{repeat}") for repeat in range(REPEATS)]
        seconds = [one["seconds"] for one in found]
        rows.append({"ranks": ranks, **found[0], "seconds": seconds})
        print(
            f"{ranks:4d} ranks: a row in {1e3 * statistics.median(seconds):.0f} ms, "
            f"{rows[-1]['files']} files of {rows[-1]['bytes'] / 1e3:.0f} kB, "
            f"row of {rows[-1]['row_bytes'] / 1e3:.1f} kB"
        )
    bench.keep("row_cost", rows=rows, steps=STEPS, ranks_on_a_host=ON_A_HOST)


def cost(ranks: int, folder: Path) -> dict[str, Any]:
    """Of one point: seconds beside its program, files and bytes left, bytes of the row."""
    program = [*bench.TRAIN, "--data", "none"]
    config = RunConfig(folder, ranks="1", modes="weak", launcher="mpirun", alone="")
    _, conditions = plan_points.prepare(config, program)
    stand_in = folder.with_name("stand_in")
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} -m benchmarks.row_cost {ranks} "$@"\n')
    stand_in.chmod(0o755)
    conditions = replace(conditions, executable=str(stand_in))
    point = Point("weak", "ranks", ranks, 1, 4 * ranks, 4, 0)
    began = time.perf_counter()
    row = run_point(point, conditions, folder)
    seconds = time.perf_counter() - began - row["wall_seconds"]
    if row["status"] != store.OK:
        raise SystemExit(f"row_cost: the point failed: {row['error']}")
    if row["ledger"] is None:
        raise SystemExit("row_cost: the point has no ledger, which is a part of what a row costs")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        "seconds": seconds,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "row_bytes": len(json.dumps(row)),
    }


def leave(ranks: int, words: list[str]) -> None:
    """What so many ranks leave; `words` are those of mpirun."""
    logs, out = (Path(words[words.index(name) + 1]) for name in ("--notes", "--out"))
    logs.mkdir(parents=True, exist_ok=True)
    for number in range(ranks):
        host, core = f"host{number // ON_A_HOST}", number % ON_A_HOST
        begin = {"event": "begin", "rank": number, "local_rank": core, "host": host, "pid": 1}
        begin |= {"cores": [core], "core_of": [core], "cpu": "a processor", "at": 1.0}
        end = {"event": "end", "rank": number, "host": host, "at": 100.0, "status": 0}
        end |= dict.fromkeys(USAGE, 50.0) | {"busy_seconds": [1.0 + 60.0]}
        for note in (begin | {"busy_seconds": [1.0]}, end):
            rank.append(logs / f"host-{host}.jsonl", note)
        (logs / f"rank-{number:04d}.log").write_text("step\n" * 20)
    values = [0.123456 + step / 1e6 for step in range(STEPS)]
    (out / "ranks").mkdir(parents=True)
    record = {"epoch": 1, "patches": [4] * STEPS, **dict.fromkeys(PARTS, values)}
    (out / "ranks" / "rank-0000.jsonl").write_text(json.dumps(record) + "\n")
    _events(ranks, values, EventLog(out / "events.jsonl"))
    places = [
        {"rank": n, "host": f"host{n // ON_A_HOST}", "cores": [n % ON_A_HOST], "threads": 1}
        for n in range(ranks)
    ]
    summary = {"format": "cloudmask-summary", "version": 1, "status": "finished", "ranks": ranks}
    summary |= {"patches_per_second": {"overall": 10.0}, "seconds": {"total": 90.0}}
    summary |= {"placement": places, "warmup_steps": 5, "last_rank_exposed_seconds": 0.01}
    summary |= {"per_rank": {part: [0.123456] * ranks for part in PARTS}}
    (out / "summary.json").write_text(json.dumps(summary, indent=1))


def _events(ranks: int, values: list[float], log: EventLog) -> None:
    """What rank 0 writes from its beginning to its end, as a training's ledger is made of."""
    began = {"started": time.time(), "launched": time.time()}
    log.write("begin", ranks=ranks, going_on=False, lost=[], **began)
    log.write("start", from_step=0)
    for step, seconds in enumerate(values, start=1):
        parts = dict.fromkeys(PARTS[1:], round(seconds / 3, 6))
        log.write("step", step=step, loss=math.sqrt(seconds), seconds=seconds, **parts)
    log.write("checkpoint", step=STEPS, seconds=0.123456)
    log.write("end", stopped_by="epochs", seconds={"total": 90.0})
    log.close()


if __name__ == "__main__":  # as the stand-in
    leave(int(sys.argv[1]), sys.argv[2:])
