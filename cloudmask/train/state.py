"""Where a run stands: all that a resumed run must know, beside the variables."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class State:
    """Position, running sums of the epoch, and decisions so far; plain numbers, exact in JSON."""

    epoch: int = 0
    """epochs finished"""
    step_in_epoch: int = 0
    """steps finished in the present epoch"""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """of the present epoch, each the fields of a schedule.Part: steps taken in orders of before"""
    step: int = 0
    """steps finished in all"""
    loss_sum: float = 0.0
    loss_count: float = 0.0
    patches_trained: int = 0
    """over all ranks"""
    epoch_seconds: float = 0.0
    """training time of the present epoch so far"""
    last_loss: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    epochs_without_gain: int = 0
    target: dict[str, Any] | None = None
    elapsed_seconds: float = 0.0
    """from the start of the run's first part up to this checkpoint"""
    resets: list[dict[str, Any]] = field(default_factory=list)
    """each time that ranks were lost or came; see elastic.py"""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> State:
        return cls(**values)

    def steps_in_part(self) -> int:
        """Steps of the present epoch since its order last changed."""
        return self.step_in_epoch - sum(part["steps"] for part in self.parts)

    def change_order(self, past: dict[str, Any]) -> None:
        """What is left of the epoch goes on in another order than this: a Part without steps."""
        if self.steps_in_part():
            self.parts.append({**past, "steps": self.steps_in_part()})

    def add_step(self, loss_sum: float, loss_count: float, patches: int, seconds: float) -> None:
        self.step += 1
        self.step_in_epoch += 1
        self.loss_sum += loss_sum
        self.loss_count += loss_count
        self.patches_trained += patches
        self.epoch_seconds += seconds
        self.last_loss = loss_sum / loss_count if loss_count else None

    def end_epoch(
        self, valid: dict[str, Any] | None, *, patches: int, learning_rate: float
    ) -> None:
        """Close the epoch: its record, and whether it is the best so far (lowest loss)."""
        self.epoch += 1
        loss = self.loss_sum / self.loss_count if self.loss_count else float("nan")
        self.history.append(
            {
                "epoch": self.epoch,
                "step": self.step,
                "loss": loss,
                "learning_rate": learning_rate,
                "train_seconds": self.epoch_seconds,
                "patches_per_second": patches / self.epoch_seconds,
                "valid": valid,
            }
        )
        if valid is not None:
            loss = valid["loss"]
            if math.isfinite(loss) and (self.best is None or loss < self.best["loss"]):
                self.best = {**valid, "epoch": self.epoch, "step": self.step}
                self.epochs_without_gain = 0
            else:
                self.epochs_without_gain += 1
        self.step_in_epoch, self.loss_sum, self.loss_count = 0, 0.0, 0.0
        self.parts = []
        self.epoch_seconds = 0.0
