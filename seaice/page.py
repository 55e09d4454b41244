"""One HTML page that needs no other file: the table, and scenes beside their class maps."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from cloudmask.files import write_whole
from cloudmask.text import number, percent
from seaice import colour
from seaice.io import maps, picture, png

SHOWN_SIZE = 320
"""rows and columns of a picture on the page, at most"""

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sea ice</title>
<style>
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child, td:nth-child(2), th:nth-child(2) { text-align: left }
figure { display: inline-block; margin: 0 1em 1em 0; vertical-align: top }
figcaption { font-size: 13px; color: #555 }
.key { display: inline-block; width: 1em; height: 1em; vertical-align: -.15em; margin: 0 .3em 0 1em }
</style></head><body>
<h1>Sea ice</h1>
<p>{% for name, css in legend %}<span class="key" style="background: {{ css }}"></span>{{ name }}
{% endfor %}</p>
<table><tr><th>prediction</th><th>against</th><th>scenes</th><th>accuracy</th><th>mean IoU</th>
<th>kappa</th><th>SSIM</th><th>always the commonest</th></tr>
{% for row in scores %}<tr><td>{{ row.prediction }}</td><td>{{ row.against }}</td>
<td>{{ row.scenes }} {{ row.scenes_of }}</td>
{% for key in figures %}<td>{{ number(row[key]) }}</td>
{% endfor %}</tr>
{% endfor %}</table>
<p>Cloudy: at least {{ percent(cloudy_from, 0) }} under thin cloud or shadow. SSIM on
{% for name, shade in shades.items() %}{{ name }} = {{ shade }}{{ ", " if not loop.last }}{% endfor %}
in windows of 7 x 7 pixels.</p>
{% for scene in scenes %}<h2>{{ scene.name }}</h2>
<p>{% if scene.cover is not none %}{{ percent(scene.cover, 0) }} cloud and shadow{% endif %}</p>
{% for shown in scene.pictures %}<figure><img src="data:image/png;base64,{{ shown.data }}" alt="">
<figcaption>{{ shown.name }}{% for line in shown.lines %}<br>{{ line }}{% endfor %}</figcaption></figure>
{% endfor %}{% endfor %}
</body></html>
"""  # noqa: E501


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
    page = jinja2.Environment(autoescape=True).from_string(TEMPLATE)
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
    for suffix in picture.SUFFIXES if folder is not None else ():
        path = Path(str(folder)) / f"{name}{suffix}"
        if path.is_file():
            found = picture.read(path.read_bytes(), str(path)).image
            return [{"name": "scene", "data": _inline(found), "lines": []}]
    return []


def _map(key: str, folder: Path, name: str, statistics: dict[str, Any] | None) -> dict[str, Any]:
    path = maps.find(folder, name)
    assert path is not None, (folder, name)
    lines = []
    if statistics is not None:
        for kind, share in statistics["fractions"].items():
            line = f"{kind.replace('_', ' ')} {percent(share)}"
            if statistics["area_km2"] is not None:
                line += f", {number(statistics['area_km2'][kind], 1)} km2"
            lines.append(line)
    return {"name": key, "data": _inline(colour.picture(maps.read(path))), "lines": lines}


def _inline(image: np.ndarray) -> str:
    """(H, W, 3) uint8, thinned out -> base64 PNG."""
    step = max(1, -(-max(image.shape[:2]) // SHOWN_SIZE))
    return base64.b64encode(png.encode(np.ascontiguousarray(image[::step, ::step]))).decode()
