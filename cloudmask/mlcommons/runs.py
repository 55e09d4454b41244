"""Finished runs as their folders record them: read, checked, and compared with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudmask.files import parse_json
from cloudmask.model.keras_file import refuse_emulated

OWN_TO_A_RUN = ("data", "out", "stage", "seed", "resume")
"""options that may differ within a result set; the data are compared by their fingerprint"""
CONDITIONS = (
    *("patchset", "commit", "versions", "ranks", "num_hosts", "device", "threads_per_rank"),
    *("global_batch", "precision"),
)


@dataclass(frozen=True)
class Run:
    """A finished run's folder; the events are those of the attempt that finished."""

    name: str
    summary: dict[str, Any]
    environment: dict[str, Any]
    options: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def staging_seconds(self) -> float | None:
        """What the run itself took to stage its data, within its time; None if it did not."""
        return self.summary["seconds"].get("staging")

    @property
    def target(self) -> dict[str, Any] | None:
        """The accuracy it was to reach, and when it did; None if it had no such target."""
        wanted, met = self.summary["config"]["target_accuracy"], self.summary["target"]
        if wanted is None:
            return None
        return {"accuracy": wanted, "reached": met is not None, **(met or {})}


def read_run(path: Path, *, name: str | None = None) -> Run:
    """A run folder. ValueError, with the path, for one that no result can be made from.

    `name` is what its result calls it; the folder's name if none is given.
    """
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
        name=name or path.resolve().name,
        summary=summary,
        environment=_object(path / "environment.json"),
        options=yaml.safe_load((path / "config.yaml").read_text()),
        events=_last_attempt(path / "events.jsonl", steps=summary["steps_run"]),
    )


def _object(path: Path) -> dict[str, Any]:
    try:
        return parse_json(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def _last_attempt(path: Path, *, steps: int) -> list[dict[str, Any]]:
    """Events from the last first step on: what failed before its checkpoint is in the same file."""
    try:
        events = [parse_json(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} has a line that is not JSON: {error}") from None
    begins = [
        n for n, event in enumerate(events) if (event["event"], event.get("step")) == ("step", 1)
    ]
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
    return (
        shared_options(run.summary["config"]) | facts | {"staged": run.staging_seconds is not None}
    )


def shared_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a training without those that are a run's own."""
    return {name: value for name, value in options.items() if name not in OWN_TO_A_RUN}
