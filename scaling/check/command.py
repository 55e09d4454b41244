"""The command `check`: a study or a run against a published figure."""

from __future__ import annotations

from pathlib import Path

from cloudmask.cli.errors import UsageError
from cloudmask.text import plural
from scaling.check import verdict
from scaling.check.outcome import WORDS
from scaling.check.reference import load
from scaling.laws import cost
from scaling.options import CheckConfig
from scaling.record import conditions, store, summaries
from scaling.record.store import Row, Study, StudyError


def check(config: CheckConfig) -> int:
    """Print the verdict; returns the code of its outcome. Raises UsageError."""
    reference = load(config.reference)
    rate = cost.rate(config.price_per_node_hour, config.price_per_gpu_hour, config.currency)
    try:
        study = open_path(config.path, mixed=config.mixed)
    except (StudyError, OSError) as error:
        raise UsageError(str(error)) from None
    try:
        found = verdict.check(study, reference, ranks=config.ranks, mode=config.mode, rate=rate)
    except (ValueError, ArithmeticError) as error:
        raise UsageError(str(error)) from error  # exit code 2: 1 is a figure that was missed
    print(f"{reference.name}: {reference.title}")
    print(f"  {reference.claim} ({reference.source})")
    print(f"this: {conditions.sentence(study)}")
    print(f"verdict: {WORDS[found.code]}: {found.why}")
    for line in found.lines:
        print(f"  {line}")
    print("weak points of the reference:")
    for point in reference.weak_points or ("none noted",):
        print(f"  - {point}")
    return found.code


def open_path(path: Path, *, mixed: bool) -> Study:
    """A study, or one run as a study of one point. Raises StudyError."""
    if (path / "study.json").exists() or not path.is_dir():
        return store.read(path, mixed=mixed)
    if not (path / "summary.json").is_file():
        raise StudyError(f"{path} holds neither a study (study.json) nor a run (summary.json)")
    try:
        summary = summaries.read_summary(path)
    except summaries.RunError as error:
        raise StudyError(f"{path}: {error}") from None
    found = summaries.measures(summary)
    places = summary.get("placement") or [{}]
    cores = len(places[0].get("cores") or []) or summary.get("threads_per_rank") or 1
    row: Row = {
        **{"point": path.name, "mode": "weak", "kind": "ranks", "ranks": summary["ranks"]},
        **{"repeat": 1, "status": store.OK, "ended": summary.get("date") or "unknown date"},
        **{"hardware": [str(found["device"])], "oversubscribed": False, "cores_per_rank": cores},
        "binding": f"{plural(cores, 'core')} per rank",
    }
    header = {
        **{"launcher": f"unknown ({found['controller']})", "page_cache": "unknown"},
        **{
            "hardware": {"title": str(found["device"])},
            "gpus_per_rank": int(str(found["device"]).upper() != "CPU"),
        },
    }
    return Study(path, header, [row | found])
