"""How long the steps of a run took, on all ranks: kept and gathered in memory of a fixed size.

Each rank keeps sums and histograms of its own steps, which add up over ranks. So a run of a million
steps on a thousand ranks needs no more memory than one of ten steps on two, and sends no more bytes
but for a few figures per rank. The single steps go to a file, of rank 0 alone if not of all.
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
SPACED_STEPS = 2048
"""most steps that ranks compare one by one"""


class Summing(Protocol):
    """What is done over all ranks (ranks.Ranks)."""

    @property
    def rank(self) -> int: ...
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


class Spaced:
    """Up to SPACED_STEPS of many values, evenly spaced; which ones, their number alone decides.

    So ranks that have made the same steps have kept the same ones.
    """

    def __init__(self) -> None:
        self._values: list[float] = []
        self._every, self._count = 1, 0

    def add(self, value: float) -> None:
        if self._count % self._every == 0:
            if len(self._values) == SPACED_STEPS:
                del self._values[1::2]
                self._every *= 2
            if self._count % self._every == 0:
                self._values.append(value)
        self._count += 1

    def least(self, ranks: Summing) -> list[float]:
        """Of each step the least value of any rank, where there is one; collective."""
        mine = np.full(SPACED_STEPS, np.inf)
        mine[: len(self._values)] = self._values
        least = -ranks.max_array(-mine, name="least_exposed")
        return [float(value) for value in least if math.isfinite(value)]


class StepTimes:
    """Seconds of this rank's steps, after a few that warm up."""

    def __init__(self, path: Path | None, *, device: str) -> None:
        """`path` is the rank's file: JSON lines, each of up to BLOCK_STEPS steps of one epoch."""
        self._path, self._device = path, device
        self._block: list[tuple[float, ...]] = []
        self._epoch = 0
        self._first: list[tuple[float, ...]] = []
        """steps that may be of the warm-up: how many there are is not known yet"""
        self._steps = 0
        self._histograms = [Histogram() for _ in (*COLUMNS, "rate")]
        self._exposed = Spaced()
        self._patches = 0.0
        self._first_epoch_patches = 0

    def add(self, epoch: int, patches: int, of_all: int, row: Sequence[float]) -> None:
        """A step: patches of this rank and of all, and the COLUMNS, NaN where there is no clock."""
        if self._block and (epoch != self._epoch or len(self._block) == BLOCK_STEPS):
            self.write()
        self._epoch = epoch
        self._block.append((patches, *row))
        self._steps += 1
        self._first_epoch_patches += patches if epoch == 0 else 0
        if self._steps <= 2 * WARMUP_STEPS:
            self._first.append((of_all, *row))
        else:
            self._count(of_all, *row)

    def _count(self, of_all: float, *row: float) -> None:
        self._patches += of_all
        if not math.isnan(row[-1]):  # every tenth step may be clocked alone: the same on all ranks
            self._exposed.add(row[-1])
        rate = of_all / row[0] if row[0] > 0 else math.nan
        for histogram, value in zip(self._histograms, (*row, rate), strict=True):
            if not math.isnan(value):
                histogram.add(value)

    def write(self) -> None:
        """Append what is not in the file yet."""
        if not self._block or self._path is None:
            self._block = []
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
        all ranks. `per_rank` has the means of each rank. `last_rank_exposed_seconds` is the median,
        over steps, of the least exposed communication of any rank: what the rank waits that was the
        last to finish computing is the reduction alone, where others wait for this one too.
        """
        warmup = min(WARMUP_STEPS, self._steps // 2)
        for row in self._first[warmup:]:
            self._count(*row)
        steps = self._steps - warmup
        mine = np.stack([histogram.bins for histogram in self._histograms])
        total = ranks.sum_array(mine, name="step_times")
        counts, sums = mine[:, 0].sum(axis=1), mine[:, 1].sum(axis=1)
        means = sums / np.maximum(counts, 1)
        table = np.zeros((ranks.size, len(means) + 2))
        table[ranks.rank] = [*means, sums[0], self._first_epoch_patches]
        table = ranks.sum_array(table, name="each_rank")
        least = self._exposed.least(ranks)
        in_first = int(table[:, -1].sum())
        if not steps:
            return {
                "warmup_steps": warmup,
                "steps": 0,
                "patches_per_second": None,
                "per_step": None,
                "per_rank": None,
                "last_rank_exposed_seconds": None,
                "first_epoch_patches": in_first or None,
            }
        clocked = all(counts[: len(COLUMNS)])
        each = dict(zip(COLUMNS, table.T.round(6).tolist(), strict=False)) if clocked else None
        per_step = {}
        for column, name in enumerate(COLUMNS):
            bins = total[column]
            if counts[column]:
                per_step[name] = {
                    "median": quantile(bins, 0.5),
                    "mean": float(bins[1].sum() / bins[0].sum()),
                    "slowest_rank": float(table[:, column].max()),
                    "mean_rank": float(table[:, column].mean()),
                }
        rates = {"median": 0.5, "p05": 0.05, "p95": 0.95}
        return {
            "warmup_steps": warmup,
            "steps": steps,
            "patches_per_second": {
                "overall": float(self._patches / table[:, -2].max()),
                **{name: quantile(total[-1], share) for name, share in rates.items()},
            },
            "per_step": per_step,
            "per_rank": each,
            "last_rank_exposed_seconds": (
                float(np.median(least)) if ranks.size > 1 and least else None
            ),
            "first_epoch_patches": in_first or None,
        }
