"""Whole scenes through a network, our way and the published way, on the same two cores.

The published way, written here as a baseline: one process, float32, stock layers; a scene is
mirrored at its border and cut into 63 overlapping patches of 256 (stride 176), all are predicted,
40 pixels dropped at each side, stitched and cropped, and written as HDF5. Reading and writing
count on both sides; start-up and the first scene, which traces the graph, do not.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import bench, ceiling

REPEATS = 3
PATCH, STRIDE, CROP = 256, 176, 40
MEGAPIXELS = 1.2 * 1.5
GFLOP_PER_MEGAPIXEL = 52.2 / 3 / 0.065536
"""of a forward pass in the factored form: a third of a training step (see peers)"""

WAYS = {
    "published": ("published", 1),
    "float32": ("float32 2048", 1),
    "bfloat16": ("bfloat16 2048", 1),
    "bfloat16, 2 ranks": ("bfloat16 2048", 2),
    "bfloat16, tile 512": ("bfloat16 512", 1),
}
"""name -> (what the child is told, processes that share the two cores)"""


def main() -> None:
    folder = bench.scenes()[0].parent
    model = bench.save_random_model(bench.WORK / "random.keras")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    memory: dict[str, float] = {}
    for repeat in range(REPEATS):
        for name, (words, processes) in WAYS.items():
            program = [sys.executable, "-m", "benchmarks.whole_scenes", folder, model]
            cores = sorted(os.sched_getaffinity(0))
            children = [
                bench.start([*program, *words.split()], cores=cores[n::processes])
                for n in range(processes)
            ]
            found = [json.loads(text.splitlines()[-1]) for text in bench.wait(children)]
            each = statistics.mean(child["seconds_per_scene"] for child in found)
            seconds[name].append(each / processes)
            memory[name] = max(memory.get(name, 0), *(child["peak_gib"] for child in found))
        shown = ", ".join(f"{name} {values[-1]:.2f}" for name, values in seconds.items())
        print(f"  {repeat + 1}/{REPEATS}: seconds per scene: {shown}")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = {name: median["published"] / value for name, value in median.items()}
    for name in WAYS:
        print(
            f"{name:<18} {bench.spread(seconds[name])} s per scene, {ratio[name]:.2f} times the "
            f"published way, peak {memory[name]:.2f} GiB per process"
        )
    reached = MEGAPIXELS * GFLOP_PER_MEGAPIXEL / median["bfloat16, 2 ranks"] / 2
    bench.keep(
        "whole_scenes",
        seconds_per_scene=seconds,
        ratio_to_published=ratio,
        peak_gib=memory,
        **ceiling.compare(reached, ", reading and writing included"),
        scene="1200 x 1500 x 9",
    )


def ours(folder: Path, path: Path, precision: str, tile: int) -> Callable[[Path], object]:
    from cloudmask.cli.options import PredictConfig
    from cloudmask.data import parallel
    from cloudmask.data.entry import entry_of
    from cloudmask.predict.command import predict_scene
    from cloudmask.predict.model import load
    from cloudmask.predict.recipe import recipe_of

    out = bench.WORK / f"masks-{min(os.sched_getaffinity(0))}"
    out.mkdir(parents=True, exist_ok=True)
    config = PredictConfig(
        run=path,
        scenes=(folder,),
        out=out,
        overwrite=True,
        precision=precision,  # type: ignore[arg-type]
    )
    recipe = recipe_of(config, parallel.World())
    model = load(path, precision=precision, tile=tile)  # type: ignore[arg-type]
    return lambda scene: predict_scene(entry_of(scene), config, model, recipe)


def published(model_path: Path) -> Callable[[Path], object]:
    import h5py
    import keras
    import numpy as np

    logits = keras.saving.load_model(model_path, compile=False)
    model = keras.Model(logits.input, keras.layers.Activation("sigmoid")(logits.output))
    step = PATCH - 2 * CROP

    def predict(path: Path) -> None:
        with h5py.File(path) as file:
            refs, bts = file["refs"][...], file["bts"][...]
        image = np.concatenate([refs, bts], axis=-1).astype(np.float32)
        height, width, _ = image.shape
        rows, cols = -(-height // step), -(-width // step)
        tall, wide = rows * step + 2 * CROP, cols * step + 2 * CROP
        border = [(CROP, tall - height - CROP), (CROP, wide - width - CROP), (0, 0)]
        mirrored = np.pad(image, border, mode="symmetric")
        patches = np.stack(
            [
                mirrored[row * step : row * step + PATCH, col * step : col * step + PATCH]
                for row in range(rows)
                for col in range(cols)
            ]
        )
        assert len(patches) == 63
        found = model.predict(patches, verbose=0)[:, CROP:-CROP, CROP:-CROP]
        grid = found.reshape(rows, cols, step, step, 1).swapaxes(1, 2)
        mask = grid.reshape(1, rows * step, cols * step, 1)[:, :height, :width]
        with h5py.File(bench.WORK / "published.h5", "w") as file:
            file["mask"] = mask

    return predict


def child(folder: Path, model: Path, *way: str) -> None:
    """Predict every scene and print seconds per scene, the first left out."""
    predict = (
        published(model) if way[0] == "published" else ours(folder, model, way[0], int(way[1]))
    )
    first, *rest = sorted(folder.glob("*.hdf"))
    predict(first)
    began = time.perf_counter()
    for path in rest:
        predict(path)
    spent = (time.perf_counter() - began) / len(rest)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds_per_scene": spent, "peak_gib": peak}))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if len(sys.argv) > 1:
        child(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    else:
        main()
