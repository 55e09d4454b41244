"""What every benchmark needs: a patch set, commands on chosen cores, medians, a record on disk."""

from __future__ import annotations

import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cloudmask import record
from cloudmask.files import write_json
from cloudmask.record import environment

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "runs" / "bench"
RESULTS = ROOT / "benchmarks" / "results"
MPIRUN = str(Path(sys.executable).with_name("mpirun"))
TRAIN = [sys.executable, str(ROOT / "train_hvd.py")]
DIRTY = "BENCH_DIRTY"
"""set: keep records of a checkout with changes too"""
OLD = "BENCH_OLD"
"""set: a checkout of an older version, to be timed in turns with this one"""
WHY_NOT = (
    "the checkout has changes that its commit does not hold, so nobody could measure this again. "
    "Commit first, or ask for the record with --dirty."
)
CLOUDMASK = [sys.executable, "-m", "cloudmask"]


def scenes(count: int = 4) -> list[Path]:
    """Synthetic scenes of full size, made once and in the page cache."""
    folder = WORK / f"scenes-{count}"
    run([*CLOUDMASK, "synth", "--out", folder, "--scenes", count])
    found = sorted(folder.glob("*.hdf"))
    for path in found:
        path.read_bytes()
    return found


def linked(originals: Sequence[Path], count: int, *, hard: bool = False) -> Path:
    """A folder of links to a few scenes under many names, which thus come from the page cache.

    Hard ones where links to one file would be taken for one scene."""
    folder = fresh(WORK / f"{originals[0].parent.name}-linked-{count}")
    for source in originals:
        source.read_bytes()
    for number in range(count):
        source = originals[number % len(originals)]
        place = folder / f"{source.stem}_{number:03d}{source.suffix}"
        if hard:
            place.hardlink_to(source)
        else:
            place.symlink_to(source)
    return folder


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def patch_set(num_scenes: int = 4) -> Path:
    """A patch set of 20 synthetic 256 x 256 x 9 patches per scene, made once."""
    folder, out = scenes(num_scenes)[0].parent, WORK / f"patches-{num_scenes}"
    run([*CLOUDMASK, "prepare", folder, "--out", out, "--split", "train=1"])
    return out


def save_random_model(path: Path) -> Path:
    """A network of the reference's shape with random weights: as much work as a trained one."""
    import numpy as np

    from cloudmask.model import keras_file

    info = keras_file.ModelInfo(
        channels=tuple(f"S{number}" for number in range(1, 10)),
        classes=("clear", "cloud"),
        widths=(32, 64, 128, 256),
        dropout=(),
        mean=(0.3,) * 6 + (280.0,) * 3,
        std=(0.3,) * 6 + (15.0,) * 3,
        patchset="none",
    )
    model = keras_file.build(info)
    path.parent.mkdir(parents=True, exist_ok=True)
    keras_file.save(path, [np.asarray(v.value) for v in model.trainable_variables], info)
    return path


def run(words: Sequence[object], *, cwd: Path | None = None) -> None:
    """Run a command to its end; CalledProcessError with its output shown if it fails."""
    wait([start(words, cwd=cwd)])


def start(
    words: Sequence[object], *, cores: Iterable[int] = (), cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Start a command, on these cores alone if any are named."""
    line = [str(word) for word in words]
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *line] if cores else line
    environment = os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    return subprocess.Popen(
        pinned,
        cwd=cwd or ROOT,
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


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one_and_two_ranks(
    words: Sequence[object], out: Path, *, repeats: int
) -> Iterator[tuple[int, float]]:
    """(ranks, seconds) of a command on one rank and on two, by turns, each rank on a core.

    The command writes into `out`, which is removed before every run.
    """
    first = min(os.sched_getaffinity(0))
    for _ in range(repeats):
        for ranks in (1, 2):
            shutil.rmtree(out, ignore_errors=True)
            os.sync()
            line, cores = (words, [first]) if ranks == 1 else ([MPIRUN, "-n", 2, *words], [])
            began = time.perf_counter()
            wait([start(line, cores=cores)])
            yield ranks, time.perf_counter() - began


def summary(folder: Path) -> dict[str, Any]:
    """What a run says of itself."""
    return json.loads((folder / "summary.json").read_text())


def spread(values: Sequence[float]) -> str:
    """Median and range of a few repeats."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f})"


def keep(name: str, **figures: Any) -> Path:
    """Write benchmarks/results/NAME.json with the conditions the figures hold under.

    `command` is one of them, if it was another than `python -m benchmarks NAME`. Figures of a
    checkout with changes nobody can measure again: they go to runs/bench/NAME.json instead, unless
    --dirty asked for them.
    """
    command = figures.pop("command", f"python -m benchmarks {name}")
    conditions = environment() | {"command": command, "commit": commit()}
    kept = {"benchmark": name, **figures, "environment": conditions}
    folder = RESULTS if is_reproducible() or DIRTY in os.environ else WORK
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    write_json(path, kept)
    if folder != RESULTS:
        print(f"{name}: {WHY_NOT} The figures are in {path.relative_to(ROOT)}.", file=sys.stderr)
    return path


def commit_of(checkout: Path) -> str:
    """The commit of another checkout."""
    line = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(line, cwd=checkout, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def is_reproducible() -> bool:
    """Whether the commit of this checkout holds all that is measured; records themselves aside."""
    return not (commit() or "").endswith("+")


@functools.cache
def commit() -> str | None:
    """The commit, with '+' where anything but records was changed: one record must not spoil the
    next."""
    found = record.commit()
    if found is None or not found.endswith("+"):
        return found
    line = ["git", "status", "--porcelain", "--", ".", ":!benchmarks/results"]
    state = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return found if state.stdout.strip() else found.removesuffix("+")
