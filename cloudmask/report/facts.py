"""What was run: masks and trainings as names with values, and their conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloudmask.model.calibration import sentence
from cloudmask.report import charts
from cloudmask.report.charts import Chart
from cloudmask.report.sentences import title_of
from cloudmask.report.sources import Part, Run
from cloudmask.text import NONE, commit, count, date, enumerated, fingerprint, plural

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Training:
    """A run: what it was, and its charts."""

    name: str
    facts: Facts
    charts: tuple[Chart, ...]
    options: str
    remark: str = ""


def of_evaluation(part: Part) -> Facts:
    """Of which masks the figures are, and what measured them."""
    found = part.evaluation
    models = ", ".join(map(str, found.get("models") or [])) or NONE
    return (
        ("Masks", str(found.get("masks") or part.masks)),
        ("Model" if len(found.get("models") or []) < 2 else "Models (mean)", models),
        ("Patch set it was trained on", fingerprint(found.get("training_patchset"))),
        ("Classes", ", ".join(map(str, found["classes"]))),
        ("Options", _pairs(found.get("options"))),
        ("Label", f"{title_of(found, 'label')} ({found.get('label_source') or NONE})"),
        ("Scenes", count(found.get("num_scenes", len(found["scenes"])))),
        (
            "Evaluated",
            f"{date(found.get('date'))}, on {plural(int(found.get('ranks') or 1), 'rank')}",
        ),
        ("Commit", commit(found.get("commit"))),
        ("Versions", _pairs(found.get("versions"))),
    )


def of_run(run: Run, key: str) -> Training:
    """A training with its curves; `key` makes the ids in these unique."""
    summary = run.summary
    if not summary:
        remark = "This run has no summary.json: it was not finished, so there are no charts."
        return Training(run.name, (), (), run.options, remark)
    remark = ""
    if summary.get("status") != "finished":
        remark = f"This run did not finish: {summary.get('error') or summary.get('status')}."
    config = summary.get("config") or {}
    machine = run.environment
    facts = (
        ("Run", run.name),
        ("Patch set", f"{config.get('data', NONE)} ({fingerprint(summary.get('patchset'))})"),
        (
            "Patches",
            f"{count(summary.get('training_patches'))} for training, "
            f"{count(summary.get('validation_patches'))} for validation, "
            f"{summary.get('patch_size', NONE)} pixels wide",
        ),
        ("Channels", ", ".join(map(str, summary.get("channels") or [])) or NONE),
        (
            "Training",
            f"{count(summary.get('epochs_run'))} epochs, {count(summary.get('steps_run'))} steps "
            f"of {count(summary.get('global_batch'))} patches, "
            f"ranks: {count(summary.get('ranks'))}, {summary.get('precision', NONE)}, "
            f"seed {summary.get('seed', NONE)}; ended by: {summary.get('stopped_by', NONE)}",
        ),
        (
            "Machine",
            f"{machine.get('cpu') or NONE}, {machine.get('cores') or NONE} cores, "
            f"{machine.get('platform') or NONE}, Python {machine.get('python') or NONE}",
        ),
        ("Finished", date(summary.get("date"))),
        ("Commit", commit(summary.get("commit"))),
        ("Versions", _pairs(summary.get("versions"))),
    )
    history = [record for record in summary.get("history") or [] if isinstance(record, dict)]
    if not history:
        remark = f"{remark} No epoch was finished, so there are no charts.".strip()
    pictures = charts.training(history, key=key) if history else []
    return Training(run.name, facts, tuple(pictures), run.options, remark)


def _pairs(values: Any) -> str:
    if not isinstance(values, dict) or not values:
        return NONE
    return ", ".join(f"{key} {_told(key, value)}" for key, value in values.items())


def _told(key: str, value: Any) -> str:
    """An option's value for people: lists as words, checksums by their first digits."""
    if isinstance(value, list):
        return enumerated([_told(key, one) for one in value]) or "none"
    if key == "calibrations":
        return sentence(value) if isinstance(value, dict) else "not calibrated"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return fingerprint(value) if key == "sha256" else str(value)
