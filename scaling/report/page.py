"""The page of a study: HTML with its pictures inside, and the same words as Markdown.

First what was found, then pictures, then tables, then how to do it again. Each finding links to
the table and the picture that hold its figures.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from scaling.report.findings import Finding
from scaling.report.panels import Panel
from scaling.report.repeat import Section
from scaling.report.tables import Table


@dataclass(frozen=True)
class Part:
    """What is said of one study; it has a name where there are two."""

    name: str
    measured: str
    findings: Sequence[Finding]
    verdicts: Sequence[Finding]
    projected: Sequence[Finding]
    brackets: str
    """what the brackets of the figures mean"""
    warnings: Sequence[str]
    tables: Sequence[Table]
    repeat: Sequence[Section]
    prefix: str = ""
    """of its anchors, so that two studies do not share one"""

    @property
    def lists(self) -> list[tuple[str, Sequence[Finding]]]:
        """Heading and sentences of the lists beneath the findings."""
        both = (("Laws, and how they did", self.verdicts), ("Projected", self.projected))
        return [(heading, found) for heading, found in both if found]

    def has_table(self, anchor: str) -> bool:
        return any(table.anchor == anchor for table in self.tables)


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

    def has_picture(self, key: str) -> bool:
        return any(one.panel.key == key for one in self.pictures)


def environment() -> jinja2.Environment:
    """For the templates beside this file; markup in values is text in .html templates."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: bool(name and name.endswith(".html.jinja")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def as_html(page: Page) -> str:
    return environment().get_template("page.html.jinja").render(page=page)


def as_markdown(page: Page) -> str:
    """The page's words and tables, with the curves as one picture."""
    lines = [f"# {_plain(page.title)}", ""]
    for part in page.parts:
        lines += [f"## {_plain(part.name)}", ""] if part.name else []
        lines += [_plain(part.measured), "", "## Findings", ""]
        lines += [f"{n}. {_linked(page, part, one)}" for n, one in enumerate(part.findings, 1)]
        lines += ["", _plain(part.brackets)]
        if part.warnings:
            lines += ["", "### What limits this", ""]
            lines += [f"- **Note:** {_plain(text)}" for text in part.warnings]
        for heading, found in part.lists:
            lines += ["", f"### {heading}", ""]
            lines += [f"- {_linked(page, part, one)}" for one in found]
        lines += [""]
    lines += ["## Pictures", "", "![Curves](curves.png)", "", *map(_plain, page.notes), ""]
    for one in page.pictures:
        key, panel = one.panel.key, one.panel
        files = f"Alone in `figures/{key}.svg` and `figures/{key}.pdf`."
        lines += [f'- <a id="picture-{key}"></a>{panel.title}: {panel.caption} {files}']
    lines += ["", *(f"Conditions: {_plain(text)}  " for text in page.conditions)]
    for part in page.parts:
        for table in part.tables:
            name = f"{part.name}: " if part.name else ""
            lines += ["", f'<a id="{part.prefix}{table.anchor}"></a>', ""]
            lines += [f"## {_plain(name + table.title)}", "", _plain(table.note), ""]
            lines += _markdown(table)
    for part in page.parts:
        lines += ["", f"## To do it again{f': {_plain(part.name)}' if part.name else ''}"]
        for number, section in enumerate(part.repeat, 1):
            lines += ["", f"### {number}. {section.heading}", "", *map(_plain, section.text)]
            lines += ["", *(f"- {name}: {_plain(text)}" for name, text in section.pairs)]
            lines += ["", "```sh", *section.code, "```"] if section.code else []
    return "\n".join(lines) + "\n"


def _linked(page: Page, part: Part, finding: Finding) -> str:
    links = []
    if part.has_table(finding.table):
        links.append(f"[table](#{part.prefix}{finding.table})")
    if page.has_picture(finding.picture):
        links.append(f"[picture](#picture-{finding.picture})")
    return " ".join([_plain(finding.text), *([f"({', '.join(links)})"] if links else [])])


def _plain(text: str) -> str:
    """No markup of HTML, and no line of its own."""
    return " ".join(text.split()).replace("<", "&lt;")


def _markdown(table: Table) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        plain = (_plain(cell).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(plain)} |"

    return [row(table.header), row(["---"] * len(table.header)), *map(row, table.rows)]
