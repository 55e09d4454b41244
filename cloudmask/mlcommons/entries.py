"""What a finished run has recorded, as the lines of its MLCommons log, put in order.

Keys follow submit.adoc of github.com/mlcommons/science and the reference program's log. What a run
has not recorded is left out, or said by the submitter and marked as declared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from cloudmask.cli.options import MllogConfig
from cloudmask.mlcommons.runs import Run

MEANING = (
    "accuracy: share of the labelled validation pixels of all ranks that get the class of their "
    "label, at the epoch of the lowest validation loss, whose weights are the model; "
    "majority_accuracy: that of always answering the commonest class; run_seconds: from the start "
    "of the program to the saved model, with verification, validation and checkpoints"
)


@dataclass(frozen=True)
class Entry:
    """One line of a log."""

    kind: Literal["start", "end", "event"]
    key: str
    value: Any
    time_ms: int
    metadata: dict[str, Any] = field(default_factory=dict)


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
    target = run.target
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
    summary, staging = run.summary, run.staging_seconds
    best, seconds = summary["best"], summary["seconds"]["total"]
    value = {
        "name": "accuracy",
        "meaning": MEANING,
        "accuracy": best["accuracy"],
        "majority_accuracy": best["majority"],
        "validation_loss": best["loss"],
        "epoch": best["epoch"],
        "epochs_run": summary["epochs_run"],
        "target": run.target,
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


def _milliseconds(time: str) -> float:
    """ISO 8601 to milliseconds since 1970."""
    return 1000 * datetime.fromisoformat(time).timestamp()
