"""What real_masks counts: masks of both Landsat scenes beside the labels by hand."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench

WORK = bench.WORK / "real-masks"
NAMES = ("landsat5", "landsat7")
LIMITS = (0.15, 0.2, 0.25)
"""reflectance in the blue from which on a pixel is cloud to a teacher"""
CALIBRATED = 0.2
"""the teacher whose networks are calibrated"""
SEEDS = (0, 1, 2)

Masks = dict[str, np.ndarray]
"""name of a scene -> (H, W) bool cloud"""


def patches(name: str, seed: int | None = None) -> Path:
    return WORK / f"patches-{name}{'' if seed is None else f'-{seed}'}"


def run_of(name: str, seed: int) -> Path:
    return WORK / "runs" / f"{name}-{seed}"


def of_teacher(limit: float, truth: Masks) -> dict[str, Any]:
    """Of each scene: the teacher, the looks of its classes, and networks that learned of either."""
    scenes = WORK / f"blue-{limit}"
    teacher = {name: array(scenes / f"{name}.npz", "label") == 1 for name in NAMES}
    looks = by_looks(scenes)
    return {
        name: {
            "teacher": score(teacher[name], truth[name]),
            "looks": score(looks[name] > 0, truth[name]),
            "labelled": of_labelled(patches(f"looks-{limit}"), name, truth[name]),
            **{
                f"network of {kind}": of_networks(f"{kind}-{limit}", scenes, name, truth[name])
                for kind in ("teacher", "looks")
            },
        }
        for name in NAMES
    }


def by_looks(scenes: Path) -> dict[str, np.ndarray]:
    """Log-odds of all pixels, as the command finds them before it leaves out what is in doubt."""
    from cloudmask.data.archive import find_scenes
    from cloudmask.data.read import read_scene
    from cloudmask.data.slstr import Reading
    from cloudmask.labels import densities, densities_command
    from cloudmask.labels.looks import looks_of

    samples = [
        densities_command.sample_of(
            entry,
            teacher="any",
            reading=Reading(),
            verify=False,
            strips=None,
            pixels=densities_command.pixels_of_a_scene(len(NAMES)),
        )
        for entry in find_scenes((scenes,))
    ]
    fitted = densities.fit_all(samples)
    found = {}
    for name in NAMES:
        scene = read_scene(scenes / f"{name}.npz")
        assert scene.label is not None
        found[name] = densities.log_odds(looks_of(scene, scene.label == 0), fitted)
    return found


def of_none(truth: Masks) -> dict[str, Any]:
    """Of each scene: the sign of the log-odds, the confident part, networks of two rounds."""
    from cloudmask.labels.unsupervised import unsupervised_log_odds

    bare = WORK / "bare"
    found = {}
    for name in NAMES:
        channels = tuple(map(str, array(bare / f"{name}.npz", "channels")))
        odds = unsupervised_log_odds(array(bare / f"{name}.npz", "image"), channels)
        found[name] = {
            "sign": score(odds > 0, truth[name]),
            "labelled": of_labelled(patches("first"), name, truth[name]),
            "network": of_networks("first", bare, name, truth[name]),
            "network, second round": of_networks("second", bare, name, truth[name]),
        }
    return found


def of_labelled(patchset: Path, name: str, truth: np.ndarray) -> dict[str, float]:
    """The labels that a patch set holds of a scene: their share of it, and how many are right."""
    import h5py

    label = np.full(truth.shape, 255, np.uint8)
    with h5py.File(patchset / "train" / f"{name}.h5") as file:
        corners = zip(file["row"][...], file["col"][...], file["label"][...], strict=True)
        for row, col, patch in corners:
            label[row : row + len(patch), col : col + len(patch)] = patch
    known = label <= 1
    return {"share": float(known.mean()), **score(label[known] == 1, truth[known])}


def of_networks(name: str, scenes: Path, scene: str, truth: np.ndarray) -> dict[str, Any]:
    path = scenes / f"{scene}.npz"
    return of_seeds([score(predicted(run_of(name, seed), path), truth) for seed in SEEDS])


def predicted(model: Path, path: Path) -> np.ndarray:
    """(H, W) bool cloud, kept beside the model."""
    import cloudmask

    stem = model / "masks" if model.is_dir() else model.with_suffix("")
    kept = stem.with_name(f"{stem.name}-{path.parent.name}-{path.stem}.npy")
    if not kept.exists():
        network = cloudmask.load(model, precision="float32")
        scene = cloudmask.read_scene(path, need_label=False)
        teacher = scene.label if network.teacher else None
        found = network.predict(scene.image, channels=scene.channels, teacher=teacher)
        np.save(kept, found.mask == 1)
    return np.load(kept)


def score(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float((mask == truth).mean()),
        "iou": float((mask & truth).sum() / (mask | truth).sum()),
        "cloud_fraction": float(mask.mean()),
    }


def of_seeds(each: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "seeds": each,
        "mean": {key: statistics.mean(one[key] for one in each) for key in each[0]},
        "spread": {key: statistics.stdev(one[key] for one in each) for key in each[0]},
    }


def table(figures: dict[str, Any]) -> list[str]:
    """Markdown: accuracy and IoU of cloud in each scene."""
    lines = [f"| labels from | {' | '.join(NAMES)} |", f"| --- |{' --- |' * len(NAMES)}"]
    groups = {f"blue > {limit}": rows for limit, rows in figures["teachers"].items()}
    groups |= {
        "no teacher": figures["no_teacher"],
        f"right half, blue > {CALIBRATED}": figures["calibrated"],
    }
    for group, scenes in groups.items():
        for row in scenes[NAMES[0]]:
            cells = [_cell(scenes[name][row]) for name in NAMES]
            lines.append(f"| {group}: {row} | {' | '.join(cells)} |")
    return lines


def _cell(found: dict[str, Any]) -> str:
    if "seeds" not in found:
        share = f", of {found['share']:.2f}" if "share" in found else ""
        return f"{found['accuracy']:.4f}, {found['iou']:.3f}{share}"
    mean, spread = found["mean"], found["spread"]
    return f"{mean['accuracy']:.4f} ± {spread['accuracy']:.4f}, {mean['iou']:.3f}"


def array(path: Path, name: str) -> np.ndarray:
    with np.load(path) as file:
        return file[name]
