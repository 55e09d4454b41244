"""Two steps of better_masks that no command makes: probabilities kept for counting, and labels
corrected where a young network is sure.

    python -m benchmarks.better_masks_parts predict MODEL SCENES
    python -m benchmarks.better_masks_parts correct RUN SCENES OUT

The correction is that of ADELE (Liu et al., CVPR 2022, arXiv 2110.03740), with two things simpler:
it is made after a fixed epoch, not where the learning curve bends, and the network is asked at one
scale in four reflections.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from cloudmask.data.slstr import SKIN

SURE = 0.8


def probabilities_of(model: Path) -> Path:
    """Where the probabilities of a model's test scenes lie."""
    return model / "test.npy" if model.is_dir() else model.with_suffix(".npy")


def keep_probabilities(model: Path, folder: Path) -> None:
    """(scenes, H, W) float16 probabilities of cloud, NaN where nothing was measured."""
    import cloudmask

    network = cloudmask.load(model)
    # A model of .npz scenes, such as corrected ones, does not know how they were read.
    reading = replace(network.reading, skin_temperature=SKIN in network.channels)
    found = []
    for path in sorted(folder.glob("*.hdf")):
        scene = cloudmask.read_scene(path, reading=reading)
        teacher = scene.label if network.teacher else None
        mask = network.predict(scene.image, channels=scene.channels, teacher=teacher)
        found.append(mask.probability.astype(np.float16))
    out = probabilities_of(model)
    aside = out.with_suffix(".part.npy")
    np.save(aside, np.stack(found))
    aside.replace(out)


def correct(run: Path, scenes: Path, out: Path) -> None:
    """Write the scenes to `out` as .npz, with the teacher's label but where the network is sure."""
    import cloudmask

    if (out / "done").exists():
        return
    out.mkdir(exist_ok=True)
    network = cloudmask.load(run)
    for path in sorted(scenes.glob("*.hdf")):
        scene = cloudmask.read_scene(path, reading=network.reading)
        flips = [(a, b) for a in (1, -1) for b in (1, -1)]
        seen = [
            network.predict(scene.image[::a, ::b], channels=scene.channels).probability[::a, ::b]
            for a, b in flips
        ]
        probability = np.mean(seen, axis=0)
        sure = np.maximum(probability, 1 - probability) > SURE
        assert scene.label is not None
        label = np.where(sure & (scene.label <= 1), probability > 0.5, scene.label)
        np.savez(
            out / f"{path.stem}.npz",
            image=scene.image,
            label=label.astype(np.uint8),
            channels=np.array(scene.channels),
            classes=np.array(scene.classes),
        )
    (out / "done").write_text("")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    step, *paths = sys.argv[1:]
    if step == "predict":
        keep_probabilities(*map(Path, paths))
    else:
        correct(*map(Path, paths))
