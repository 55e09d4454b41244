"""What is left of an epoch from where a run stands, whatever ranks have had their part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloudmask.train import schedule
from cloudmask.train.plan import Plan
from cloudmask.train.state import State


@dataclass(frozen=True)
class Rest:
    """What is left of an epoch from where a run stands; one row, or entry, for each step to come.

    Where --max-steps ends the run first, there are fewer than would close the epoch.
    """

    rows: np.ndarray
    """(steps, batch) patch indices of this rank"""
    patches: list[int]
    """of all ranks together"""
    learning_rates: list[float]
    """of each step, and of the one after the last"""
    begun_at: int
    """steps of the epoch before"""
    patches_before: int
    last: int
    """number of the epoch's last step"""

    def patches_up_to(self, step_in_epoch: int) -> int:
        """Patches of all ranks in the epoch's steps so far."""
        return self.patches_before + sum(self.patches[: step_in_epoch - self.begun_at])


def rest_of_epoch(plan: Plan, rank: int, state: State) -> Rest:
    """What is left of the epoch in which a run stands.

    The learning rate follows the steps still to come at the present number of ranks, counted
    back from the end of the run: so it falls to its end whatever ran before.
    """
    parts = [schedule.Part(**part) for part in state.parts]
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
        rows=rows[done : done + left],
        patches=patches[done : done + left],
        learning_rates=[plan.learning_rate(first + step) for step in range(left + 1)],
        begun_at=state.step_in_epoch,
        patches_before=plan.num_patches - num_left + sum(patches[:done]),
        last=last,
    )


def patches_to_read(plan: Plan, rank: int, state: State) -> np.ndarray:
    """(n,) sorted: all that a rank reads from where a run stands to its end.

    Its own part, and what else it was dealt where ranks have changed in the middle of an epoch.
    """
    rows = rest_of_epoch(plan, rank, state).rows
    return np.union1d(plan.training_patches(rank), rows[rows != schedule.PAD])
