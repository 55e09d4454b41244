"""What the figures of a study were measured under."""

from __future__ import annotations

from pathlib import Path

from cloudmask.text import listed
from scaling.record.store import Study

DISTURBED = 0.1
"""share of a point's cores from which other programs are worth a warning"""


def sentence(study: Study) -> str:
    """What every figure of a study was measured under."""
    row, header = study.measured[0], study.header
    ranks = sorted({r["ranks"] for r in study.measured})
    repeats = sorted({len(rows) for mode in study.modes for rows in study.points(mode).values()})
    batches = {"strong": "global batch", "weak": "batch per rank"}
    batch = {mode: header.get(batches[mode].replace(" ", "_")) for mode in study.modes}
    words = header.get("program") or ["unknown program"]
    parts = [
        Path(next((word for word in words if word.endswith(".py")), words[0])).name,
        ", ".join(row.get("hardware") or [header["hardware"]["title"]]),
        f"{listed(ranks)} ranks",
        str(row.get("binding")),
        f"threads per rank: {row.get('threads_per_rank') or row['cores_per_rank']}",
        f"launcher {header['launcher']}",
        str(row.get("precision") or "unknown precision"),
        f"patches of {row.get('patch_size')} pixels and {row.get('channels')} channels",
        *(f"{mode} scaling: {batches[mode]} {size}" for mode, size in batch.items() if size),
        f"data {row.get('data_mode') or 'mode unknown'}, page cache {header['page_cache']}",
        f"{listed(repeats)} repeats",
        f"commit {str(row.get('commit') or 'unknown')[:12]}",
        str(row["ended"])[:10],
    ]
    if any(r.get("oversubscribed") for r in study.measured):
        parts.insert(3, "OVERSUBSCRIBED")
    if study.emulated:
        parts.insert(1, study.emulated.upper())
    if disturbed := other_cores(study):
        parts.append(f"DISTURBED by other programs, on up to {max(disturbed):.1f} cores")
    return "; ".join(parts)


def energy(study: Study) -> str:
    """Which counters the energy comes from, or why there is none."""
    found = [row["energy"] for row in study.measured if row.get("energy")]
    measured = [one for one in found if one["joules"] is not None]
    problems = {text for one in found for text in one.get("problems") or ()}
    reasons = sorted({text.rpartition(": ")[2] for text in problems})
    refused = sorted({name for one in found for name in one.get("refused") or ()})
    if not measured:
        why = listed(reasons, most=3) or "no counter readable"
        text = f"not measured ({why})"
    else:
        sources = sorted({name for one in measured for name in one.get("source") or ()})
        text = f"{listed(sources)}, {len(measured)} of {len(study.measured)} points"
    return text + (f"; {listed(refused)} is for root alone here" if refused else "")


def other_cores(study: Study) -> list[float]:
    """Cores that other programs took, of each point in which they were worth a warning."""
    return [
        row["other_cores"]
        for row in study.rows
        if (row.get("other_cores") or 0) > DISTURBED * row.get("cores_per_rank", 1) * row["ranks"]
    ]
