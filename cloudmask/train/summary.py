"""summary.json: what a run did, how fast and how well, with the conditions of every figure."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cloudmask.model import flops
from cloudmask.record import commit, now, settings, versions
from cloudmask.text import plural
from cloudmask.train import noise
from cloudmask.train.plan import Plan
from cloudmask.train.ranks import GROUPS, Ranks, gradient_messages
from cloudmask.train.state import State

VERSION = 1


def opening_lines(plan: Plan, ranks: Ranks) -> str:
    """What is about to run, with every derived value."""
    lines = [
        f"{plural(ranks.size, 'rank')} ({ranks.controller}, "
        f"{plural(ranks.threads, 'thread')} each) on {ranks.device}, {plan.precision}; "
        f"{ranks.cores_line()}",
        f"{plan.num_patches} training and {plan.num_valid} validation patches of "
        f"{plan.patchset.patch_size} x {plan.patchset.patch_size} x {len(plan.info.channels)}; "
        f"global batch {plan.global_batch}, {plan.batch_per_rank} per rank, "
        f"{plan.steps_per_epoch} steps an epoch; learning rate {plan.full_learning_rate:g} "
        f"({plan.config.lr_scaling} scaling, {plan.config.lr_decay} decay)",
    ]
    if plan.info.fold:
        lines.append(f"fold {plan.info.fold} is left out of training")
    if plan.config.cache != "none":
        size = plan.cache_bytes() / 1e9
        lines.append(f"cache ({plan.config.cache}): up to {size:.2f} GB per rank")
    return "\n".join(lines)


def make(
    plan: Plan,
    ranks: Ranks,
    state: State,
    *,
    seconds: dict[str, float],
    times: dict[str, object],
    placement: Sequence[dict[str, Any]],
    size: dict[str, Any],
) -> dict[str, Any]:
    """Everything `scaling` and people read; `times` are StepTimes.over_all(), and
    `placement` has one entry per rank."""
    config = plan.config
    epoch_seconds = [record["train_seconds"] for record in state.history]
    return {
        "format": "cloudmask-summary",
        "version": VERSION,
        "status": "finished",
        "stopped_by": state.end(config),
        "date": now(),
        # Rank 0 alone writes this down: the others start no git and read no metadata.
        "commit": commit() if ranks.is_root else None,
        "versions": versions() if ranks.is_root else {},
        "settings": settings(),
        "ranks": ranks.size,
        "hosts": sorted({str(place["host"]) for place in placement}),
        "num_hosts": ranks.num_hosts,
        "controller": ranks.controller,
        "horovod": config.horovod,
        "device": ranks.device,
        "emulated_step_seconds": config.emulate,
        "emulated_spread": config.emulate_spread if config.emulate is not None else None,
        "threads_per_rank": ranks.threads,
        "allowed_cores": ranks.allowed_cores,
        "bound_by_launcher": ranks.bound,
        "placement": list(placement),
        "seed": config.seed,
        "config": asdict(config),
        "init": state.init,
        **_derived(plan),
        **size,
        "epochs_run": len(state.history),
        "steps_run": state.step,
        "patches_trained": state.patches_trained,
        "seconds": {
            **seconds,
            "first_epoch": epoch_seconds[0] if epoch_seconds else None,
            "steady_epoch": statistics.median(epoch_seconds[1:]) if epoch_seconds[1:] else None,
        },
        **times,
        "final": state.history[-1] if state.history else None,
        "best": state.best,
        "target": state.target,
        "last_step_loss": state.last_loss,
        "noise_scale": _noise_scale(plan, state),
        "history": state.history,
    }


def _noise_scale(plan: Plan, state: State) -> dict[str, Any] | None:
    """Over the whole run and by epochs; None where it was not measured."""
    sums = [sums for _, sums in noise.of_history(state.history)]
    whole = noise.estimate(functools.reduce(noise.together, sums, state.noise))
    if whole is None:
        return None
    place = {"batch_per_rank": plan.batch_per_rank, "ranks": plan.num_ranks}
    return {**whole, **place, "curve": noise.curve(state.history)}


def _derived(plan: Plan) -> dict[str, Any]:
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
        "label_source": plan.patchset.label_source,
        "soft_targets": plan.soft,
        "fold": plan.info.fold or None,
    }


def size(model: keras.Model, patch_size: int, *, batch: int, xla: bool = False) -> dict[str, Any]:
    """Parameters that are trained, the bytes of gradients that a step sums over the ranks (of all,
    and of each message; with `xla` there is one), and of a patch's forward and backward pass the
    operations, and the bytes that they must move where `batch` patches share each kernel."""
    values = [variable.value for variable in model.trainable_variables]
    sizes = [int(np.prod(value.shape)) * value.dtype.size for value in values]
    return {
        "parameters": sum(int(np.prod(value.shape)) for value in values),
        "gradient_bytes": sum(sizes),
        "gradient_messages": gradient_messages(sizes, groups=1 if xla else GROUPS),
        "flops_per_patch": flops.training(model, patch_size),
        "bytes_per_patch": round(flops.training_bytes(model, patch_size, batch)),
    }


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
    if summary.get("noise_scale"):
        lines.append(noise.line(summary["noise_scale"]))
    model = f"model: {out / 'model.keras'}"
    if summary.get("emulated_step_seconds") is not None:
        model = f"device {summary['device']}: nothing was learned, so there is no model"
    lines.append(f"{model}; figures: {out / 'summary.json'}")
    return "\n".join(lines)
