"""A full Sentinel-2 tile, 10980 x 10980, on one core: seconds and memory of every step.

The tile is a synthetic scene laid out 4 x 4, as a GeoTIFF on the ground. Each step is a process of
its own, with one core; its peak is that of its resident memory. The network has random weights,
whose probabilities pack as badly as any can.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import bench

PART, TIMES, LIMIT_GB = 2745, 4, 1.5
WIDTHS = (8, 16, 32, 64)
CLASSES = ("thick_ice", "thin_ice", "open_water")
_CHILD = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, done.stderr[-2000:], used.ru_maxrss]))
"""


def main() -> None:
    top = bench.WORK / "tile"
    scene, model = tile(top), network(top / "model.keras")
    labels, raw, scenes, masks = (top / name for name in ("labels", "raw", "scenes", "masks"))
    for folder in (labels, raw, scenes, masks, top / "report"):
        shutil.rmtree(folder, ignore_errors=True)
    seaice = [sys.executable, "-m", "seaice"]
    steps: dict[str, list[object]] = {
        "label": [*seaice, "label", scene, "--out", labels],
        "label, colour alone": [*seaice, "label", scene, "--out", raw, "--filter", "none"],
        "scenes": [*seaice, "scenes", scene, "--labels", labels, "--out", scenes],
        "predict": [*bench.CLOUDMASK, "predict", model, scenes, "--out", masks],
        "evaluate": [
            *[*seaice, "evaluate", "--predictions", f"network={masks}", f"raw={raw}"],
            *["--against", f"filtered={labels}", "--out", top / "report"],
        ],
    }
    rows: list[dict[str, Any]] = []
    print(f"{'step':<20}  seconds  peak GB (at most {LIMIT_GB} wanted)")
    for name, words in steps.items():
        seconds, peak = measured(words)
        rows.append({"step": name, "seconds": seconds, "peak_gb": peak})
        print(f"{name:<20}  {seconds:>7.1f}  {peak:>7.2f}", flush=True)
    parts = json.loads((labels / "summary.json").read_text())["seconds"]
    inside = {name: parts[name] for name in ("decode", "label", "write")}
    share = inside["decode"] / sum(inside.values())
    told = ", ".join(f"{name} {value:.1f} s" for name, value in inside.items())
    print(f"label: {told}; decoding is {share:.0%}")
    bench.keep(
        "tile_seaice",
        size=PART * TIMES,
        widths=WIDTHS,
        steps=rows,
        label_seconds=inside,
        decoding_share=share,
        limit_gb=LIMIT_GB,
        within_limit=all(row["peak_gb"] <= LIMIT_GB for row in rows),
    )


def measured(words: list[object]) -> tuple[float, float]:
    """Wall seconds and peak GB of a command on one core. RuntimeError if it fails."""
    core = min(os.sched_getaffinity(0))
    line = ["taskset", "--cpu-list", str(core), sys.executable, "-c", _CHILD, *map(str, words)]
    began = time.perf_counter()
    done = subprocess.run(line, cwd=bench.ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    code, err, kilobytes = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{words}: {err}")
    return seconds, kilobytes * 1024 / 1e9


def tile(top: Path) -> Path:
    """The tile, made once in a process of its own, so that nothing of it stays in memory."""
    path = top / "archive" / "tile.tif"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        bench.run([sys.executable, "-c", f"import {__name__} as b; b.write_tile({str(path)!r})"])
    return path.parent


def write_tile(path: str) -> None:
    """10980 x 10980 in tiles of 512, deflated, with a corner without measurement."""
    import numpy as np
    import rasterio
    from rasterio.transform import Affine

    from seaice import synthetic

    part = synthetic.make_scene(0, height=PART, width=PART, seed=1).image
    size = PART * TIMES
    profile: dict[str, Any] = {
        **{"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8"},
        **{"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"},
        **{"photometric": "RGB", "crs": "EPSG:32701", "transform": Affine(10, 0, 5e5, 0, -10, 2e6)},
    }
    row = np.tile(part, (1, TIMES, 1)).transpose(2, 0, 1)
    aside = f"{path}.part.tif"
    with rasterio.open(aside, "w", **profile) as file:
        for number in range(TIMES):
            band = row.copy()
            if number == 0:
                band[:, :1500, :1500] = 0
            window = rasterio.windows.Window(0, number * PART, size, PART)
            file.write(band, window=window)
    os.replace(aside, path)


def network(path: Path) -> Path:
    """Random weights, made in a process of its own."""
    if not path.exists():
        code = f"import {__name__} as b; from pathlib import Path; b.save(Path({str(path)!r}))"
        bench.run([sys.executable, "-c", code])
    return path


def save(path: Path) -> None:
    import numpy as np

    from cloudmask.model import keras_file

    info = keras_file.ModelInfo(
        channels=("red", "green", "blue"),
        classes=CLASSES,
        widths=WIDTHS,
        dropout=(),
        mean=(128.0,) * 3,
        std=(70.0,) * 3,
        patchset="none",
    )
    weights = keras_file.build(info).trainable_variables
    path.parent.mkdir(parents=True, exist_ok=True)
    keras_file.save(path, [np.asarray(v.value) for v in weights], info)
