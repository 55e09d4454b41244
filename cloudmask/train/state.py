"""Where a run stands: all that a resumed run must know, beside the variables; and what is left."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cloudmask.cli.options import TrainConfig
from cloudmask.train import noise, schedule
from cloudmask.train.plan import Plan
from cloudmask.train.step import StepResult


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
    """up to the last one that was validated"""
    target: dict[str, Any] | None = None
    elapsed_seconds: float = 0.0
    """from the start of the run's first part up to this checkpoint"""
    resets: list[dict[str, Any]] = field(default_factory=list)
    """each time that ranks were lost or came; see elastic.py"""
    init: dict[str, str] | None = None
    """path and sha256 of the model whose weights the run started from"""
    noise: list[float] = field(default_factory=list)
    """noise.Sums of the present epoch; those of others stand in the history"""
    last_patches: int = 0
    """of the last step whose noise was added"""

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

    def add_noise(self, result: StepResult, patches: int, *, one_rank: bool) -> None:
        """What a step of so many patches says of the gradient's noise."""
        of, self.last_patches = patches + (self.last_patches if one_rank else 0), patches
        found = noise.of_step(result.local_squares, result.mean_squares, result.sharing, of)
        if found:
            self.noise = noise.add(self.noise, *found, biased=one_rank)

    def end_epoch(
        self, valid: dict[str, Any] | None, *, patches: int, learning_rate: float
    ) -> None:
        """Close the epoch: its record, and whether it is the best so far (lowest loss)."""
        self.epoch += 1
        judged = [record["epoch"] for record in self.history if record["valid"] is not None]
        loss = self.loss_sum / self.loss_count if self.loss_count else float("nan")
        measured = noise.estimate(self.noise)
        told = {"noise_scale": {**measured, "sums": self.noise}} if measured else {}
        self.history.append(
            {
                "epoch": self.epoch,
                "step": self.step,
                "loss": loss,
                "learning_rate": learning_rate,
                "train_seconds": self.epoch_seconds,
                "patches_per_second": patches / self.epoch_seconds,
                "valid": valid,
                **told,
            }
        )
        self.noise = []
        if valid is not None:
            loss = valid["loss"]
            if math.isfinite(loss) and (self.best is None or loss < self.best["loss"]):
                self.best = {**valid, "epoch": self.epoch, "step": self.step}
                self.epochs_without_gain = 0
            else:
                self.epochs_without_gain += self.epoch - max(judged, default=0)
        self.step_in_epoch, self.loss_sum, self.loss_count = 0, 0.0, 0.0
        self.parts = []
        self.epoch_seconds = 0.0

    def note_target(self, config: TrainConfig, seconds: float) -> None:
        """Whether the epoch that was just closed is the first to reach --target-accuracy."""
        accuracy = (self.history[-1]["valid"] or {}).get("accuracy")
        if config.target_accuracy is None or self.target or accuracy is None:
            return
        if accuracy >= config.target_accuracy:
            target = {"accuracy": config.target_accuracy, "epoch": self.epoch, "seconds": seconds}
            self.target = target

    def end(self, config: TrainConfig) -> str | None:
        """Why training ends here, or None; from numbers that are equal on every rank."""
        if config.stop_at_target and self.target:
            return "target"
        if config.patience and self.epochs_without_gain >= config.patience:
            return "patience"
        if self.epoch >= config.epochs:
            return "epochs"
        if config.max_steps is not None and self.step >= config.max_steps:
            return "max_steps"
        return None


@dataclass(frozen=True)
class Rest:
    """What is left of an epoch from where a run stands; one row, or entry, for each step to come.

    Where --max-steps ends the run first, there are fewer than would close the epoch.
    """

    epoch: int
    rows: np.ndarray
    """(steps, batch) patch indices of this rank"""
    patches: list[int]
    """of all ranks together"""
    learning_rates: list[float]
    """of each step"""
    learning_rate_before: float
    """of the step before them"""
    begun_at: int
    """steps of the epoch before"""
    patches_before: int
    last: int
    """number of the epoch's last step"""

    def patches_up_to(self, step_in_epoch: int) -> int:
        """Patches of all ranks in the epoch's steps so far."""
        return self.patches_before + sum(self.patches[: step_in_epoch - self.begun_at])

    def learning_rate(self, step_in_epoch: int) -> float:
        """Of that step: one to come, or the last that was taken before."""
        taken = step_in_epoch - self.begun_at
        return self.learning_rates[taken - 1] if taken else self.learning_rate_before


def rest_of_epoch(plan: Plan, rank: int, state: State) -> Rest:
    """What is left of the epoch in which a run stands, whatever ranks have had their part of it.

    The learning rate follows the steps still to come at the present number of ranks, counted
    back from the end of the run: so it falls to its end whatever ran before.
    """
    # Checkpoints of the time when all shards were equal do not tell so.
    parts = [schedule.Part(**{"equal_shards": True} | part) for part in state.parts]
    num_left = len(schedule.patches_left(plan.num_patches, parts, epoch=state.epoch))
    rows, done = plan.rows(rank, state.epoch, parts), state.steps_in_part()
    patches = plan.patches_per_step(num_left)
    left = len(rows) - done
    last = state.step_in_epoch + left
    to_come = left + max(0, plan.config.epochs - state.epoch - 1) * plan.steps_per_epoch
    if plan.config.max_steps is not None:
        to_come = min(to_come, plan.config.max_steps - state.step)
    left = max(0, min(left, to_come))
    first = plan.total_steps - to_come
    return Rest(
        epoch=state.epoch,
        rows=rows[done : done + left],
        patches=patches[done : done + left],
        learning_rates=[plan.learning_rate(first + step) for step in range(left)],
        learning_rate_before=plan.learning_rate(max(0, first - 1)),
        begun_at=state.step_in_epoch,
        patches_before=plan.num_patches - num_left + sum(patches[:done]),
        last=last,
    )


def rows_to_come(plan: Plan, rank: int, state: State) -> Iterator[tuple[int, np.ndarray]]:
    """For each step of a rank, from where a run stands to its end: the epoch, and (batch,) patches.

    The run may end before, at its target for one.
    """
    rest = rest_of_epoch(plan, rank, state)

    def rows() -> Iterator[tuple[int, np.ndarray]]:
        for row in rest.rows:
            yield rest.epoch, row
        for epoch in range(rest.epoch + 1, plan.config.epochs):
            for row in plan.rows(rank, epoch):
                yield epoch, row

    steps = None if plan.config.max_steps is None else plan.config.max_steps - state.step
    return itertools.islice(rows(), steps)


def patches_to_read(plan: Plan, rank: int, state: State) -> np.ndarray:
    """(n,) sorted: all that a rank reads from where a run stands to its end.

    Its own part, and what else it was dealt where ranks have changed in the middle of an epoch.
    """
    rows = rest_of_epoch(plan, rank, state).rows
    return np.union1d(plan.training_patches(rank), rows[rows != schedule.PAD])
