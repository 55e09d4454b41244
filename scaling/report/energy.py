"""The energy of a study's points, where it was measured."""

from __future__ import annotations

from collections import Counter

from cloudmask.text import listed, plural
from scaling.laws import energy, intervals
from scaling.laws.ratios import Curve
from scaling.record.store import Study
from scaling.report.sentences import coverage_note, shown
from scaling.report.tables import Table

COLUMNS = {
    "joules": "J",
    "joules_per_patch": "J per patch",
    "joules_to_target": "kWh to the target",
    "watts": "mean W",
    "idle_share": "idle share",
    "joule_seconds": "energy x time, kJ s",
    "carbon_grams": "g CO2 equivalent",
}
UNITS = {"kWh": energy.JOULES_PER_KWH, "Wh": energy.JOULES_PER_KWH / 1000}
DIFFERENCE = 0.1
"""between the counters and the mean power of the same devices, from which it is told"""


def energy_table(study: Study, mode: str, *, carbon_intensity: float | None = None) -> Table:
    """Medians over runs by rank count; no rows where nothing was measured."""
    found = energy.curves(study, mode, carbon_intensity=carbon_intensity)
    unit = _unit(found["joules_to_target"])
    names = [name for name in COLUMNS if found[name]]
    rows = []
    for point in found["joules"]:
        by_name = {name: {p.ranks: p.estimate for p in found[name]} for name in names}
        cells = {name: by_name[name].get(point.ranks) for name in names}
        if reached := cells.get("joules_to_target"):
            cells["joules_to_target"] = intervals.scaled(reached, 1 / UNITS[unit])
        if product := cells["joule_seconds"]:
            cells["joule_seconds"] = intervals.scaled(product, 1e-3)
        runs = f"{len(point.values)} of {len(study.points(mode)[point.ranks])}"
        told = (shown(estimate) if estimate else "-" for estimate in cells.values())
        rows.append((str(point.ranks), runs, *told))
    notes = [
        "Of the whole devices that have counters, on every host that ranks ran on, to the end: "
        "from the launch on the study's own host, from its first rank on every other. Memory, "
        "network, disks and cooling are in none of them. To the target: the whole of a run that "
        "reached it.",
        _counted(study, mode),
        coverage_note(found["joules"]) if rows else "",
        _disagreement(study, mode),
    ]
    if carbon_intensity is not None:
        notes.insert(2, f"Carbon at the stated {carbon_intensity:g} g per kWh.")
    return Table(
        f"Energy, {mode} scaling",
        " ".join(filter(None, notes)),
        ("ranks", "runs measured", *(COLUMNS[name].replace("kWh", unit) for name in names)),
        tuple(rows),
    )


def _unit(found: Curve) -> str:
    """kWh, or where all are small Wh."""
    largest = max((point.estimate.value for point in found), default=0.0)
    return "kWh" if largest >= UNITS["kWh"] / 10 else "Wh"


def _counted(study: Study, mode: str) -> str:
    """What is in the figures, and how many runs are not, for something else was counted."""
    rows = [row for rows in study.points(mode).values() for row in rows]
    kinds = energy.commonest(rows)
    if not kinds:
        return ""
    text = f"Counted: {listed(f'{kind}s' for kind in kinds)}."
    others = Counter(filter(lambda found: found not in ((), kinds), map(energy.counted, rows)))
    for found, count in sorted(others.items()):
        text += (
            f" Left out: {plural(count, 'run')} in which {listed(f'{kind}s' for kind in found)} "
        )
        text += "were counted."
    return text


def _disagreement(study: Study, mode: str) -> str:
    """Where mean power times time is far from the counters of the same devices."""
    rows = [row for rows in study.points(mode).values() for row in rows]
    kinds = energy.commonest(rows)
    rows = [row for row in rows if energy.counted(row) == kinds]
    ratios = [(row.get("energy") or {}).get("power_to_counters") for row in rows]
    far = [ratio for ratio in ratios if ratio is not None and abs(ratio - 1) > DIFFERENCE]
    if not far:
        return ""
    worst = max(far, key=lambda ratio: abs(ratio - 1))
    return (
        f"In {len(far)} runs mean power x time disagrees with the counters, in one it is "
        f"{worst:.2f} times as much: trust neither before you know why."
    )
