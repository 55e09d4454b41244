"""What `evaluate` and `report` add to reading 30,000 scenes: seconds, memory, bytes of their files.

The scenes are stand-ins: tables of counts as those of full-size SLSTR scenes, drawn from a seed, in
10,000 orbits. The pictures on the page are of one synthetic scene of full size.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench

SCENES = 30_000
PER_ORBIT = 3
PIXELS = 1_700_000
CODE = "import sys; from benchmarks import many_scenes; many_scenes.measure(*sys.argv[1:])"


def main() -> None:
    folder = bench.fresh(bench.WORK / "many-scenes")
    scene = bench.scenes(1)[0]
    write_mask(scene, folder / f"{scene.stem}.nc")
    found = {}
    for step in ("nothing", "evaluate", "report"):  # each in a process of its own, for its memory
        words = [sys.executable, "-c", CODE, step, str(folder), str(scene)]
        told = subprocess.run(words, cwd=bench.ROOT, check=True, stdout=subprocess.PIPE, text=True)
        found[step] = json.loads(told.stdout.splitlines()[-1])
        print(f"{step}: {found[step]}")
    names = ("evaluation.json", "evaluation.csv", "report.html")
    sizes = {name: (folder / name).stat().st_size for name in names}
    print(f"bytes: {sizes}")
    bench.keep("many_scenes", scenes=SCENES, steps=found, bytes=sizes)


def measure(step: str, folder: str, scene: str) -> None:
    """Do one step and print what it took as JSON."""
    top = Path(folder)
    work = {"nothing": load, "evaluate": evaluate, "report": report}[step]
    seconds = bench.seconds(lambda: work(top, Path(scene)))
    status = Path("/proc/self/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": round(seconds, 2), "peak_mib": int(peak) // 1024}))


def load(top: Path, scene: Path) -> None:
    """The libraries alone."""
    import cloudmask.evaluate.command
    import cloudmask.report.command  # noqa: F401


def evaluate(top: Path, scene: Path) -> None:
    """From the counts of all ranks, as they are sent to each, to the files."""
    from cloudmask.cli.options import EvaluateConfig
    from cloudmask.data.parallel import World
    from cloudmask.evaluate import command
    from cloudmask.evaluate.scenes import Measured

    made = [counted(number, scene) for number in range(SCENES)]
    counts, tally = pickle.loads(pickle.dumps((made, tallied(made))))
    failed = {f"archive/broken_{number}.hdf": "cannot be read" for number in range(1000)}
    config = EvaluateConfig(what=top, against=(scene,))
    measured = Measured(counts, failed, tally)
    record = command.record_of(config, top, measured, World())
    command.write(top / "evaluation.json", record, measured)


def report(top: Path, scene: Path) -> None:
    from cloudmask.cli.options import ReportConfig
    from cloudmask.report import command

    command.report(ReportConfig(sources=(top,), out=top / "report.html"))


def counted(number: int, scene: Path) -> Any:
    """What is kept of one scene."""
    from cloudmask.evaluate.counts import Count

    rng = np.random.default_rng(number)
    table = np.zeros((3, 3, 3, 3))
    wrong = rng.beta(2, 20, 3)
    for truth in (0, 1):
        right = [[1 - w, w, 0] if truth == 0 else [w, 1 - w, 0] for w in wrong]
        table[..., truth] = np.einsum("i,j,k->ijk", *right) * (0.3 + 0.4 * truth)
    joint = rng.multinomial(PIXELS, table.ravel() / table.sum()).reshape(table.shape)
    orbit = number // PER_ORBIT
    times = f"20200101T{number % 86400:06d}_" * 3
    return Count(
        name=f"S3A_SL_1_RBT____{times}0179_{orbit // 385:03d}_{orbit % 385:03d}_{number:05d}",
        scene=str(scene),
        mask=f"{scene.stem}.nc",
        joint=joint,
        hours=(int(joint.sum()), 0, 0),
        measured=PIXELS,
        missing=100_000,
        legacy=float(1 - wrong[1]),
        label_title="Bayesian mask (any bit)",
        fingerprint="f" * 64,
        redated=False,
    )


def tallied(counts: list[Any]) -> Any:
    """What scenes have in common."""
    from cloudmask.evaluate.counts import Tally

    tally = Tally.of_nothing(("clear", "cloud"))
    tally.parts[0] = sum(count.joint for count in counts)
    rng = np.random.default_rng(0)
    tally.histograms[...] = rng.integers(0, 10**9, tally.histograms.shape)
    tally.attributes["f" * 64] = {"options": '{"models": ["run"], "threshold": 0.5}'}
    return tally


def write_mask(scene: Path, path: Path) -> None:
    """A mask that is right but for a tenth of the pixels, in patches as clouds have them."""
    from cloudmask.data.read import read_scene
    from cloudmask.predict.masks import SceneMask, classify, write_netcdf

    read = read_scene(scene)
    assert read.truth is not None
    rng = np.random.default_rng(0)
    height, width = read.truth.shape
    rough = rng.random((height // 8 + 1, width // 8 + 1)) < 0.1
    wrong = np.kron(rough, np.ones((8, 8), bool))[:height, :width]
    cloud = np.where(wrong, 1 - read.truth, read.truth) == 1
    probability = np.where(cloud, 0.9, 0.1) + rng.normal(0, 0.03, cloud.shape)
    probability[np.isnan(read.image).all(axis=-1)] = np.nan
    probability = np.clip(probability, 0, 1).astype(np.float32)[..., None]
    mask = classify(probability, threshold=0.5)
    write_netcdf(path, SceneMask(read.name, ("clear", "cloud"), probability, None, mask))
