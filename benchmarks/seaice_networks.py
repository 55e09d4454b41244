"""Networks of sea ice: as published, improved, and trained on labels by colour alone.

Three ways, three seeds each, trained on nine synthetic scenes and judged by others that no network
has seen: `improved` (labels of the guarded filter, --preset seaice), `raw` (labels by colour alone,
the same preset) and `published` (labels of the published filter, --preset seaice-published). Each
is scored against every kind of label and against the truth, in all scenes and in the cloudy ones,
and so are the labels themselves. The mean over seeds counts; beside it stand the range of the seeds
and a 95 % interval over scenes (cloudmask/evaluate/intervals.py). Nothing is timed here.

One process on one core. What is there is not made again: training goes on where it was stopped.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench
from cloudmask.evaluate import intervals
from cloudmask.files import write_json
from cloudmask.metrics import UNKNOWN, confusion, derive

WORK = bench.WORK / "seaice_networks"
SIZE, PATCH = 768, 128
TRAIN, TEST = (9, 20), (44, 21)
"""number of scenes, and their seed"""
CLOUDY = 0.1
SEEDS = (0, 1, 2)
CLASSES = ("thick_ice", "thin_ice", "open_water")
LABELS = {"guarded": "guarded", "raw": "none", "published": "published"}
"""name of each kind of label: --filter"""
REFERENCES = (*LABELS, "truth")


@dataclass(frozen=True)
class Way:
    """How a network is trained."""

    labels: str
    preset: str
    epochs: int
    batch: int


WAYS = {
    "improved": Way("guarded", "seaice", 15, 4),
    "raw": Way("raw", "seaice", 15, 4),
    "published": Way("published", "seaice-published", 30, 16),
}
"""the published training has 50 epochs of 4224 patches of 256 pixels: here they are fewer"""

Counts = np.ndarray
"""(scenes, 3, 3) pixels [reference, predicted]"""


def main() -> None:
    make_scenes()
    for seed, name in itertools.product(SEEDS, WAYS):
        train(name, seed)
        count(name, seed)
    report()


def make_scenes() -> None:
    """Scenes, labels, patches; and the scenes to be judged with each kind of label, as arrays."""
    for part, (number, seed) in (("train", TRAIN), ("test", TEST)):
        size = ("--height", SIZE, "--width", SIZE)
        seaice("synth", "--out", WORK / part, "--scenes", number, "--seed", seed, *size)
        for name, filtered in LABELS.items():
            pictures, out = WORK / part / "scenes", WORK / f"{part}-{name}"
            seaice("label", pictures, "--out", out, "--filter", filtered)
            if part == "train":
                split = ("--patch-size", PATCH, "--split", "train=1")
                cut = WORK / f"patches-{name}"
                if not (cut / "manifest.json").exists():
                    seaice("prepare", pictures, "--labels", out, "--out", cut, *split)
            else:
                seaice("scenes", pictures, "--labels", out, "--out", WORK / f"scenes-{name}")
    truth = ("--labels", WORK / "test" / "truth", "--out", WORK / "scenes-truth")
    seaice("scenes", WORK / "test" / "scenes", *truth)


def train(name: str, seed: int) -> None:
    way, out = WAYS[name], run_of(name, seed)
    if (out / "summary.json").exists() and bench.summary(out)["status"] == "finished":
        return
    words = ["--data", WORK / f"patches-{way.labels}", "--out", out, "--seed", seed]
    words += ["--preset", way.preset, "--epochs", way.epochs, "--batch-size", way.batch]
    words += ["--threads", 1, "--no-tensorboard", *(["--resume"] if out.exists() else [])]
    print(f"training {name}, seed {seed}", flush=True)
    bench.wait([bench.start([*bench.TRAIN, *words], cores=[min(os.sched_getaffinity(0))])])


def count(name: str, seed: int) -> None:
    """Confusion counts of a network's masks in each scene, kept beside it."""
    path = run_of(name, seed) / "counts.json"
    if path.exists():
        return
    import cloudmask

    network = cloudmask.load(run_of(name, seed), precision="float32")
    predicted = (network.predict(image).mask for image, _ in of_kind("truth"))
    write_json(path, {key: found.tolist() for key, found in against_all(predicted).items()})


def against_all(predicted: Iterator[np.ndarray]) -> dict[str, Counts]:
    """Masks of the scenes, in their order, against every reference."""
    kinds = [of_kind(name) for name in REFERENCES]
    found: dict[str, list[np.ndarray]] = {name: [] for name in REFERENCES}
    for mask, *labelled in zip(predicted, *kinds, strict=True):
        for name, (_, label) in zip(REFERENCES, labelled, strict=True):
            known = np.where(mask == UNKNOWN, np.uint8(UNKNOWN), label)
            found[name].append(confusion(known, mask, num_classes=len(CLASSES)))
    return {name: np.stack(parts) for name, parts in found.items()}


