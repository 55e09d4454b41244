"""The command `report`: one page for people, the same as Markdown, and files for programs."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jinja2

from scaling import export, exposed, findings, fits, holdout, panels, pictures, results, tables
from scaling.command import StudyError, UsageError
from scaling.plotting import View
from scaling.results import Study
from scaling.settings import ReportSettings
from scaling.tables import Table


def run(settings: ReportSettings) -> int:
    """Write report.md, report.html, curves.png, curves.svg, results.csv and extrap-MODE.jsonl."""
    if not 1 <= len(settings.studies) <= 2:
        raise UsageError("report takes one study, or two to lay over each other")
    if settings.out.exists() and not settings.out.is_dir():
        raise StudyError(f"{settings.out} is a file; choose another --out")
    studies = [results.read(folder, mixed=settings.mixed) for folder in settings.studies]
    held = [holdout.parse(settings.hold_out, study) for study in studies]
    settings.out.mkdir(parents=True, exist_ok=True)
    pairs = list(zip(studies, held, strict=True))
    fitted = [fits.fit_study(holdout.without(study, counts)) for study, counts in pairs]
    tested = [
        holdout.predictions(study, found, counts)
        for (study, counts), found in zip(pairs, fitted, strict=True)
    ]
    views = pictures.views(studies, fitted)
    chosen = panels.panels(studies)
    names = [f"{pictures.named(study)}: " if len(studies) > 1 else "" for study in studies]
    both = list(zip(names, studies, strict=True))
    conditions = [f"{name}{findings.conditions(study)}" for name, study in both]
    notes = [HELD_OUT.format(settings.hold_out)] if settings.hold_out else []
    notes = [PROJECTED, *notes, *(f"{name}{tables.bars_note(study)}" for name, study in both)]
    pictures.draw_all(chosen, views, [*notes, *conditions], settings.out)

    content = {
        "title": "Scaling study " + " and ".join(map(pictures.named, studies)),
        "conditions": conditions,
        "notes": notes,
        "parts": [
            {
                "name": pictures.named(study) if len(studies) > 1 else "",
                "warnings": findings.warnings(study),
                "headlines": findings.headlines(study),
                "tables": _tables(study, found, predicted),
            }
            for study, found, predicted in zip(studies, fitted, tested, strict=True)
        ],
        "panels": [
            {"title": panel.title, "caption": panel.caption, "image": _inline(panel, views)}
            for panel in chosen
        ],
    }
    page = _environment().get_template("report.html.jinja").render(content)
    results.write_whole(settings.out / "report.html", page)
    results.write_whole(settings.out / "report.md", as_markdown(content))
    results.write_whole(settings.out / "results.csv", export.as_csv(studies))
    for study in studies:
        part = f"-{study.name}" if len(studies) > 1 else ""
        part += "-emulated" if study.emulated else ""
        for mode in study.modes:
            path = settings.out / f"extrap{part}-{mode}.jsonl"
            results.write_whole(path, export.extrap_lines(study, mode))
    for study, predicted in zip(studies, tested, strict=True):
        for line in [*findings.headlines(study), *findings.warnings(study)]:
            print(line)
        for one in predicted:
            print(holdout.sentence(one))
    print(f"report: {settings.out / 'report.html'}")
    return 0


PROJECTED = (
    "Solid lines are measured, or laws fitted to what was measured; dashed lines are projected "
    "beyond the largest measured rank count. Markers are medians, the dots beside them single runs."
)


HELD_OUT = (
    "Held out: the laws were fitted without the runs on {} ranks, and tested on them; they are "
    "called projected beyond the largest rank count they were fitted to."
)


def _tables(
    study: Study, fitted: Sequence[fits.Fitted], tested: Sequence[holdout.Prediction]
) -> list[Table]:
    found = []
    for mode in study.modes:
        found += [tables.scaling_table(study, mode), tables.step_table(study, mode)]
        target = tables.target_table(study, mode)
        found += [target] if target else []
    law = next((one.fit for one in fitted if one.key == "allreduce"), None)
    found.append(tables.exposed_table(exposed.compare(study, law)))
    found += [tables.fits_table(fitted), tables.held_out_table(tested)]
    found += [tables.conditions_table(study), tables.points_table(study)]
    return [table for table in found if table.rows]


def _inline(panel: panels.Panel, views: Sequence[View]) -> str:
    """A panel as a data address, so that the page needs no other file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.svg"
        pictures.draw_panel(panel, views, path)
        text = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/svg+xml;base64,{text}"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def as_markdown(content: dict) -> str:
    """The page's words and tables, with the curves as one picture."""
    lines = [f"# {content['title']}", ""]
    lines += [f"Conditions: {text}  " for text in content["conditions"]]
    for part in content["parts"]:
        lines += ["", f"## {part['name']}"] if part["name"] else []
        lines += ["", *(f"- {text}" for text in part["headlines"])]
        lines += ["", *(f"- **Note:** {text}" for text in part["warnings"])]
    lines += ["", "![Curves](curves.png)", "", *content["notes"], ""]
    for panel in content["panels"]:
        lines.append(f"- {panel['title']}: {panel['caption']}")
    for part in content["parts"]:
        for table in part["tables"]:
            name = f"{part['name']}: " if part["name"] else ""
            lines += ["", f"## {name}{table.title}", "", table.note, "", *_markdown(table)]
    return "\n".join(lines) + "\n"


def _markdown(table: Table) -> list[str]:
    def row(cells: Sequence[str]) -> str:
        plain = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
        return f"| {' | '.join(plain)} |"

    return [row(table.header), row(["---"] * len(table.header)), *map(row, table.rows)]
