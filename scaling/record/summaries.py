"""What one run of the program left in its folder, as plain figures.

The contract is summary.json with `"format": "cloudmask-summary"`. Needed are `version`, `status`,
`ranks`, `patches_per_second.overall` and `seconds.total`; what else is missing is left open.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from cloudmask.files import parse_json

FORMAT = "cloudmask-summary"
VERSION = 1
PARTS = ("data_wait_seconds", "compute_seconds", "exposed_communication_seconds")
PER_RANK = ("step_seconds", *PARTS)
LEAST_SHARE = 0.1
"""of a copy's steady steps that all copies must have computed in, for a rate of its own"""


class RunError(ValueError):
    """A run that gives no figures; the message says why."""


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a finished run. Raises RunError."""
    path = folder / "summary.json"
    try:
        summary = parse_json(path.read_text())
    except FileNotFoundError:
        raise RunError("no summary.json: the program ended without one") from None
    except (OSError, ValueError) as error:
        raise RunError(f"summary.json cannot be read: {error}") from None
    if not isinstance(summary, dict):
        raise RunError("summary.json is not a summary of a training")
    if summary.get("status") == "failed":
        raise RunError(
            f"rank {summary.get('rank', '?')}: {summary.get('error', 'no reason given')}"
        )
    if summary.get("format") != FORMAT:
        raise RunError(f"summary.json is not a summary of a training (no format {FORMAT})")
    if summary.get("version") != VERSION:
        raise RunError(
            f"summary.json is version {summary.get('version')}, this program reads version "
            f"{VERSION}; use the scaling package that belongs to the training"
        )
    rate = summary.get("patches_per_second")
    if not (isinstance(rate, dict) and rate.get("overall") and _seconds(summary, "total")):
        raise RunError("summary.json holds no rate: the run was too short to be measured")
    return summary


def _seconds(summary: dict[str, Any], name: str) -> float | None:
    seconds = summary.get("seconds")
    value = seconds.get(name) if isinstance(seconds, dict) else None
    return float(value) if isinstance(value, int | float) else None


def measures(summary: dict[str, Any]) -> dict[str, Any]:
    """The figures of one run for a row of results.jsonl."""
    rate = summary["patches_per_second"]
    config = summary.get("config") or {}
    history = summary.get("history") or []
    best = summary.get("best") or {}
    per_rank = summary.get("per_rank") or {}
    per_rank = per_rank if all(per_rank.get(name) for name in PER_RANK) else None

    def same(*names: str) -> dict[str, Any]:
        return {name: summary.get(name) for name in names}

    return {
        "patches_per_second": rate["overall"],
        "patches_per_second_median": rate.get("median"),
        "patches_per_second_p05": rate.get("p05"),
        "patches_per_second_p95": rate.get("p95"),
        "steps_measured": summary.get("steps"),
        "warmup_steps": summary.get("warmup_steps"),
        **step_times(summary, per_rank),
        "per_rank": per_rank,
        "last_rank_exposed_seconds": summary.get("last_rank_exposed_seconds"),
        "startup_seconds": _seconds(summary, "startup"),
        "staging_seconds": _seconds(summary, "staging"),
        "first_epoch_seconds": _seconds(summary, "first_epoch"),
        "first_epoch_patches": first_epoch_patches(summary),
        "steady_epoch_seconds": _seconds(summary, "steady_epoch"),
        "validation_seconds": _seconds(summary, "validation"),
        "validations": sum(1 for record in history if record.get("valid")),
        "checkpoints_seconds": _seconds(summary, "checkpoints"),
        "total_seconds": _seconds(summary, "total"),
        "before_resume_seconds": _seconds(summary, "before_resume"),
        "resets": len((summary.get("elastic") or {}).get("resets") or ()),
        **same("flops_per_patch", "bytes_per_patch"),
        **same("epochs_run", "steps_run", "patches_trained"),
        **same("training_patches", "validation_patches", "patch_size"),
        "channels": len(summary.get("channels") or []) or None,
        **same("parameters", "gradient_bytes", "gradient_messages", "global_batch"),
        **same("batch_per_rank", "learning_rate", "precision"),
        "data_mode": data_mode(config),
        "best_accuracy": best.get("accuracy"),
        "majority": best.get("majority"),
        "target": summary.get("target"),
        "target_wanted": config.get("target_accuracy"),
        "noise_scale": summary.get("noise_scale"),
        **same("seed", "versions"),
        "settings": {
            name: value
            for name, value in (summary.get("settings") or {}).items()
            if name.startswith(("HOROVOD_", "OMP_", "NCCL_", "OMPI_MCA_mpi_"))
        },
        **same("commit", "date", "hosts", "device"),
        **same("emulated_step_seconds", "emulated_spread", "controller"),
        "horovod": summary.get("horovod", True),
        "threads_per_rank": summary.get("threads_per_rank"),
    }


def solution_seconds(row: dict[str, Any]) -> float:
    """From the launch to the end, with the parts of the run before a resume.

    A run that no study launched has no such clock: from its start inside rank 0, which is less.
    """
    last = row["wall_seconds"] if row.get("wall_seconds") is not None else row["total_seconds"]
    return last + (row.get("before_resume_seconds") or 0.0)


def data_mode(config: dict[str, Any]) -> str | None:
    """How patches reach the ranks, in words."""
    if "shuffle" not in config:
        return None
    cached = {"memory": ", cached in memory", "device": ", cached on the device"}
    words = config["shuffle"] + cached.get(config.get("cache", "none"), "")
    return f"{words}, staged" if config.get("stage") else words


def read_allreduce(folder: Path) -> list[dict[str, Any]]:
    """Bytes, median seconds and repeats of each message size that was timed. Raises RunError."""
    try:
        rows = parse_json((folder / "allreduce.json").read_text())["rows"]
        return [
            {
                "bytes": row["bytes"],
                "seconds": row["median_seconds"],
                "repeats": len(row["seconds"]),
            }
            for row in rows
        ]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"allreduce.json cannot be read: {error}") from None


def step_times(
    summary: dict[str, Any], per_rank: dict[str, list[float]] | None
) -> dict[str, float | None]:
    """Where a step's time goes, mean over ranks, and the POP efficiencies.

    Load balance is mean over largest useful (computing) time of a rank, communication efficiency
    the largest useful time over the run time; their product is the parallel efficiency (POP,
    "Standard Metrics for Performance Analysis", pop-coe.eu).
    """
    per_step = summary.get("per_step") or {}
    means: dict[str, float | None] = {
        name: (per_step.get(name) or {}).get("mean_rank") for name in PER_RANK
    }
    slowest = (per_step.get("compute_seconds") or {}).get("slowest_rank")
    if per_rank:
        means = {name: statistics.fmean(values) for name, values in per_rank.items()}
        slowest = max(per_rank["compute_seconds"])
    mean = means["compute_seconds"]
    step = means["step_seconds"]
    balance = mean / slowest if slowest and mean else None
    return {
        **means,
        "load_balance": balance,
        "communication_efficiency": slowest / step if slowest and step else None,
    }


def first_epoch_patches(summary: dict[str, Any]) -> int | None:
    """Patches of all ranks in the first epoch, which may have been cut short."""
    if summary.get("first_epoch_patches"):
        return int(summary["first_epoch_patches"])
    training, batch = summary.get("training_patches"), summary.get("global_batch")
    if not (training and batch and summary.get("steps_run")):
        return None
    return min(training, batch * summary["steps_run"])
