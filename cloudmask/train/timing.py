"""Where the time of a step goes, on each rank, and what that says about all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

COLUMNS = ("step_seconds", "data_wait_seconds", "compute_seconds", "exposed_communication_seconds")
WARMUP_STEPS = 5


@dataclass
class StepTimes:
    """Seconds of each step on this rank, one row of COLUMNS and the patches of the step."""

    rows: list[tuple[float, float, float, float]] = field(default_factory=list)
    patches: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def add(self, epoch: int, patches: int, row: tuple[float, float, float, float]) -> None:
        self.epochs.append(epoch)
        self.patches.append(patches)
        self.rows.append(row)

    def array(self) -> np.ndarray:
        """(steps, 1 + len(COLUMNS)) float64: patches, then the columns."""
        if not self.rows:
            return np.zeros((0, 1 + len(COLUMNS)))
        return np.column_stack([self.patches, np.asarray(self.rows)])

    def append_to(self, path: Path, epoch: int, *, device: str) -> None:
        """One JSON line with an epoch's steps, and on which device they ran."""
        here = [i for i, other in enumerate(self.epochs) if other == epoch]
        record: dict[str, object] = {
            "epoch": epoch + 1,
            "device": device,
            "patches": [self.patches[i] for i in here],
        }
        for column, name in enumerate(COLUMNS):
            record[name] = [round(self.rows[i][column], 6) for i in here]
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def steady(times: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """StepTimes.array() of every rank -> (ranks, steps, columns) without warm-up, steps left out.

    The first steps trace the graph and fill caches; of a very short run at most half is left out.
    """
    every = np.stack(times)
    warmup = min(WARMUP_STEPS, every.shape[1] // 2)
    return every[:, warmup:], warmup


def summarise(times: Sequence[np.ndarray]) -> dict[str, object]:
    """Arrays of every rank -> rates and times per step, for summary.json.

    A step takes as long as its slowest rank; the rate is total patches over total time, beside
    the median and percentiles of the single steps.
    """
    kept, warmup = steady(times)
    if kept.shape[1] == 0:
        return {"warmup_steps": warmup, "steps": 0, "patches_per_second": None, "per_step": None}
    step_seconds = kept[:, :, 1].max(axis=0)
    patches = kept[:, :, 0].sum(axis=0)
    rates = patches / step_seconds
    per_step = {}
    for column, name in enumerate(COLUMNS, start=1):
        values = kept[:, :, column]
        per_step[name] = {
            "median": float(np.median(values)),
            "mean": float(values.mean()),
            "slowest_rank": float(values.mean(axis=1).max()),
            "mean_rank": float(values.mean(axis=1).mean()),
        }
    return {
        "warmup_steps": warmup,
        "steps": int(kept.shape[1]),
        "patches_per_second": {
            "overall": float(patches.sum() / step_seconds.sum()),
            "median": float(np.median(rates)),
            "p05": float(np.percentile(rates, 5)),
            "p95": float(np.percentile(rates, 95)),
        },
        "per_step": per_step,
    }
