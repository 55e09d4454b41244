"""One scene as a picture: what the sensor saw, the Bayesian mask, the network's, where they differ.

Example: python scripts/readme_picture.py RUN SCENES --out docs/pictures/masks.png

The scene is the daylit one whose Bayesian mask is nearest to half cloud, which the run must
not have seen: make it with another seed than the scenes of the training.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cloudmask import __main__ as cli
from cloudmask.data.read import read_scene
from cloudmask.data.scene import Scene, missing_pixels
from cloudmask.files import write_whole
from cloudmask.predict import masks
from cloudmask.report import colours, pixels

WINDOW, SHRINK = 576, 2
"""pixels of the scene on each side, and how many of these make one of the picture"""
GAP, TITLE, LEGEND = 16, 40, 40
"""pixels between panels, above them and below them"""
INK, PAPER = (27, 31, 36), (255, 255, 255)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a finished training")
    parser.add_argument("scenes", type=Path, help="folder of scenes it has not seen")
    parser.add_argument("--out", type=Path, required=True, help="the PNG")
    given = parser.parse_args()
    path = choose(sorted(path for path in given.scenes.iterdir() if path.suffix == ".hdf"))
    with tempfile.TemporaryDirectory() as folder:
        if cli.main(["predict", str(given.run), str(path), "--out", folder]):
            return 1
        mask = masks.read_netcdf(Path(folder) / f"{path.stem}.nc").mask
    file = io.BytesIO()
    compose(read_scene(path), mask).quantize(128).save(file, "PNG", optimize=True)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(given.out, file.getvalue())
    print(f"{given.out}: {path.name}, {given.out.stat().st_size / 1e3:.0f} kB")
    return 0


def choose(paths: list[Path]) -> Path:
    """The daylit scene whose label is nearest to half cloud. ValueError if there is none."""
    found = {}
    for path in paths:
        scene = read_scene(path)
        assert scene.label is not None
        planes = [scene.image[..., n] for n in pixels.colour_channels(scene.channels)]
        if all(np.isfinite(plane).any() for plane in planes):
            found[path] = abs(float((scene.label == 1).mean()) - 0.5)
    if not found:
        raise ValueError("none of the scenes has daylight; name a folder with one that has")
    return min(found, key=lambda path: found[path])


def compose(scene: Scene, mask: np.ndarray) -> Image.Image:
    """Four panels in a row, each with its title, and a legend under those that need one."""
    assert scene.label is not None
    top, left = ((size - WINDOW) // 2 for size in mask.shape)
    window = slice(max(0, top), max(0, top) + WINDOW), slice(max(0, left), max(0, left) + WINDOW)
    planes = [scene.image[..., n] for n in pixels.colour_channels(scene.channels)]
    seen = pixels.rgb(
        [pixels.box_mean(plane[window], SHRINK) for plane in planes],
        [pixels.limits(plane) for plane in planes],
    )
    label, network = scene.label[window], mask[window]
    missing = missing_pixels(scene.image)[window]
    classes, clear_and_cloud = colours.class_styles(2), {0: "clear", 1: "cloud"}
    differing = {colours.FALSE_ALARM: "only network", colours.MISS: "only mask"}
    difference = colours.difference(network, label, num_classes=2)
    painted = (
        ("Bayesian mask", colours.classes_of(label, missing), classes, clear_and_cloud),
        ("Network", colours.classes_of(network, missing), classes, clear_and_cloud),
        ("Where they differ", difference, colours.DIFFERENCE, differing),
    )
    height, step = len(seen), seen.shape[1] + GAP
    picture = Image.new("RGB", (4 * step - GAP, TITLE + height + LEGEND), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((0, 4), "What the sensor saw", INK, ImageFont.load_default(24))
    picture.paste(Image.fromarray(seen), (0, TITLE))
    for place, (title, found, styles, legend) in enumerate(painted, 1):
        panel = colours.paint(colours.shrink_categories(found, SHRINK), styles)
        draw.text((place * step, 4), title, INK, ImageFont.load_default(24))
        picture.paste(Image.fromarray(panel), (place * step, TITLE))
        x = float(place * step)
        for value, word in legend.items():
            swatch = Image.fromarray(colours.swatch(styles[value]))
            picture.paste(swatch, (int(x), picture.height - 24))
            draw.text((x + 36, picture.height - 26), word, INK, ImageFont.load_default(18))
            x += 48 + draw.textlength(word, ImageFont.load_default(18))
    return picture


if __name__ == "__main__":
    raise SystemExit(main())
