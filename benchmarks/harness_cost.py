"""What the scaling study itself costs: the harness around a run, and the clocks within a step.

The same training on two ranks, by turns started directly by mpirun and as a point of a study; of
each the time beyond start-up is compared. The parts of a step that only measure (two clocks in the
graph, times, the line in events.jsonl) are timed by themselves and set against a step.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import bench
from scaling import onepoint, prepare
from scaling.settings import RunSettings

STEPS, BATCH, REPEATS = 24, 4, 3
CALLS = 2000
HARNESS_TARGET, STEP_TARGET = 0.02, 0.01


def main() -> None:
    data = bench.patch_set()
    out = bench.WORK / "harness"
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    program = [*bench.TRAIN, "--data", str(data), "--no-tensorboard", "--max-steps", str(STEPS)]
    settings = RunSettings(
        out, ranks="2", modes="weak", batch_per_rank=BATCH, launcher="mpirun", allreduce=False
    )
    order, conditions = prepare.prepare(settings, program)
    direct, studied, steps = [], [], []
    for repeat in range(REPEATS):
        direct.append(run_directly(program, out / "direct"))
        row = onepoint.run_point(order[0], conditions, out / "studied")
        if row["status"] != "ok":
            raise SystemExit(f"harness_cost: the point failed: {row['error']}")
        studied.append(row["wall_seconds"] - row["startup_seconds"])
        steps.append(row["step_seconds"])
        print(f"  {repeat + 1}/{REPEATS}: directly {direct[-1]:.2f} s, studied {studied[-1]:.2f} s")
    added = statistics.median(studied) / statistics.median(direct) - 1
    idle = fixed_cost(conditions, out / "idle")
    host, graph = host_seconds(), graph_seconds()
    step = statistics.median(steps)
    share = (host + graph) / step
    print(f"beyond start-up, directly   {bench.spread(direct)} s")
    print(f"beyond start-up, studied    {bench.spread(studied)} s")
    print(f"the harness adds            {100 * added:+.2f} % (target: under 2 %)")
    print(f"  of a program that does nothing: {1e3 * idle:.0f} ms more than by mpirun alone")
    print(f"instrumenting a step        {1e6 * host:.0f} us in Python, {1e6 * graph:.0f} us in the")
    print(f"  graph, of {step:.3f} s: {100 * share:.3f} % (target: under 1 %)")
    print("limit: what scatters from run to run on this machine is more than either")
    bench.keep(
        "harness_cost",
        direct_seconds=direct,
        studied_seconds=studied,
        added_share=added,
        idle_seconds=idle,
        host_seconds_per_step=host,
        graph_seconds_per_step=graph,
        step_seconds=steps,
        instrumented_share=share,
        targets={"added_share": HARNESS_TARGET, "instrumented_share": STEP_TARGET},
    )


def run_directly(program: list[str], out: Path) -> float:
    """Seconds beyond start-up of the same run without a study."""
    shutil.rmtree(out, ignore_errors=True)
    binding = ["--map-by", "slot:PE=1", "--bind-to", "core", "--mca", "mpi_yield_when_idle", "1"]
    words = [bench.MPIRUN, "-n", 2, *binding, "-x", "HOROVOD_CYCLE_TIME=10", "-x"]
    words += ["OMP_NUM_THREADS=1", *program, "--out", out, "--batch-size", BATCH]
    began = time.perf_counter()
    bench.run(words)
    wall = time.perf_counter() - began
    return wall - json.loads((out / "summary.json").read_text())["seconds"]["startup"]


def fixed_cost(conditions: onepoint.Conditions, folder: Path) -> float:
    """Seconds that a study adds to two ranks of `true`: its guard, its rank.py, its files."""
    from scaling import launch, watch

    words = launch.command(
        conditions.launcher,
        conditions.layout,
        ["true"],
        notes=folder / "logs",
        environment=conditions.environment,
        executable=conditions.executable,
    )

    def studied() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        limits = conditions.limits
        environment = onepoint.start_environment()
        watch.watch([words], folder, environment=environment, limits=limits, heartbeats=[])

    plain = [bench.MPIRUN, "-n", 2, "--map-by", "slot:PE=1", "--bind-to", "core", "true"]
    return _median_seconds(studied, 5) - _median_seconds(lambda: bench.run(plain), 5)


def host_seconds() -> float:
    """Seconds per step of what the loop does only to measure, outside the graph."""
    from cloudmask import runlog
    from cloudmask.train import timing

    times = timing.StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        log = runlog.EventLog(Path(folder) / "events.jsonl")

        def step() -> None:
            for number in range(CALLS):
                clock = time.perf_counter()
                times.add(0, BATCH, (clock, 0.0, 0.0, 0.0))
                log.write("step", step=number, loss=0.5, seconds=time.perf_counter() - clock)

        seconds = _median_seconds(step, 5) / CALLS
        log.close()
    return seconds


def graph_seconds() -> float:
    """Seconds per step of the two clocks in the graph, over gradients of the network's shapes."""
    import tensorflow as tf

    from cloudmask.model.unet import unet
    from cloudmask.train import step

    network = unet(9, 1, mean=[0.0] * 9, std=[1.0] * 9)
    gradients = [tf.zeros(variable.shape) for variable in network.trainable_variables]

    @tf.function
    def with_clocks(values):
        before = step._clock(values)
        return [value + 1 for value in values], step._clock(values) - before

    @tf.function
    def without(values):
        return [value + 1 for value in values], tf.constant(0.0, tf.float64)

    def calls(function: Callable) -> Callable[[], None]:
        def run() -> None:
            for _ in range(50):
                function(gradients)[1].numpy()

        return run

    for function in (with_clocks, without):
        function(gradients)
    clocked, plain = _median_seconds(calls(with_clocks), 7), _median_seconds(calls(without), 7)
    return max(0.0, clocked - plain) / 50


def _median_seconds(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
