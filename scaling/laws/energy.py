"""What the energy of a point comes to: per patch, to the target, with the time it took."""

from __future__ import annotations

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


def curves(study: Study, mode: str, *, carbon_intensity: float | None = None) -> dict[str, Curve]:
    """Each figure over rank counts."""
    points = {
        ranks: [figures(row, carbon_intensity=carbon_intensity) for row in rows]
        for ranks, rows in study.points(mode).items()
    }
    return {name: curve(points, name) for name in FIGURES}
