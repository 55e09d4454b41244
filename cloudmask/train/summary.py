"""summary.json: what a run did, how fast and how well, with the conditions of every figure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cloudmask.cli.options import TrainConfig
from cloudmask.record import commit, now, settings, versions
from cloudmask.train import timing
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import Ranks
from cloudmask.train.state import State

VERSION = 1


def opening_lines(plan: Plan, ranks: Ranks) -> str:
    """What is about to run, with every derived value."""
    lines = [
        f"{ranks.size} rank{'s' if ranks.size > 1 else ''} ({ranks.controller}, "
        f"{ranks.threads} threads each) on {ranks.device}, {plan.precision}",
        f"{plan.num_patches} training and {plan.num_valid} validation patches of "
        f"{plan.patchset.patch_size} x {plan.patchset.patch_size} x {len(plan.info.channels)}; "
        f"global batch {plan.global_batch}, {plan.batch_per_rank} per rank, "
        f"{plan.steps_per_epoch} steps an epoch; learning rate {plan.full_learning_rate:g} "
        f"({plan.config.lr_scaling} scaling, {plan.config.lr_decay} decay)",
    ]
    if plan.config.cache != "none":
        size = plan.cache_bytes() / 1e9
        lines.append(f"cache ({plan.config.cache}): up to {size:.2f} GB per rank")
    return "\n".join(lines)


def make(
    config: TrainConfig,
    ranks: Ranks,
    state: State,
    *,
    seconds: dict[str, float],
    times: Sequence[np.ndarray],
    placement: Sequence[dict[str, Any]],
    derived: dict[str, Any],
    stopped_by: str,
) -> dict[str, Any]:
    """Everything `scaling` and people read; `times` and `placement` have one entry per rank."""
    epoch_seconds = [record["train_seconds"] for record in state.history]
    return {
        "format": "cloudmask-summary",
        "version": VERSION,
        "status": "finished",
        "stopped_by": stopped_by,
        "date": now(),
        "commit": commit(),
        "versions": versions(),
        "settings": settings(),
        "ranks": ranks.size,
        "hosts": sorted({str(place["host"]) for place in placement}),
        "num_hosts": ranks.num_hosts,
        "controller": ranks.controller,
        "horovod": config.horovod,
        "device": ranks.device,
        "emulated_step_seconds": config.emulate,
        "emulated_spread": config.emulate_spread if config.emulate else None,
        "threads_per_rank": ranks.threads,
        "placement": list(placement),
        "seed": config.seed,
        "config": asdict(config),
        **derived,
        "epochs_run": len(state.history),
        "steps_run": state.step,
        "patches_trained": state.patches_trained,
        "seconds": {
            **seconds,
            "first_epoch": epoch_seconds[0] if epoch_seconds else None,
            "steady_epoch": statistics.median(epoch_seconds[1:]) if epoch_seconds[1:] else None,
        },
        **timing.summarise(times),
        "final": state.history[-1] if state.history else None,
        "best": state.best,
        "target": state.target,
        "last_step_loss": state.last_loss,
        "history": state.history,
    }


def derived(plan: Plan) -> dict[str, Any]:
    """The plan as summary.json records it."""
    return {
        "global_batch": plan.global_batch,
        "batch_per_rank": plan.batch_per_rank,
        "steps_per_epoch": plan.steps_per_epoch,
        "learning_rate": plan.full_learning_rate,
        "precision": plan.precision,
        "patch_size": plan.patchset.patch_size,
        "channels": list(plan.info.channels),
        "classes": list(plan.info.classes),
        "training_patches": plan.num_patches,
        "validation_patches": plan.num_valid,
        "patchset": plan.info.patchset,
    }


def epoch_line(
    record: dict[str, Any], *, epochs: int, num_ranks: int, emulated: str | None = None
) -> str:
    """One line for people; of an emulated device its name stands where the loss would."""
    parts = [f"epoch {record['epoch']}/{epochs}", emulated or loss_text(record["loss"])]
    valid = record.get("valid")
    if valid and not emulated:
        parts.append(f"validation loss {valid['loss']:.4f}")
        parts.append(f"accuracy {valid['accuracy']:.4f} (majority {valid['majority']:.4f})")
    parts.append(f"{record['patches_per_second']:.2f} patches/s")
    parts.append(f"{num_ranks} rank{'s' if num_ranks > 1 else ''}")
    return " | ".join(parts)


def loss_text(loss: float | None) -> str:
    return "no loss" if loss is None else f"loss {loss:.4f}"


def closing_lines(summary: dict[str, Any], out: Path) -> str:
    """The end of a run for people: what was reached, how fast, and where it lies."""
    seconds = summary["seconds"]
    staging = f" (staging {seconds['staging']:.1f} s)" if "staging" in seconds else ""
    lines = [
        f"done ({summary['stopped_by']}): {summary['epochs_run']} epochs, "
        f"{summary['steps_run']} steps, {seconds['total']:.0f} s, "
        f"of these start-up {seconds['startup']:.0f} s{staging}, "
        f"validation {seconds['validation']:.0f} s, checkpoints {seconds['checkpoints']:.1f} s"
    ]
    best = summary["best"]
    if best:
        lines.append(
            f"best epoch {best['epoch']}: validation loss {best['loss']:.4f}, "
            f"accuracy {best['accuracy']:.4f} (majority {best['majority']:.4f})"
        )
    model = f"model: {out / 'model.keras'}"
    if summary.get("emulated_step_seconds"):
        model = f"device {summary['device']}: nothing was learned, so there is no model"
    lines.append(f"{model}; figures: {out / 'summary.json'}")
    return "\n".join(lines)
