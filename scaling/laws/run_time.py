"""What the time of a run is made of, measured part by part, and how long other work would take.

    T(N) = start-up + surplus of the first epoch + rest
         + epochs (training patches / X(N) + checkpoint)
         + validations x validation patches v X(N0) / X(N)

X are the rates. v is the seconds per validation patch measured on N0 ranks, which is taken to scale
as training does. The rest is what a run takes besides (its launch, closing files, saving the
model). Patches are counted in whole steps: a last one that is partly empty takes as long as a full
one.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import stats

from cloudmask.text import plural
from scaling.laws.intervals import REPEATS_FOR_INTERVAL
from scaling.record.store import Row

DIFFERENT = 0.05
"""probability of constants as unlike as these, below which they are called different"""
ROUNDING = 1e-9
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Parts:
    """Seconds of one run that do not shrink with the number of ranks, and per validation patch."""

    startup: float
    surplus: float
    rest: float
    checkpoint: float
    """per epoch"""
    validation_patch: float
    rate: float
    """patches/s of this run, by which validation is scaled"""

    def total(self, work: Mapping[str, Any], rate: Array) -> Array:
        """Seconds for the work, of whole steps, at rates (any shape)."""
        training = work["training_patches"] / rate
        validation = work["validation_patches"] * self.validation_patch * self.rate / rate
        return self.constants(work) + work["epochs"] * training + validations_of(work) * validation

    def constants(self, work: Mapping[str, Any]) -> float:
        """Of these, the seconds that are taken not to change with the ranks."""
        return self.startup + self.surplus + self.rest + work["epochs"] * self.checkpoint


def parts(row: Row) -> Parts | None:
    """What one measured run tells; None if it does not tell enough, as resumed runs do not: only
    their last part has clocks."""
    if row.get("before_resume_seconds"):
        return None
    rate, patches = row.get("patches_per_second"), row.get("patches_trained")
    total = row.get("wall_seconds") or row.get("total_seconds")
    if not (rate and total and patches):
        return None
    first, first_patches = row.get("first_epoch_seconds"), row.get("first_epoch_patches")
    batch = row.get("global_batch") or 1
    surplus = max(0.0, first - _up(first_patches, batch) / rate) if first and first_patches else 0.0
    startup = row.get("startup_seconds") or 0.0
    validation = row.get("validation_seconds") or 0.0
    checkpoints = row.get("checkpoints_seconds") or 0.0
    checked = (row.get("validations") or 0) * _validated(
        row.get("validation_patches") or 0, row.get("ranks") or 1, row.get("batch_per_rank") or 1
    )
    trained = max(patches, (row.get("steps_run") or 0) * batch)
    known = startup + surplus + validation + checkpoints + trained / rate
    return Parts(
        startup,
        surplus,
        max(0.0, total - known),
        checkpoints / max(1, row.get("epochs_run") or 1),
        validation / checked if checked and validation else 1 / rate / 3,
        rate,
    )


def _up(patches: Any, batch: Any) -> Any:
    """Patches of whole steps."""
    return -(-patches // batch) * batch


def _validated(patches: int, ranks: Any, batch: Any) -> Any:
    """Patches of the whole steps of one validation, in which each rank has its part."""
    return ranks * _up(-(-patches // ranks), batch)


def whole_steps(work: Mapping[str, int], ranks: Array, batch: Array) -> dict[str, Any]:
    """The work as (K,) patches of whole steps at (K,) ranks that share a global batch, padded as
    training pads them: see cloudmask/train/schedule.py."""
    return {
        "training_patches": _up(work["training_patches"], batch),
        "validation_patches": _validated(work["validation_patches"], ranks, np.ceil(batch / ranks)),
        "epochs": work["epochs"],
        "validations": validations_of(work),
    }


def validations_of(work: Mapping[str, Any]) -> int:
    """One after every epoch where it is not stated."""
    return int(work.get("validations", work["epochs"]))


def middle(found: Sequence[Parts]) -> Parts:
    """The median of each part by itself."""
    columns = ([getattr(one, field.name) for one in found] for field in fields(Parts))
    return Parts(*map(statistics.median, columns))


def validation_patches(row: Row) -> int:
    """Patches that a run has validated in all its validations together."""
    return (row.get("validations") or 0) * (row.get("validation_patches") or 0)


def doubt_of(constants: Mapping[int, Sequence[float]], *, least: float = 0.0) -> str:
    """Why the range of the constants on the most ranks is no 95 % interval of those on more.

    Empty if nothing speaks against it: six runs or more, and rank counts that neither differ
    (Kruskal and Wallis) nor rise or fall (Spearman), or by no more than `least` seconds.
    `constants`: seconds of runs, by ranks.
    """
    most, found = max(constants), []
    middles = {count: statistics.median(runs) for count, runs in constants.items()}
    if (runs := len(constants[most])) < REPEATS_FOR_INTERVAL:
        found.append(f"constants of {plural(runs, 'run')} alone, and fewer than six give none")
    differ = max(middles.values()) - min(middles.values()) > least
    if differ and (p := _probability_alike(constants)) < DIFFERENT:
        ends = [f"{middles[n]:.1f} s on {n}" for n in (min(constants), most)]
        found.append(
            f"constants as measured on {most} ranks, their growth not in the interval; they differ "
            f"between rank counts ({', '.join(ends)}, p {'< 0.0001' if p < 1e-4 else f'= {p:.2g}'})"
        )
    return "; ".join(found)


def _probability_alike(constants: Mapping[int, Sequence[float]]) -> float:
    """Of rank counts whose constants are as unlike as these, or rise or fall as much; 1 where
    nothing tells."""
    seconds = [value for runs in constants.values() for value in runs]
    if len(constants) < 2 or len(seconds) < 3 or np.ptp(seconds) <= ROUNDING * max(seconds):
        return 1.0
    ranks = [count for count, runs in constants.items() for _ in runs]
    trend = float(stats.spearmanr(ranks, seconds).pvalue)
    if len(seconds) == len(constants):
        return trend
    return min(trend, float(stats.kruskal(*constants.values()).pvalue))
