"""What every benchmark needs: a patch set, commands on chosen cores, medians, a record on disk."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cloudmask import runlog

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "runs" / "bench"
RESULTS = ROOT / "benchmarks" / "results"
MPIRUN = str(Path(sys.executable).with_name("mpirun"))
TRAIN = [sys.executable, str(ROOT / "train_hvd.py")]


def patch_set(num_scenes: int = 4) -> Path:
    """A patch set of 20 synthetic 256 x 256 x 9 patches per scene, made once."""
    scenes, out = WORK / f"scenes-{num_scenes}", WORK / f"patches-{num_scenes}"
    command = [sys.executable, "-m", "cloudmask"]
    run([*command, "synth", "--out", scenes, "--scenes", num_scenes])
    run([*command, "prepare", scenes, "--out", out, "--split", "train=1"])
    return out


def run(words: Sequence[object]) -> None:
    """Run a command to its end; CalledProcessError with its output shown if it fails."""
    wait([start(words)])


def start(words: Sequence[object], *, cores: Iterable[int] = ()) -> subprocess.Popen[str]:
    """Start a command, on these cores alone if any are named."""
    line = [str(word) for word in words]
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *line] if cores else line
    environment = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    return subprocess.Popen(
        pinned,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Output of commands that run at the same time."""
    outputs = [process.communicate()[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        if process.returncode:
            print(output, file=sys.stderr)
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return outputs


def rate(folder: Path) -> float:
    """Patches per second of a training run, over its steps after the warm-up."""
    summary = json.loads((folder / "summary.json").read_text())
    return summary["patches_per_second"]["overall"]


def exposed_share(folder: Path) -> float:
    """Share of a step that is communication not hidden by computing, mean over ranks."""
    per_step = json.loads((folder / "summary.json").read_text())["per_step"]
    exposed = per_step["exposed_communication_seconds"]["mean_rank"]
    return exposed / per_step["step_seconds"]["mean_rank"]


def spread(values: Sequence[float]) -> str:
    """Median and range of a few repeats."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f})"


def keep(name: str, **figures: Any) -> None:
    """Write benchmarks/results/NAME.json with the conditions the figures hold under."""
    RESULTS.mkdir(exist_ok=True)
    environment = runlog.environment() | {"command": f"python -m benchmarks {name}"}
    record = {"benchmark": name, **figures, "environment": environment}
    runlog.write_json(RESULTS / f"{name}.json", record)
