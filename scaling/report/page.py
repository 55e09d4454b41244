"""The page of a study: HTML with its pictures inside, and the same words as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from scaling.report.panels import Panel
from scaling.report.tables import Table


@dataclass(frozen=True)
class Part:
    """What is said of one study; it has a name where there are two."""

    name: str
    headlines: Sequence[str]
    warnings: Sequence[str]
    tables: Sequence[Table]


@dataclass(frozen=True)
class Picture:
    """A panel and its picture."""

    panel: Panel
    svg: bytes

    @property
    def address(self) -> str:
        """The picture as a data address, so that the page needs no other file."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"


@dataclass(frozen=True)
class Page:
    title: str
    conditions: Sequence[str]
    notes: Sequence[str]
    """on how to read the curves"""
    parts: Sequence[Part]
    pictures: Sequence[Picture]


def as_html(page: Page) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(page=page)


def as_markdown(page: Page) -> str:
    """The page's words and tables, with the curves as one picture."""
    lines = [f"# {page.title}", ""]
    lines += [f"Conditions: {text}  " for text in page.conditions]
    for part in page.parts:
        lines += ["", f"## {part.name}"] if part.name else []
        lines += ["", *(f"- {text}" for text in part.headlines)]
        lines += ["", *(f"- **Note:** {text}" for text in part.warnings)]
    lines += ["", "![Curves](curves.png)", "", *page.notes, ""]
    lines += [f"- {one.panel.title}: {one.panel.caption}" for one in page.pictures]
    for part in page.parts:
        for table in part.tables:
            name = f"{part.name}: " if part.name else ""
            lines += ["", f"## {name}{table.title}", "", table.note, "", *_markdown(table)]
    return "\n".join(lines) + "\n"


def _markdown(table: Table) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        plain = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
        return f"| {' | '.join(plain)} |"

    return [row(table.header), row(["---"] * len(table.header)), *map(row, table.rows)]
