"""Real scenes: networks that learn from a threshold, or from nothing, beside labels by hand.

    CLOUDMASK_REAL_DATA=FOLDER python -m benchmarks real_masks

Two Landsat scenes with labels by hand, which nothing here learns from, but for `calibrate`. The
teacher is a limit in the blue; three limits, none of them tuned. Then no teacher at all. Last a
real SLSTR scene of which every 100th pixel is at hand, beside its operational summary mask. A
second run goes on where the first was.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench, better_masks, real_masks_slstr
from benchmarks import real_masks_figures as figures
from benchmarks.real_masks_figures import (
    CALIBRATED,
    LIMITS,
    NAMES,
    SEEDS,
    WORK,
    Masks,
    array,
    patches,
    run_of,
)

EPOCHS = 12
CUT = ("--patch-size", 64, "--stride", 32, "--split", "train=1")
NETWORK = (
    *("--no-horovod", "--threads", 1, "--widths", 8, 16, 32, 64, "--decorrelate"),
    *("--augment-gain", 0, "--augment-shared", 0, "--no-tensorboard", "--keep", 1),
)


def main() -> None:
    folder = os.environ.get("CLOUDMASK_REAL_DATA")
    if not folder:
        print("real_masks: left out, as CLOUDMASK_REAL_DATA names no folder of real scenes")
        return
    WORK.mkdir(parents=True, exist_ok=True)
    landsat = Path(folder) / "landsat"
    truth = {name: array(landsat / f"{name}.npz", "label") == 1 for name in NAMES}
    names = ["first"]
    for limit in LIMITS:
        scenes = write_scenes(landsat, f"blue-{limit}", limit=limit)
        cut(("prepare", scenes), patches(f"teacher-{limit}"))
        method = ("--method", "densities", "--teacher", "any")
        cut(("label", scenes, *method), patches(f"looks-{limit}"))
        names += [f"teacher-{limit}", f"looks-{limit}"]
    bare = write_scenes(landsat, "bare")
    alone = ("label", bare, "--method", "unsupervised")
    cut(alone, patches("first"))
    better_masks.each([(fit, name, seed) for seed in SEEDS for name in names])
    for seed in SEEDS:
        cut((*alone, "--model", run_of("first", seed)), patches("second", seed))
    better_masks.each([(fit, "second", seed) for seed in SEEDS])
    found = {
        "teachers": {str(limit): figures.of_teacher(limit, truth) for limit in LIMITS},
        "no_teacher": figures.of_none(truth),
        "calibrated": calibrations(landsat, truth),
        "slstr": real_masks_slstr.figures(Path(folder) / "slstr" / "slstr_20170313_24x30.npz"),
    }
    print("\n".join([*figures.table(found), *real_masks_slstr.table(found["slstr"])]))
    conditions = {"limits": list(LIMITS), "seeds": list(SEEDS), "epochs": EPOCHS}
    bench.keep("real_masks", **conditions, options=[str(word) for word in NETWORK], **found)


def write_scenes(
    landsat: Path, name: str, *, limit: float | None = None, truth: bool = False, half: int = 0
) -> Path:
    """A folder of both scenes, labelled by a limit in the blue if there is one.

    The labels by hand come along with `truth` alone. A half is -1, the left, or 1, the right.
    """
    folder = WORK / name
    folder.mkdir(exist_ok=True)
    for scene in NAMES:
        with np.load(landsat / f"{scene}.npz") as file:
            found = {key: file[key] for key in ("image", "channels", "classes", "label")}
        hand = found.pop("label")
        if truth:
            found["truth"] = hand
        if limit is not None:
            found["label"] = (found["image"][..., 0] > limit).astype(np.uint8)
        side = part(half)
        found |= {key: found[key][side] for key in ("image", "label", "truth") if key in found}
        path = folder / f"{scene}.npz"
        if not path.exists():  # receipts tell a scene that has changed by its date
            np.savez(path, **found)
    return folder


def part(half: int) -> tuple[slice, slice]:
    """Rows and columns of the left (-1) or right (1) half of 512, or (0) of all."""
    return slice(None), {-1: slice(None, 256), 0: slice(None), 1: slice(256, None)}[half]


def cut(words: Sequence[object], out: Path) -> None:
    better_masks.cloudmask(*words, "--out", out, *CUT)


def fit(core: int, name: str, seed: int) -> None:
    data = patches(name, seed if name == "second" else None)
    out = run_of(name, seed)
    if (out / "summary.json").exists() and bench.summary(out)["status"] == "finished":
        return
    words = ["--data", data, "--out", out, "--seed", seed, "--epochs", EPOCHS, *NETWORK]
    more = ["--resume"] if out.exists() else []
    better_masks.call([*bench.TRAIN, *words, *more], core=core)


def calibrations(landsat: Path, truth: Masks) -> dict[str, Any]:
    """Networks of looks, calibrated on the left half of a scene, judged on the right half of it."""
    known = write_scenes(landsat, "left", limit=CALIBRATED, truth=True, half=-1)
    write_scenes(landsat, "right", limit=CALIBRATED, truth=True, half=1)
    found: dict[str, Any] = {}
    side = part(1)
    for scene in NAMES:
        rows: dict[str, list[dict[str, float]]] = {"as it is": [], "calibrated": [], "taught": []}
        for seed in SEEDS:
            run = run_of(f"looks-{CALIBRATED}", seed)
            for row, asked in (("as it is", None), ("calibrated", ()), ("taught", ("any",))):
                model = run
                if asked is not None:
                    model = run.with_name(f"{run.name}-{scene}-{row}.keras")
                    if not model.exists():
                        words = ("calibrate", run, known / f"{scene}.npz", "--label", "truth")
                        taught = ("--teacher", *asked) if asked else ()
                        better_masks.cloudmask(*words, "--out", model, *taught)
                mask = figures.predicted(model, WORK / "right" / f"{scene}.npz")
                rows[row].append(figures.score(mask, truth[scene][side]))
        teacher = array(WORK / "right" / f"{scene}.npz", "label") == 1
        found[scene] = {
            "teacher": figures.score(teacher, truth[scene][side]),
            **{row: figures.of_seeds(each) for row, each in rows.items()},
        }
    return found


if __name__ == "__main__":
    main()
