"""How long a reference's work would take: measured parts put together by fitted laws.

    T(N) = start-up + surplus of the first epoch + rest
         + epochs (training patches / X(N) + validation patches v X(N0) / X(N) + checkpoint)

X is the law of the rates. v is the seconds per validation patch measured on N0 ranks, which is
taken to scale as training does. The rest is what a run takes besides (its launch, closing files,
saving the model). Patches are counted in whole steps: a last one that is partly empty takes as long
as a full one.

Which laws project, and how far, says reach.py. The interval holds the median of many runs: the
laws' doubt, how rank counts scatter about a law, and the constants of any of the measured runs.
Where its upper end is more than WIDEST times its lower, it says nothing, so nothing is projected.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cloudmask.text import listed
from scaling.laws import reach
from scaling.laws.reach import WIDEST
from scaling.record.store import Row, Study

MOST_DEVICES = 4096
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
        each = training + validation + self.checkpoint
        return self.startup + self.surplus + self.rest + work["epochs"] * each


@dataclass(frozen=True)
class Projection:
    """Seconds at each number of devices, 95 % point by point where a law was found."""

    law: str
    measured_ranks: tuple[int, ...]
    ranks: Array
    """(K,) those that something can be said of"""
    seconds: Array
    """(3, K): lower bound, median, upper bound"""
    runs: int
    parts: Parts
    """medians over the runs on the most ranks measured"""
    refusal: str = ""
    """why nothing is said of more devices"""

    def at(self, ranks: int) -> tuple[float, float, float] | None:
        """(low, median, high) seconds; None where nothing is projected."""
        place = np.flatnonzero(self.ranks == ranks)
        if not len(place):
            return None
        low, middle, high = self.seconds[:, place[0]].tolist()
        return low, middle, high

    def reached(self, seconds: float) -> tuple[int | None, int | None]:
        """The fewest devices that are within `seconds` by the median, and by the upper bound."""
        found = []
        for bound in (self.seconds[1], self.seconds[2]):
            within = np.flatnonzero(bound <= seconds)
            found.append(int(self.ranks[within[0]]) if len(within) else None)
        return found[0], found[1]


def parts(row: Row) -> Parts | None:
    """What one measured run tells; None if it does not tell enough."""
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
        validation / checked if checked else 1 / rate / 3,
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
    }


def middle(found: Sequence[Parts]) -> Parts:
    """The median of each part by itself."""
    columns = ([getattr(one, field.name) for one in found] for field in fields(Parts))
    return Parts(*map(statistics.median, columns))


def validation_patches(row: Row) -> int:
    """Patches that a run has validated in all its validations together."""
    return (row.get("validations") or 0) * (row.get("validation_patches") or 0)


def project(study: Study, work: Mapping[str, int]) -> Projection | None:
    """Seconds on 1 to 4096 such devices; without a law, only where it was measured.

    `work`: training_patches, validation_patches and epochs. Batches are those of weak scaling where
    it was measured: the batch of each device stays, and there must be patches for it.
    """
    mode = "weak" if study.points("weak") else "strong"
    points = study.points(mode)
    known = {n: [p for row in rows if (p := parts(row))] for n, rows in points.items()}
    known = {n: found for n, found in known.items() if found}
    if not known:
        return None
    laws, why = reach.laws_of(study, mode)
    row = points[max(known)][0]
    if not laws:
        return _without_law(known, work, points, f"no law: {why}")
    largest = known[max(known)]
    ranks, batches, limit = _devices(row, mode, work)
    first = next(iter(laws.values()))
    most = reach.most_devices(first)
    if most < ranks[-1]:
        ranks, batches = ranks[:most], batches[:most]
        limit = (
            f"beyond {most} devices {listed(first.ranks)} ranks do not carry: each rank count more "
            f"than {first.law.name} has parameters lets it be projected to twice as many"
        )
    whole = whole_steps(work, ranks, batches)
    slow, fast = reach.possible(list(laws.values()), ranks)
    each = middle(largest)
    seconds = np.stack(
        [
            np.min([one.total(whole, fast) for one in largest], axis=0),
            each.total(whole, first.predict(ranks)),
            np.max([one.total(whole, slow) for one in largest], axis=0),
        ]
    )
    wide = np.flatnonzero(seconds[2] > WIDEST * seconds[0])
    if len(wide):
        most = int(wide[0])
        limit = (
            f"beyond {most} devices the interval's upper end is more than {WIDEST:g} "
            "times its lower, which says nothing"
            if most
            else f"intervals are so wide, more than {WIDEST:g} times, that they say nothing"
        )
        ranks, seconds = ranks[:most], seconds[:, :most]
    if not len(ranks):
        return _without_law(known, work, points, limit)
    name = f"{' and '.join(laws)} of {mode} scaling"
    if first.rejected:
        name += f", REJECTED by its own rank counts (lack of fit {first.lack})"
    return Projection(name, first.ranks, ranks, seconds, len(largest), each, limit)


def _devices(row: Row, mode: str, work: Mapping[str, int]) -> tuple[Array, Array, str]:
    """Numbers of devices that the work can feed, the global batch of each, and what ends them."""
    patches = work["training_patches"]
    if mode == "weak":
        each = row.get("batch_per_rank") or 1
        most = patches // each
        limit = f"more than {most} devices with a batch of {each} each have too few patches"
    else:
        most = batch = row.get("global_batch") or patches
        limit = f"a global batch of {batch} cannot feed more devices"
    ranks = np.arange(1, min(MOST_DEVICES, max(1, most)) + 1, dtype=np.float64)
    batches = ranks * each if mode == "weak" else np.full(len(ranks), float(batch))
    return ranks, batches, limit if most < MOST_DEVICES else ""


def _without_law(
    known: dict[int, list[Parts]], work: Mapping[str, int], points: dict[int, list[Row]], why: str
) -> Projection:
    """Each measured rank count for itself: the median, and the range of its runs."""
    columns = []
    for ranks, found in known.items():
        whole = whole_steps(
            work, np.array(ranks), np.array(points[ranks][0].get("global_batch") or 1)
        )
        totals = [float(one.total(whole, np.array(one.rate))) for one in found]
        columns.append([min(totals), statistics.median(totals), max(totals)])
    ranks_known = np.array(list(known), dtype=np.float64)
    runs = min(map(len, known.values()))
    return Projection(
        *("no law", tuple(known), ranks_known, np.array(columns).T, runs),
        *(middle(known[max(known)]), why),
    )
