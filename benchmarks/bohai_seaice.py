"""Real sea ice on green water: one MODIS scene of the Bohai Sea, held out half by half.

    CLOUDMASK_REAL_DATA=FOLDER python -m benchmarks bohai_seaice

There is one date, so a network learns from one half of the scene and is judged by the other, and
the reverse; columns within MARGIN of the middle count in neither. The network and the patches are
those of docs/seaice.md; what differs between the rows is how a network is shown them. Another date
has other light: each network is also judged under changes of gain, offset and tint that it has not
seen. Beside them stand the commonest class, the published colour rule (all ice, thick or thin, as
ice), a threshold on one band, chosen on the other half, and scenes brought to the mean and
deviation of the training half first. A second run goes on where the first was. Nothing is timed
here.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench
from cloudmask.metrics import confusion, derive

WORK = bench.WORK / "bohai_seaice"
CLASSES = ("open water", "sea ice")
CUT = ("--patch-size", 128, "--stride", 32, "--split", "train=1")
NETWORK = ("--widths", 16, 32, 64, 128, "--threads", 1, "--no-tensorboard", "--keep", 1)
EPOCHS = 16
MARGIN = 48
"""columns beside the middle that do not count: what a network sees of the other half"""
FLIPS = ("--augment-gain", 0, "--augment-shared", 0)
RECIPES = {"default": (), "flips and turns": FLIPS, "decorrelated": (*FLIPS, "--decorrelate")}
SIDES = ("left", "right")
"""what a network learns from"""
Image = np.ndarray
"""(H, W, 3) float32, from 0 to 255"""


def changes() -> dict[str, Callable[[Image], Image]]:
    """Other light: what becomes of the scene that a network is judged by."""
    tint = np.array((0.85, 1.0, 1.15), np.float32)
    gains = {f"gain {gain:g}": _gain(gain) for gain in (0.8, 0.9, 1.1, 1.2)}
    shifts = {f"shift {shift:+d}": _shift(shift) for shift in (-15, 15)}
    tints = {"red less, blue more": _gain(tint), "red more, blue less": _gain(1 / tint)}
    return {"as it is": lambda image: image, **gains, **shifts, **tints}


def _gain(gain: float | np.ndarray) -> Callable[[Image], Image]:
    return lambda image: np.clip(image * gain, 0, 255)


def _shift(shift: int) -> Callable[[Image], Image]:
    return lambda image: np.clip(image + shift, 0, 255)


def main() -> None:
    folder = os.environ.get("CLOUDMASK_REAL_DATA")
    if not folder:
        print("bohai_seaice: left out, as CLOUDMASK_REAL_DATA names no folder of real scenes")
        return
    with np.load(Path(folder) / "seaice" / "bohai_date1.npz") as scene:
        image, label = scene["image"].astype(np.float32), scene["label"]
    for side in SIDES:
        make_patches(image, label, side)
    rows = [row for side in SIDES for row in plain_rules(image, label, side)]
    for name, side in itertools.product(RECIPES, SIDES):
        train(name, side)
        rows += judged(f"network, {name}", side, image, label, predictor(run_of(name, side)))
    # The same networks, where a scene is first brought to the light of the training half.
    for name, side in itertools.product(RECIPES, SIDES):
        brought = matched(predictor(run_of(name, side)), image[:, columns(side, image)])
        rows += judged(f"network, {name}, matched", side, image, label, brought)
    summed = summary(rows)
    for line in table(summed):
        print(line)
    bench.keep(
        "bohai_seaice",
        command="CLOUDMASK_REAL_DATA=FOLDER python -m benchmarks bohai_seaice",
        summary=summed,
        rows=rows,
        epochs=EPOCHS,
        margin=MARGIN,
        options=[str(word) for word in (*CUT, *NETWORK)],
        recipes={name: list(map(str, words)) for name, words in RECIPES.items()},
        share_of_commonest_class=float(np.mean(label == 0)),
    )


def columns(side: str, image: np.ndarray) -> slice:
    """Of one half of the scene."""
    middle = image.shape[1] // 2
    return slice(0, middle) if side == "left" else slice(middle, image.shape[1])


def judged_columns(side: str, image: np.ndarray) -> slice:
    """Of the other half, beyond the margin."""
    middle = image.shape[1] // 2
    away = slice(middle + MARGIN, image.shape[1])
    return away if side == "left" else slice(0, middle - MARGIN)


def make_patches(image: np.ndarray, label: np.ndarray, side: str) -> None:
    out = WORK / f"patches-{side}"
    if (out / "manifest.json").exists():
        return
    WORK.mkdir(parents=True, exist_ok=True)
    half = columns(side, image)
    scene = WORK / f"{side}.npz"
    np.savez(
        scene,
        image=image[:, half].astype(np.uint8),
        label=label[:, half],
        channels=np.array(("red", "green", "blue")),
        classes=np.array(CLASSES),
    )
    bench.run([*bench.CLOUDMASK, "prepare", scene, "--out", out, *CUT])


def run_of(name: str, side: str) -> Path:
    return WORK / "runs" / f"{name.replace(' ', '-')}-{side}"


def train(name: str, side: str) -> None:
    out = run_of(name, side)
    if (out / "summary.json").exists() and bench.summary(out)["status"] == "finished":
        return
    words = ["--data", WORK / f"patches-{side}", "--out", out, "--epochs", EPOCHS, *NETWORK]
    words += [*RECIPES[name], *(["--resume"] if out.exists() else [])]
    print(f"training on the {side} half: {name}", flush=True)
    bench.run([*bench.TRAIN, *words])


def predictor(run: Path) -> Callable[[Image], np.ndarray]:
    import cloudmask

    network = cloudmask.load(run, precision="float32")
    return lambda image: network.predict(image).mask


def matched(predict: Callable[[Image], np.ndarray], known: Image) -> Callable[[Image], np.ndarray]:
    """`predict` of scenes brought to the mean and deviation of `known`, band by band."""
    mean, deviation = known.mean(axis=(0, 1)), known.std(axis=(0, 1))

    def found(image: Image) -> np.ndarray:
        own = image.std(axis=(0, 1))
        return predict((image - image.mean(axis=(0, 1))) / own * deviation + mean)

    return found


def judged(
    name: str,
    side: str,
    image: Image,
    label: np.ndarray,
    predict: Callable[[Image], np.ndarray],
) -> list[dict[str, Any]]:
    """Counts [label, predicted] of the half that was held out, under each change of light."""
    kept = judged_columns(side, image)
    rows = []
    for change, made in changes().items():
        mask = predict(made(image))
        counts = confusion(label[:, kept], mask[:, kept], num_classes=len(CLASSES))
        row = {"of": name, "learned_from": side, "change": change, "counts": counts.tolist()}
        rows.append(row)
    return rows


def plain_rules(image: Image, label: np.ndarray, side: str) -> list[dict[str, Any]]:
    """No network: the commonest class, the colour rule, a threshold chosen on the other half."""
    from seaice import colour

    def commonest(image: Image) -> np.ndarray:
        return np.zeros(image.shape[:2], np.uint8)

    def by_colour(image: Image) -> np.ndarray:
        value = colour.brightness(np.rint(image).astype(np.uint8))
        return (colour.classify(value) != colour.WATER).astype(np.uint8)

    half = columns(side, image)
    band, limit, above = best_threshold(image[:, half], label[:, half])

    def by_threshold(image: Image) -> np.ndarray:
        return ((image[..., band] >= limit) == above).astype(np.uint8)

    rules = {
        "commonest class": commonest,
        "colour rule": by_colour,
        "threshold on one band": by_threshold,
    }
    return [row for name, rule in rules.items() for row in judged(name, side, image, label, rule)]


def best_threshold(image: Image, label: np.ndarray) -> tuple[int, int, bool]:
    """Band, limit, and whether ice is above it: of the greatest accuracy."""
    found = [
        (float(np.mean(((image[..., band] >= limit) == above) == (label == 1))), band, limit, above)
        for band in range(3)
        for limit in range(1, 256, 2)
        for above in (True, False)
    ]
    _, band, limit, above = max(found)
    return band, limit, above


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Both halves pooled: as the scene is, the mean over the changes of light, and the worst."""
    found = []
    for name in dict.fromkeys(row["of"] for row in rows):
        by_change = {}
        for change in changes():
            mine = [r["counts"] for r in rows if (r["of"], r["change"]) == (name, change)]
            by_change[change] = derive(np.sum(mine, axis=0), CLASSES)
        others = [one for change, one in by_change.items() if change != "as it is"]
        accuracies, ious = ([one.accuracy for one in others], [one.mean_iou for one in others])
        sides = {
            side: derive(np.array(row["counts"]), CLASSES).as_dict()
            for side in SIDES
            for row in rows
            if (row["of"], row["learned_from"], row["change"]) == (name, side, "as it is")
        }
        found.append(
            {
                "of": name,
                "as_it_is": by_change["as it is"].as_dict(),
                "learned_from": sides,
                "mean_accuracy_of_changes": float(np.mean([a or 0 for a in accuracies])),
                "least_accuracy_of_changes": float(min(a or 0 for a in accuracies)),
                "mean_iou_of_changes": float(np.mean([i or 0 for i in ious])),
                "least_iou_of_changes": float(min(i or 0 for i in ious)),
                "accuracies": {change: one.accuracy for change, one in by_change.items()},
            }
        )
    return found


def table(summed: Sequence[dict[str, Any]]) -> list[str]:
    head = ("accuracy", "mean IoU", "changed", "IoU", "worst", "IoU")
    lines = [f"{'half by half':<32}" + "".join(f"{word:>10}" for word in head)]
    for row in summed:
        figures = (
            row["as_it_is"]["accuracy"],
            row["as_it_is"]["mean_iou"],
            row["mean_accuracy_of_changes"],
            row["mean_iou_of_changes"],
            row["least_accuracy_of_changes"],
            row["least_iou_of_changes"],
        )
        lines.append(f"{row['of']:<32}" + "".join(f"{value:>10.3f}" for value in figures))
    return lines
