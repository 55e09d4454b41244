"""How long the steps of a run took, on all ranks: kept and gathered in memory of a fixed size.

Each rank keeps sums and histograms of its own steps, which add up over ranks, and writes the single
steps to a file of its own. So a run of a million steps on a thousand ranks needs no more memory and
sends no more bytes than one of ten steps on two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

COLUMNS = ("step_seconds", "data_wait_seconds", "compute_seconds", "exposed_communication_seconds")
WARMUP_STEPS = 5
BLOCK_STEPS = 1000
"""of one line in a rank's file"""
PER_OCTAVE, LEAST, OCTAVES = 64, 2.0**-20, 44
"""of histograms: bins 1.1 % wide, from a millionth to 16 million; the first has what lies below"""


class Summing(Protocol):
    """What is done over all ranks (ranks.Ranks)."""

    @property
    def size(self) -> int: ...
    def sum_array(self, values: np.ndarray, *, name: str) -> np.ndarray: ...
    def max_array(self, values: np.ndarray, *, name: str) -> np.ndarray: ...


class Histogram:
    """Counts and sums of values by bins of their logarithm: quantiles to half a per cent."""

    def __init__(self) -> None:
        self.bins = np.zeros((2, PER_OCTAVE * OCTAVES))
        """how many values, and their sum"""

    def add(self, value: float) -> None:
        place = math.log2(max(value, LEAST) / LEAST) * PER_OCTAVE
        place = min(int(place), self.bins.shape[1] - 1)
        self.bins[0, place] += 1
        self.bins[1, place] += value


def quantile(bins: np.ndarray, share: float) -> float:
    """The mean value of the bin of (2, bins) in which so large a share of the values is reached."""
    reached = np.cumsum(bins[0])
    place = int(np.searchsorted(reached, share * reached[-1]))
    place = min(place, int(np.flatnonzero(bins[0])[-1]))
    return float(bins[1, place] / bins[0, place])


class StepTimes:
    """Seconds of this rank's steps, after a few that warm up."""

    def __init__(self, path: Path, *, device: str) -> None:
        """`path` is the rank's file: JSON lines, each of up to BLOCK_STEPS steps of one epoch."""
        self._path, self._device = path, device
        self._block: list[tuple[float, ...]] = []
        self._epoch = 0
        self._first: list[tuple[float, ...]] = []
        """steps that may be of the warm-up: how many there are is not known yet"""
        self._steps = 0
        self._histograms = [Histogram() for _ in (*COLUMNS, "rate")]
        self._patches = 0.0

    def add(self, epoch: int, patches: int, of_all: int, row: Sequence[float]) -> None:
        """A step: patches of this rank and of all, and the COLUMNS, NaN where there is no clock."""
        if self._block and (epoch != self._epoch or len(self._block) == BLOCK_STEPS):
            self.write()
        self._epoch = epoch
        self._block.append((patches, *row))
        self._steps += 1
        if self._steps <= 2 * WARMUP_STEPS:
            self._first.append((of_all, *row))
        else:
            self._count(of_all, *row)

    def _count(self, of_all: float, *row: float) -> None:
        self._patches += of_all
        rate = of_all / row[0] if row[0] > 0 else math.nan
        for histogram, value in zip(self._histograms, (*row, rate), strict=True):
            if not math.isnan(value):
                histogram.add(value)

    def write(self) -> None:
        """Append what is not in the file yet."""
        if not self._block:
            return
        record: dict[str, object] = {"epoch": self._epoch + 1, "device": self._device}
        patches, *columns = zip(*self._block, strict=True)
        record["patches"] = patches
        for name, values in zip(COLUMNS, columns, strict=True):
            record[name] = [None if math.isnan(value) else round(value, 6) for value in values]
        self._block = []
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def over_all(self, ranks: Summing) -> dict[str, object]:
        """Rates and times per step of all ranks, as summary.json has them; collective, and once.

        The first steps, which trace the graph and fill caches, are left out; of a very short run at
        most half. The rate is that of the rank that took longest; quantiles are over the steps of
        all ranks.
        """
        warmup = min(WARMUP_STEPS, self._steps // 2)
        for row in self._first[warmup:]:
            self._count(*row)
        steps = self._steps - warmup
        mine = np.stack([histogram.bins for histogram in self._histograms])
        total = ranks.sum_array(mine, name="step_times")
        if not steps:
            return {
                "warmup_steps": warmup,
                "steps": 0,
                "patches_per_second": None,
                "per_step": None,
            }
        counts, sums = mine[:, 0].sum(axis=1), mine[:, 1].sum(axis=1)
        means = sums / np.maximum(counts, 1)
        most = ranks.max_array(np.append(means, sums[0]), name="slowest")
        mean = ranks.sum_array(means, name="means") / ranks.size
        per_step = {}
        for column, name in enumerate(COLUMNS):
            bins = total[column]
            if counts[column]:
                per_step[name] = {
                    "median": quantile(bins, 0.5),
                    "mean": float(bins[1].sum() / bins[0].sum()),
                    "slowest_rank": float(most[column]),
                    "mean_rank": float(mean[column]),
                }
        rates = {"median": 0.5, "p05": 0.05, "p95": 0.95}
        return {
            "warmup_steps": warmup,
            "steps": steps,
            "patches_per_second": {
                "overall": float(self._patches / most[-1]),
                **{name: quantile(total[-1], share) for name, share in rates.items()},
            },
            "per_step": per_step,
        }
