"""What the scaling study itself costs: the harness around a run, and the clocks within a step.

The same training on two ranks, by turns started directly by mpirun and as a point of a study; of
each the time beyond start-up is compared. Runs scatter by more than the harness costs, so its parts
are measured by themselves too: what a point adds to a program that does nothing, and the share of
a core that watching takes while a program makes steps. Likewise the parts of a step that only
measure (clocks in the graph, times, the line in events.jsonl).
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import bench
from scaling.measure import launch, plan_points, watch
from scaling.measure.commands import Conditions, start_environment
from scaling.measure.point import run_point
from scaling.measure.points import Point
from scaling.options import RunConfig
from scaling.record import store

STEPS, BATCH, REPEATS = 16, 2, 3
IDLE_REPEATS, WATCHED_SECONDS, STEPS_PER_SECOND = 7, 10, 5
CALLS, GRAPH_CALLS, GRAPH_REPEATS = 2000, 200, 9
HARNESS_TARGET, STEP_TARGET = 0.02, 0.01
STEPPING = """
import json, sys, time
with open(sys.argv[1], "a") as file:
    for step in range(int(sys.argv[2])):
        time.sleep(float(sys.argv[3]))
        file.write(json.dumps({"event": "step", "step": step, "loss": 0.5, "seconds": 0.2}) + "\\n")
        file.flush()
