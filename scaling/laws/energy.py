"""What the energy of a point comes to: per patch, to the target, with the time it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scaling.laws.ratios import Curve, curve
from scaling.record.store import Row, Study

JOULES_PER_KWH = 3.6e6
FIGURES = (
    *("joules", "watts", "joules_per_patch", "joules_to_target", "idle_share", "joule_seconds"),
    "carbon_grams",
)


def figures(row: Row, *, carbon_intensity: float | None = None) -> dict[str, float]:
    """Of a measured row, each of FIGURES that follows from what was measured; without energy none.

    The time is that of the readings for the mean power in watts and for the idle share (power
    before the run x time / energy), and from the launch to the end for the energy-delay product in
    joule-seconds (Horowitz et al., "Low-power digital design", 1994). To the target: of a run that
    reached it, the whole of it. `carbon_intensity` in grams per kWh; without it no carbon.
    """
    energy = row.get("energy") or {}
    joules, seconds = energy.get("joules"), energy.get("seconds")
    if not joules:
        return {}
    found = {"joules": joules, "joule_seconds": joules * row["wall_seconds"]}
    if row.get("patches_trained"):
        found["joules_per_patch"] = joules / row["patches_trained"]
    if row.get("target"):
        found["joules_to_target"] = joules
    if energy.get("by") and seconds:
        found["watts"] = joules / seconds
        if energy.get("idle_watts") is not None:
            found["idle_share"] = energy["idle_watts"] * seconds / joules
    if carbon_intensity is not None:
        found["carbon_grams"] = joules / JOULES_PER_KWH * carbon_intensity
    return found


def counted(row: Row) -> tuple[str, ...]:
    """What is in a row's joules: kinds of devices, or Slurm's whole nodes; empty of no energy."""
    energy = row.get("energy") or {}
    if not energy.get("joules"):
        return ()
    return tuple(sorted(energy.get("by") or ())) or ("Slurm node",)


def commonest(rows: Sequence[Row]) -> tuple[str, ...]:
    """What was counted in the most of them, the more kinds where two are as common; or nothing."""
    found = Counter(filter(None, map(counted, rows)))
    return max(found, key=lambda kinds: (found[kinds], len(kinds), kinds), default=())


def curves(study: Study, mode: str, *, carbon_intensity: float | None = None) -> dict[str, Curve]:
    """Each figure over rank counts, of the runs in which the same was counted (`commonest`): a
    curve from GPUs alone to whole nodes would tell of meters."""
    by_ranks = study.points(mode)
    kinds = commonest([row for rows in by_ranks.values() for row in rows])
    points = {
        ranks: [
            figures(row, carbon_intensity=carbon_intensity) if counted(row) == kinds else {}
            for row in rows
        ]
        for ranks, rows in by_ranks.items()
    }
    return {name: curve(points, name) for name in FIGURES}
