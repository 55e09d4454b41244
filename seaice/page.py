"""One HTML page that needs no other file: the table, and scenes beside their class maps."""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from cloudmask.files import write_whole
from cloudmask.metrics import UNKNOWN
from cloudmask.record import warn
from cloudmask.text import number, percent
from seaice import colour
from seaice.io import classmap, png, sources
from seaice.io.picture import Reading, open_scene
from seaice.io.sources import Source
from seaice.scores import FIGURES
from seaice.table import notes, with_interval

SHOWN_SIZE = 320
"""rows and columns of a picture on the page, at most"""


class Pictures:
    """The scenes' own pictures, found by name where they are wanted. None of them is needed."""

    def __init__(self, folder: Path, reading: Reading, *, apart_from: Path) -> None:
        self.reading = reading
        self.sources: dict[str, Source] = {}
        try:
            found = sources.find([str(folder)], apart_from=apart_from)
            self.sources = {source.name: source for source in found}
        except ValueError as error:
            warn(f"the page shows no pictures: {error}")

    def of(self, name: str) -> np.ndarray | None:
        """(h, w, 3) uint8, thinned out; None without one that can be read, which is told."""
        if name not in self.sources:
            return None
        try:
            with open_scene(self.sources[name], self.reading) as scene:
                return _thinned(scene.picture().image)
        except ValueError as error:
            warn(f"the page goes without a picture: {error}")
            return None


def write_page(
    path: Path,
    record: dict[str, Any],
    predictions: dict[str, Path],
    references: dict[str, Path],
    pictures: Pictures | None,
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
        differences=record["differences"],
        figures=FIGURES,
        with_interval=with_interval,
        notes=notes(record),
        legend=[
            (name.replace("_", " "), "rgb({}, {}, {})".format(*colour.COLOURS[index]))
            for index, name in (*enumerate(colour.CLASSES), (UNKNOWN, "unknown"))
        ],
        shades=record["ssim_shades"],
        cloudy_from=record["cloudy_from"],
        scenes=scenes,
    )
    write_whole(path, text.encode())


def _scene(pictures: Pictures | None, name: str) -> list[dict[str, Any]]:
    found = pictures.of(name) if pictures else None
    return [] if found is None else [{"name": "scene", "data": _inline(found), "lines": []}]


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
        "data": _inline(colour.picture(_thinned(classmap.of_scene(folder, name).label))),
        "lines": lines,
    }


def _thinned(image: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) -> the same with at most SHOWN_SIZE rows and columns."""
    step = max(1, -(-max(image.shape[:2]) // SHOWN_SIZE))
    return np.ascontiguousarray(image[::step, ::step])


def _inline(image: np.ndarray) -> str:
    """(h, w, 3) uint8 -> base64 PNG."""
    return base64.b64encode(png.encode(image)).decode()