"""


def main() -> None:
    data = bench.patch_set()
    out = bench.WORK / "harness"
    out.mkdir(parents=True, exist_ok=True)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    program = [*bench.TRAIN, "--data", str(data), "--no-tensorboard", "--max-steps", str(STEPS)]
    options = RunConfig(
        out, ranks="2", modes="weak", batch_per_rank=BATCH, launcher="mpirun", alone=""
    )
    order, conditions = plan_points.prepare(options, program)
    point = next(point for point in order if point.kind == "ranks")
    direct, studied, steps = [], [], []
    for repeat in range(REPEATS):
        direct.append(run_directly(program, out / "direct"))
        seconds, step = run_as_point(point, conditions, out)
        studied.append(seconds)
        steps.append(step)
        print(f"  {repeat + 1}/{REPEATS}: directly {direct[-1]:.2f} s, studied {studied[-1]:.2f} s")
    whole, step = statistics.median(studied), statistics.median(steps)
    compared = whole / statistics.median(direct) - 1
    idle, busy = idle_seconds(conditions, out / "idle"), watching_share(out / "watched")
    added = idle / whole + busy / point.ranks
    host, graph = host_seconds(), graph_seconds()
    instrumented = (host + graph) / step
    print(f"beyond start-up, directly   {bench.spread(direct)} s")
    print(f"beyond start-up, studied    {bench.spread(studied)} s, {100 * compared:+.2f} %")
    print(f"a point of nothing          {1e3 * idle:.0f} ms more than mpirun alone")
    print(f"watching                    {100 * busy:.2f} % of a core")
    print(f"the harness adds            {100 * added:.2f} % (target: under 2 %)")
    print(f"instrumenting a step        {1e6 * host:.0f} us in Python, {1e6 * graph:.0f} us in the")
    print(f"  graph, of {step:.3f} s: {100 * instrumented:.3f} % (target: under 1 %)")
    print("limit: what scatters from run to run on this machine is more than either")
    bench.keep(
        "harness_cost",
        direct_seconds=direct,
        studied_seconds=studied,
        compared_share=compared,
        idle_seconds=idle,
        watching_core_share=busy,
        added_share=added,
        host_seconds_per_step=host,
        graph_seconds_per_step=graph,
        step_seconds=steps,
        instrumented_share=instrumented,
        steps=STEPS,
        batch_per_rank=BATCH,
        targets={"added_share": HARNESS_TARGET, "instrumented_share": STEP_TARGET},
    )


def run_directly(program: list[str], out: Path) -> float:
    """Seconds beyond start-up of the same run without a study."""
    shutil.rmtree(out, ignore_errors=True)
    binding = ["--map-by", "slot:PE=1", "--bind-to", "core", "--mca", "mpi_yield_when_idle", "1"]
    words = [bench.MPIRUN, "-n", 2, *binding, "-x", "HOROVOD_CYCLE_TIME=10", "-x"]
    words += ["OMP_NUM_THREADS=1", *program, "--out", out, "--batch-size", BATCH]
    return bench.seconds(lambda: bench.run(words)) - bench.summary(out)["seconds"]["startup"]


def run_as_point(point: Point, conditions: Conditions, out: Path) -> tuple[float, float]:
    """Seconds beyond start-up of a point with all that is done for it, and those of its steps."""
    began = time.perf_counter()
    row = run_point(point, conditions, out / "studied")
    store.append(out, row)
    wall = time.perf_counter() - began
    if row["status"] != store.OK:
        raise SystemExit(f"harness_cost: the point failed: {row['error']}")
    return wall - row["startup_seconds"], row["step_seconds"]


def idle_seconds(conditions: Conditions, folder: Path) -> float:
    """Seconds that a study adds to two ranks of `true`: its reaper, its rank.py, its files."""
    words = launch.command(
        conditions.launcher,
        conditions.layout,
        ["true"],
        notes=folder / "logs",
        environment=conditions.environment,
        executable=conditions.executable,
    )
    plain = [bench.MPIRUN, "-n", 2, "--map-by", "slot:PE=1", "--bind-to", "core", "true"]
    watched, alone = [], []
    for _ in range(IDLE_REPEATS):
        bench.fresh(folder)
        watched.append(bench.seconds(lambda: _watch(words, folder, folder / "none")))
        alone.append(bench.seconds(lambda: bench.run(plain)))
    return statistics.median(watched) - statistics.median(alone)


def _watch(words: list[str], folder: Path, heartbeat: Path) -> None:
    watch.watch(
        [words],
        folder,
        environment=start_environment(),
        limits=watch.Limits(3600, 300, 7200),
        ending=watch.Ending(5),
        heartbeats=[heartbeat],
    )


def watching_share(folder: Path) -> float:
    """Cores that the watching process and its reaper keep busy while a program makes steps."""
    heartbeat, count = bench.fresh(folder) / "events.jsonl", WATCHED_SECONDS * STEPS_PER_SECOND
    words = [sys.executable, "-c", STEPPING, str(heartbeat), str(count), str(1 / STEPS_PER_SECOND)]
    before = _cpu_seconds()
    seconds = bench.seconds(lambda: _watch(words, folder, heartbeat))
    program = json.loads((folder / "reaper.json").read_text())["cpu_seconds"]
    return (_cpu_seconds() - before - program) / seconds


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def host_seconds() -> float:
    """Seconds per step of what the loop does only to measure, outside the graph."""
    from cloudmask.record import EventLog
    from cloudmask.train.timing import COLUMNS, StepTimes

    with tempfile.TemporaryDirectory() as folder:
        times = StepTimes(Path(folder) / "rank.jsonl", device="CPU")
        log = EventLog(Path(folder) / "events.jsonl")

        def step() -> None:
            for number in range(CALLS):
                clock = time.perf_counter()
                times.add(0, BATCH, BATCH, (clock, 0.0, 0.0, 0.0))
                parts = dict.fromkeys(COLUMNS[1:], round(clock, 6))
                seconds = time.perf_counter() - clock
                log.write("step", step=number, loss=0.5, seconds=seconds, **parts)

        seconds = statistics.median(bench.seconds(step) for _ in range(5)) / CALLS
        log.close()
    return seconds


def graph_seconds() -> float:
    """Seconds per step of the clocks in the graph, over gradients of the network's shapes.

    Nothing else is in the graph, for other work would run beside the clocks and hide them.
    """
    import tensorflow as tf

    from cloudmask.model.unet import unet
    from cloudmask.train import step

    network = unet(9, 1, mean=[0.0] * 9, std=[1.0] * 9)
    gradients, sums = (
        [tf.zeros(variable.shape) for variable in network.trainable_variables] for _ in range(2)
    )

    @tf.function
    def with_clocks(own, reduced):
        began = tf.timestamp()
        arrived = step._clock(own)
        return tf.stack([arrived - began, step._clock(reduced) - arrived])

    @tf.function
    def without(own, reduced):
        return tf.zeros(2, tf.float64)

    def calls(function: Callable) -> None:
        for _ in range(GRAPH_CALLS):
            function(gradients, sums).numpy()

    with_clocks(gradients, sums), without(gradients, sums)  # traces them
    clocked, plain = [], []
    for _ in range(GRAPH_REPEATS):
        clocked.append(bench.seconds(lambda: calls(with_clocks)))
        plain.append(bench.seconds(lambda: calls(without)))
    return (statistics.median(clocked) - statistics.median(plain)) / GRAPH_CALLS
