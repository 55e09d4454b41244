"""The command `report`: one page for people, the same as Markdown, and files for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloudmask.cli.errors import UsageError
from cloudmask.files import write_whole
from scaling.laws import exposed, fits, holdout, ratios
from scaling.laws.cost import Rate, rate
from scaling.options import ReportConfig
from scaling.record import conditions, export, store
from scaling.record.store import Study, StudyError
from scaling.report import (
    accuracy,
    cost,
    energy,
    every_point,
    figures,
    findings,
    ledger,
    noise,
    page,
    panels,
    peak,
    reframe,
    repeat,
    sentences,
    tables,
    time_to_target,
)
from scaling.report.page import Page, Part, Picture
from scaling.report.peak import Roof
from scaling.report.tables import Table

PROJECTED = (
    "Solid lines are measured, or laws fitted to what was measured; dashed lines are projected "
    "beyond the largest measured rank count. Markers are medians, the dots beside them single runs."
)
HELD_OUT = (
    "Held out: the laws were fitted without the runs on {} ranks, and tested on them; they are "
    "called projected beyond the largest rank count they were fitted to."
)


def report(config: ReportConfig) -> int:
    """Write the page, its pictures, results.csv with its schema, and files for other programs."""
    if not 1 <= len(config.studies) <= 2:
        raise UsageError("report takes one study, or two to lay over each other")
    stated_rate(config)
    roof = stated_roof(config)
    if config.out.exists() and not config.out.is_dir():
        raise StudyError(f"{config.out} is a file; choose another --out")
    if config.carbon_intensity is not None and not 0 <= config.carbon_intensity < math.inf:
        raise UsageError(f"--carbon-intensity {config.carbon_intensity:g} must be 0 or more")
    studies = store.told_apart(
        [store.read(folder, mixed=config.mixed) for folder in config.studies]
    )
    held = [holdout.parse(config.hold_out, study) for study in studies]
    config.out.mkdir(parents=True, exist_ok=True)
    fitted = [fits.fit_study(holdout.without(*pair)) for pair in zip(studies, held, strict=True)]
    tested = [holdout.predictions(*each) for each in zip(studies, fitted, held, strict=True)]
    names = [figures.named(study) if len(studies) > 1 else "" for study in studies]
    both = list(zip((f"{name}: " if name else "" for name in names), studies, strict=True))
    measured_under = [f"{name}{conditions.sentence(study)}" for name, study in both]
    notes = [HELD_OUT.format(config.hold_out)] if config.hold_out else []
    notes = [PROJECTED, *notes, *(f"{name}{sentences.bars_note(study)}" for name, study in both)]
    views = figures.views(studies, fitted)
    chosen = panels.panels(studies, roof)
    figures.draw_all(chosen, views, [*notes, *measured_under], config.out)
    figures.draw_files(chosen, views, [*notes, *measured_under], config.out)
    each = zip(names, studies, fitted, tested, strict=True)
    parts = [_part(number, *one, config) for number, one in enumerate(each, start=1)]
    content = Page(
        "Scaling study: " + " and ".join(map(figures.named, studies)),
        measured_under,
        notes,
        parts,
        [Picture(panel, figures.draw_panel(panel, views)) for panel in chosen],
    )
    texts = {
        "report.html": page.as_html(content),
        "report.md": page.as_markdown(content),
        "results.csv": export.as_csv(studies),
        "datapackage.json": export.schema(studies),
    }
    for study in studies:
        kind = f"-{study.name}" if len(studies) > 1 else ""
        texts[f"reframe_cloudmask{kind}.py"] = reframe.as_test(study)
        kind += "-emulated" if study.emulated else ""
        for mode in study.modes:
            texts[f"extrap{kind}-{mode}.jsonl"] = export.extrap_lines(study, mode)
    for name, text in texts.items():
        write_whole(config.out / name, text.encode())
    for part, predicted in zip(parts, tested, strict=True):
        found = (finding.text for finding in part.findings)
        for line in (*found, *part.warnings, *map(holdout.sentence, predicted)):
            print(line)
    print(f"report: {config.out / 'report.html'}")
    return 0


def stated_rate(config: ReportConfig) -> Rate | None:
    """What an hour costs, where the user states it. Raises UsageError."""
    return rate(config.price_per_node_hour, config.price_per_gpu_hour, config.currency)


def stated_roof(config: ReportConfig) -> Roof:
    """What a rank's device can do, as far as the user states it. Raises UsageError."""
    return Roof(config.peak_tflops, config.memory_gb_per_second)


def _stated_tables(study: Study, config: ReportConfig) -> list[Table]:
    """Tables that show more with what only the user knows: prices and peaks."""
    found = [
        cost.cost_table(study, stated_rate(config)),
        peak.peak_table(study, stated_roof(config)),
    ]
    return [table for table in found if table.rows]


def _part(
    number: int,
    name: str,
    study: Study,
    fitted: Sequence[fits.Fitted],
    tested: Sequence[holdout.Prediction],
    config: ReportConfig,
) -> Part:
    """All that is said of one study."""
    found = [*_tables(study, fitted, tested, config), *_stated_tables(study, config)]
    told = findings.findings(study, found)
    return Part(
        name,
        findings.measured(study),
        told,
        findings.verdicts(fitted, tested),
        findings.projected(study, fitted),
        sentences.coverage_note(
            tuple(point for mode in study.modes for point in ratios.throughput(study, mode))
        ),
        sentences.warnings(study),
        found,
        repeat.sections(study, told, found),
        prefix="" if number == 1 else f"study-{number}-",
    )


def _tables(
    study: Study,
    fitted: Sequence[fits.Fitted],
    tested: Sequence[holdout.Prediction],
    config: ReportConfig,
) -> list[Table]:
    """Every table that has rows, in the order of the page; a new one is a line here."""
    found = []
    for mode in study.modes:
        found += [tables.scaling_table(study, mode), tables.step_table(study, mode)]
        found.append(tables.target_table(study, mode))
        found += [time_to_target.table(study, mode), noise.table(study, mode)]
        found += [ledger.ledger_table(study, mode)]
        carbon = config.carbon_intensity
        found += [energy.energy_table(study, mode, carbon_intensity=carbon)]
    found.append(tables.exposed_table(exposed.compare(study)))
    found += [tables.fits_table(fitted), tables.held_out_table(tested)]
    found += [accuracy.accuracy_table(study)]
    found += [every_point.conditions_table(study), every_point.points_table(study)]
    return [table for table in found if table.rows]
