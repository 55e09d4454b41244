"""The command `report`: read, gather, make the pictures scene by scene, write one page."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup
from tqdm import tqdm

from cloudmask.cli.options import ReportConfig
from cloudmask.files import write_whole
from cloudmask.record import now
from cloudmask.report import looks, page, pictures, sources
from cloudmask.report.looks import Look, Place
from cloudmask.report.page import Chapter
from cloudmask.text import plural
from cloudmask.version import __version__

Shown = dict[str, list[Look]]
"""the pictures of a scene by its anchor on the page"""


def report(config: ReportConfig) -> int:
    """Write the page and the full-size pictures beside it. Raises ValueError, OSError."""
    if config.show < 0:
        raise ValueError(f"--show {config.show}: the number of scenes cannot be negative")
    if config.out.is_dir():
        raise ValueError(f"{config.out} is a folder; give --out the name of a page, as report.html")
    parts = sources.read(config.sources)
    folder = config.out.with_name(f"{config.out.stem}_files")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and the pictures go there; choose another --out")
    with _understanding(parts):
        chapters = [
            page.chapter(part, key=f"part{number}", show=config.show)
            for number, part in enumerate(parts, start=1)
        ]
        config.out.parent.mkdir(parents=True, exist_ok=True)
        shown = _pictures(parts, chapters, folder)
        content = render(chapters, shown).encode()
    write_whole(config.out, content)
    files = {item.file.rpartition("/")[2] for found in shown.values() for item in found}
    _drop_old(folder, files)
    count = len(shown)
    beside = f", full-size pictures of {plural(count, 'scene')} in {folder}" if files - {""} else ""
    print(f"report: {config.out}{beside}")
    return 0


@contextlib.contextmanager
def _understanding(parts: Sequence[sources.Part]) -> Iterator[None]:
    """Records may come from anywhere, and are looked at in a hundred places: what holds something
    else there than `evaluate` and the training write is a ValueError."""
    try:
        yield
    except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        names = ", ".join(part.name for part in parts)
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(
            f"{names}: the records there hold what no page can show ({problem}); evaluate or train "
            "again"
        ) from error


def _pictures(parts: list[sources.Part], chapters: list[Chapter], folder: Path) -> Shown:
    """One scene in memory at a time."""
    todo = [
        (gallery, part, chapter)
        for part, chapter in zip(parts, chapters, strict=True)
        for gallery in chapter.galleries
    ]
    shown: Shown = {}
    for gallery, part, chapter in tqdm(
        todo, desc="report", unit="scene", leave=False, disable=None
    ):
        assert part.masks
        folder.mkdir(exist_ok=True)
        prefix = f"{chapter.key}-" if len(chapters) > 1 else ""
        place = Place(folder, prefix + looks.safe_stem(gallery.place, gallery.name))
        shown[gallery.anchor] = pictures.of_scene(
            gallery.record, part.evaluation, part.masks, place
        )
    return shown


def _drop_old(folder: Path, files: set[str]) -> None:
    """Remove pictures that an earlier page of this name had and this one has not."""
    ours = re.compile(r"(part\d+-)?\d{4}-[\w-]+\.png")
    for path in folder.glob("*.png"):
        if ours.fullmatch(path.name) and path.name not in files:
            path.unlink()


def render(chapters: list[Chapter], shown: Shown) -> str:
    """The page as HTML that needs no other file but for full-size pictures."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda v: v.replace(" %", "\N{NO-BREAK SPACE}%") if isinstance(v, str) else v,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = lambda text: re.sub(r"(\S{16})(?=\S)", "\\1\u200b", text)
    environment.filters["svg"] = Markup  # made by charts.py, which escapes what it is given
    names = ", ".join(chapter.title for chapter in chapters)
    return environment.get_template("template.html").render(
        title=f"Cloud masks: {names}" if _is_cloud(chapters) else f"Masks: {names}",
        chapters=chapters,
        shown=shown,
        telling=pictures.telling,
        made=f"cloudmask {__version__}, {now()[:16].replace('T', ' ')} UTC",
    )


def _is_cloud(chapters: list[Chapter]) -> bool:
    return all("cloud" in value for c in chapters for name, value in c.facts if name == "Classes")
