"""What is due after a step and after an epoch: from numbers that are equal on every rank."""

from __future__ import annotations

from cloudmask.cli.options import TrainConfig
from cloudmask.train.plan import Plan
from cloudmask.train.state import State


def checkpoint(config: TrainConfig, step: int) -> bool:
    """After every --checkpoint-steps, and after the last step there will be."""
    every = config.checkpoint_steps
    return step == config.max_steps or (every > 0 and step % every == 0)


def commit(config: TrainConfig, step: int) -> bool:
    return config.elastic and step % config.commit_steps == 0


def validation(config: TrainConfig, plan: Plan, epoch: int) -> bool:
    last = epoch + 1 == config.epochs
    return plan.num_valid > 0 and (last or (epoch + 1) % config.validate_every == 0)


def end(config: TrainConfig, state: State) -> str | None:
    """Why training ends here, or None; decided from numbers that are equal on every rank."""
    if config.stop_at_target and state.target:
        return "target"
    if config.patience and state.epochs_without_gain >= config.patience:
        return "patience"
    if state.epoch >= config.epochs:
        return "epochs"
    if config.max_steps is not None and state.step >= config.max_steps:
        return "max_steps"
    return None


def note_target(config: TrainConfig, state: State, seconds: float) -> None:
    valid = state.history[-1]["valid"]
    if config.target_accuracy is None or state.target or not valid:
        return
    if valid["accuracy"] is not None and valid["accuracy"] >= config.target_accuracy:
        state.target = {
            "accuracy": config.target_accuracy,
            "epoch": state.epoch,
            "seconds": seconds,
        }
