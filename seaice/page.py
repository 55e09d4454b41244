"""One HTML page that needs no other file: the table, and scenes beside their class maps."""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from cloudmask.files import write_whole
from cloudmask.text import number, percent
from seaice import colour
from seaice.io import classmap, picture, png
from seaice.io.kinds import SUFFIXES
from seaice.io.sources import Source

SHOWN_SIZE = 320
"""rows and columns of a picture on the page, at most"""


def write_page(
    path: Path,
    record: dict[str, Any],
    predictions: dict[str, Path],
    references: dict[str, Path],
    pictures: Path | None,
    shown: int,
) -> None:
    """Write the page. OSError."""
    scenes = [
        {
            "name": name,
            "cover": facts["cloud_cover"],
            "pictures": [
                *_scene(pictures, name),
                *(_map(key, folder, name, None) for key, folder in references.items()),
                *(
                    _map(key, folder, name, facts["predicted"][key])
                    for key, folder in predictions.items()
                ),
            ],
        }
        for name, facts in list(record["scenes"].items())[:shown]
    ]
    template = resources.files("seaice").joinpath("page.html.jinja").read_text()
    page = jinja2.Environment(autoescape=True).from_string(template)
    text = page.render(
        number=number,
        percent=percent,
        scores=record["scores"],
        figures=("accuracy", "mean_iou", "kappa", "ssim", "majority"),
        legend=[
            (name.replace("_", " "), "rgb({}, {}, {})".format(*colour.COLOURS[index]))
            for index, name in enumerate(colour.CLASSES)
        ],
        shades=record["ssim_shades"],
        cloudy_from=record["cloudy_from"],
        scenes=scenes,
    )
    write_whole(path, text.encode())


def _scene(folder: Path | None, name: str) -> list[dict[str, Any]]:
    """The scene's own picture, if it is an 8-bit one."""
    for suffix in SUFFIXES if folder is not None else ():
        path = Path(str(folder)) / f"{name}{suffix}"
        if path.is_file():
            stat = path.stat()
            source = Source(str(path), stat.st_size, stat.st_mtime_ns, name)
            with picture.open_scene(source, picture.Reading()) as scene:
                found = scene.picture().image
            return [{"name": "scene", "data": _inline(found), "lines": []}]
    return []


def _map(key: str, folder: Path, name: str, statistics: dict[str, Any] | None) -> dict[str, Any]:
    lines = []
    if statistics is not None:
        for kind, share in statistics["fractions"].items():
            line = f"{kind.replace('_', ' ')} {percent(share)}"
            if statistics["area_km2"] is not None:
                line += f", {number(statistics['area_km2'][kind], 1)} km2"
            lines.append(line)
    return {
        "name": key,
        "data": _inline(colour.picture(classmap.of_scene(folder, name).label)),
        "lines": lines,
    }


def _inline(image: np.ndarray) -> str:
    """(H, W, 3) uint8, thinned out -> base64 PNG."""
    step = max(1, -(-max(image.shape[:2]) // SHOWN_SIZE))
    return base64.b64encode(png.encode(np.ascontiguousarray(image[::step, ::step]))).decode()
