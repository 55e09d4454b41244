"""What a finished run has recorded, as the lines of its MLCommons log: read, checked, put in order.

Keys follow submit.adoc of github.com/mlcommons/science and the reference program's log. What a run
has not recorded is left out, or said by the submitter and marked as declared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from cloudmask.cli.options import MllogConfig
from cloudmask.model.keras_file import refuse_emulated

OWN_TO_A_RUN = ("data", "out", "stage", "seed", "resume")
"""options that may differ within a result set; the data are compared by their fingerprint"""
CONDITIONS = (
    *("patchset", "commit", "versions", "ranks", "num_hosts", "device", "threads_per_rank"),
    *("global_batch", "precision"),
)
MEANING = (
    "accuracy: share of the labelled validation pixels of all ranks that get the class of their "
    "label, at the epoch of the lowest validation loss, whose weights are the model; "
    "majority_accuracy: that of always answering the commonest class; run_seconds: from the start "
    "of the program to the saved model, with verification, validation and checkpoints"
)


@dataclass(frozen=True)
class Run:
    """A finished run's folder; the events are those of the attempt that finished."""

    name: str
    summary: dict[str, Any]
    environment: dict[str, Any]
    options: dict[str, Any]
    events: list[dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One line of a log."""

    kind: Literal["start", "end", "event"]
    key: str
    value: Any
    time_ms: int
    metadata: dict[str, Any] = field(default_factory=dict)


def read_run(path: Path) -> Run:
    """A run folder. ValueError, with the path, for one that no result can be made from."""
    if not (path / "summary.json").is_file():
        raise ValueError(f"{path} holds no finished run; train it to its end")
    summary = _object(path / "summary.json")
    if summary.get("status") != "finished":
        raise ValueError(f"{path} did not finish: {summary.get('error', 'no reason is recorded')}")
    refuse_emulated(path)
    if summary["seconds"]["before_resume"]:
        raise ValueError(f"{path} was resumed: how long it took in all is not known; run it anew")
    if (summary.get("elastic") or {}).get("resets"):
        raise ValueError(f"{path} lost ranks or gained some while it ran; run it anew")
    if len(summary["classes"]) != 2:
        raise ValueError(f"{path} tells {len(summary['classes'])} classes apart, CloudMask 2")
    if not summary["best"] or summary["best"]["accuracy"] is None:
        raise ValueError(f"{path} has no validation accuracy, which is the benchmark's result")
    return Run(
        name=path.resolve().name,
        summary=summary,
        environment=_object(path / "environment.json"),
        options=yaml.safe_load((path / "config.yaml").read_text()),
        events=_last_attempt(path / "events.jsonl", steps=summary["steps_run"]),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def _last_attempt(path: Path, *, steps: int) -> list[dict[str, Any]]:
    """Events from the last first step on: what failed before its checkpoint is in the same file."""
    try:
        events = [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} has a line that is not JSON: {error}") from None
    begins = [n for n, event in enumerate(events) if event.get("step") == 1]
    events = events[begins[-1] :] if begins else []
    found = [event["step"] for event in events if event["event"] == "step"]
    if not found or found != list(range(1, steps + 1)):
        raise ValueError(f"{path} does not tell of the {steps} steps that summary.json counts")
    return events


def check_set(runs: Sequence[Run]) -> None:
    """ValueError unless the runs differ in nothing but their seeds, and none is there twice."""
    for n, run in enumerate(runs):
        for other in runs[:n]:
            if run.events == other.events:
                raise ValueError(f"{other.name} and {run.name} are the same run; give it once")
        mine, first = _conditions(run), _conditions(runs[0])
        differing = sorted(name for name in first | mine if mine.get(name) != first.get(name))
        if differing:
            raise ValueError(
                f"{runs[0].name} and {run.name} differ in {', '.join(differing)}; the runs of one "
                "result set may differ in nothing but their seed"
            )


def _conditions(run: Run) -> dict[str, Any]:
    facts = {name: run.summary[name] for name in CONDITIONS}
    return shared_options(run.summary["config"]) | facts | {"staged": staging_of(run) is not None}


def staging_of(run: Run) -> float | None:
    """Seconds that the run itself took to stage its data, within its time; None if it did not."""
    return run.summary["seconds"].get("staging")


def shared_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a training without those that are a run's own."""
    return {name: value for name, value in options.items() if name not in OWN_TO_A_RUN}


def entries(run: Run, settings: MllogConfig) -> list[Entry]:
    """The lines of a run's log, in the order of time.

    The run starts with its program: start-up and the check of the data count. When that was follows
    from the first step, whose end and length are recorded, and from the length of the start-up.
    """
    first = next(event for event in run.events if event["event"] == "step")
    trains = _milliseconds(first["time"]) - 1000 * first["seconds"]
    start = round(trains - 1000 * run.summary["seconds"]["startup"])
    lines = [Entry("start", "run_start", None, start, {"run": run.name})]
    lines += _facts(run, settings, start)
    lines.append(Entry("start", "init_start", None, start))
    lines.append(Entry("end", "init_stop", None, round(trains)))
    epoch, inside = 0, False
    for event in run.events:
        now = _milliseconds(event["time"])
        if event["event"] == "step" and not inside:
            # Never before the line above, whatever rounding to milliseconds does.
            begin = max(lines[-1].time_ms, round(now - 1000 * event["seconds"]))
            epoch, inside = epoch + 1, True
            lines.append(Entry("start", "epoch_start", None, begin, {"epoch_num": epoch}))
        if event["event"] == "epoch":
            lines += _epoch_end(event, round(now))
            inside = False
    seconds = run.summary["seconds"]["total"]
    stop = max(lines[-1].time_ms, round(start + 1000 * seconds))
    target = target_of(run.summary)
    status = "aborted" if target and not target["reached"] else "success"
    how = {"status": status, "stopped_by": run.summary["stopped_by"]}
    lines.append(Entry("event", "trained_samples", run.summary["patches_trained"], stop))
    lines.append(Entry("event", "result", result(run, settings), stop))
    lines.append(Entry("end", "run_stop", None, stop, how))
    return lines


def _facts(run: Run, settings: MllogConfig, time_ms: int) -> list[Entry]:
    summary = run.summary
    accelerated = Counter(p["host"] for p in summary["placement"] if p["device"] != "CPU")
    host = {name: run.environment[name] for name in ("platform", "cpu", "cores", "memory_gib")}
    host |= {"device": summary["device"], "threads_per_rank": summary["threads_per_rank"]}
    facts = {
        "submission_benchmark": "cloudmask",
        "submission_org": settings.org,
        "submission_division": "open",
        "submission_version": summary["versions"].get("cloudmask"),
        "submission_github_commit_version": summary["commit"],
        "submission_status": settings.status,
        "submission_platform": settings.system,
        "cache_clear": True if settings.caches_flushed else None,
        "seed": summary["seed"],
        "number_of_ranks": summary["ranks"],
        "number_of_nodes": summary["num_hosts"],
        "accelerators_per_node": max(accelerated.values(), default=0),
        "global_batch_size": summary["global_batch"],
        "opt_name": "adam",
        "opt_base_learning_rate": summary["learning_rate"],
        "opt_learning_rate_warmup_epochs": summary["config"]["warmup_epochs"],
        "train_samples": summary["training_patches"],
        "eval_samples": summary["validation_patches"],
    }
    about = {"submission_platform": host, "cache_clear": {"declared": True}}
    known = [(key, value) for key, value in facts.items() if value is not None]
    return [Entry("event", key, value, time_ms, about.get(key, {})) for key, value in known]


def _epoch_end(record: dict[str, Any], time_ms: int) -> list[Entry]:
    """An epoch's record is written when it is validated and saved; its accuracy is known then."""
    about = {"epoch_num": record["epoch"], "step_num": record["step"]}
    trained = {"train_loss": record["loss"], "patches_per_second": record["patches_per_second"]}
    stop = Entry("end", "epoch_stop", None, time_ms, about | trained)
    if not record["valid"]:
        return [stop]
    judged = about | {"loss": record["valid"]["loss"], "majority": record["valid"]["majority"]}
    return [Entry("event", "eval_accuracy", record["valid"]["accuracy"], time_ms, judged), stop]


def result(run: Run, settings: MllogConfig) -> dict[str, Any]:
    """The value of `result`: the quality that was reached, in what time, out of how many runs."""
    summary, staging = run.summary, staging_of(run)
    best, seconds = summary["best"], summary["seconds"]["total"]
    value = {
        "name": "accuracy",
        "meaning": MEANING,
        "accuracy": best["accuracy"],
        "majority_accuracy": best["majority"],
        "validation_loss": best["loss"],
        "epoch": best["epoch"],
        "epochs_run": summary["epochs_run"],
        "target": target_of(summary),
        "run_seconds": seconds,
        "staging_seconds": staging,
        "staging_seconds_declared": settings.staging_seconds,
        "run_and_staging_seconds": None,
        "runs_reported": len(settings.runs),
        "runs_made_declared": settings.runs_made,
    }
    if staging is not None or settings.staging_seconds is not None:
        value["run_and_staging_seconds"] = seconds + (settings.staging_seconds or 0.0)
    return {name: item for name, item in value.items() if item is not None}


def target_of(summary: dict[str, Any]) -> dict[str, Any] | None:
    """The accuracy a run was to reach, and when it did; None if it had no such target."""
    wanted, met = summary["config"]["target_accuracy"], summary["target"]
    if wanted is None:
        return None
    return {"accuracy": wanted, "reached": met is not None, **(met or {})}


def _milliseconds(time: str) -> float:
    """ISO 8601 to milliseconds since 1970."""
    return 1000 * datetime.fromisoformat(time).timestamp()
