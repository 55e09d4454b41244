"""A picture of where a network is right and its teacher wrong, and of where it is the other way.

    python -m benchmarks.better_masks_picture

Of the test scenes of better_masks, by day and by night, the one in which the network gains most and
the one in which it loses most; the mask is that of three seeds together.
"""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from benchmarks import bench, better_masks
from benchmarks import better_masks_parts as parts
from benchmarks.better_masks_figures import Scenes, read
from cloudmask.data.read import read_scene
from cloudmask.data.scene import Scene
from cloudmask.files import write_whole
from cloudmask.report import pixels

ROW = "looks"
PICTURE = bench.ROOT / "docs" / "pictures" / "better-masks.png"
CLASSES = {"clear": "#1f4e79", "cloud": "#f2f2f2"}
VERDICTS = {
    "both right": "#e8e8e8",
    "both wrong": "#8a8a8a",
    "only the teacher right": "#d55e00",
    "only the network right": "#009e73",
}


def main() -> None:
    test = better_masks.WORK / "test"
    scenes = read(test)
    found = [
        np.load(parts.probabilities_of(better_masks.run_of(ROW, seed))).astype(np.float32)
        for seed in better_masks.SEEDS
    ]
    mask = np.mean(found, axis=0) >= 0.5
    chosen = choose(scenes, mask)
    figure = Figure(figsize=(12, 2.35 * len(chosen) + 0.7), layout="constrained")
    grid = figure.subplots(len(chosen), 4)
    paths = sorted(test.glob("*.hdf"))
    for axes, (title, index) in zip(grid, chosen, strict=True):
        draw(axes, title, read_scene(paths[index]), scenes, mask, index)
    for axis, title in zip(
        grid[0], ("what the sensor saw", "Bayesian mask", "network", "who is right"), strict=True
    ):
        axis.set_title(title, fontsize=11)
    patches = [
        Patch(facecolor=colour, edgecolor="#666666", label=name)
        for name, colour in (CLASSES | VERDICTS).items()
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90)
    small = io.BytesIO()
    Image.open(stream).convert("RGB").quantize(128).save(small, "PNG", optimize=True)
    write_whole(PICTURE, small.getvalue())
    print(PICTURE.relative_to(bench.ROOT))


def choose(scenes: Scenes, mask: np.ndarray) -> list[tuple[str, int]]:
    """What is told of each scene that is drawn, and its number."""
    right = [
        ((m == scenes.truth) & scenes.measured).sum(axis=(1, 2)) / scenes.measured.sum(axis=(1, 2))
        for m in (mask, scenes.teacher)
    ]
    gain = 100 * (right[0] - right[1])
    chosen = []
    for part in ("day", "night"):
        numbers = np.flatnonzero(scenes.of(part))
        for index in (numbers[gain[numbers].argmax()], numbers[gain[numbers].argmin()]):
            chosen.append((f"{part}, {gain[index]:+.1f} points", int(index)))
    return chosen


def draw(
    axes: np.ndarray, title: str, scene: Scene, scenes: Scenes, mask: np.ndarray, index: int
) -> None:
    """The four panels of a scene."""
    known, truth = scenes.measured[index], scenes.truth[index]
    show_scene(axes[0], scene)
    axes[0].set_ylabel(title, fontsize=10)
    classes = ListedColormap(list(CLASSES.values()))
    for axis, cloud in ((axes[1], scenes.teacher[index]), (axes[2], mask[index])):
        axis.imshow(np.where(known, cloud, np.nan), cmap=classes, vmin=0, vmax=1)
    network, teacher = mask[index] == truth, scenes.teacher[index] == truth
    verdict = np.select([network & teacher, ~network & ~teacher, teacher], [0, 1, 2], default=3)
    colours = ListedColormap(list(VERDICTS.values()))
    axes[3].imshow(np.where(known, verdict, np.nan), cmap=colours, vmin=0, vmax=3)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])


def show_scene(axis: Axes, scene: Scene) -> None:
    """In false colour by day, by night the temperature, cold in white."""
    planes = [scene.image[..., n] for n in pixels.colour_channels(scene.channels)]
    if np.isfinite(planes[0]).any():
        axis.imshow(pixels.rgb(planes, [pixels.limits(plane) for plane in planes]))
    else:
        kelvin = scene.image[..., scene.channels.index(pixels.THERMAL)]
        low, high = pixels.limits(kelvin)
        axis.imshow(kelvin, cmap="gray_r", vmin=low, vmax=high)


if __name__ == "__main__":
    main()