def of_kind(name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image, label) of each scene, in their order."""
    for path in sorted((WORK / f"scenes-{name}").glob("*.npz")):
        with np.load(path) as scene:
            yield scene["image"].astype(np.float32), scene["label"]


def report() -> None:
    """The table, and the record, of all that is there."""
    truth = sorted((WORK / "test" / "truth").glob("*.json"))
    covers = np.array([json.loads(path.read_text())["cloud_cover"] for path in truth])
    counts: dict[str, list[dict[str, Counts]]] = {}
    for name in WAYS:
        paths = [run_of(name, seed) / "counts.json" for seed in SEEDS]
        there = [json.loads(path.read_text()) for path in paths if path.exists()]
        if there:
            counts[f"network, {name}"] = [
                {key: np.array(found) for key, found in one.items()} for one in there
            ]
    for name in LABELS:
        labels = (label for _, label in of_kind(name))
        counts[f"labels, {name}"] = [against_all(labels)]
    parts = {"all": np.ones(len(covers), bool), "cloudy": covers >= CLOUDY}
    rows = [
        {"of": name, "against": reference, "scenes": part, **figures(seeds, reference, kept)}
        for name, seeds in counts.items()
        for reference in REFERENCES
        for part, kept in parts.items()
    ]
    compared = [
        {"of": one, "minus": other, "scenes": part, **difference(counts, one, other, kept)}
        for one, other in itertools.combinations(counts, 2)
        for part, kept in parts.items()
    ]
    for line in table(rows):
        print(line)
    print("difference in accuracy against the truth")
    for row in compared:
        between = "-" if row["interval"] is None else "{:+.4f} to {:+.4f}".format(*row["interval"])
        told = f"{row['of']} - {row['minus']}, {row['scenes']}"
        print(f"  {told:<52} {row['accuracy']:+.4f} ({between})")
    bench.keep(
        "seaice_networks",
        rows=rows,
        differences=compared,
        seeds=list(SEEDS),
        seeds_there={name: len(seeds) for name, seeds in counts.items()},
        ways={name: vars(way) for name, way in WAYS.items()},
        published_epochs=50,
        scenes={"train": TRAIN, "test": TEST, "size": SIZE, "cloudy": int(parts["cloudy"].sum())},
        trained_at=sorted(
            {
                bench.summary(run_of(name, seed))["commit"]
                for name, seed in itertools.product(WAYS, SEEDS)
                if (run_of(name, seed) / "counts.json").exists()
            }
        ),
    )


def figures(seeds: Sequence[dict[str, Counts]], reference: str, kept: np.ndarray) -> dict[str, Any]:
    """Accuracy and mean IoU: mean and range of the seeds; an interval over scenes."""
    pooled = [derive(one[reference][kept].sum(axis=0), CLASSES) for one in seeds]
    mean = np.mean([one[reference][kept] for one in seeds], axis=0)
    correct, pixels = mean.trace(axis1=1, axis2=2), mean.sum(axis=(1, 2))
    accuracies = [float(one.accuracy or 0) for one in pooled]
    ious = [float(one.mean_iou or 0) for one in pooled]
    return {
        "accuracy": statistics.mean(accuracies),
        "accuracy_of_seeds": accuracies,
        "accuracy_interval": intervals.of_pooled(correct, pixels),
        "mean_iou": statistics.mean(ious),
        "mean_iou_of_seeds": ious,
        "num_scenes": int(kept.sum()),
    }


def difference(
    counts: dict[str, list[dict[str, Counts]]], one: str, other: str, kept: np.ndarray
) -> dict[str, Any]:
    """Accuracy against the truth of one less that of the other, mean of the seeds of each."""
    means = [np.mean([s["truth"][kept] for s in counts[name]], axis=0) for name in (one, other)]
    pixels = means[0].sum(axis=(1, 2))
    gained = means[0].trace(axis1=1, axis2=2) - means[1].trace(axis1=1, axis2=2)
    found = intervals.of_pooled(gained, pixels)
    return {"accuracy": float(gained.sum() / pixels.sum()), "interval": found}


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Accuracy (mean IoU), and below the range of the seeds' accuracies."""
    heads = [(reference, "all") for reference in REFERENCES] + [("truth", "cloudy")]
    lines = [f"{'':<22}" + "".join(f"{' '.join(head):>22}" for head in heads)]
    for name in dict.fromkeys(row["of"] for row in rows):
        found = {(r["against"], r["scenes"]): r for r in rows if r["of"] == name}
        mine = [found[head] for head in heads]
        cells = [f"{row['accuracy']:.3f} ({row['mean_iou']:.3f})" for row in mine]
        lines.append(f"{name:<22}" + "".join(f"{cell:>22}" for cell in cells))
        if len(mine[0]["accuracy_of_seeds"]) > 1:
            ends = [(min(r["accuracy_of_seeds"]), max(r["accuracy_of_seeds"])) for r in mine]
            cells = [f"{low:.3f} to {high:.3f}" for low, high in ends]
            lines.append(f"{'':<22}" + "".join(f"{cell:>22}" for cell in cells))
    return lines


def run_of(name: str, seed: int) -> Path:
    return WORK / "runs" / f"{name}-{seed}"


def seaice(*words: object) -> None:
    bench.run([sys.executable, "-m", "seaice", *words])


if __name__ == "__main__":
    report() if sys.argv[1:] == ["report"] else main()
