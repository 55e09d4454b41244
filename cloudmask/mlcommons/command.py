"""`cloudmask mllog`: runs as a result set of the MLCommons Science benchmark CloudMask.

    RESULTS/ORG/cloudmask/SYSTEM/DESCRIPTOR: result-0.txt ... config.yaml training.yaml README.md

The tree follows submit.adoc of github.com/mlcommons/science, the number of runs its policy.adoc.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cloudmask.cli.errors import UsageError
from cloudmask.cli.options import MllogConfig
from cloudmask.files import write_whole
from cloudmask.mlcommons import study
from cloudmask.mlcommons.entries import Entry, entries
from cloudmask.mlcommons.runs import Run, check_set, read_run, shared_options
from cloudmask.record import warn
from cloudmask.text import number, plural

ADVISED_RUNS = 10
"""of CloudMask, for the time to convergence (policy.adoc, Benchmark Results)"""


def mllog(settings: MllogConfig) -> int:
    """Write the result set; returns the exit code. ValueError for runs that cannot form one."""
    _check(settings)
    studies = [path for path in settings.runs if study.is_study(path)]
    if studies and len(settings.runs) > 1:
        raise UsageError(f"{studies[0]} is a scaling study; give it alone")
    if studies:
        found = study.result_sets(studies[0])
        sets = {f"{settings.descriptor}-{name}": runs for name, runs in found.items()}
    else:
        sets = {settings.descriptor: [read_run(path) for path in settings.runs]}
    place = settings.out / settings.org / "cloudmask" / settings.system
    for descriptor, runs in sets.items():
        _check_made(settings, len(runs))
        check_set(runs)
        folder = place / descriptor
        if folder.exists() and any(folder.iterdir()) and not settings.overwrite:
            raise ValueError(f"{folder} is not empty; name another --descriptor, or --overwrite")
    for descriptor, runs in sets.items():
        _write(place / descriptor, runs, dataclasses.replace(settings, descriptor=descriptor))
    return 0


def _write(folder: Path, runs: Sequence[Run], settings: MllogConfig) -> None:
    """One result set."""
    files = {f"result-{n}.txt": as_log(entries(run, settings)) for n, run in enumerate(runs)}
    files["training.yaml"] = _yaml(shared_options(runs[0].options))
    files["config.yaml"] = _yaml(configuration(runs, settings))
    files["README.md"] = readme(runs, settings)
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / "README.md", *folder.glob("result-*.txt")):
        old.unlink(missing_ok=True)
    for name, text in files.items():  # README.md comes last: with it the set is whole
        write_whole(folder / name, text.encode())
    print(
        f"{plural(len(runs), 'run')} in {folder}; the rules also want sientific_contribution.pdf "
        "(so spelled)"
    )
    if len(runs) < ADVISED_RUNS:
        warn(f"the policy asks for {ADVISED_RUNS} runs of CloudMask, here are {len(runs)}")


def _check(settings: MllogConfig) -> None:
    for flag in ("org", "system", "descriptor"):
        name = getattr(settings, flag)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise UsageError(
                f"--{flag} '{name}' cannot name a folder; begin with a letter or digit and go on "
                "with letters, digits, '.', '_', '+' or '-'"
            )
    if not settings.runs:
        raise UsageError("no run folder is given; cloudmask mllog RUN... --out RESULTS ...")
    _check_made(settings, len(settings.runs))
    if settings.staging_seconds is not None and not 0 <= settings.staging_seconds < float("inf"):
        raise UsageError(f"--staging-seconds {settings.staging_seconds} must be 0 or more")


def _check_made(settings: MllogConfig, given: int) -> None:
    made = settings.runs_made
    if made is not None and made < given:
        raise UsageError(f"--runs-made {made} is less than the {given} runs given")


def as_log(lines: Sequence[Entry]) -> str:
    """Lines as the text that the MLCommons logging library writes for them."""
    from mlperf_logging.mllog.mllog import MLLogger

    text = io.StringIO()
    logger = logging.Logger("cloudmask.mllog")
    logger.addHandler(logging.StreamHandler(text))
    # The library adds each call's file, and takes this folder off with a regular expression.
    writer = MLLogger(logger, root_dir=re.escape(str(Path(__file__).parents[2])))
    write = {"start": writer.start, "end": writer.end, "event": writer.event}
    for line in lines:
        write[line.kind](line.key, line.value, metadata=line.metadata, time_ms=line.time_ms)
    return text.getvalue()


def configuration(runs: Sequence[Run], settings: MllogConfig) -> dict[str, Any]:
    """config.yaml: all that defines the runs, and addresses if the submitter has told them."""
    summary = runs[0].summary
    code = {"url": settings.code_url, "commit": summary["commit"], "versions": summary["versions"]}
    data = {"url": settings.data_url, "fingerprint": summary["patchset"]}
    for name in ("training_patches", "validation_patches", "patch_size", "channels", "classes"):
        data[name] = summary[name]
    system = {"name": settings.system, "nodes": summary["num_hosts"], "ranks": summary["ranks"]}
    for name in ("device", "threads_per_rank", "controller"):
        system[name] = summary[name]
    return {
        "benchmark": "cloudmask",
        "submission": {"org": settings.org, "division": "open", "status": settings.status},
        "code": {name: value for name, value in code.items() if value is not None},
        "data": {name: value for name, value in data.items() if value is not None},
        "system": system,
        "seeds": [run.summary["seed"] for run in runs],
        "training": shared_options(runs[0].options),
    }


def readme(runs: Sequence[Run], settings: MllogConfig) -> str:
    """README.md: how the runs were made, every one of them, and what nobody has recorded."""
    summary, commit = runs[0].summary, runs[0].summary["commit"]
    accuracies = [run.summary["best"]["accuracy"] for run in runs]
    totals = [run.summary["seconds"]["total"] for run in runs]
    launch = f"mpirun -n {summary['ranks']} " if summary["ranks"] > 1 else ""
    rows = []
    for n, run in enumerate(runs):
        best, target = run.summary["best"], run.target
        cells = [f"result-{n}.txt", run.name, run.summary["seed"], best["epoch"]]
        cells += [number(best["accuracy"]), number(best["majority"]), number(totals[n], 1)]
        cells.append(_reached(target))
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    if commit is None:
        source = "at a commit that was not recorded"
    elif commit.endswith("+"):
        source = f"at commit {commit[:-1]} **with changes that are in no commit**"
    else:
        source = f"at commit {commit}"
    made = settings.runs_made
    notes = [
        f"{plural(len(runs), 'run')} reported, each with its log; the policy asks for "
        f"{ADVISED_RUNS}. "
        + ("How many were made in all has not been declared." if made is None else "")
        + (f"All {made} that were made (declared)." if made == len(runs) else "")
        + (f"Chosen out of {made} that were made (declared)." if made and made > len(runs) else ""),
        f"Staging the data: {_staging(runs, settings)}.",
        "Caches of the nodes: "
        + ("flushed before each run (declared)." if settings.caches_flushed else "not declared."),
        "Cutting the scenes into the patch set happened before the runs and is not in their times.",
        "The launcher's own options were not recorded.",
        f"Accuracy: mean {number(statistics.mean(accuracies))}, from {number(min(accuracies))} to "
        f"{number(max(accuracies))}. Time: median {number(statistics.median(totals), 1)} s, from "
        f"{number(min(totals), 1)} to {number(max(totals), 1)} s, from program start to saved "
        "model.",
    ]
    return "\n".join(
        [
            f"# CloudMask by {settings.org} on {settings.system}: {settings.descriptor}",
            "",
            f"cloudmask {summary['versions'].get('cloudmask', 'of unknown version')} {source}; "
            f"ranks: {summary['ranks']}, nodes: {summary['num_hosts']}, device: "
            f"{summary['device']}, arithmetic: {summary['precision']}.",
            "",
            f"Patch set {summary['patchset']}: {summary['training_patches']} patches for training, "
            f"{summary['validation_patches']} for validation. All parameters are in config.yaml.",
            "",
            "```",
            f"{launch}python train_hvd.py --config training.yaml --data PATCHSET --out RUN "
            "--seed SEED",
            "```",
            "",
            "| log | run | seed | best epoch | accuracy | majority | seconds | target |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            *(f"- {note}" for note in notes),
            "",
        ]
    )


def _staging(runs: Sequence[Run], settings: MllogConfig) -> str:
    parts = []
    if settings.staging_seconds is not None:
        parts.append(f"{settings.staging_seconds:g} s before each run (declared)")
    own = [run.staging_seconds for run in runs if run.staging_seconds is not None]
    if own:
        parts.append(f"{min(own):.1f} to {max(own):.1f} s by the runs, which is in their times")
    return "; ".join(parts) or "not declared"


def _reached(target: dict[str, Any] | None) -> str:
    if target is None:
        return "none set"
    when = f"after {target['seconds']:.1f} s" if target["reached"] else "not reached"
    return f"{target['accuracy']:g} {when}"


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False)
